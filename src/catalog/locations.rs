//! Where files are that statements name: absolute locations, and which of them are patterns.

use std::path::Path;

use url::Url;

use crate::error::{Result, SqlState, io_err, sql_err};
use crate::storage::{Kind, Place, is_remote};

/// The characters of patterns.
const PATTERN: [char; 3] = ['*', '?', '['];

/// The absolute path of a location. Only files and directories are allowed: a device or a pipe has no end.
pub(crate) fn absolute(location: &str) -> Result<String> {
    let is_url = location
        .split_once("://")
        .is_some_and(|(scheme, _)| scheme.chars().all(|c| c.is_ascii_alphanumeric()));
    let has_glob = location.contains(PATTERN);
    // A file URL is checked like a path.
    if let Some(path) = location.strip_prefix("file://") {
        return absolute(path);
    }
    if is_remote(location) {
        // DataFusion would treat a pattern as a name; `parse` refuses it.
        let place = Place::parse(location.as_ref())?;
        let kind = place.kind().map_err(|error| io_err(location, &error))?;
        return match kind {
            Some(Kind::File) => Ok(location.to_owned()),
            Some(Kind::Directory) => Ok(format!("{}/", location.trim_end_matches('/'))),
            None | Some(Kind::Other) => Err(io_err(location, &std::io::ErrorKind::NotFound.into())),
        };
    }
    if is_url {
        return Ok(location.to_owned());
    }
    let path = std::path::absolute(location).map_err(|error| io_err(location, &error))?;
    let trailing = if location.ends_with('/') { "/" } else { "" };
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => Ok(format!("{}/", path.display())),
        Ok(metadata) if metadata.is_file() => Ok(format!("{}{trailing}", path.display())),
        Ok(_) => {
            let message = format!("{location} is neither a file nor a directory");
            Err(sql_err(SqlState::InvalidParameter, message))
        }
        Err(_) if has_glob => Ok(path.display().to_string()),
        Err(error) => Err(io_err(location, &error)),
    }
}

/// Whether an absolute location is a pattern. A file or directory that is there means itself, though `photos[1]/` looks like a
/// pattern.
pub(super) fn is_pattern(location: &str) -> bool {
    if !location.contains(PATTERN) {
        return false;
    }
    let path = Path::new(location);
    let is_there = path.is_absolute() && path.exists();
    !is_there
}

/// An absolute location for DataFusion: a URL if DataFusion would take what is there for a pattern.
pub(super) fn literal(location: &str) -> String {
    if !location.contains(PATTERN) || is_pattern(location) {
        return location.to_owned();
    }
    let url = match location.ends_with('/') {
        true => Url::from_directory_path(location),
        false => Url::from_file_path(location),
    };
    url.map_or_else(|()| location.to_owned(), String::from)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use datafusion::datasource::listing::ListingTableUrl;

    use super::*;

    #[test]
    fn what_is_there_is_no_pattern() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        fs::create_dir(base.join("a[1] %20")).unwrap();
        fs::write(base.join("b*?.csv"), "").unwrap();
        let parsed = |name: &str| {
            let location = absolute(&base.join(name).to_string_lossy()).unwrap();
            ListingTableUrl::parse(literal(&location)).unwrap()
        };
        for name in ["a[1] %20", "b*?.csv"] {
            let url = parsed(name);
            assert!(url.get_glob().is_none(), "{name}");
            assert_eq!(
                format!("/{}", url.prefix()),
                base.join(name).to_string_lossy()
            );
        }
        assert!(parsed("a[1] %20").is_collection());
        for name in ["*.csv", "c[1].csv", "b*"] {
            assert!(parsed(name).get_glob().is_some(), "{name}");
        }
    }
}
