//! [`Format`]: the format of a file, by the end of its name.

use crate::error::{Result, SqlState, io_err, sql_err};
use crate::sql::{READ_CSV, READ_JSON, READ_PARQUET, quoted};
use crate::storage::{Kind, Place};

/// The ends of the names of compressed files, and the compression that they mean.
const COMPRESSIONS: &[(&str, &str)] = &[
    ("gz", "gzip"),
    ("gzip", "gzip"),
    ("bz2", "bzip2"),
    ("xz", "xz"),
    ("zst", "zstd"),
    ("zstd", "zstd"),
];

/// The ends of the names of files of each format.
const ENDS: &[(&str, Format)] = &[
    ("csv", Format::Csv),
    ("tsv", Format::Csv),
    ("json", Format::Json),
    ("ndjson", Format::Json),
    ("jsonl", Format::Json),
    ("parquet", Format::Parquet),
    ("arrow", Format::Arrow),
];

/// The maximum number of folders in each other that are searched for a file.
const DEPTH_MAX: usize = 16;

/// The format of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    Json,
    Parquet,
    Arrow,
}

impl Format {
    /// The format that a function reads.
    pub(super) fn of_function(function: &str) -> Option<Self> {
        match function {
            READ_CSV => Some(Self::Csv),
            READ_JSON => Some(Self::Json),
            READ_PARQUET => Some(Self::Parquet),
            _ => None,
        }
    }

    /// The format of what is at an absolute location: of a file, or of the first file of a folder that has a known name.
    pub(super) fn of_location(location: &str, written: &str) -> Result<Self> {
        let found = match location.ends_with('/') {
            true => Self::in_folder(&Place::parse(location.as_ref())?, DEPTH_MAX)?,
            false => Self::of_name(location),
        };
        found.ok_or_else(|| {
            let what = match location.ends_with('/') {
                true => format!("folder {written} has no file whose name ends in"),
                false => format!("the name of file {written} does not end in"),
            };
            let text = quoted(written);
            let message = format!(
                "{what} .csv, .tsv, .json, .ndjson, .jsonl, .parquet or .arrow; say the format with {READ_CSV}({text}), {READ_JSON}({text}) or {READ_PARQUET}({text})"
            );
            sql_err(SqlState::InvalidParameter, message)
        })
    }

    fn of_name(name: &str) -> Option<Self> {
        let name = uncompressed(name);
        let (_, end) = name.rsplit_once('.')?;
        let mut ends = ENDS.iter();
        let (_, format) = ends.find(|(known, _)| known.eq_ignore_ascii_case(end))?;
        Some(*format)
    }

    fn in_folder(folder: &Place, depth: usize) -> Result<Option<Self>> {
        let mut entries = folder.entries().map_err(|error| io_err(folder, &error))?;
        entries.retain(|(name, _)| !name.starts_with(['.', '_']));
        entries.sort();
        let files = entries.iter().filter(|(_, kind)| *kind == Kind::File);
        let mut formats = files.filter_map(|(name, _)| Self::of_name(name));
        if let Some(format) = formats.next() {
            return Ok(Some(format));
        }
        let folders = entries.iter().filter(|(_, kind)| *kind == Kind::Directory);
        for (name, _) in folders.filter(|_| depth > 0) {
            if let Some(format) = Self::in_folder(&folder.join(name), depth - 1)? {
                return Ok(Some(format));
            }
        }
        Ok(None)
    }

    /// The name after STORED AS.
    pub(super) fn stored_as(self) -> &'static str {
        match self {
            Self::Csv => "CSV",
            Self::Json => "JSON",
            Self::Parquet => "PARQUET",
            Self::Arrow => "ARROW",
        }
    }
}

/// The compression that the name of a file means.
pub(super) fn compression(name: &str) -> Option<&'static str> {
    let (_, end) = name.rsplit_once('.')?;
    let mut known = COMPRESSIONS.iter();
    let (_, compression) = known.find(|(known, _)| known.eq_ignore_ascii_case(end))?;
    Some(*compression)
}

/// Whether the fields of a file of this name are separated by tabs.
pub(super) fn has_tabs(name: &str) -> bool {
    let name = uncompressed(name);
    name.rsplit_once('.')
        .is_some_and(|(_, end)| end.eq_ignore_ascii_case("tsv"))
}

/// The name without the end that means a compression.
pub(super) fn uncompressed(name: &str) -> &str {
    match (compression(name), name.rsplit_once('.')) {
        (Some(_), Some((name, _))) => name,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_name_says_the_format() {
        for (name, expected) in [
            ("a.csv", Some(Format::Csv)),
            ("/x.y/A.TSV.GZ", Some(Format::Csv)),
            ("s3://b/*.jsonl.zst", Some(Format::Json)),
            ("a.parquet", Some(Format::Parquet)),
            ("a.arrow", Some(Format::Arrow)),
            ("a.gz", None),
            ("csv", None),
            ("a.txt", None),
        ] {
            assert_eq!(Format::of_name(name), expected, "{name}");
        }
        assert!(has_tabs("a.tsv.bz2") && !has_tabs("tsv.csv"));
        assert_eq!(compression("a.json.GZ"), Some("gzip"));
        assert_eq!(uncompressed("a.json.gz"), "a.json");
    }

    #[test]
    fn a_folder_has_the_format_of_its_first_file() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path();
        std::fs::create_dir_all(base.join("year=2024/month=1")).unwrap();
        std::fs::create_dir_all(base.join("_temporary")).unwrap();
        for name in [
            "_temporary/a.csv",
            "notes.txt",
            "year=2024/month=1/b.parquet",
        ] {
            std::fs::write(base.join(name), "").unwrap();
        }
        let location = format!("{}/", base.display());
        assert_eq!(
            Format::of_location(&location, "x/").unwrap(),
            Format::Parquet
        );
        std::fs::remove_dir_all(base.join("year=2024")).unwrap();
        let error = crate::report(&Format::of_location(&location, "x/").unwrap_err());
        assert!(
            error.message.starts_with("folder x/ has no file"),
            "{}",
            error.message
        );
    }
}
