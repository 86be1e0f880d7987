//! SQL functions on plain Arrow arrays, usable without the engine.

pub mod vector;

use std::sync::Arc;

use datafusion_common::Result;
use datafusion_expr::ScalarUDF;
use datafusion_expr::registry::FunctionRegistry;

/// Every function.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    vector::functions()
}

/// Registers every function.
///
/// # Errors
/// If the registry takes no functions.
pub fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for function in all() {
        registry.register_udf(function)?;
    }
    Ok(())
}
