//! Memory of the process: what it has, what operators reserve of it, and what statements do about too little.
//!
//! * `statements` [`Memory`]: the memory of an engine or executor, shared by its statements or tasks
//! * `statement_pool` the limit of one statement or task
//! * `process_pool` the pool of all of them, and the cache that makes room in it
//! * `buffers` the bytes of batches
//! * `file_caches` what is remembered of files
//! * `machine` the memory of the machine and of the process

mod buffers;
mod file_caches;
mod machine;
mod process_pool;
mod statement_pool;
mod statements;

pub(crate) use self::buffers::{Buffers, batch_bytes};
pub(crate) use self::file_caches::file_caches;
pub use self::machine::machine_bytes;
pub(crate) use self::process_pool::{Cache, has_free, is_half_free};
pub(crate) use self::statement_pool::StatementPool;
pub(crate) use self::statements::Memory;
