//! Runs DataFusion's own `.slt` files: each statement on plain DataFusion, on vatic in one process, through a server, and
//! on a cluster. The cluster runs a sixth of the files, always the same ones; with `VATIC_CLUSTER_FILES=all` it runs all.
//!
//! Rows, column types and failures must be the same; plans, texts of errors and the order of rows are not compared.
//! Statements over files that DataFusion's package does not contain, and statements that set a dialect, are left out.
//! `datafusion.txt` lists the answers of vatic that differ, each line with its reason. A difference that is not listed
//! fails, and so does a listed difference that no longer exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use datafusion_sqllogictest::{DFColumnType, DataFusion, TestContext};
use indicatif::ProgressBar;
use libtest_mimic::{Failed, Trial};
use sqllogictest::{AsyncDB, Condition, DBOutput, Record};
use tempfile::TempDir;

use crate::slowest::Times;
use crate::{Clusters, Database, Variant, runtime};

/// Lists the files that are left out (`file: reason`), and the differences (`file:line engine, engine: reason`).
const LIST: &str = "sql-tests/datafusion.txt";
/// The folder that statements write to; replaced by a folder of each engine.
const SCRATCH: &str = "test_files/scratch";
const ENGINES: [(&str, Variant); 3] = [
    ("cluster", Variant::Cluster),
    ("embedded", Variant::Embedded),
    ("flight", Variant::Flight),
];
/// One in this many files runs on a cluster, chosen by the hash of its name.
const CLUSTER_SHARE: u64 = 6;
const PATIENCE: Duration = Duration::from_secs(60);

/// Reasons of differences, by a part of vatic's answer or of the statement; the first match counts.
const REASONS: &[(&str, &str)] = &[
    (
        "cannot be changed by clients of a server",
        "a server keeps this setting",
    ),
    ("may be up to", "a server keeps this setting"),
    (
        "constraints and defaults of columns",
        "constraints and defaults of columns are not supported",
    ),
    ("write an Arrow interval type", "Parquet has no intervals"),
    (
        "NYI: Datatype Dictionary",
        "Parquet has no dictionaries of dictionaries",
    ),
    (
        "unbounded and temporary external",
        "unbounded external tables are not supported",
    ),
    (
        "No such file or directory",
        "a table over nothing is an error",
    ),
    (
        "is that its delimiter?",
        "a CSV file with another delimiter is an error that names the option",
    ),
    (
        "DropFunction",
        "CREATE FUNCTION and DROP FUNCTION are not supported",
    ),
    (
        "is not open to SQL",
        "a server opens files below its roots only",
    ),
    (
        "does not exist",
        "the table of a statement before was not made",
    ),
    (
        "beyond the type of its numbers",
        "integers that overflow are an error",
    ),
    (
        "mixed partition values on disk",
        "a folder is looked at when its table is opened, not when that is made",
    ),
    (
        "date_bin computes in nanoseconds",
        "a time that nanoseconds do not hold is an error and not NULL",
    ),
    (
        "OrderedFinalAggregateStream",
        "sums of 128 bits take more memory than the test gives them",
    ),
    (
        "table_distinct_sum_types",
        "DISTINCT sums over moving frames are those of all types",
    ),
    (
        "sum(salary) as state",
        "a later column of a name gets a number",
    ),
    (
        "select count(1), count(1)",
        "a later column of a name gets a number",
    ),
    (
        "select count(), count()",
        "a later column of a name gets a number",
    ),
    (
        "select unnest(column1), unnest(column1)",
        "a later column of a name gets a number",
    ),
    (
        "<= select *, a from t",
        "a later column of a name gets a number",
    ),
    (
        "c1 Utf8 NO",
        "a cluster has plain strings, and no views of them",
    ),
    (
        "<= DESCRIBE",
        "columns may be NULL unless they are declared otherwise",
    ),
    (
        "<= describe",
        "columns may be NULL unless they are declared otherwise",
    ),
    ("<= show create table", "the catalog is called vatic"),
    (
        "<= select abs(-1)",
        "CREATE FUNCTION and DROP FUNCTION are not supported",
    ),
    (
        "from infer_disabled",
        "how an external table is opened does not depend on a session's settings",
    ),
    (
        "BoundedWindowAggExec",
        "a fault that is open: DataFusion's check of plans refuses it over Parquet tables",
    ),
    (
        "COPY on a server replaces no file",
        "COPY on a server replaces no file",
    ),
    ("cache_metadata", "COPY on a server replaces no file"),
    ("from t where k =", "COPY on a server replaces no file"),
    (
        "from t where (v between",
        "COPY on a server replaces no file",
    ),
    (
        "arrow_cast('1 year 5 months'",
        "the wire has one type of intervals",
    ),
    ("Interval(", "the wire has one type of intervals"),
    ("Dictionary(", "the wire has plain arrays only"),
    ("x_dict", "the wire has plain arrays only"),
    ("ree_", "the wire has plain arrays only"),
    ("sensor_", "the wire has plain arrays only"),
    (
        "FROM table1 GROUP BY foo ORDER BY foo",
        "TIMESTAMP WITH TIME ZONE has a time zone, which is UTC",
    ),
    (
        "FROM table_test_distinct_count",
        "TIMESTAMP WITH TIME ZONE has a time zone, which is UTC",
    ),
    (
        "OR id NOT IN",
        "NULL NOT IN is unknown, also beside OR; DataFusion's file calls its own answer a known limitation",
    ),
    (
        "Rows(",
        "a server kept a setting that a statement before was to change",
    ),
    (
        "Done",
        "a server kept a setting that a statement before was to change",
    ),
];

/// A trial for each of DataFusion's files.
pub(crate) fn trials(clusters: &Arc<Clusters>, times: &Times) -> Vec<Trial> {
    let Some(root) = corpus() else {
        let missing =
            || Err("DataFusion's files are not among the sources that cargo fetched".into());
        return vec![Trial::test("datafusion::files", missing)];
    };
    let list = std::fs::read_to_string(LIST).unwrap_or_default();
    let files = names(&root).into_iter().map(|name| {
        let is_left_out = left_out(&list, &name);
        let (root, list, clusters) = (root.clone(), list.clone(), Arc::clone(clusters));
        let trial = times.trial(format!("datafusion::{name}"), move || {
            let run = || {
                let engines = engines(&name);
                let found = differences(&root, &name, &engines, &clusters);
                let found = runtime()?.block_on(found)?;
                compare_with(&list, &name, &engines, found)
            };
            // On a busy machine a statement may exceed a time limit, so a failed file runs a second time.
            run().or_else(|_| run())
        });
        trial.with_ignored_flag(is_left_out)
    });
    files.collect()
}

/// Writes the current differences into the list.
pub(crate) fn complete() {
    let root = corpus().unwrap();
    let list = std::fs::read_to_string(LIST).unwrap_or_default();
    let kept = list
        .lines()
        .filter(|line| place(line).is_none_or(|(_, line)| line.is_none()));
    let names: Vec<String> = names(&root)
        .into_iter()
        .filter(|name| !left_out(&list, name))
        .collect();
    let clusters = Clusters::default();
    let (next, found) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        let runtime = runtime().unwrap();
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            let differences = runtime
                .block_on(differences(&root, name, &ENGINES, &clusters))
                .unwrap();
            found.lock().unwrap().insert(name, differences);
        }
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    let mut all: Vec<String> = kept.map(str::to_owned).collect();
    for (name, differences) in found.into_inner().unwrap() {
        let lines = differences.into_iter();
        all.extend(lines.map(|(line, found)| {
            let (what, why) = listed_as(name, line, found);
            format!("{what}: {}", reason(&why))
        }));
    }
    std::fs::write(LIST, all.join("\n") + "\n").unwrap();
}

/// The folder of DataFusion's test files in the sources that cargo fetched, for the version in Cargo.lock.
fn corpus() -> Option<PathBuf> {
    let lock = std::fs::read_to_string("Cargo.lock").ok()?;
    let (_, rest) = lock.split_once("name = \"datafusion-sqllogictest\"\nversion = \"")?;
    let package = format!("datafusion-sqllogictest-{}", rest.split_once('"')?.0);
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let sources = home.or_else(|| Some(dirs::home_dir()?.join(".cargo")))?;
    let registries = std::fs::read_dir(sources.join("registry/src")).ok()?;
    let mut folders = registries
        .flatten()
        .map(|registry| registry.path().join(&package).join("test_files"));
    folders.find(|folder| folder.is_dir())
}

fn names(root: &Path) -> Vec<String> {
    let files = crate::files_below(root, "slt").into_iter();
    let names = files.filter_map(|file| Some(file.strip_prefix(root).ok()?.to_str()?.to_owned()));
    names.collect()
}

/// The test file that a line of the list names, and the line number if there is one.
fn place(line: &str) -> Option<(&str, Option<&str>)> {
    let (file, rest) = line.split_once(".slt:")?;
    let number = rest.split_once(' ')?.0;
    Some((file, Some(number).filter(|number| !number.is_empty())))
}

fn left_out(list: &str, name: &str) -> bool {
    let mut whole = list.lines().filter_map(|line| match place(line)? {
        (file, None) => Some(file),
        _ => None,
    });
    let name = name.trim_end_matches(".slt");
    whole.any(|file| {
        file == name
            || file
                .strip_suffix('*')
                .is_some_and(|folder| name.starts_with(folder))
    })
}

fn reason(answer: &str) -> String {
    let known = REASONS.iter().find(|(part, _)| answer.contains(part));
    known.map_or_else(|| format!("? {answer}"), |(_, reason)| (*reason).to_owned())
}

type Differences = BTreeMap<u32, BTreeMap<&'static str, String>>;

type Engines = [(&'static str, Variant)];

/// The engines that run a file.
fn engines(name: &str) -> Vec<(&'static str, Variant)> {
    let is_asked_for = std::env::var("VATIC_CLUSTER_FILES").is_ok_and(|files| files == "all");
    let is_on_cluster = is_asked_for || hash(name).is_multiple_of(CLUSTER_SHARE);
    let engines = ENGINES.into_iter();
    let engines = engines.filter(|(_, variant)| is_on_cluster || !variant.is_cluster());
    engines.collect()
}

/// FNV-1a, which is the same in every run and on every machine.
fn hash(name: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// A line of the list without its reason, and vatic's answer, which determines the reason.
fn listed_as(name: &str, line: u32, found: BTreeMap<&str, String>) -> (String, String) {
    let engines: Vec<&str> = found.keys().copied().collect();
    let what = format!("{name}:{line} {}", engines.join(", "));
    // An embedded engine has no differences that come from a server or a cluster.
    let answer = found.get("embedded").or_else(|| found.values().next());
    (what, answer.cloned().unwrap_or_default())
}

/// Fails if the differences that were found are not those that the list has for the engines `asked`.
fn compare_with(list: &str, name: &str, asked: &Engines, found: Differences) -> Result<(), Failed> {
    let is_asked = |engine: &str| asked.iter().any(|(label, _)| *label == engine);
    let listed = list.lines().filter_map(|line| {
        let (file, number) = place(line)?;
        let engines = line.split_once(": ")?.0.split_once(' ')?.1;
        (format!("{file}.slt") == name).then_some((number?, engines))
    });
    let listed: BTreeSet<(u32, &str)> = listed
        .flat_map(|(number, engines)| {
            let number = number.parse().unwrap_or_default();
            engines.split(", ").map(move |engine| (number, engine))
        })
        .filter(|(_, engine)| is_asked(engine))
        .collect();
    let differs: BTreeMap<(u32, &str), String> = found
        .into_iter()
        .flat_map(|(line, engines)| {
            let of_line = move |(engine, why)| ((line, engine), why);
            engines.into_iter().map(of_line)
        })
        .collect();
    let new = differs.iter().filter(|(place, _)| !listed.contains(place));
    let new =
        new.map(|((line, engine), why)| format!("not in {LIST}: {name}:{line} {engine}: {why}"));
    let gone = listed.iter().filter(|place| !differs.contains_key(place));
    let gone = gone.map(|(line, engine)| format!("no longer a difference: {name}:{line} {engine}"));
    let wrong: Vec<String> = new.chain(gone).collect();
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join("\n").into()),
    }
}

#[derive(Debug, PartialEq)]
enum Answer {
    Rows(Vec<DFColumnType>, Vec<String>),
    Done,
    Error(String),
}

/// The differences of a file: line, engine, and the engine's answer.
async fn differences(
    root: &Path,
    name: &str,
    asked: &Engines,
    clusters: &Clusters,
) -> Result<Differences, Failed> {
    let records = sqllogictest::parse_file::<DFColumnType>(root.join(name));
    let records = records.map_err(|error| error.to_string())?;
    let Some(context) = TestContext::try_new_for_test_file(Path::new(name)).await else {
        return Ok(Differences::new());
    };
    let context = context.session_ctx().clone();
    let mut plain = DataFusion::new(context, name.into(), ProgressBar::hidden());
    let plain_scratch = tempfile::tempdir()?;
    let mut engines = Vec::new();
    for &(label, variant) in asked {
        let mut engine = Database::open(variant, clusters).await?;
        let partitions = "SET datafusion.execution.target_partitions = 4";
        engine.run(partitions).await?;
        engines.push((label, engine, tempfile::tempdir()?));
    }
    let mut found = Differences::new();
    for record in records {
        let (place, sql, conditions) = match record {
            Record::Statement {
                loc,
                sql,
                conditions,
                ..
            }
            | Record::Query {
                loc,
                sql,
                conditions,
                ..
            } => (loc, sql, conditions),
            Record::Halt { .. } => break,
            _ => continue,
        };
        let is_of_another = conditions.iter().any(is_of_another_database);
        if is_of_another || is_plan(&sql) || sets_dialect(&sql) || lacks_files(&sql) {
            continue;
        }
        let expected = answer(&mut plain, &sql, &plain_scratch).await;
        for (label, engine, scratch) in &mut engines {
            let got = answer(engine, &sql, scratch).await;
            let is_same = match (&expected, &got) {
                (Answer::Error(_), Answer::Error(_)) => true,
                (expected, got) => expected == got,
            };
            if !is_same {
                let line = found.entry(place.line()).or_default();
                line.insert(label, format!("{got:.200?} <= {}", sql.replace('\n', " ")));
            }
        }
    }
    Ok(found)
}

/// Whether a statement is for PostgreSQL only, whose tables DataFusion reads from files.
fn is_of_another_database(condition: &Condition) -> bool {
    matches!(condition, Condition::OnlyIf { label } if label != "Datafusion")
}

fn is_plan(sql: &str) -> bool {
    let word = sql.trim_start().get(..7);
    word.is_some_and(|word| word.eq_ignore_ascii_case("explain"))
}

/// Vatic supports only one dialect.
fn sets_dialect(sql: &str) -> bool {
    sql.to_lowercase().contains("datafusion.sql_parser.dialect")
}

/// Whether a statement reads files that do not exist.
fn lacks_files(sql: &str) -> bool {
    let lower = sql.to_lowercase();
    let Some(at) = lower.find("location") else {
        return lower.contains("'../");
    };
    let path = sql[at..].split('\'').nth(1).unwrap_or_default();
    !path.starts_with(SCRATCH) && !Path::new(path).exists()
}

async fn answer<D>(database: &mut D, sql: &str, scratch: &TempDir) -> Answer
where
    D: AsyncDB<ColumnType = DFColumnType>,
{
    let folder = scratch.path().display().to_string();
    let sql = sql.replace(SCRATCH, &folder);
    let anonymous = |row: Vec<String>| {
        row.join(" ")
            .replace(folder.trim_start_matches('/'), SCRATCH)
    };
    match tokio::time::timeout(PATIENCE, database.run(&sql)).await {
        Err(_) => Answer::Error("out of time".into()),
        Ok(Err(error)) => Answer::Error(error.to_string()),
        Ok(Ok(DBOutput::StatementComplete(_))) => Answer::Done,
        Ok(Ok(DBOutput::Rows { types, rows })) => {
            let mut rows: Vec<String> = rows.into_iter().map(anonymous).collect();
            rows.sort();
            Answer::Rows(types, rows)
        }
        Ok(Ok(_)) => Answer::Error("an answer of another kind".into()),
    }
}
