//! Solvers of linear models: on all rows at once, in f64.
//!
//! * `linear` runs the solvers on the shards of a training
//! * `lbfgs` limited-memory BFGS
//! * `normal_equation` least squares in closed form

mod lbfgs;
mod linear;
mod normal_equation;
