//! Indexes of vectors on managed tables (decision 0060). An index is part of the state of its table: its options, and for each data file
//! that the table had when the index was created a file of graphs. Data files are immutable, so graphs are never stale; a data file
//! without graphs is searched exactly.
//!
//! * `state` an index in the state of its table
//! * `build` builds the graphs of a table's files
//! * `changes` adds an index to a table, finds and removes it
//! * `listed` the indexes of all tables, for `ml.indexes`
//! * `rule` the optimizer rule by which searches use indexes

mod build;
mod changes;
mod listed;
mod rule;
mod state;

pub(crate) use build::{Building, build};
pub(super) use listed::ListedIndex;
pub(crate) use rule::UseIndexes;
pub(crate) use state::VectorIndex;
pub(super) use state::with_graphs_of;
