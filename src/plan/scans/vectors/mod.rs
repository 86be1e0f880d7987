//! Scans of vectors: lists of `f32` in Parquet files. The reader of Parquet takes each number of a list through its levels, which
//! is ten times the work of the numbers themselves. Levels of lists without NULLs are a few runs a row, so here a page is checked
//! by its runs and its numbers are copied at once.
//!
//! ```text
//! VECTOR_SCANS: ParquetSource ─▶ VectorSource
//!   VectorOpener ─ open ─▶ VectorFile ─ row group ─▶ VectorColumn: pages ─▶ vectors
//!        │                                  │          the other columns: the usual reader
//!        │                                  └─ a NULL, or another encoding: the usual reader, from that row on
//!        └─ another schema than that of the table, chosen rows, or small row groups: ParquetSource
//! ```
//! Rows, their order and errors are those of the usual reader. But more vectors than rows, which the usual reader may overlook, are an
//! error here. A file that takes the place of the listed one is left to the usual reader. Scans with a filter, a limit or columns from
//! folders stay as they are. An executor of a cluster reads with the usual reader.
//!
//! * `source` the rule [`VECTOR_SCANS`], and the source of such a scan
//! * `opener` opens a file here or by the usual source, and computes the expressions of the scan
//! * `scan` what all files of a scan share; `file` the batches of a file
//! * `column` the vectors of a column of a row group; `levels` the runs of its levels, `chunk` its bytes

mod chunk;
mod column;
mod file;
mod levels;
mod opener;
mod scan;
mod source;

pub(crate) use source::VECTOR_SCANS;
