//! Where the files of a call are, as absolute locations; the nearest name if one is missing.

use std::path::Path;

use datafusion::common::DataFusionError;
use datafusion::sql::parser::Statement as DFStatement;

use crate::access::files::FileAccess;
use crate::catalog::locations::absolute;
use crate::error::{Result, SqlState, report, sql_err, with_cause};
use crate::sql::change_locations;
use crate::storage::{Place, is_remote};

/// Makes the locations in a statement absolute, so that it means the same files in every process.
pub(crate) fn absolute_locations(files: &FileAccess, statement: &mut DFStatement) -> Result<()> {
    change_locations(statement, |location| place(files, location))
}

/// The absolute location of files that may be read.
///
/// # Errors
/// If access is refused, before it is known whether the files exist; if they are missing.
pub(super) fn place(files: &FileAccess, location: &str) -> Result<String> {
    if location.is_empty() {
        let message = "a file in FROM has no name; write FROM 'data/x.csv'";
        return Err(sql_err(SqlState::InvalidParameter, message));
    }
    let found = files.check_read(location).and_then(|()| absolute(location));
    found.map_err(|error| explained(files, location, error))
}

/// The error about a location, with the nearest name if nothing is there. Names come only from a folder that may be read.
fn explained(files: &FileAccess, location: &str, error: DataFusionError) -> DataFusionError {
    let missing = match report(&error).state {
        SqlState::Io => missing(location),
        _ => None,
    };
    let Some((folder, name)) = missing else {
        return error;
    };
    let is_open = files.check_read(&folder.to_string()).is_ok();
    let entries = is_open.then(|| folder.entries().ok()).flatten();
    let known: Vec<String> = entries
        .unwrap_or_default()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let what = format!("file {location} does not exist");
    let message = with_cause(what, &name, known.iter().map(String::as_str));
    sql_err(SqlState::Io, message)
}

/// The folder and the name of a location, if nothing is there.
fn missing(location: &str) -> Option<(Place, String)> {
    let path = location.strip_prefix("file://").unwrap_or(location);
    let path = path.trim_end_matches('/');
    let place = match is_remote(path) {
        true => Place::parse(Path::new(path)).ok()?,
        false => Place::Local(std::path::absolute(path).ok()?),
    };
    let is_missing = matches!(place.kind(), Ok(None));
    is_missing.then(|| place.split()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_names_the_nearest_one() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        std::fs::write(base.join("flights.csv"), "a\n1\n").unwrap();
        let at = |name: &str| base.join(name).to_string_lossy().into_owned();
        let all = FileAccess::All;
        assert_eq!(place(&all, &at("flights.csv")).unwrap(), at("flights.csv"));
        let problem = |files: &FileAccess, name: &str| {
            let found = report(&place(files, &at(name)).unwrap_err());
            (found.state, found.message)
        };
        let (state, message) = problem(&all, "flight.csv");
        assert_eq!(state, SqlState::Io);
        let expected = format!(
            "file {} does not exist; the nearest name is \"flights.csv\"",
            at("flight.csv")
        );
        assert_eq!(message, expected);
        let (_, message) = problem(&all, "something-else.parquet");
        assert!(message.ends_with("does not exist"), "{message}");
        let (_, message) = problem(&all, "no/flights.csv");
        assert!(message.ends_with("does not exist"), "{message}");
    }

    #[test]
    fn on_a_server_only_open_folders_show_their_names() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        for folder in ["open", "closed"] {
            std::fs::create_dir(base.join(folder)).unwrap();
            std::fs::write(base.join(folder).join("flights.csv"), "a\n1\n").unwrap();
        }
        let files = FileAccess::below(&[base.join("open")], &Place::Local(base.join("data")));
        let files = files.unwrap();
        let problem = |name: &str| {
            let location = base.join(name).to_string_lossy().into_owned();
            report(&place(&files, &location).unwrap_err())
        };
        assert!(problem("open/flight.csv").message.contains("flights.csv\""));
        for closed in ["closed/flight.csv", "closed/flights.csv"] {
            assert_eq!(problem(closed).state, SqlState::NotAllowed, "{closed}");
        }
    }
}
