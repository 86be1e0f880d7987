//! Optimizer rules around DataFusion's joins (decision 0017), and an operator that makes joins yield to other tasks.
//!
//! * `hidden_join` stops rules that would move projections, limits and conditions below a join wrongly, and hides orders that do not
//!   hold
//! * `nullable_filters` makes the columns of join conditions nullable, as DataFusion tests them on rows without a partner
//! * `yield_exec` makes joins without keys yield to other tasks

pub(crate) mod hidden_join;
mod nullable_filters;
pub(crate) mod yield_exec;

pub(crate) use self::nullable_filters::NULLABLE_FILTERS;
