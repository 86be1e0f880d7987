//! How columns become tensors.
//!
//! * `tabular` numbers and categories, with what training learnt of them
//! * `plain` columns without NULLs, as they lie in memory

pub mod tabular;

pub(super) mod plain;
