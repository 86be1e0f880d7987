//! Access control. An object without a grant looks like a missing object.
//!
//! Access is checked where a name becomes an object, so every form of statement is covered: tables that are read in
//! `catalog/provider.rs`, models in `session/planner.rs`, changes of rows and settings in `session/run.rs`, other changes in
//! `statements/`. A change to an object checks access again when it is published (`catalog/tables.rs`, `model/rights.rs`),
//! against the state that it replaces. Views are planned with their owner's rights and external tables with the process's rights, so a reader needs
//! no access to the underlying tables or files.
//!
//! * `user` the user of a session and the user's rights
//! * `ownership` the id and the owner of an object
//! * `grants` the log of granted privileges
//! * `files` the files that statements may access
//! * `secrets` checks for options with secrets, which plans would show
//! * `locked_settings` the settings that SET may change on a server
//! * `places` the connections that a listener has at once

pub(crate) mod files;
pub(crate) mod grants;
pub(crate) mod locked_settings;
pub(crate) mod ownership;
mod places;
pub(crate) mod secrets;
mod user;

pub(crate) use self::places::{Admitted, Places};
pub(crate) use self::user::{Access, Rights, not_yours};
