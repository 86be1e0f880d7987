//! The command line.
//!
//! * `arguments` all arguments and sub-commands
//! * `config_file` arguments from the configuration file
//! * `values` the values of arguments
//! * `shell` the shell and its scripts
//! * `serve` `vatic serve`
//! * `users` `vatic user`
//! * `executor` `vatic executor`
//! * `completions` `vatic completions`

pub(crate) mod arguments;
pub(crate) mod completions;
mod config_file;
pub(crate) mod executor;
mod serve;
pub(crate) mod shell;
mod users;
mod values;

/// The stack of threads that plan: planning recurses as deep as the statement is nested.
const STACK_BYTES: usize = 16 << 20;
