//! SQL functions on plain Arrow arrays, usable without the engine.
//!
//! * [`vector`] lists of numbers: distances, length, mean, softmax, the largest elements
//! * [`metric`] aggregates that measure predictions
//! * [`images`] files of images and their pixels
//! * [`text`] words of texts, and their numbers
//! * `prob` the probability of a label among those of a prediction
//! * [`time`] timestamps beyond the range of nanoseconds
//! * [`checked`] integer operators that fail on overflow, [`guard`] limits on DataFusion's functions
//! * [`nullable`] a value that may be NULL
//! * [`sum`] replacements of DataFusion's `sum`, and of its `avg` of durations, that do not wrap around
//!
//! Each function carries its documentation (`doc`), which `docs/sql.md` and the shell's help show; `call` has signatures, and the
//! values of an argument by row. Of DataFusion's own functions on lists, this crate replaces `cosine_distance` and
//! `inner_product`, and does not repeat the others.

pub mod checked;
pub mod guard;
pub mod images;
pub mod metric;
pub mod nullable;
pub mod sum;
pub mod text;
pub mod time;
pub mod vector;

mod call;
mod doc;
mod prob;

use std::sync::Arc;

use datafusion_common::Result;
use datafusion_expr::registry::FunctionRegistry;
use datafusion_expr::{AggregateUDF, ScalarUDF};

/// Every scalar function.
pub fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let mut functions = vector::scalar_functions();
    functions.extend(images::scalar_functions());
    functions.extend(text::scalar_functions());
    functions.push(prob::prob());
    functions
}

/// Every aggregate function.
pub fn aggregate_functions() -> Vec<Arc<AggregateUDF>> {
    let mut functions = vector::aggregate_functions();
    functions.extend(metric::functions());
    functions
}

/// Registers every function.
///
/// # Errors
/// If the registry refuses a function.
pub fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for function in scalar_functions().into_iter().chain(checked::functions()) {
        registry.register_udf(function)?;
    }
    registry.register_udf(time::exact_time())?;
    registry.register_udf(nullable::nullable())?;
    for name in registry.udfs() {
        if let Some(wide) = time::wide(&registry.udf(&name)?) {
            registry.register_udf(wide)?;
        }
        if let Some(guarded) = guard::guarded(&registry.udf(&name)?) {
            registry.register_udf(guarded)?;
        }
    }
    for function in aggregate_functions() {
        registry.register_udaf(function)?;
    }
    for name in registry.udafs() {
        if let Some(checked) = sum::checked(&registry.udaf(&name)?) {
            registry.register_udaf(checked)?;
        }
    }
    Ok(())
}
