//! The sub-command `vatic serve`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use vatic::repl::Exit;
use vatic::server::{Page, ServeOptions, Tls, serve};
use vatic::{Engine, Limits, machine_bytes};

use super::STACK_BYTES;
use super::values::{bytes, data_dir, setting};

/// Threads that answer clients; statements run on other threads.
const ANSWER_THREADS: usize = 2;
/// The default limit of all statements is the machine's memory divided by this; a statement's limit divides that again.
const MEMORY_SHARE: u64 = 2;
const STATEMENT_SHARE: u64 = 2;

/// The arguments of `vatic serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The address that clients connect to. Port 0 picks a free port.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:31337")]
    listen: String,
    /// The address of the web page; off for none. [default: 127.0.0.1 and the port after the server's]
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    /// The file of users who may log in, created by vatic user add. Without it, anybody on this machine may connect.
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// The certificate of the server, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of the server, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The CA of client certificates, in PEM; clients then need a certificate.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// Allow other machines to connect without users and encryption.
    #[arg(long)]
    insecure: bool,
    /// A directory, or s3://bucket/prefix, whose files SQL may read and write; may be repeated. [default: none]
    #[arg(long, value_name = "DIR")]
    root: Vec<PathBuf>,
    /// The directory, or s3://bucket/prefix, of tables and models; :memory: for none. [default: the user's data folder]
    #[arg(long, value_name = "DIR", env = "VATIC_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Run statements on executors, which find the scheduler at this address.
    #[arg(long, value_name = "HOST:PORT")]
    cluster: Option<String>,
    /// The file with the secret of the cluster, at least 32 bytes; needed unless all addresses are on the loopback device.
    #[arg(long, value_name = "FILE", requires = "cluster")]
    cluster_secret_file: Option<PathBuf>,
    /// Serve Prometheus metrics of the cluster at this address.
    #[arg(long, value_name = "HOST:PORT", requires = "cluster")]
    metrics: Option<String>,
    /// Memory limit of all statements, such as 500M or 8G. [default: half of the machine's memory]
    #[arg(short, long, value_name = "SIZE", value_parser = bytes)]
    memory_limit: Option<u64>,
    /// Memory limit of one statement. [default: half of the limit of all statements]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    statement_memory: Option<u64>,
    /// Memory limit of the process; near it, statements are refused, then stopped. [default: the machine's memory]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    process_memory: Option<u64>,
    /// Disk limit of all statements, for data that does not fit in memory. [default: 10G]
    #[arg(short, long, value_name = "SIZE", value_parser = bytes)]
    disk_limit: Option<u64>,
    /// Time limit of a statement, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = clap::value_parser!(u64).range(1..))]
    statement_timeout: u64,
    /// Time limit of a training, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "3600", value_parser = clap::value_parser!(u64).range(1..))]
    training_timeout: u64,
    /// Maximum number of running statements; further ones wait for up to 10 s.
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u16).range(1..))]
    statements: u16,
    /// Maximum number of connections.
    #[arg(long, value_name = "N", default_value = "2048", value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Maximum number of rows of a result; a larger result is an error. [default: no limit]
    #[arg(long, value_name = "N")]
    result_rows: Option<u64>,
    /// Stop when standard input ends, so that the server ends with the program that started it.
    #[arg(long)]
    stop_with_stdin: bool,
    /// Seconds after which an unused token or session ends.
    #[arg(long, value_name = "SECONDS", default_value = "43200", value_parser = clap::value_parser!(u64).range(1..))]
    token_idle: u64,
    /// The library of onnxruntime, for models of format onnxruntime.
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
    /// A setting for all sessions; may be repeated.
    #[arg(long, value_name = "SETTING=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// Configuration file with flags that are not given here.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Serve {
    pub(crate) fn run(&self) -> anyhow::Result<Exit> {
        let engine = self.engine()?;
        if let Some(address) = &self.metrics {
            engine.serve_metrics(address)?;
        }
        let workers = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_stack_size(STACK_BYTES)
            .build()?;
        let answering = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(ANSWER_THREADS)
            .enable_all()
            .build()?;
        let listening = |url: &str, page: Option<&str>| self.greet(&engine, url, page);
        let serving = serve(&engine, self.options(), workers.handle().clone(), listening);
        let served = answering.block_on(serving);
        // A thread that still computes must not keep the process from ending.
        answering.shutdown_background();
        workers.shutdown_background();
        served?;
        Ok(Exit::Success)
    }

    fn engine(&self) -> anyhow::Result<Engine> {
        let mut builder = Engine::builder().roots(self.root.clone());
        if let Some(path) = data_dir(self.data_dir.as_ref())? {
            builder = builder.data_dir(path);
        }
        if let Some(bytes) = self.memory() {
            builder = builder.memory_limit(usize::try_from(bytes)?);
        }
        builder = builder.disk_limit(self.disk_limit.unwrap_or(10 << 30));
        if let Some(address) = &self.cluster {
            builder = builder.cluster(address);
        }
        if let Some(path) = &self.cluster_secret_file {
            builder = builder.cluster_secret_file(path);
        }
        if let Some(path) = &self.onnxruntime {
            builder = builder.onnxruntime(path);
        }
        Ok(builder.build()?)
    }

    /// The memory limit of all statements.
    fn memory(&self) -> Option<u64> {
        let share = || Some(machine_bytes()? / MEMORY_SHARE);
        self.memory_limit.or_else(share)
    }

    fn options(&self) -> ServeOptions {
        let memory = self
            .statement_memory
            .or_else(|| Some(self.memory()? / STATEMENT_SHARE));
        let tls = self.tls_cert.clone().zip(self.tls_key.clone());
        ServeOptions {
            listen: self.listen.clone(),
            page: match self.http.as_deref() {
                None => Page::Beside,
                Some("off") => Page::None,
                Some(address) => Page::At(address.to_owned()),
            },
            users: self.users.clone(),
            tls: tls.map(|(certificate, key)| Tls {
                certificate,
                key,
                client_ca: self.tls_client_ca.clone(),
            }),
            is_insecure: self.insecure,
            stops_with_stdin: self.stop_with_stdin,
            idle_max: Duration::from_secs(self.token_idle),
            connections_max: self.connections as usize,
            statements_max: self.statements.into(),
            process_bytes_max: self.process_memory.or_else(machine_bytes),
            limits: Limits {
                statement: Some(Duration::from_secs(self.statement_timeout)),
                training: Some(Duration::from_secs(self.training_timeout)),
                memory: memory.and_then(|bytes| usize::try_from(bytes).ok()),
                result_rows: self.result_rows,
                ..Limits::server()
            },
            settings: self.set.clone(),
        }
    }

    /// Prints the server's addresses, and a warning if no login is needed.
    fn greet(&self, engine: &Engine, url: &str, page: Option<&str>) {
        let mut out = std::io::stdout().lock();
        let version = env!("CARGO_PKG_VERSION");
        // An error is ignored: the server works without a reader of standard output.
        let _ = writeln!(out, "vatic {version} listens at {url}");
        let _ = out.flush();
        let mut err = std::io::stderr().lock();
        let address = url.rsplit('/').next().unwrap_or_default();
        let encryption = self.tls_cert.is_some();
        let jdbc = format!("jdbc:arrow-flight-sql://{address}/?useEncryption={encryption}");
        let _ = writeln!(err, "JDBC: {jdbc}");
        if let Some(page) = page {
            let _ = writeln!(err, "in a browser: {page}");
        }
        if self.users.is_none() {
            let _ = writeln!(
                err,
                "there is no users file (--users): anybody who reaches the port may run SQL"
            );
        }
        if let Some(command) = engine.executor_command() {
            let _ = writeln!(err, "executors join with: {command}");
        }
    }
}
