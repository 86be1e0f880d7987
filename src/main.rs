//! The program `vatic`.

mod cli;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::CommandFactory;
use cli::arguments::{Arguments, Role};
use cli::{completions, executor, shell};
use vatic::repl::Exit;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    vatic::ml::worker::single_threaded_kernels();
    let (arguments, matches) = match Arguments::parse_all() {
        Ok(parsed) => parsed,
        Err(problem) => return fail(&problem),
    };
    start_log(arguments.log_filter());
    let result = match &arguments.role {
        Some(Role::Serve(serve)) => serve.run(),
        Some(Role::User(user)) => user.run(),
        Some(Role::Executor(executor)) => executor.run(),
        Some(Role::Completions { shell }) => completions::run(*shell, Arguments::command()),
        Some(Role::AllReduce { ranks }) => executor::all_reduce(*ranks),
        None => shell::run(&arguments, &matches),
    };
    match result {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) => fail(&match error.downcast_ref() {
            Some(error) => vatic::report(error).message,
            None => error.to_string(),
        }),
    }
}

fn start_log(default: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    // The statement that panicked fails with its own error; the log has the details for a developer.
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a bug")));
}

fn fail(message: &str) -> ExitCode {
    // If nobody reads standard error, the exit code reports the error.
    let _ = writeln!(std::io::stderr(), "error: {message}");
    ExitCode::from(Exit::Usage.code())
}
