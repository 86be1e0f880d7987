//! [`Spec`]: how the nearest vectors are searched. [`Metric`]: how distances are measured.

use std::fmt;

use serde::{Deserialize, Serialize};
use vatic_udfs::vector::products;

/// What the node and the operators know of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Spec {
    /// The number of items for each query.
    pub(super) top_k: usize,
    pub(super) metric: Metric,
    /// The column of the queries that has the vectors.
    pub(super) query_vector: usize,
    /// The column of the items that has the vectors.
    pub(super) item_vector: usize,
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "top_k={}, metric={}", self.top_k, self.metric.name())
    }
}

/// How distances are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Metric {
    /// `cosine_distance`
    Cosine,
    /// `l2_distance`
    L2,
    /// `negative_inner_product`
    InnerProduct,
}

impl Metric {
    pub(super) const ALL: [Self; 3] = [Self::Cosine, Self::L2, Self::InnerProduct];

    /// The name in SQL.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::L2 => "l2",
            Self::InnerProduct => "inner_product",
        }
    }

    /// The distance of two vectors, which has the bits that the function of SQL gives for them; `None` if there is none.
    pub(super) fn distance(self, query: &[f32], item: &[f32]) -> Option<f64> {
        let distance = match self {
            Self::Cosine => 1.0 - products::cosine(query, item)?,
            Self::L2 => products::distance(query, item),
            Self::InnerProduct => 0.0 - products::dot(query, item),
        };
        // NaN has one place in the order, behind all numbers.
        Some(if distance.is_nan() {
            f64::NAN
        } else {
            distance
        })
    }
}
