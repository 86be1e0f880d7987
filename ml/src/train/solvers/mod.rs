//! How the weights of linear models are found: on all rows at once, in f64.
//!
//! * `linear` which rows a solver sees, and what becomes of its weights
//! * `lbfgs` limited-memory BFGS
//! * `normal_equation` least squares in closed form

mod lbfgs;
mod linear;
mod normal_equation;
