//! The arguments of `vatic`, from the command line and the configuration file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::aot::Shell;
use vatic::repl::{Format, When};

use super::config_file;
use super::executor::Executor;
use super::serve::Serve;
use super::users::User;
use super::values::{Limit, bytes, limit, setting};

/// Train and run neural models inside SQL.
///
/// Without -c, -f or FILE a terminal gets a shell, and standard input is a script.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
    /// A file of statements; - is standard input.
    #[arg(value_name = "FILE")]
    pub(crate) script: Option<PathBuf>,
    /// Run these statements and leave; may be repeated.
    #[arg(
        short = 'c',
        long = "command",
        value_name = "SQL",
        allow_hyphen_values = true
    )]
    pub(crate) commands: Vec<String>,
    /// Run the statements of this file and leave; may be repeated; - is standard input.
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Run this file first. [default: init.sql in the user's configuration folder, in an interactive shell]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) rc: Vec<PathBuf>,
    /// Run no file first.
    #[arg(long, conflicts_with = "rc")]
    pub(crate) no_rc: bool,
    /// The output format. [default: box in a terminal, else table]
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// Write results to this file.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Show only results and errors.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Maximum number of table rows, or inf. [default: 40 in a terminal, else inf]
    #[arg(long, value_name = "N", value_parser = limit)]
    pub(crate) maxrows: Option<Limit>,
    /// Maximum width of a table, or inf. [default: the terminal's width]
    #[arg(long, value_name = "N", value_parser = limit)]
    pub(crate) max_width: Option<Limit>,
    /// The text for NULL. [default: NULL, or nothing in CSV]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) null: Option<String>,
    /// Leave out column names.
    #[arg(long)]
    pub(crate) no_header: bool,
    /// Whether to use colours.
    #[arg(long, value_enum, default_value = "auto", default_missing_value = "always", num_args = 0..=1, require_equals = true)]
    pub(crate) color: When,
    /// Show how long each statement takes.
    #[arg(long)]
    pub(crate) timing: bool,
    /// Whether to show a progress line.
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    pub(crate) progress: When,
    /// Show long results without a pager.
    #[arg(long)]
    pub(crate) no_pager: bool,
    /// Continue after an error; the exit code still reports the error.
    #[arg(long)]
    pub(crate) continue_on_error: bool,
    /// Forbid \! and \e, which start programs.
    #[arg(long)]
    pub(crate) safe: bool,
    /// Show internal details of errors.
    #[arg(long)]
    pub(crate) verbose: bool,
    /// Memory limit of queries, such as 500M or 8G. [default: no limit]
    #[arg(short, long, value_name = "SIZE", value_parser = bytes)]
    pub(crate) memory_limit: Option<u64>,
    /// Disk limit of queries, for data that does not fit in memory. [default: 100G]
    #[arg(short, long, value_name = "SIZE", value_parser = bytes)]
    pub(crate) disk_limit: Option<u64>,
    /// Rows per batch.
    #[arg(short, long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch_size: Option<u32>,
    /// The working directory. [default: the current directory]
    #[arg(short = 'p', long, value_name = "DIR")]
    pub(crate) data_path: Option<PathBuf>,
    /// A setting of the session; may be repeated.
    #[arg(long, value_name = "SETTING=VALUE", value_parser = setting)]
    pub(crate) set: Vec<(String, String)>,
    /// Configuration file of flags not given here. [default: vatic/config.toml in the user's configuration folder]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The data directory of tables and models; :memory: for none. [default: the user's data folder]
    #[arg(long, value_name = "DIR", env = "VATIC_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Run statements on executors, which find the scheduler at this address.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) cluster: Option<String>,
    /// The file with the secret of the cluster, at least 32 bytes; needed unless all addresses are on the loopback device.
    #[arg(long, value_name = "FILE", requires = "cluster")]
    pub(crate) cluster_secret_file: Option<PathBuf>,
    /// Serve Prometheus metrics of the cluster at this address.
    #[arg(long, value_name = "HOST:PORT", requires = "cluster")]
    pub(crate) metrics: Option<String>,
    /// The library of onnxruntime, for models of format onnxruntime.
    #[arg(long, value_name = "FILE")]
    pub(crate) onnxruntime: Option<PathBuf>,
    /// Run statements on this server, such as grpc://localhost:31337 or grpc+tls://host:31337.
    #[arg(long, value_name = "URL", conflicts_with_all = ["cluster", "data_dir"])]
    pub(crate) connect: Option<String>,
    /// The user to log in as. The password is read from VATIC_PASSWORD or asked for.
    #[arg(long, value_name = "NAME", requires = "connect")]
    pub(crate) user: Option<String>,
    /// A file with a token to log in with.
    #[arg(
        long,
        value_name = "FILE",
        requires = "connect",
        conflicts_with = "user"
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// The CA of the server's certificate, in PEM. [default: the CAs that this machine trusts]
    #[arg(long, value_name = "FILE", requires = "connect")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// A client certificate, in PEM, for a server that requires one.
    #[arg(long, value_name = "FILE", requires_all = ["connect", "tls_key"])]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The private key of the client certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
}

/// The sub-commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Serve Flight SQL: for JDBC, ADBC, and the shell on other machines.
    Serve(Box<Serve>),
    /// Change the users file of a server.
    #[command(subcommand)]
    User(User),
    /// Run an executor for the engine of another process, which is started with --cluster.
    Executor(Executor),
    /// Print the script by which a shell completes the arguments of vatic.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// For benchmarks/bench.py: prints the seconds of all-reduces of 100 MB of f32 between ranks on this machine.
    #[command(hide = true)]
    AllReduce {
        /// The number of ranks.
        ranks: usize,
    },
}

impl Arguments {
    /// Parses the command line. Ends the process for --help, --version and wrong arguments.
    ///
    /// # Errors
    /// If the configuration file cannot be read.
    pub(crate) fn parse_all() -> Result<(Self, ArgMatches), String> {
        let mut command = Self::command();
        command.build();
        let given: Vec<OsString> = std::env::args_os().collect();
        check_first(&command, given.get(1..).unwrap_or_default())?;
        let arguments = config_file::arguments(&command, given)?;
        let matches = command.get_matches_from(arguments);
        match Self::from_arg_matches(&matches) {
            Ok(arguments) => Ok((arguments, matches)),
            Err(error) => error.exit(),
        }
    }

    /// The log filter if RUST_LOG is not set. An executor answers no client, so its activity goes to its log.
    pub(crate) fn log_filter(&self) -> &'static str {
        match self.role {
            Some(Role::Executor(_)) => "vatic=info",
            Some(Role::Serve(_)) => "vatic=warn",
            Some(Role::User(_) | Role::Completions { .. } | Role::AllReduce { .. }) | None => "off",
        }
    }
}

/// Checks that the first word is no misspelt sub-command, which would count as the name of a file.
fn check_first(command: &Command, given: &[OsString]) -> Result<(), String> {
    let first = given.first().and_then(|word| word.to_str());
    let Some(word) = first.filter(|word| !word.starts_with('-')) else {
        return Ok(());
    };
    let known = command.get_subcommands();
    let known: Vec<&str> = known
        .filter(|command| !command.is_hide_set())
        .map(Command::get_name)
        .collect();
    let is_known = command.find_subcommand(word).is_some() || Path::new(word).exists();
    match vatic::nearest(word, known).filter(|_| !is_known) {
        Some(nearest) => Err(format!(
            "there is no file {word}; the nearest sub-command is \"{nearest}\""
        )),
        None => Ok(()),
    }
}
