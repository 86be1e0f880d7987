//! Generated CSV files: all written rows are read, in one piece or in parts, and an error names the line of a wrong value.

use std::fmt::Write;
use std::path::Path;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use vatic::{Engine, Session, SqlError, report};

const SEEDS: u64 = 60;
const PIECES: &[&str] = &["x", "ä", " ", ",", ";", "\t", "\"", "'", "NULL", "7", "\\"];

/// A small generator: the same numbers for a seed on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn text(&mut self, has_breaks: bool, line_end: &str) -> String {
        let mut text = String::new();
        for _ in 0..self.below(4) {
            match has_breaks && self.below(4) == 0 {
                true => text.push_str(line_end),
                false => text.push_str(PIECES[self.below(PIECES.len())]),
            }
        }
        text
    }
}

/// A file, its rows, and the line of each row.
struct Generated {
    text: String,
    rows: Vec<(usize, String)>,
    lines: Vec<usize>,
    delimiter: char,
    has_breaks: bool,
}

fn generate(random: &mut Random, wrong: Option<usize>) -> Generated {
    let delimiter = [',', ';', '\t', '|'][random.below(4)];
    let line_end = ["\n", "\r\n"][random.below(2)];
    let has_breaks = random.below(2) == 0;
    let is_swapped = random.below(2) == 0;
    let count = 1 + random.below(400);
    let mut file = Generated {
        text: String::new(),
        rows: Vec::new(),
        lines: Vec::new(),
        delimiter,
        has_breaks,
    };
    let mut record = |number: &str, note: &str| {
        let must_quote = note.contains([delimiter, '"', '\n', '\r']) || random.below(3) == 0;
        let note_of_it = match must_quote {
            true => format!("\"{}\"", note.replace('"', "\"\"")),
            false => note.to_owned(),
        };
        let (first, second) = match is_swapped {
            true => (note_of_it.as_str(), number),
            false => (number, note_of_it.as_str()),
        };
        write!(file.text, "{first}{delimiter}{second}{line_end}").unwrap();
    };
    record("number", "note");
    let mut notes = Random(count as u64);
    let mut line = 2;
    for row in 0..count {
        let note = notes.text(has_breaks, line_end);
        match wrong == Some(row) {
            true => record("seven", &note),
            false => record(&row.to_string(), &note),
        }
        file.lines.push(line);
        line += 1 + note.matches('\n').count();
        file.rows.push((row, note));
    }
    file
}

async fn session(parts: usize) -> Session {
    let session = Engine::builder().build().unwrap().session().unwrap();
    for setting in [
        format!("SET datafusion.execution.target_partitions = {parts}"),
        "SET datafusion.execution.batch_size = 16".to_owned(),
        "SET datafusion.optimizer.repartition_file_min_size = 0".to_owned(),
    ] {
        rows(&session, &setting).await.unwrap();
    }
    session
}

async fn rows(session: &Session, sql: &str) -> Result<Vec<Vec<String>>, SqlError> {
    let stream = session.sql(sql).await.map_err(|error| report(&error))?;
    let batches: Vec<RecordBatch> = stream.try_collect().await.map_err(|error| report(&error))?;
    let options = FormatOptions::default();
    let mut all = Vec::new();
    for batch in &batches {
        let columns = batch.columns().iter();
        let columns: Vec<_> = columns
            .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            all.push(
                columns
                    .iter()
                    .map(|column| column.value(row).to_string())
                    .collect(),
            );
        }
    }
    Ok(all)
}

fn create(path: &Path, file: &Generated) -> String {
    format!(
        "CREATE EXTERNAL TABLE f (number BIGINT, note VARCHAR) STORED AS CSV LOCATION '{}' \
         OPTIONS ('format.delimiter' '{}', 'format.newlines_in_values' '{}')",
        path.display(),
        file.delimiter,
        file.has_breaks
    )
}

#[test]
fn what_is_written_is_read() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("f.csv");
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let file = generate(&mut random, None);
        std::fs::write(&path, &file.text).unwrap();
        let parts = 1 + random.below(7);
        let found = runtime.block_on(async {
            let session = session(parts).await;
            rows(&session, &create(&path, &file)).await.unwrap();
            rows(&session, "SELECT number, note FROM f ORDER BY number").await
        });
        let expected = file
            .rows
            .iter()
            .map(|(number, note)| vec![number.to_string(), note.clone()]);
        assert_eq!(
            found.unwrap(),
            expected.collect::<Vec<_>>(),
            "seed {seed}, {parts} parts"
        );
    }
}

#[test]
fn a_wrong_value_is_found_on_its_line() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("f.csv");
    for seed in 0..SEEDS {
        let count = generate(&mut Random(seed), None).rows.len();
        let wrong = Random(seed + 1000).below(count);
        let mut random = Random(seed);
        let file = generate(&mut random, Some(wrong));
        std::fs::write(&path, &file.text).unwrap();
        let parts = 1 + random.below(7);
        let found = runtime.block_on(async {
            let session = session(parts).await;
            rows(&session, &create(&path, &file)).await.unwrap();
            rows(&session, "SELECT sum(number), max(note) FROM f").await
        });
        let error = found.unwrap_err();
        let expected = format!(
            "line {}, column \"number\": 'seven' is no int64",
            file.lines[wrong]
        );
        assert!(
            error.message.contains(&expected),
            "seed {seed}: {expected}, not {}",
            error.message
        );
        assert_eq!(error.state.code(), "22018");
    }
}

/// A file that cannot be read in parts gives all its rows, or an error that names the option.
#[test]
fn line_breaks_over_parts_are_named() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("f.csv");
    let mut refused = 0;
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let file = generate(&mut random, None);
        std::fs::write(&path, &file.text).unwrap();
        let found = runtime.block_on(async {
            let session = session(7).await;
            let create = create(&path, &file).replace("'true'", "'false'");
            rows(&session, &create).await.unwrap();
            rows(&session, "SELECT count(*), sum(number) FROM f").await
        });
        let count = file.rows.len();
        match found {
            Ok(found) => {
                let sum = count * (count - 1) / 2;
                assert_eq!(found, [[count.to_string(), sum.to_string()]], "seed {seed}");
            }
            Err(error) => {
                assert!(
                    error.message.contains("newlines_in_values"),
                    "{}",
                    error.message
                );
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "no part began between quotes");
}
