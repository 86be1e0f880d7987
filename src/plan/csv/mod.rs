//! CSV files: format, scan, and the codec of a scan.
//!
//! DataFusion's reader ignores the text for NULL and, on another machine, the compression of a file. It matches columns by
//! position whatever the header says, and errors count records where an editor counts lines. This folder reads CSV files
//! with
//!
//! * `options`: the options of the statement
//! * `bytes`: the decompressed bytes of a file, or of the lines of a part of a file
//! * `records`: the records of a file, and the line on which each begins
//! * `header`: the names of the columns, and which column of a file belongs to which column of the table
//! * `infer`: the types of columns that the statement does not declare
//! * `quotes`: where a file may be cut into parts
//! * `format`, `source`, `opener`: DataFusion's three steps from a folder to rows; arrow's decoder makes the rows
//! * `diagnose`: after a failure, the line and the column that failed
//! * `codec`: the options of a scan as bytes for executors
//!
//! DataFusion writes CSV files; `nested` converts nested values to text first.

mod bytes;
pub(crate) mod codec;
mod diagnose;
mod format;
mod header;
mod infer;
mod nested;
mod opener;
mod options;
mod quotes;
mod records;
mod source;

pub(crate) use self::format::{is_in_folder, with_reader};
pub(crate) use self::nested::{nested_as_json, with_text_in_csv};
pub(crate) use self::options::Table;
