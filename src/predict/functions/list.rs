//! [`FUNCTIONS`]: the functions of expressions that models compute.

use super::embed::EMBED;
use super::function::ModelFunction;
use super::generate::GENERATE;
use super::predict_value::PREDICT_VALUE;
use crate::sql::CallForm;

/// All functions. The parser, the planner and the shell's help read this list.
const FUNCTIONS: &[&ModelFunction] = &[&EMBED, &GENERATE, &PREDICT_VALUE];

/// All functions.
pub(super) fn functions() -> impl Iterator<Item = &'static ModelFunction> {
    FUNCTIONS.iter().copied()
}

/// How their calls are written.
pub(crate) fn call_forms() -> Vec<CallForm> {
    functions().map(|function| function.form).collect()
}
