//! The command line: a file a sub-command, and flags in a file.

pub(crate) mod config_file;
pub(crate) mod serve;
