//! Client of a Vatic server, for the shell: `remote`.

mod remote;

pub(crate) use remote::RemoteTable;
pub use remote::{Remote, RemoteOptions};
