//! The parser of one statement: our own grammar first, else DataFusion's.
//!
//! * `statement` which statement the first words begin
//! * `model` statements about models
//! * `relation` SUMMARIZE, and COPY … FROM
//! * `words` words, names and literals

mod model;
mod relation;
mod statement;
mod words;

pub(crate) use statement::parse;
