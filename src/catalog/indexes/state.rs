//! [`VectorIndex`]: an index in the state of its table.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::super::files::ManagedFile;
use crate::plan::nearest::Metric;

/// The name of the file in each directory of graphs.
pub(super) const FILE: &str = "vectors.graphs";

/// An index of the vectors in a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VectorIndex {
    pub(crate) name: String,
    pub(crate) column: String,
    pub(crate) metric: Metric,
    pub(crate) m: usize,
    pub(crate) ef_construction: usize,
    /// The graphs of the table's files that have some.
    #[serde(default)]
    pub(crate) graphs: Vec<IndexedFile>,
}

/// The graphs of a file of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IndexedFile {
    /// The directory of the table's file below `blobs`.
    pub(crate) of: String,
    /// The directory of the graphs below `blobs`.
    pub(crate) directory: String,
    pub(crate) bytes: u64,
    /// The hash of what the file of graphs says that it holds.
    pub(crate) hash: u64,
}

/// The indexes of a table that has these files from now on: without the graphs of other files.
pub(in crate::catalog) fn with_graphs_of(
    indexes: &[VectorIndex],
    files: &[ManagedFile],
) -> Vec<VectorIndex> {
    let of: HashSet<&str> = files.iter().map(|file| file.directory.as_str()).collect();
    let mut indexes = indexes.to_vec();
    for index in &mut indexes {
        index
            .graphs
            .retain(|graphs| of.contains(graphs.of.as_str()));
    }
    indexes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graphs_go_with_their_files_and_the_index_stays() {
        let graphs = |of: &str| IndexedFile {
            of: of.into(),
            directory: format!("graphs of {of}"),
            bytes: 1,
            hash: u64::MAX,
        };
        let index = VectorIndex {
            name: "near".into(),
            column: "v".into(),
            metric: Metric::Cosine,
            m: 16,
            ef_construction: 200,
            graphs: vec![graphs("a"), graphs("b")],
        };
        let file = |directory: &str| ManagedFile {
            directory: directory.into(),
            rows: 1,
            bytes: Some(1),
        };
        let kept = with_graphs_of(std::slice::from_ref(&index), &[file("b"), file("c")]);
        assert_eq!(kept[0].graphs, [graphs("b")]);
        let none = with_graphs_of(std::slice::from_ref(&index), &[]);
        assert!(none[0].graphs.is_empty() && none[0].name == "near");
        let text = serde_json::to_string(&index).unwrap();
        assert_eq!(serde_json::from_str::<VectorIndex>(&text).unwrap(), index);
    }
}
