//! The shell's side of a server: a session that is somewhere else.

mod remote;

pub(crate) use remote::RemoteTable;
pub use remote::{Remote, RemoteOptions};
