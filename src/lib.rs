#![doc = include_str!("../README.md")]
//!
//! # The crate
//!
//! Modules are listed by name; `docs/architecture.md` lists them in the order in which a statement passes them.

mod access;
mod axis;
mod catalog;
pub mod client;
mod cluster;
mod config;
mod engine;
mod error;
mod evaluate;
mod extensions;
mod memory;
mod model;
mod own_task;
mod plan;
mod predict;
mod progress;
mod recommend;
pub mod repl;
pub mod server;
mod session;
mod sql;
mod statements;
mod storage;
mod testing;
mod train;

pub use cluster::{Executor, ExecutorOptions, run_executor};
pub use config::{Dedupe, VaticOptions};
pub use engine::{Engine, EngineBuilder};
#[doc(hidden)]
pub use error::nearest;
pub use error::{Position, Result, SQL_STATES, SqlError, SqlState, report};
#[doc(hidden)]
pub use memory::machine_bytes;
pub use progress::{ProgressEvent, ProgressListener};
pub use session::Session;
pub use sql::Limits;
#[doc(hidden)]
pub use storage::is_remote;
pub use train::{OPTIONS, TrainOption};
pub use vatic_ml as ml;

/// The seconds of each of `rounds` all-reduces of `elements` f32 over the loopback device, for `benchmarks/bench.py`.
///
/// # Errors
/// If the ranks cannot connect.
#[doc(hidden)]
pub fn time_all_reduce(ranks: usize, elements: usize, rounds: usize) -> Result<Vec<f64>> {
    cluster::time_all_reduce(ranks, elements, rounds).map_err(error::ml_err)
}

/// The statements of a script, cut at semicolons that are not in strings or comments.
pub fn statements(script: &str) -> impl Iterator<Item = &str> {
    sql::script::split(script)
        .into_iter()
        .map(|piece| piece.text)
}
