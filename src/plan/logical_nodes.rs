//! What logical nodes share: [`equal_by_key`], their comparison, and [`needed_columns`].

use std::collections::BTreeSet;

/// Defines `PartialEq`, `Eq`, `PartialOrd` and `Hash` for a logical node by what its method `key` returns. Nodes that differ
/// have no order.
macro_rules! equal_by_key {
    ($node:ty) => {
        impl PartialEq for $node {
            fn eq(&self, other: &Self) -> bool {
                self.key() == other.key()
            }
        }

        impl Eq for $node {}

        impl PartialOrd for $node {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                (self == other).then_some(std::cmp::Ordering::Equal)
            }
        }

        impl std::hash::Hash for $node {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                std::hash::Hash::hash(&self.key(), state);
            }
        }
    };
}

pub(crate) use equal_by_key;

/// The columns that a node with one input needs, ascending and each once, as `necessary_children_exprs` returns them.
pub(crate) fn needed_columns(columns: impl Iterator<Item = usize>) -> Vec<Vec<usize>> {
    let columns: BTreeSet<usize> = columns.collect();
    vec![columns.into_iter().collect()]
}
