//! Who may do what. What is not granted looks like what is not there.
//!
//! Names are resolved by the catalog of a session and by whoever plans, and both ask here; so every statement is covered,
//! whatever its form. What changes an object asks again in the step that publishes the change, of the state that it is about
//! to replace. Views are opened with the rights of their owners, and external tables with those of the process: who may read
//! one need not be allowed to read what it reads.
//!
//! * `user` as whom a session acts, and what it may do
//! * `ownership` which object it is, and whose
//! * `grants` what was granted, and where that is kept
//! * `files` which files statements may touch
//! * `secrets` options that no plan may show
//! * `locked_settings` what SET may change on a server

pub(crate) mod files;
pub(crate) mod grants;
pub(crate) mod locked_settings;
pub(crate) mod ownership;
pub(crate) mod secrets;
mod user;

pub(crate) use self::user::{Access, Rights, not_yours};
