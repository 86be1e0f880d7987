//! Statements that are not queries, a file a kind.
//!
//! * `model` SHOW, DESCRIBE, ALTER and DROP MODEL
//! * `ingest` rows that a client sends, as a new table or at the end of one

pub(crate) mod ingest;
pub(crate) mod model;
#[cfg(test)]
mod rights_tests;
