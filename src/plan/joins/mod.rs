//! Rules of ours around DataFusion's joins (decision 0017), and joins that make way for others.
//!
//! * `veil` keeps projections, limits and conditions where a join would make wrong rows of them, and hides orders that do not
//!   hold
//! * `nullable_filters` lets the columns of a condition be NULL, as DataFusion tries it on rows without a partner
//! * `yield_exec` joins without keys give other tasks their turn

mod nullable_filters;
pub(crate) mod veil;
pub(crate) mod yield_exec;

pub(crate) use self::nullable_filters::NULLABLE_FILTERS;
