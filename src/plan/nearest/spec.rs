//! [`Spec`]: how the nearest vectors are searched, and which columns stand beside them. [`Metric`]: how distances are measured.
//! [`is_vector`]: which columns hold vectors.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef, Schema};
use serde::{Deserialize, Serialize};
use vatic_udfs::vector::products;

/// The name of the column of distances.
pub(super) const DISTANCE: &str = "distance";

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

/// The rows of a batch of results, if they fit.
const ROWS: usize = 8_192;

/// The queries whose results are one batch.
pub(super) fn queries_of_batch(top_k: usize) -> usize {
    (ROWS / top_k).max(1)
}

/// The fields of a schema but that of the vectors.
pub(super) fn fields_beside(schema: &Schema, vector: usize) -> Vec<FieldRef> {
    let fields = schema.fields().iter().enumerate();
    let others = fields.filter(|(at, _)| *at != vector);
    others.map(|(_, field)| Arc::clone(field)).collect()
}

/// Whether the values of a type are vectors: lists of numbers.
pub(crate) fn is_vector(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            item.data_type().is_numeric()
        }
        _ => false,
    }
}

/// How distances are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Metric {
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
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::L2 => "l2",
            Self::InnerProduct => "inner_product",
        }
    }

    /// The metric of a name, in letters of any case.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|metric| metric.name().eq_ignore_ascii_case(name))
    }

    /// All names, as errors list them.
    pub(crate) fn names() -> String {
        Self::ALL
            .map(|metric| format!("'{}'", metric.name()))
            .join(", ")
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
