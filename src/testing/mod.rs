//! Test support inside the engine. Release builds do nothing here.
//!
//! * `crash` ends or stops the process or the thread at one point of a protocol
//! * `stall` holds a thread at one point of a protocol

pub(crate) mod crash;
pub(crate) mod stall;
