//! `summarize((query))` in FROM, which `SUMMARIZE t` calls: a row of figures for each column of a relation.
//!
//! ```text
//! input ─▶ one aggregate of all columns ─▶ a list for each figure ─▶ unnest
//! ```
//! * `relation` the planner of the call
//! * `figures` the plan of the rows

mod figures;
mod relation;

pub(crate) use self::relation::SummarizeRelation;
