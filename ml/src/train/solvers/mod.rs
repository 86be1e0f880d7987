//! Solvers of linear models: on all rows at once, in f64.
//!
//! * `linear` runs the solvers on the shards of a training
//! * `lbfgs` limited-memory BFGS
//! * `normal_equation` least squares in closed form

pub(crate) mod lbfgs;
pub(crate) mod linear;
pub(crate) mod normal_equation;
