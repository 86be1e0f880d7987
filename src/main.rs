//! The command line of `vatic`.

mod cli;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio::runtime::Handle;
use vatic::client::{Remote, RemoteOptions};
use vatic::repl::{
    Exit, Format, Settings, Source, Start, When, has_color, run_batch, run_interactive,
};
use vatic::{Engine, ExecutorOptions};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Planning recurses with the depth of a statement.
const STACK_BYTES: usize = 16 << 20;

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
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// A file of statements; - is standard input.
    #[arg(value_name = "FILE")]
    script: Option<PathBuf>,
    /// Run these statements and leave; may be repeated.
    #[arg(
        short = 'c',
        long = "command",
        value_name = "SQL",
        allow_hyphen_values = true
    )]
    commands: Vec<String>,
    /// Run the statements of this file and leave; may be repeated; - is standard input.
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Run this file first. [default: init.sql in the user's configuration folder, if a person types]
    #[arg(short, long, value_name = "FILE")]
    rc: Vec<PathBuf>,
    /// Run no file first.
    #[arg(long, conflicts_with = "rc")]
    no_rc: bool,
    /// How rows are written. [default: box for a person, else table]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write results to this file.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Say nothing but results and errors.
    #[arg(short, long)]
    quiet: bool,
    /// Rows shown of a table, or inf. [default: 40 for a person, else inf]
    #[arg(long, value_name = "N", value_parser = limit)]
    maxrows: Option<Limit>,
    /// Width of a table, or inf. [default: that of the terminal]
    #[arg(long, value_name = "N", value_parser = limit)]
    max_width: Option<Limit>,
    /// The text for NULL. [default: NULL, or nothing in CSV]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    null: Option<String>,
    /// Leave out the names of columns.
    #[arg(long)]
    no_header: bool,
    /// Whether to use colours.
    #[arg(long, value_enum, default_value = "auto", default_missing_value = "always", num_args = 0..=1, require_equals = true)]
    color: When,
    /// Say how long each statement takes.
    #[arg(long)]
    timing: bool,
    /// Whether to show a line while something runs.
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    progress: When,
    /// Show long results without a pager.
    #[arg(long)]
    no_pager: bool,
    /// Go on after an error; the exit code still tells of it.
    #[arg(long)]
    continue_on_error: bool,
    /// Start no programs from \! and \e.
    #[arg(long)]
    safe: bool,
    /// Show what errors are made of.
    #[arg(long)]
    verbose: bool,
    /// Memory that queries may take, such as 500M or 8G. [default: no limit]
    #[arg(short, long, value_name = "SIZE", value_parser = bytes)]
    memory_limit: Option<u64>,
    /// Disk that queries may take for what does not fit in memory. [default: 100G]
    #[arg(short, long, value_name = "SIZE", value_parser = bytes)]
    disk_limit: Option<u64>,
    /// Rows of a batch.
    #[arg(short, long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..))]
    batch_size: Option<u32>,
    /// The directory that paths begin at. [default: the current one]
    #[arg(short = 'p', long, value_name = "DIR")]
    data_path: Option<PathBuf>,
    /// A setting of the session; may be repeated.
    #[arg(long, value_name = "SETTING=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// Flags that hold unless they are given here. [default: vatic/config.toml in the user's configuration folder]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where tables and models last; :memory: for nowhere. [default: the user's data folder]
    #[arg(long, value_name = "DIR", env = "VATIC_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Leave the work to executors, which find their scheduler here.
    #[arg(long, value_name = "HOST:PORT")]
    cluster: Option<String>,
    /// Answer Prometheus here, about the cluster.
    #[arg(long, value_name = "HOST:PORT", requires = "cluster")]
    metrics: Option<String>,
    /// Leave everything to this server, such as grpc://localhost:31337 or grpc+tls://host:31337.
    #[arg(long, value_name = "URL", conflicts_with_all = ["cluster", "data_dir"])]
    connect: Option<String>,
    /// Who logs in there. The password is that in VATIC_PASSWORD, or asked for.
    #[arg(long, value_name = "NAME", requires = "connect")]
    user: Option<String>,
    /// A file with a token to log in with.
    #[arg(
        long,
        value_name = "FILE",
        requires = "connect",
        conflicts_with = "user"
    )]
    token_file: Option<PathBuf>,
    /// Who signed the server's certificate, in PEM. [default: those that this machine trusts]
    #[arg(long, value_name = "FILE", requires = "connect")]
    tls_ca: Option<PathBuf>,
    /// A certificate of one's own, in PEM, where the server wants one.
    #[arg(long, value_name = "FILE", requires_all = ["connect", "tls_key"])]
    tls_cert: Option<PathBuf>,
    /// Its private key, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

/// What else this program can be.
#[derive(Debug, Subcommand)]
enum Role {
    /// Answer Flight SQL: JDBC, ADBC, and the shell of other machines.
    Serve(Box<cli::serve::Serve>),
    /// Change the file of a server's users.
    #[command(subcommand)]
    User(cli::serve::User),
    /// Work for the engine of another process, started with --cluster.
    Executor(Executor),
    /// For benchmarks/bench.py: prints the seconds of sums of 100 MB of f32 between ranks on this machine.
    #[command(hide = true)]
    AllReduce {
        /// How many ranks.
        ranks: usize,
    },
}

#[derive(Debug, Args)]
struct Executor {
    /// Where the engine is. It may start later.
    #[arg(long, value_name = "HOST:PORT")]
    scheduler: String,
    /// Tasks at once. [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    slots: Option<u16>,
    /// Where others fetch rows; the port after it is for the scheduler. Port 0 picks both.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    listen: String,
    /// Where rows between stages are written. [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
}

/// A number, or none.
#[derive(Debug, Clone, Copy)]
struct Limit(Option<usize>);

fn limit(text: &str) -> Result<Limit, String> {
    match text {
        "inf" | "none" => Ok(Limit(None)),
        number => match number.parse() {
            Ok(number) if number > 0 => Ok(Limit(Some(number))),
            _ => Err("a whole number from 1, or inf".into()),
        },
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..]
        .to_uppercase()
        .trim_end_matches(['B', 'I'])
    {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1u64 << 40,
        _ => return Err("a size such as 500M or 8G".into()),
    };
    let number = digits.parse::<u64>().ok().filter(|number| *number > 0);
    let size = number.and_then(|number| number.checked_mul(unit));
    size.ok_or_else(|| "a size such as 500M or 8G".into())
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().into(), value.into())),
        _ => Err("a setting and its value, such as vatic.batch_size=1000".into()),
    }
}

fn main() -> ExitCode {
    vatic::ml::worker::single_threaded_kernels();
    let mut command = Arguments::command();
    command.build();
    let matches = match cli::config_file::arguments(&command, std::env::args_os().collect()) {
        Ok(arguments) => command.get_matches_from(arguments),
        Err(problem) => {
            // If nobody reads standard error, the exit code says it.
            let _ = writeln!(std::io::stderr(), "error: {problem}");
            return ExitCode::from(Exit::Usage.code());
        }
    };
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    // An executor has nobody to answer, so what it does goes to its log.
    let default = match arguments.role {
        Some(Role::Executor(_)) => "vatic=info",
        Some(Role::Serve(_)) => "vatic=warn",
        Some(Role::User(_) | Role::AllReduce { .. }) | None => "off",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    // The statement that panicked fails with an error of its own; what a developer needs goes to the log.
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a bug")));
    let result = match &arguments.role {
        Some(Role::Serve(serve)) => serve.run(),
        Some(Role::User(user)) => user.run(),
        Some(Role::Executor(executor)) => run_executor(executor),
        Some(Role::AllReduce { ranks }) => all_reduce(*ranks),
        None => run(&arguments, sources(&arguments, &matches)),
    };
    match result {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) => {
            let message = match error.downcast_ref() {
                Some(error) => vatic::report(error).message,
                None => error.to_string(),
            };
            // If nobody reads standard error, the exit code says it.
            let _ = writeln!(std::io::stderr(), "error: {message}");
            ExitCode::from(Exit::Usage.code())
        }
    }
}

fn run_executor(executor: &Executor) -> anyhow::Result<Exit> {
    vatic::run_executor(&ExecutorOptions {
        scheduler: executor.scheduler.clone(),
        slots: executor.slots.map(usize::from),
        listen: executor.listen.clone(),
        work_dir: executor.work_dir.clone(),
    })?;
    Ok(Exit::Success)
}

fn all_reduce(ranks: usize) -> anyhow::Result<Exit> {
    for seconds in vatic::time_all_reduce(ranks, 25_000_000, 7)? {
        writeln!(std::io::stdout(), "{seconds:.6}")?;
    }
    Ok(Exit::Success)
}

fn run(arguments: &Arguments, sources: Vec<Source>) -> anyhow::Result<Exit> {
    let mut builder = Engine::builder();
    // Of a server's tables nothing is here.
    if arguments.connect.is_none()
        && let Some(path) = data_dir(arguments.data_dir.as_ref())?
    {
        builder = builder.data_dir(path);
    }
    if let Some(bytes) = arguments.memory_limit {
        builder = builder.memory_limit(usize::try_from(bytes)?);
    }
    if let Some(bytes) = arguments.disk_limit {
        builder = builder.disk_limit(bytes);
    }
    if let Some(address) = &arguments.cluster {
        builder = builder.cluster(address);
    }
    if let Some(path) = &arguments.data_path {
        std::env::set_current_dir(path)
            .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    }
    let engine = builder.build()?;
    if let Some(address) = &arguments.metrics {
        engine.serve_metrics(address)?;
    }
    if let Some(address) = engine.cluster_address()
        && !arguments.quiet
    {
        let mut err = std::io::stderr();
        let line = format!("executors join with: vatic executor --scheduler {address}");
        // Whoever does not read standard error knows the address.
        let _ = writeln!(err, "{line}");
    }
    let workers = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_BYTES)
        .build()?;
    let is_interactive = sources.is_empty() && std::io::stdin().is_terminal();
    let mut start = start(arguments, is_interactive, workers.handle().clone());
    let remote = match remote(arguments)? {
        Some(options) => Some(workers.block_on(Remote::connect(options))?),
        None => None,
    };
    start.remote.clone_from(&remote);
    // The shell has a thread of its own, so that it hears Ctrl-C whatever the workers do.
    let shell = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let exit = shell.block_on(async {
        match is_interactive {
            true => run_interactive(&engine, start).await,
            false if sources.is_empty() => run_batch(&engine, vec![Source::Stdin], start).await,
            false => run_batch(&engine, sources, start).await,
        }
    });
    if let Some(remote) = remote {
        workers.block_on(remote.close());
    }
    // A thread that still reads a file, or computes, must not keep the process.
    shell.shutdown_background();
    workers.shutdown_background();
    Ok(exit)
}

fn start(arguments: &Arguments, is_interactive: bool, workers: Handle) -> Start {
    let mut settings = Settings::new(is_interactive);
    settings.format = arguments.format.unwrap_or(settings.format);
    settings.null.clone_from(&arguments.null);
    settings.rows_max = arguments
        .maxrows
        .map_or(settings.rows_max, |Limit(limit)| limit);
    if let Some(Limit(limit)) = arguments.max_width {
        settings.width_max = Some(limit.unwrap_or(usize::MAX));
    }
    settings.with_header = !arguments.no_header;
    settings.with_timing = (settings.with_timing || arguments.timing) && !arguments.quiet;
    settings.with_footer = (settings.with_footer || arguments.timing) && !arguments.quiet;
    settings.with_pager &= !arguments.no_pager;
    settings.with_color = has_color(arguments.color);
    settings.continues_on_error = arguments.continue_on_error;
    settings.is_safe = arguments.safe;
    settings.is_verbose = arguments.verbose;
    settings.progress = match arguments.quiet {
        true => When::Never,
        false => arguments.progress,
    };
    let mut set = arguments.set.clone();
    if let Some(rows) = arguments.batch_size {
        set.push(("datafusion.execution.batch_size".into(), rows.to_string()));
    }
    Start {
        workers,
        remote: None,
        settings,
        start_up: start_up(arguments, is_interactive),
        output: arguments.output.clone(),
        set,
    }
}

/// The server, if there is one, and who logs in.
fn remote(arguments: &Arguments) -> anyhow::Result<Option<RemoteOptions>> {
    let Some(url) = arguments.connect.clone() else {
        return Ok(None);
    };
    let token = match &arguments.token_file {
        Some(path) => {
            let token = std::fs::read_to_string(path);
            let token = token.map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
            Some(token.trim().to_owned())
        }
        None => None,
    };
    let user = match &arguments.user {
        Some(user) => {
            let password = match std::env::var("VATIC_PASSWORD") {
                Ok(password) => password,
                Err(_) if std::io::stdin().is_terminal() => {
                    rpassword::prompt_password(format!("Password of {user}: "))?
                }
                Err(_) => {
                    anyhow::bail!("there is no terminal to ask for a password; set VATIC_PASSWORD")
                }
            };
            Some((user.clone(), password))
        }
        None => None,
    };
    Ok(Some(RemoteOptions {
        url,
        user,
        token,
        ca: arguments.tls_ca.clone(),
        certificate: arguments.tls_cert.clone().zip(arguments.tls_key.clone()),
    }))
}

/// The files that are run first. A script means the same for everybody, so only a person's own file is looked for.
fn start_up(arguments: &Arguments, is_interactive: bool) -> Vec<PathBuf> {
    if !arguments.rc.is_empty() || arguments.no_rc || !is_interactive {
        return arguments.rc.clone();
    }
    let own = dirs::config_dir().map(|directory| directory.join("vatic").join("init.sql"));
    let datafusion = dirs::home_dir().map(|directory| directory.join(".datafusionrc"));
    let known = own.into_iter().chain(datafusion);
    known.filter(|path| path.is_file()).take(1).collect()
}

/// `-c` and `-f` in the order in which they were given, then the file without a flag.
fn sources(arguments: &Arguments, matches: &ArgMatches) -> Vec<Source> {
    let at = |name: &str| matches.indices_of(name).into_iter().flatten();
    let commands = at("commands").zip(arguments.commands.iter().cloned().map(Source::Command));
    let files = at("files").zip(arguments.files.iter().map(|path| file(path)));
    let mut sources: Vec<(usize, Source)> = commands.chain(files).collect();
    sources.sort_by_key(|(index, _)| *index);
    let script = arguments.script.iter().map(|path| file(path));
    sources
        .into_iter()
        .map(|(_, source)| source)
        .chain(script)
        .collect()
}

fn file(path: &Path) -> Source {
    match path.as_os_str() == "-" {
        true => Source::Stdin,
        false => Source::File(path.to_owned()),
    }
}

/// Where tables and models last, if anywhere.
fn data_dir(given: Option<&PathBuf>) -> anyhow::Result<Option<PathBuf>> {
    match given {
        Some(path) if path.as_os_str() == ":memory:" => Ok(None),
        Some(url) if url.to_str().is_some_and(vatic::is_remote) => Ok(Some(url.clone())),
        // What --data-path changes must not move it.
        Some(path) => Ok(Some(std::path::absolute(path)?)),
        None => match dirs::data_dir() {
            Some(directory) => Ok(Some(directory.join("vatic"))),
            None => anyhow::bail!(
                "there is no data folder for this user; name one with --data-dir, or use :memory:"
            ),
        },
    }
}
