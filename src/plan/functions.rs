//! The functions that plans may call, for sessions and for those who only run plans; how values are cast.

use std::sync::Arc;

use datafusion::arrow::compute::CastOptions;
use datafusion::arrow::util::display::FormatOptions;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};

use super::csv::nested_as_json;
use crate::error::Result;

/// A state that knows every function, for those who only run plans.
pub(crate) fn functions_state() -> Result<SessionState> {
    let mut state = SessionStateBuilder::new().with_default_features().build();
    register_functions(&mut state)?;
    Ok(state)
}

/// Adds our functions to those of DataFusion's.
pub(crate) fn register_functions(state: &mut SessionState) -> Result<()> {
    vatic_udfs::register(state)?;
    state.register_udf(Arc::new(nested_as_json()))?;
    Ok(())
}

/// A cast in which a value that does not fit is an error and not NULL.
pub(crate) const STRICT: CastOptions<'_> = CastOptions {
    safe: false,
    format_options: FormatOptions::new(),
};
