//! Alternating least squares: while the vectors of all items stay, that of each user is the solution of a small least squares
//! problem, and the other way round (Zhou et al., "Large-scale parallel collaborative filtering for the Netflix prize", 2008;
//! for implicit feedback Hu, Koren and Volinsky, "Collaborative filtering for implicit feedback datasets", 2008).
//!
//! ```text
//! rows of all ranks ─ all-gather ─▶ ratings: each rank keeps those of its users, and those of its items
//! sweep: solve our users ─ all-gather ─▶ vectors of all users ─ solve our items ─ all-gather ─▶ vectors of all items
//! ```
//! One rank solves for a user, from ratings in one order, so the result does not depend on the number of ranks.
//!
//! * `table` the place of each vector among the weights
//! * `ratings` the rows by user or by item
//! * `solve` the least squares problem of one user or item
//! * `descent` a sweep as a step of a descent, which brings early stopping, checkpoints and progress
//! * `implicit` the loss of implicit feedback
//! * `ranking` whether the items that were held out are among the best of each user

mod descent;
mod implicit;
mod ranking;
mod ratings;
mod solve;
mod table;

pub(crate) use descent::{AlsDescent, working_bytes};
pub(crate) use implicit::implicit_loss;
pub(crate) use ranking::ranking_metrics;
