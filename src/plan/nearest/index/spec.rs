//! [`IndexSpec`]: what the node and the operator know of an index and of the search.

use std::fmt;

use datafusion::datasource::listing::PartitionedFile;
use serde::{Deserialize, Serialize};

use super::super::spec::{Metric, Spec};

/// A search with an index.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct IndexSpec {
    /// The name of the index.
    pub(crate) index: String,
    pub(crate) metric: Metric,
    /// The rows that each query needs.
    pub(crate) top_k: usize,
    /// The nodes of a graph that a walk keeps; more find more of the nearest and take longer.
    pub(crate) ef_search: usize,
    /// The graphs of the data files that have some.
    pub(crate) graphs: Vec<GraphPlace>,
    /// The bits of the only query; `None` if the queries are an input.
    pub(crate) query: Option<Vec<u32>>,
    /// Whether the rows found are compared with the nearest.
    pub(crate) measures_recall: bool,
    /// Why the index is not used.
    pub(crate) unused: Option<Unused>,
}

/// The graphs of a data file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct GraphPlace {
    /// The directory of the data file.
    pub(crate) of: String,
    /// The rows of the data file.
    pub(crate) rows: u64,
    /// The path or the URL of the graphs.
    pub(crate) at: String,
    pub(crate) bytes: u64,
    /// The hash of what the file of graphs says that it holds.
    pub(crate) hash: u64,
}

/// Why an index is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Unused {
    /// A filter might leave too few of the rows that the index finds.
    Filter,
    /// The index and the search above it each read the queries, which might differ.
    ChangingQueries,
}

impl IndexSpec {
    /// The graphs of a data file.
    pub(super) fn graphs_of(&self, file: &PartitionedFile) -> Option<&GraphPlace> {
        let path: &str = file.object_meta.location.as_ref();
        let directory = path.rsplit('/').nth(1)?;
        self.graphs.iter().find(|graphs| graphs.of == directory)
    }

    /// How the queries of an input are collected, whose only column has the vectors.
    pub(super) fn of_queries(&self) -> Spec {
        Spec {
            top_k: self.top_k,
            metric: self.metric,
            query_vector: 0,
            item_vector: 0,
        }
    }
}

impl fmt::Display for IndexSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "index={}", self.index)?;
        match self.unused {
            Some(Unused::Filter) => write!(f, ", not used: exact search because of a filter"),
            Some(Unused::ChangingQueries) => write!(
                f,
                ", not used: exact search because the queries may change when they are read again"
            ),
            None => {
                let (metric, files) = (self.metric.name(), self.graphs.len());
                let (top_k, ef) = (self.top_k, self.ef_search);
                write!(
                    f,
                    ", metric={metric}, top_k={top_k}, ef_search={ef}, indexed_files={files}"
                )
            }
        }
    }
}
