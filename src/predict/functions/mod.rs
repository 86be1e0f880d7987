//! Functions of expressions that models compute: `embed(model, text)`, `generate(model, prompt)`, `predict_value(model, feature, …)`.
//!
//! ```text
//! SQL ─ sql::prepare_calls ─▶ embed('public.m', x) ─ call ─▶ an expression with a type ─ compute, place ─▶ a column of PredictNode
//! ```
//! A call may stand wherever an expression may. The analyzer rule puts the operator of the call below the operator whose expression
//! has it, so the plan travels and is optimized like that of `predict`. To add a function, write a file with a
//! [`function::ModelFunction`] and list it.
//!
//! * `function` what a function is, `list` the list of all
//! * `embed`, `generate`, `predict_value` the functions, a file each
//! * `named` the named arguments of a call
//! * `call` the functions in DataFusion's planner, and a call with its model
//! * `compute` the analyzer rule; `look` tests of plans for calls; `values` prepares VALUES for the rule
//! * `place` where the operator of a call goes

mod call;
mod compute;
mod embed;
mod function;
mod generate;
mod list;
mod look;
mod named;
mod place;
mod predict_value;
mod values;

pub(crate) use call::register_model_functions;
pub(crate) use compute::ComputeCalls;
pub(crate) use list::call_forms;
