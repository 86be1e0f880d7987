//! Runs every `.slt` file, every example and every SQL block of the documentation, each on its own engine.
//!
//! A file runs in every [`Variant`] with the same answers; `FlightCluster` runs a sample of the files. `cargo slt FILTER
//! -- --complete` writes the answers into the files instead of comparing them. If there is an object store
//! (`tests/clients/run store cargo slt store::`), a file also runs with its data directory in the store.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod compatibility;
mod slowest;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use datafusion::common::runtime::SpawnedTask;
use datafusion_sqllogictest::{DFColumnType, convert_batches, convert_schema_to_types};
use futures::TryStreamExt;
use libtest_mimic::{Arguments, Failed};
use sqllogictest::{AsyncDB, DBOutput, Runner, default_validator};
use tokio::sync::{OnceCell, oneshot};
use vatic::client::{Remote, RemoteOptions};
use vatic::server::ServeOptions;
use vatic::{Engine, Executor, ExecutorOptions, Session, SqlError, report};

use slowest::Times;

const STACK_BYTES: usize = 16 << 20;
const EXECUTORS: usize = 2;
const SLOTS: usize = 4;
const WIDTH: &str = " ";
/// Every tenth file runs as flight_cluster, unless the filter asks for all: `cargo slt flight_cluster::`.
const SAMPLED: usize = 10;

fn main() {
    vatic::ml::worker::single_threaded_kernels();
    let (complete, arguments): (Vec<String>, Vec<String>) =
        std::env::args().partition(|word| word == "--complete");
    let arguments = Arguments::from_iter(arguments.into_iter().filter(|word| word != "--"));
    let filter = arguments.filter.as_deref();
    let is_compatibility = filter.is_some_and(|filter| filter.starts_with("datafusion"));
    let files = files_below(Path::new("sql-tests"), "slt");
    if !complete.is_empty() && is_compatibility {
        return compatibility::complete();
    }
    if !complete.is_empty() {
        return complete_files(&files, arguments.filter.as_deref());
    }
    let clusters = Arc::new(Clusters::default());
    let times = Times::default();
    let mut trials = Vec::new();
    for (number, file) in files.iter().enumerate() {
        // FlightCluster differs little from Cluster and Flight, which run all files.
        let is_asked_for = filter.is_some_and(|filter| filter.starts_with("flight_cluster"));
        let is_sample = is_asked_for || number % SAMPLED == 0;
        for variant in Variant::ALL
            .into_iter()
            .filter(|variant| variant.is_possible())
            .filter(|variant| is_sample || *variant != Variant::FlightCluster)
        {
            let name = format!("{}::{}", variant.name(), file.display());
            let (file, clusters) = (file.clone(), Arc::clone(&clusters));
            trials.push(times.trial(name, move || run_file(&file, variant, &clusters)));
        }
    }
    for file in files_below(Path::new("examples"), "sql") {
        let name = format!("example::{}", file.display());
        trials.push(times.trial(name, move || run_script(&std::fs::read_to_string(&file)?)));
    }
    for file in [
        vec![PathBuf::from("README.md")],
        files_below(Path::new("docs"), "md"),
    ]
    .concat()
    {
        let name = format!("document::{}", file.display());
        trials.push(times.trial(name, move || {
            run_script(&sql_blocks(&std::fs::read_to_string(&file)?))
        }));
    }
    // DataFusion's files take minutes, so they run only if the filter asks for them.
    if is_compatibility {
        trials.extend(compatibility::trials(&clusters, &times));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    times.print_slowest();
    // `exit` runs no destructors, and those of the executors remove their directories.
    drop(clusters);
    conclusion.exit();
}

/// Files with this extension, sorted, without those whose names begin with an underscore: other files include these.
fn files_below(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_included = entry.file_name().to_string_lossy().starts_with('_');
        if path.is_dir() {
            files.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) && !is_included {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Variant {
    /// In one process.
    Embedded,
    /// With seven partitions and small batches.
    Repartitioned,
    /// On two executors of four slots each.
    Cluster,
    /// As a client of a server.
    Flight,
    /// As a client of a server with two executors.
    FlightCluster,
    /// With tables and models in an object store.
    Store,
}

impl Variant {
    const ALL: [Self; 6] = [
        Self::Embedded,
        Self::Repartitioned,
        Self::Cluster,
        Self::Flight,
        Self::FlightCluster,
        Self::Store,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Repartitioned => "repartitioned",
            Self::Cluster => "cluster",
            Self::Flight => "flight",
            Self::FlightCluster => "flight_cluster",
            Self::Store => "store",
        }
    }

    /// Whether the variant can run: `Store` needs an object store.
    fn is_possible(self) -> bool {
        self != Self::Store || store().is_some()
    }

    fn is_cluster(self) -> bool {
        matches!(self, Self::Cluster | Self::FlightCluster)
    }

    fn is_flight(self) -> bool {
        matches!(self, Self::Flight | Self::FlightCluster)
    }

    /// The labels for conditions in files, such as `skipif flight`.
    fn labels(self) -> Vec<&'static str> {
        let kinds = [(self.is_cluster(), "cluster"), (self.is_flight(), "flight")];
        let kinds = kinds.iter().filter(|(is, _)| *is).map(|(_, kind)| *kind);
        kinds.chain([self.name()]).collect()
    }

    fn settings(self) -> &'static [&'static str] {
        match self {
            Self::Repartitioned => &[
                "SET datafusion.execution.target_partitions = 7",
                "SET datafusion.execution.batch_size = 16",
                "SET datafusion.optimizer.repartition_file_min_size = 0",
                "SET vatic.batch_size = 5",
                "SET vatic.workers = 3",
            ],
            _ => &["SET datafusion.execution.target_partitions = 2"],
        }
    }
}

/// The URL of the object store for tests, if there is one.
fn store() -> Option<String> {
    std::env::var("VATIC_TEST_STORE").ok()
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
}

fn run_file(file: &Path, variant: Variant, clusters: &Arc<Clusters>) -> Result<(), Failed> {
    let mut runner = Runner::new(|| async { Database::open(variant, clusters).await });
    for label in variant.labels() {
        runner.add_label(label);
    }
    runtime()?
        .block_on(runner.run_file_async(file))
        .map_err(|error| error.display(false).to_string().into())
}

fn complete_files(files: &[PathBuf], filter: Option<&str>) {
    let is_wanted =
        |file: &&PathBuf| filter.is_none_or(|filter| file.to_string_lossy().contains(filter));
    for file in files.iter().filter(is_wanted) {
        let clusters = Clusters::default();
        let mut runner = Runner::new(|| Database::open(Variant::Embedded, &clusters));
        runner.add_label(Variant::Embedded.name());
        let normalizer: sqllogictest::Normalizer = |text| text.clone();
        let columns: sqllogictest::ColumnTypeValidator<DFColumnType> = |_, _| true;
        let update = runner.update_test_file(file, WIDTH, default_validator, normalizer, columns);
        runtime().unwrap().block_on(update).unwrap();
    }
}

/// The clusters of the variants that have one. All files of a variant share its executors, but no tables and models.
#[derive(Default)]
struct Clusters {
    cluster: OnceCell<Cluster>,
    flight_cluster: OnceCell<Cluster>,
}

struct Cluster {
    /// The engine with the executors' scheduler.
    engine: Engine,
    _executors: Vec<Executor>,
}

impl Clusters {
    /// The cluster of a variant; the first file starts it.
    async fn of(&self, variant: Variant) -> Result<Option<&Cluster>, Shown> {
        let cell = match variant {
            Variant::Cluster => &self.cluster,
            Variant::FlightCluster => &self.flight_cluster,
            Variant::Embedded | Variant::Repartitioned | Variant::Flight | Variant::Store => {
                return Ok(None);
            }
        };
        cell.get_or_try_init(Cluster::start).await.map(Some)
    }
}

impl Cluster {
    async fn start() -> Result<Self, Shown> {
        let builder = Engine::builder().cluster("127.0.0.1:0");
        let engine = builder.build().map_err(shown)?;
        let options = ExecutorOptions {
            scheduler: engine.cluster_address().unwrap().to_string(),
            slots: Some(SLOTS),
            listen: "127.0.0.1:0".into(),
            work_dir: None,
            cluster_secret_file: None,
            onnxruntime: None,
        };
        let executors: Result<_, _> = (0..EXECUTORS).map(|_| Executor::start(&options)).collect();
        let executors = executors.map_err(shown)?;
        while engine.cluster_slots().await < EXECUTORS * SLOTS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(Self {
            engine,
            _executors: executors,
        })
    }
}

struct Database {
    session: Client,
    /// The server stops at the end of the file.
    _server: Option<SpawnedTask<vatic::Result<()>>>,
}

/// Runs the statements.
enum Client {
    Local(Session),
    Remote(Remote),
}

impl Database {
    async fn open(variant: Variant, clusters: &Clusters) -> Result<Self, Shown> {
        let mut builder = Engine::builder();
        if let Some(cluster) = clusters.of(variant).await? {
            builder = builder.cluster_of(&cluster.engine);
        }
        if variant.is_flight() {
            // Clients may access only files below the roots; tests use no other files.
            builder = builder.roots(roots());
        }
        if variant == Variant::Store {
            let (store, name) = (store().unwrap_or_default(), uuid::Uuid::new_v4());
            builder = builder.data_dir(format!("{store}/{name}"));
        }
        let engine = builder.build().map_err(shown)?;
        let (session, server) = match variant.is_flight() {
            true => serve(&engine).await?,
            false => (Client::Local(engine.session().map_err(shown)?), None),
        };
        for setting in variant.settings() {
            collect(&session, setting).await?;
        }
        Ok(Self {
            session,
            _server: server,
        })
    }
}

fn roots() -> Vec<PathBuf> {
    vec![PathBuf::from("."), std::env::temp_dir()]
}

/// Starts a server of this engine with the default limits, and connects a client.
async fn serve(engine: &Engine) -> Result<(Client, Option<SpawnedTask<vatic::Result<()>>>), Shown> {
    let (sender, url) = oneshot::channel();
    let engine = engine.clone();
    let workers = tokio::runtime::Handle::current();
    let server = SpawnedTask::spawn(async move {
        let listening = |url: &str, _: Option<&str>| sender.send(url.to_owned()).unwrap();
        vatic::server::serve(&engine, ServeOptions::default(), workers, listening).await
    });
    let options = RemoteOptions {
        url: url.await.unwrap(),
        ..RemoteOptions::default()
    };
    let remote = Remote::connect(options).await.map_err(shown)?;
    Ok((Client::Remote(remote), Some(server)))
}

async fn collect(session: &Client, sql: &str) -> Result<(SchemaRef, Vec<RecordBatch>), Shown> {
    let stream = match session {
        Client::Local(session) => session.sql(sql).await,
        Client::Remote(remote) => remote.sql(sql).await,
    };
    let stream = stream.map_err(shown)?;
    let schema = stream.schema();
    let batches = stream.try_collect().await.map_err(shown)?;
    Ok((schema, batches))
}

/// An error as the shell shows it.
#[derive(Debug)]
struct Shown(SqlError);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "error[{}]: {}", self.0.state.code(), self.0.message)
    }
}

impl std::error::Error for Shown {}

fn shown(error: DataFusionError) -> Shown {
    Shown(report(&error))
}

#[async_trait]
impl AsyncDB for Database {
    type Error = Shown;
    type ColumnType = DFColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DFColumnType>, Shown> {
        let (schema, batches) = collect(&self.session, sql).await?;
        if schema.fields().is_empty() {
            return Ok(DBOutput::StatementComplete(0));
        }
        let types = convert_schema_to_types(schema.fields());
        let rows = convert_batches(&schema, batches, false);
        let rows = rows.map_err(|error| {
            let message = error.to_string();
            Shown(SqlError {
                state: vatic::SqlState::Internal,
                message,
                position: None,
            })
        })?;
        Ok(DBOutput::Rows { types, rows })
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        "vatic"
    }

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Runs the statements of a script; each must succeed.
fn run_script(script: &str) -> Result<(), Failed> {
    runtime()?.block_on(async {
        let database = Database::open(Variant::Embedded, &Clusters::default()).await?;
        for statement in vatic::statements(script) {
            collect(&database.session, statement)
                .await
                .map_err(|error| format!("{error}\n{statement}"))?;
        }
        Ok(())
    })
}

/// The SQL of a Markdown document: its blocks marked `sql`.
fn sql_blocks(document: &str) -> String {
    let mut script = String::new();
    let mut is_sql = false;
    for line in document.lines() {
        match line.trim() {
            "```sql" => is_sql = true,
            "```" => is_sql = false,
            _ if is_sql => {
                script.push_str(line);
                script.push('\n');
            }
            _ => {}
        }
    }
    script
}
