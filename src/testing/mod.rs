//! Help for tests inside of the engine. Nothing here does anything in a release build.
//!
//! * `crash` ends the process, or the thread, at one point of a protocol

pub(crate) mod crash;
