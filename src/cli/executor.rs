//! The sub-command `vatic executor`, and the benchmark of its ranks' all-reduce.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use vatic::ExecutorOptions;
use vatic::repl::Exit;

/// The arguments of `vatic executor`.
#[derive(Debug, Args)]
pub(crate) struct Executor {
    /// The address of the engine's scheduler. The engine may start later.
    #[arg(long, value_name = "HOST:PORT")]
    scheduler: String,
    /// Maximum number of running tasks. [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    slots: Option<u16>,
    /// The address that others fetch rows from; the scheduler uses the next port. Port 0 picks both.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    listen: String,
    /// The directory of rows between stages. [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// The file with the secret of the cluster, at least 32 bytes; needed unless all addresses are on the loopback device.
    #[arg(long, value_name = "FILE")]
    cluster_secret_file: Option<PathBuf>,
    /// The library of onnxruntime, for models of format onnxruntime.
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
}

impl Executor {
    pub(crate) fn run(&self) -> anyhow::Result<Exit> {
        vatic::run_executor(&ExecutorOptions {
            scheduler: self.scheduler.clone(),
            slots: self.slots.map(usize::from),
            listen: self.listen.clone(),
            work_dir: self.work_dir.clone(),
            cluster_secret_file: self.cluster_secret_file.clone(),
            onnxruntime: self.onnxruntime.clone(),
        })?;
        Ok(Exit::Success)
    }
}

/// Prints the seconds of all-reduces between ranks on this machine.
pub(crate) fn all_reduce(ranks: usize) -> anyhow::Result<Exit> {
    for seconds in vatic::time_all_reduce(ranks, 25_000_000, 7)? {
        writeln!(std::io::stdout(), "{seconds:.6}")?;
    }
    Ok(Exit::Success)
}
