//! `vatic serve` and `vatic user` on the command line.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use vatic::repl::Exit;
use vatic::server::{ServeOptions, Tls, add_token, add_user, serve};
use vatic::{Engine, Limits, machine_bytes};

use crate::{STACK_BYTES, bytes, setting};

/// Threads that answer clients; statements have their own.
const ANSWER_THREADS: usize = 2;
/// Of the machine's memory all statements may take one in so many, and of that one statement as well.
const MEMORY_SHARE: u64 = 2;
const STATEMENT_SHARE: u64 = 2;

/// The arguments of `vatic serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where clients connect. Port 0 picks one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:31337")]
    listen: String,
    /// Show people here what the server does, in a browser.
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    /// Who may log in, made by vatic user add. Without it anybody on this machine is welcome.
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// The certificate of the server, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Who signs the certificates that clients then need, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// Listen to other machines without users and encryption.
    #[arg(long)]
    insecure: bool,
    /// A directory, or s3://bucket/prefix, whose files SQL may read and write; may be repeated. [default: none]
    #[arg(long, value_name = "DIR")]
    root: Vec<PathBuf>,
    /// Where tables and models last, a directory or s3://bucket/prefix; :memory: for nowhere. [default: the user's data folder]
    #[arg(long, value_name = "DIR", env = "VATIC_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Leave the work to executors, which find their scheduler here.
    #[arg(long, value_name = "HOST:PORT")]
    cluster: Option<String>,
    /// Answer Prometheus here, about the cluster.
    #[arg(long, value_name = "HOST:PORT", requires = "cluster")]
    metrics: Option<String>,
    /// Memory that all statements may take, such as 500M or 8G. [default: half of the machine's]
    #[arg(short, long, value_name = "SIZE", value_parser = bytes)]
    memory_limit: Option<u64>,
    /// Memory that one statement may take. [default: half of what all may]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    statement_memory: Option<u64>,
    /// Size of the process: close to it statements are refused, then the largest is stopped. [default: the machine's memory]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    process_memory: Option<u64>,
    /// Disk that statements may take for what does not fit in memory. [default: 10G]
    #[arg(short, long, value_name = "SIZE", value_parser = bytes)]
    disk_limit: Option<u64>,
    /// Seconds that a statement may compute.
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = clap::value_parser!(u64).range(1..))]
    statement_timeout: u64,
    /// Seconds that a training may take.
    #[arg(long, value_name = "SECONDS", default_value = "3600", value_parser = clap::value_parser!(u64).range(1..))]
    training_timeout: u64,
    /// Statements that run at once; more wait for 10 s.
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u16).range(1..))]
    statements: u16,
    /// Connections at once.
    #[arg(long, value_name = "N", default_value = "2048", value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Rows of a result; more are an error. [default: no limit]
    #[arg(long, value_name = "N")]
    result_rows: Option<u64>,
    /// Seconds after which a token or a session that nobody uses ends.
    #[arg(long, value_name = "SECONDS", default_value = "43200", value_parser = clap::value_parser!(u64).range(1..))]
    token_idle: u64,
    /// A setting that sessions begin with; may be repeated.
    #[arg(long, value_name = "SETTING=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// Flags that hold unless they are given here.
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
        // A thread that still computes must not keep the process.
        answering.shutdown_background();
        workers.shutdown_background();
        served?;
        Ok(Exit::Success)
    }

    fn engine(&self) -> anyhow::Result<Engine> {
        let mut builder = Engine::builder().roots(self.root.clone());
        if let Some(path) = crate::data_dir(self.data_dir.as_ref())? {
            builder = builder.data_dir(path);
        }
        if let Some(bytes) = self.memory() {
            builder = builder.memory_limit(usize::try_from(bytes)?);
        }
        builder = builder.disk_limit(self.disk_limit.unwrap_or(10 << 30));
        if let Some(address) = &self.cluster {
            builder = builder.cluster(address);
        }
        Ok(builder.build()?)
    }

    /// What all statements may take.
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
            http: self.http.clone(),
            users: self.users.clone(),
            tls: tls.map(|(certificate, key)| Tls {
                certificate,
                key,
                client_ca: self.tls_client_ca.clone(),
            }),
            is_insecure: self.insecure,
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

    /// Says where the server is, and to whom it is open.
    fn greet(&self, engine: &Engine, url: &str, page: Option<&str>) {
        let mut out = std::io::stdout().lock();
        let version = env!("CARGO_PKG_VERSION");
        // Whoever does not read it knows the address.
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
                "there is no file of users (--users): whoever reaches the port is welcome"
            );
        }
        if let Some(address) = engine.cluster_address() {
            let _ = writeln!(
                err,
                "executors join with: vatic executor --scheduler {address}"
            );
        }
    }
}

/// What `vatic user` does.
#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// Add a user, or give one another password, which is read from standard input.
    Add {
        /// The file of users; made if it is not there.
        #[arg(long, value_name = "FILE")]
        users: PathBuf,
        /// The user.
        name: String,
        /// Everything is open to an administrator.
        #[arg(long)]
        admin: bool,
    },
    /// Print a new token, which stands for the user until it is removed from the file.
    Token {
        /// The file of users.
        #[arg(long, value_name = "FILE")]
        users: PathBuf,
        /// The user.
        name: String,
    },
}

impl User {
    pub(crate) fn run(&self) -> anyhow::Result<Exit> {
        match self {
            Self::Add { users, name, admin } => {
                add_user(users, name, &password()?, *admin)?;
            }
            Self::Token { users, name } => {
                let token = add_token(users, name)?;
                writeln!(std::io::stdout(), "{token}")?;
            }
        }
        Ok(Exit::Success)
    }
}

/// A line of standard input; from a person it is asked for twice, without echo.
fn password() -> anyhow::Result<String> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let mut line = String::new();
        stdin.lock().read_line(&mut line)?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let first = rpassword::prompt_password("Password: ")?;
    let second = rpassword::prompt_password("Once more: ")?;
    if first != second {
        anyhow::bail!("the two are not the same; nothing was changed");
    }
    Ok(first)
}
