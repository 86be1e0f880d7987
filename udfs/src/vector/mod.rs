//! Functions on vectors: lists of numbers of any precision, of fixed length or not. They compute in f64.
//!
//! `argmax`, `cosine_distance`, `cosine_similarity`, `inner_product`, `l2_distance`, `l2_normalize`, `negative_inner_product`,
//! `sigmoid`, `softmax`, `top_k` and `vector_avg` are functions; `udf` and `vectors` are shared by all. `measure` is shared by
//! functions that make a number from two vectors, [`products`] has their sums, and `length` the length of a vector.
//!
//! A NULL vector, or one with a NULL element, gives NULL. To add a function, write a file with `function()` and list it.

mod argmax;
mod cosine_distance;
mod cosine_similarity;
mod inner_product;
mod l2_distance;
mod l2_normalize;
mod length;
mod measure;
mod negative_inner_product;
pub mod products;
mod sigmoid;
mod softmax;
mod top_k;
mod udf;
mod vector_avg;
mod vectors;

pub use vectors::VectorsOf;
pub(crate) use vectors::{Vectors, is_vector, type_name, without_rest};

use std::sync::Arc;

use datafusion_expr::{AggregateUDF, ScalarUDF};

/// The scalar functions of this group.
pub fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let all = [
        cosine_similarity::function(),
        cosine_distance::function(),
        l2_distance::function(),
        inner_product::function(),
        negative_inner_product::function(),
        l2_normalize::function(),
        softmax::function(),
        sigmoid::function(),
        argmax::function(),
        top_k::function(),
    ];
    all.into_iter().map(Arc::new).collect()
}

/// The aggregate functions of this group.
pub fn aggregate_functions() -> Vec<Arc<AggregateUDF>> {
    vec![Arc::new(vector_avg::function())]
}
