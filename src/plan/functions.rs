//! The functions that plans may call, for sessions and for processes that only run plans; and the options of casts.

use std::sync::Arc;

use datafusion::arrow::compute::CastOptions;
use datafusion::arrow::util::display::FormatOptions;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};

use super::csv::nested_as_json;
use super::json;
use super::series::{frame_values, series_position};
use crate::error::Result;

/// A session state with every function, for processes that only run plans.
pub(crate) fn functions_state() -> Result<SessionState> {
    let mut state = SessionStateBuilder::new().with_default_features().build();
    register_functions(&mut state)?;
    Ok(state)
}

/// Adds our functions to those of DataFusion.
pub(crate) fn register_functions(state: &mut SessionState) -> Result<()> {
    vatic_udfs::register(state)?;
    json::register(state)?;
    state.register_udf(Arc::new(nested_as_json()))?;
    state.register_udwf(Arc::new(series_position()))?;
    state.register_udwf(Arc::new(frame_values()))?;
    Ok(())
}

/// Cast options that make a value that does not fit an error instead of NULL.
pub(crate) const STRICT: CastOptions<'_> = CastOptions {
    safe: false,
    format_options: FormatOptions::new(),
};
