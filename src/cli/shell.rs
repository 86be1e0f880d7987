//! The shell and its scripts: `vatic` without a sub-command.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use tokio::runtime::Handle;
use vatic::Engine;
use vatic::client::{Remote, RemoteOptions};
use vatic::repl::{Exit, Settings, Source, Start, When, has_color, run_batch, run_interactive};

use super::STACK_BYTES;
use super::arguments::Arguments;
use super::values::{Limit, data_dir};

/// Runs the shell, or the scripts of the arguments.
pub(crate) fn run(arguments: &Arguments, matches: &ArgMatches) -> anyhow::Result<Exit> {
    let sources = sources(arguments, matches);
    let engine = engine(arguments)?;
    if let Some(address) = &arguments.metrics {
        engine.serve_metrics(address)?;
    }
    if let Some(command) = engine.executor_command()
        && !arguments.quiet
    {
        let mut err = std::io::stderr();
        // An error is ignored: the engine works without a reader of standard error.
        let _ = writeln!(err, "executors join with: {command}");
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
    // The shell has its own thread, so that it notices Ctrl-C while the workers are busy.
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
    // A thread that still reads a file or computes must not keep the process from ending.
    shell.shutdown_background();
    workers.shutdown_background();
    Ok(exit)
}

/// The engine of the arguments, in the working directory of the arguments.
fn engine(arguments: &Arguments) -> anyhow::Result<Engine> {
    let mut builder = Engine::builder();
    // With --connect there is no local data directory.
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
    if let Some(path) = &arguments.cluster_secret_file {
        // An absolute path, so that --data-path does not move the file.
        builder = builder.cluster_secret_file(std::path::absolute(path)?);
    }
    if let Some(path) = &arguments.onnxruntime {
        builder = builder.onnxruntime(std::path::absolute(path)?);
    }
    if let Some(path) = &arguments.data_path {
        std::env::set_current_dir(path)
            .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    }
    Ok(builder.build()?)
}

/// The settings and start-up of a shell.
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

/// The server and the credentials, if --connect is given.
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

/// The start-up files. A script must behave the same for everybody, so the user's file runs in interactive shells only.
fn start_up(arguments: &Arguments, is_interactive: bool) -> Vec<PathBuf> {
    if !arguments.rc.is_empty() || arguments.no_rc || !is_interactive {
        return arguments.rc.clone();
    }
    let own = dirs::config_dir().map(|directory| directory.join("vatic").join("init.sql"));
    let datafusion = dirs::home_dir().map(|directory| directory.join(".datafusionrc"));
    let known = own.into_iter().chain(datafusion);
    known.filter(|path| path.is_file()).take(1).collect()
}

/// `-c` and `-f` in the given order, then the file without a flag.
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
