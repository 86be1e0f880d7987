//! The command line of `vatic`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};
use datafusion::common::runtime::SpawnedTask;
use vatic::Engine;
use vatic::repl::{Exit, Format, Source, run_batch, run_interactive};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Planning recurses with the depth of a statement.
const STACK_BYTES: usize = 16 << 20;

/// Train and run neural models inside SQL.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// Run these statements and leave; may be repeated.
    #[arg(short = 'c', long = "command", value_name = "SQL")]
    commands: Vec<String>,
    /// Run the statements of this file and leave; may be repeated; - is standard input.
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How rows are written.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Where tables and models last; :memory: for nowhere. [default: the user's data folder]
    #[arg(long, value_name = "DIR", env = "VATIC_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    vatic::ml::worker::single_threaded_kernels();
    let matches = Arguments::command().get_matches();
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let sources = sources(&arguments, &matches);
    match run(&arguments, sources) {
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

fn run(arguments: &Arguments, sources: Vec<Source>) -> anyhow::Result<Exit> {
    let mut builder = Engine::builder();
    match data_dir(arguments) {
        Some(path) if path.as_os_str() == ":memory:" => {}
        Some(path) => builder = builder.data_dir(path),
        None => anyhow::bail!(
            "there is no data folder for this user; name one with --data-dir, or use :memory:"
        ),
    }
    let engine = builder.build()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_BYTES)
        .build()?;
    let format = arguments.format;
    let work = async move {
        if !sources.is_empty() {
            run_batch(&engine, sources, format).await
        } else if std::io::stdin().is_terminal() {
            run_interactive(&engine, format).await
        } else {
            run_batch(&engine, vec![Source::Stdin], format).await
        }
    };
    // On a task, whose thread has the large stack that the main thread has not.
    let exit = runtime.block_on(async { SpawnedTask::spawn(work).await })?;
    // A thread that still reads a file must not keep the process.
    runtime.shutdown_background();
    Ok(exit)
}

/// `-c` and `-f` in the order in which they were given.
fn sources(arguments: &Arguments, matches: &ArgMatches) -> Vec<Source> {
    let at = |name: &str| matches.indices_of(name).into_iter().flatten();
    let commands = at("commands").zip(arguments.commands.iter().cloned().map(Source::Command));
    let files = at("files").zip(
        arguments
            .files
            .iter()
            .map(|path| match path.as_os_str() == "-" {
                true => Source::Stdin,
                false => Source::File(path.clone()),
            }),
    );
    let mut sources: Vec<(usize, Source)> = commands.chain(files).collect();
    sources.sort_by_key(|(index, _)| *index);
    sources.into_iter().map(|(_, source)| source).collect()
}

fn data_dir(arguments: &Arguments) -> Option<PathBuf> {
    arguments
        .data_dir
        .clone()
        .or_else(|| dirs::data_dir().map(|directory| directory.join("vatic")))
}
