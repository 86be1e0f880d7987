//! Scans of images: a row for each file, with the bytes of the file as one value.
//!
//! What is known without reading a file (path, size, …) are columns as those that folders give to other formats: values that
//! all rows of a file share. So DataFusion's scan makes these columns, a file whose bytes nobody reads is not opened, and
//! the whole scan travels to executors. `catalog/images.rs` lists the files.
//!
//! * `source` the scan's columns
//! * `opener` reads a file
//! * `codec` a scan as bytes for executors

pub(crate) mod codec;
mod opener;
mod source;

pub(crate) use self::source::ImageSource;
