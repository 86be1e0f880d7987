//! Generated queries: a cluster gives the same answers as one process, with hash joins and merge joins, and as DuckDB.
//!
//! `VATIC_SEEDS` is the number of queries (300), `VATIC_FIRST_SEED` the first seed (0). The test prints each seed whose
//! answers differ, with its SQL.

mod grammar;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use vatic::{Executor, ExecutorOptions};

use self::grammar::{Query, TABLE_NAMES, TABLES};
use super::*;

const EXECUTORS: usize = 2;
const SLOTS: usize = 3;
/// Partitions of a plan, fewer and more than there are slots.
const PARTITIONS: [usize; 4] = [4, 2, 7, 3];
/// Queries that run at the same time.
const AT_ONCE: usize = 4;
const PATIENCE: Duration = Duration::from_secs(120);

/// A session that answers queries, and its name.
struct Answering {
    name: String,
    session: Session,
}

/// The rows of a query in a fixed order, or its error.
type Answer = Result<Vec<String>, String>;

#[tokio::test(flavor = "multi_thread")]
async fn generated_queries_have_the_same_answers_on_a_cluster_in_one_process_and_in_duckdb() {
    let _alone = crate::ALONE.lock().await;
    let (first, count) = (number("VATIC_FIRST_SEED", 0), number("VATIC_SEEDS", 300));
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let one = Engine::builder().data_dir(&data).build().unwrap();
    let session = one.session().unwrap();
    for sql in TABLES {
        run(&session, sql).await.unwrap();
    }
    let cluster = Engine::builder()
        .data_dir(&data)
        .cluster("127.0.0.1:0")
        .build()
        .unwrap();
    let _executors = executors(&cluster).await;
    let process = answering("process", &one).await;
    let clusters = answering("cluster", &cluster).await;

    let seeds = futures::stream::iter(first..first + count);
    let asked = seeds.map(|seed| ask(seed, &process, &clusters));
    let found: Vec<Found> = asked.buffered(AT_ONCE).collect().await;
    let mut wrong: Vec<String> = found.iter().flat_map(|found| found.wrong.clone()).collect();
    let failed = found.iter().filter(|found| found.expected.is_err()).count();
    assert!(
        failed * 10 <= found.len(),
        "{failed} of {} queries fail everywhere, such as {:?}",
        found.len(),
        found.iter().find_map(|found| found.expected.as_ref().err())
    );
    wrong.extend(compare_with_duckdb(&session, directory.path(), &found).await);
    let (seeds, wrong_count) = (found.len(), wrong.len());
    assert!(
        wrong.is_empty(),
        "{wrong_count} differences in {seeds} seeds\n\n{}",
        wrong.join("\n\n")
    );
}

fn number(variable: &str, default: u64) -> u64 {
    let set = std::env::var(variable).ok();
    set.map_or(default, |set| set.parse().unwrap())
}

async fn executors(engine: &Engine) -> Vec<Executor> {
    let options = ExecutorOptions {
        scheduler: engine.cluster_address().unwrap().to_string(),
        slots: Some(SLOTS),
        listen: "127.0.0.1:0".into(),
        work_dir: None,
        cluster_secret_file: None,
        onnxruntime: None,
    };
    let executors = (0..EXECUTORS).map(|_| Executor::start(&options).unwrap());
    let executors = executors.collect();
    let began = Instant::now();
    while engine.cluster_slots().await < EXECUTORS * SLOTS {
        assert!(began.elapsed() < WAIT, "executors did not join");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    executors
}

/// Sessions of an engine with each kind of join and each number of partitions.
async fn answering(name: &str, engine: &Engine) -> Vec<Answering> {
    let mut all = Vec::new();
    for partitions in PARTITIONS {
        for by_hash in [true, false] {
            let session = engine.session().unwrap();
            for setting in [
                format!("SET datafusion.optimizer.prefer_hash_join = {by_hash}"),
                format!("SET datafusion.execution.target_partitions = {partitions}"),
                "SET datafusion.optimizer.repartition_file_min_size = 0".into(),
            ] {
                run(&session, &setting).await.unwrap();
            }
            let name = format!("{name}, by_hash={by_hash}, partitions={partitions}");
            all.push(Answering { name, session });
        }
    }
    all
}

/// The outcome of a seed.
struct Found {
    seed: u64,
    query: Query,
    expected: Answer,
    wrong: Vec<String>,
}

async fn ask(seed: u64, process: &[Answering], clusters: &[Answering]) -> Found {
    let query = Query::of(seed);
    let turn = 2 * (seed as usize % PARTITIONS.len());
    let others = [&process[turn + 1], &clusters[turn], &clusters[turn + 1]];
    let expected = answer(&process[turn].session, &query).await;
    let mut wrong = Vec::new();
    for other in others {
        let got = answer(&other.session, &query).await;
        // Where one process cannot plan a query, a cluster may have another plan.
        if expected.is_ok() && expected != got {
            wrong.push(difference(seed, &query.sql, &other.name, &expected, &got));
        }
    }
    Found {
        seed,
        query,
        expected,
        wrong,
    }
}

fn difference(seed: u64, sql: &str, who: &str, expected: &Answer, got: &Answer) -> String {
    let told = |answer: &Answer| match answer {
        Ok(rows) => format!("{} rows {:.300?}", rows.len(), rows),
        Err(error) => format!("error {error:.400}"),
    };
    format!(
        "seed {seed}, {who}: {sql}\n  expected {}\n  got {}",
        told(expected),
        told(got)
    )
}

async fn answer(session: &Session, query: &Query) -> Answer {
    let asked = tokio::time::timeout(PATIENCE, run(session, &query.sql)).await;
    let batches = asked.map_err(|_| "out of time".to_owned())?;
    let batches = batches.map_err(|error| error.to_string())?;
    let mut rows: Vec<String> = batches.iter().flat_map(rows_of).collect();
    if !query.is_ordered {
        rows.sort();
    }
    Ok(rows)
}

fn rows_of(batch: &RecordBatch) -> Vec<String> {
    let columns: Vec<Vec<String>> = batch.columns().iter().map(cells).collect();
    let row = |at: usize| {
        columns
            .iter()
            .map(|cells| cells[at].as_str())
            .collect::<Vec<_>>()
            .join("|")
    };
    (0..batch.num_rows()).map(row).collect()
}

/// The cells of a column as text; equal numbers have equal text whatever their type is.
fn cells(column: &ArrayRef) -> Vec<String> {
    if column.data_type().is_floating() || matches!(column.data_type(), DataType::Decimal128(..)) {
        let floats = cast(column, &DataType::Float64).unwrap();
        let floats = floats.as_primitive::<Float64Type>().iter();
        return floats
            .map(|value| value.map_or("NULL".into(), float))
            .collect();
    }
    let options = FormatOptions::default().with_null("NULL");
    let formatter = ArrayFormatter::try_new(column.as_ref(), &options).unwrap();
    (0..column.len())
        .map(|at| formatter.value(at).to_string())
        .collect()
}

fn float(value: f64) -> String {
    match value.fract() == 0.0 && value.abs() < 1e15 {
        true => format!("{}", value as i64),
        false => format!("{value:.9e}"),
    }
}

/// The differences to the answers of DuckDB, which Python provides; without it the test prints that it is skipped.
async fn compare_with_duckdb(session: &Session, directory: &Path, found: &[Found]) -> Vec<String> {
    let Some(python) = python() else {
        crate::say(
            "skipped: no Python with duckdb to compare with; tests/clients/run install makes one\n",
        );
        return Vec::new();
    };
    for table in TABLE_NAMES {
        let file = directory.join(format!("{table}.parquet"));
        let copy = format!("COPY {table} TO '{}'", file.display());
        run(session, &copy).await.unwrap();
    }
    let asked: Vec<&Found> = found
        .iter()
        .filter(|found| found.query.is_for_duckdb && found.expected.is_ok())
        .collect();
    let queries: Vec<String> = asked
        .iter()
        .map(|found| {
            found
                .query
                .sql
                .replace("LEFT SEMI", "SEMI")
                .replace("LEFT ANTI", "ANTI")
        })
        .collect();
    let answers = ask_duckdb(&python, directory, &queries);
    assert_eq!(
        answers.len(),
        asked.len(),
        "DuckDB did not answer all queries"
    );
    let refused = answers.iter().filter(|answer| answer.is_err()).count();
    assert!(
        refused * 10 <= asked.len(),
        "DuckDB refuses {refused} of {} queries, such as {:?}",
        asked.len(),
        answers.iter().find(|answer| answer.is_err())
    );
    let compared = asked.into_iter().zip(answers);
    let wrong = compared.filter_map(|(found, mut got)| {
        if let (Ok(rows), false) = (&mut got, found.query.is_ordered) {
            rows.sort();
        }
        let differs = got.is_ok() && got != found.expected;
        differs.then(|| {
            difference(
                found.seed,
                &found.query.sql,
                "DuckDB",
                &found.expected,
                &got,
            )
        })
    });
    wrong.collect()
}

/// The Python of the clients' environment, if it has DuckDB.
fn python() -> Option<PathBuf> {
    let own = std::env::var_os("VATIC_CLIENTS_CACHE").map(PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(dirs::home_dir()?.join(".cache")));
    let python = own
        .or_else(|| Some(cache?.join("vatic-ci/clients")))?
        .join("venv/bin/python");
    let mut command = Command::new(&python);
    command.args(["-c", "import duckdb"]).stderr(Stdio::null());
    command
        .status()
        .is_ok_and(|status| status.success())
        .then_some(python)
}

fn ask_duckdb(python: &Path, directory: &Path, queries: &[String]) -> Vec<Answer> {
    let mut command = Command::new(python);
    command
        .arg("tests/clients/duckdb_answers.py")
        .arg(directory);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let text = serde_json::to_string(queries).unwrap();
    std::thread::spawn(move || input.write_all(text.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    let answers: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    answers
        .into_iter()
        .map(|answer| match answer {
            serde_json::Value::Array(rows) => Ok(rows.iter().map(row_of_json).collect()),
            other => Err(other.as_str().unwrap_or_default().to_owned()),
        })
        .collect()
}

fn row_of_json(row: &serde_json::Value) -> String {
    let cells = row.as_array().unwrap().iter().map(|cell| match cell {
        serde_json::Value::Null => "NULL".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(number) if number.is_f64() => float(number.as_f64().unwrap()),
        other => other.to_string(),
    });
    cells.collect::<Vec<_>>().join("|")
}
