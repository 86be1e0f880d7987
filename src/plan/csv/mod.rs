//! CSV files as people write them.
//!
//! DataFusion's reader is told neither what NULL looks like nor, on another machine, how a file is compressed; it goes by
//! the order of columns whatever the header says, and counts records where an editor counts lines. Here a file goes
//! through
//!
//! * `options`: what the statement says of the files
//! * `bytes`: the bytes of a file, or of the lines of a part of it, without compression
//! * `records`: their records, and on which lines they begin
//! * `header`: what the columns are called, and which column of a file is which of the table
//! * `infer`: the types of columns that have none
//! * `quotes`: where a file may be cut into parts
//! * `format`, `source`, `opener`: DataFusion's three steps from a folder to rows; arrow's decoder makes the rows
//! * `diagnose`: after a failure, the line and the column that it was about
//! * `codec`: a scan as bytes for executors
//!
//! Files are written by DataFusion; `nested` makes text of nested values before.

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
