//! The memory of trainings, predictions and searches: a process stays near its limit, and says what does not fit.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

/// The limit of the statements below.
const LIMIT: u64 = 1 << 30;

/// The largest memory that a process had, in bytes.
fn peak(process: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes << 10)
}

/// Runs statements with this limit; returns what they wrote to standard error, and the peak of the process.
fn run(directory: &Path, limit: u64, statements: &str) -> (String, u64) {
    let mut process = crate::vatic(directory)
        .args(["--memory-limit", &limit.to_string(), "-c"])
        .arg(format!(
            "SET datafusion.execution.batch_size = 64; {statements}"
        ))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut largest = 0;
    while process.try_wait().unwrap().is_none() {
        largest = largest.max(peak(&process).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut errors = String::new();
    let mut stderr = process.stderr.take().unwrap();
    stderr.read_to_string(&mut errors).unwrap();
    (errors, largest)
}

/// Rows of an array of `length` numbers and a label.
fn arrays(rows: usize, length: usize) -> String {
    format!(
        "SELECT array_repeat(CAST(value AS DOUBLE), {length}) AS a, value * 1.0 AS y FROM generate_series(1, {rows})"
    )
}

fn train(options: &str, rows: &str) -> String {
    format!("TRAIN OR REPLACE MODEL m TARGET y OPTIONS (epochs = 1, {options}) AS {rows}")
}

#[test]
#[cfg(target_os = "linux")]
fn a_process_stays_near_its_limit_and_says_what_does_not_fit() {
    crate::take_turn();
    let directory = tempfile::tempdir().unwrap();
    // The pages of the program itself, of which a build without optimisation has many, are not counted.
    let (errors, idle) = run(directory.path(), LIMIT, "SELECT 1");
    assert_eq!(errors, "");
    let wide = train(
        "model_type = 'dnn_regressor', hidden_units = [4]",
        &arrays(50, 20_000),
    );
    let many_classes = "SELECT value * 1.0 AS x, value % 900 AS y FROM generate_series(1, 20000)";
    let (errors, _) = run(
        directory.path(),
        4 << 30,
        &format!(
            "{}; {}",
            wide.replace("MODEL m", "MODEL wide"),
            train(
                "model_type = 'dnn_classifier', hidden_units = [4]",
                many_classes
            )
            .replace("MODEL m", "MODEL classes")
        ),
    );
    assert_eq!(errors, "");
    let few = "SELECT value * 1.0 AS x, 'v' || (value % 5000) AS c, value * 2.0 AS y FROM generate_series(1, 20000)";
    let many_values = few.replace("(value % 5000)", "value");
    let plans = [
        // Rows that fit, but not their copies in the order of training.
        (
            train("model_type = 'dnn_regressor'", &arrays(4_500, 20_000)),
            true,
        ),
        (
            train("model_type = 'linear_reg'", &arrays(2_000, 200)),
            false,
        ),
        // Weights and gradients.
        (
            train(
                "model_type = 'dnn_regressor', hidden_units = [9000, 9000]",
                few,
            ),
            true,
        ),
        (
            train(
                "model_type = 'dnn_regressor', hash_buckets = 10000000",
                &many_values,
            ),
            true,
        ),
        (
            train(
                "model_type = 'dnn_regressor', hash_buckets = 1000, hidden_units = [8]",
                &many_values,
            ),
            false,
        ),
        // Outputs and metrics of many classes.
        (
            train(
                "model_type = 'dnn_classifier', hidden_units = [4]",
                many_classes,
            ),
            false,
        ),
        (
            format!(
                "SELECT max(predicted_y) FROM predict(classes, ({many_classes}), top_k => 900)"
            ),
            false,
        ),
        (
            format!("SELECT * FROM evaluate(classes, ({many_classes}))"),
            false,
        ),
        // Batches of wide rows.
        (
            format!(
                "SELECT sum(predicted_y) FROM predict(wide, ({}))",
                arrays(3_000, 20_000)
            ),
            false,
        ),
        (
            format!("SELECT * FROM evaluate(wide, ({}))", arrays(3_000, 20_000)),
            false,
        ),
    ];
    for (plan, is_refused) in plans {
        let (errors, peak) = run(directory.path(), LIMIT, &plan);
        assert_eq!(
            errors.contains("error[53200]"),
            is_refused,
            "{plan}\n{errors}"
        );
        assert!(is_refused || errors.is_empty(), "{plan}\n{errors}");
        assert!(peak < idle + LIMIT / 4 * 5, "{} MB: {plan}", peak >> 20);
    }
    // A model that does not fit.
    let (errors, _) = run(
        directory.path(),
        1 << 20,
        "SELECT predicted_y FROM predict(wide, (SELECT array_repeat(1.0, 20000) AS a))",
    );
    assert!(errors.contains("error[53200]"), "{errors}");
    // One that is opened for the first time.
    let (errors, _) = run(
        directory.path(),
        10 << 10,
        "CREATE MODEL encoder FROM 'sql-tests/data/text_models/bert'",
    );
    assert!(
        errors.contains("error[53200]: sql-tests/data/text_models/bert: "),
        "{errors}"
    );
    // The error says what the model takes, and what is left of the limit.
    let asked = errors.split("allocate additional ").nth(1);
    let asked = asked.and_then(|text| text.split(' ').next());
    let kilobytes: f64 = asked.and_then(|text| text.parse().ok()).unwrap();
    assert!(kilobytes > 10.0, "{errors}");
    assert!(errors.contains("10.0 KB remain available"), "{errors}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_text_of_a_hundred_megabytes_is_embedded_within_the_limit() {
    crate::take_turn();
    let directory = tempfile::tempdir().unwrap();
    let (errors, idle) = run(directory.path(), LIMIT, "SELECT 1");
    assert_eq!(errors, "");
    let statements = "CREATE MODEL small FROM 'sql-tests/data/text_models/minilm'; \
        SELECT embed(small, text) FROM (SELECT repeat('the cat ', 12500000 + value) AS text FROM generate_series(0, 0))";
    let (errors, peak) = run(directory.path(), LIMIT, statements);
    assert!(!errors.contains("error["), "{errors}");
    assert!(errors.contains("longer than the model takes"), "{errors}");
    assert!(peak < idle + LIMIT / 4 * 5, "{} MB", peak >> 20);
    // What is not cut off is an error of its row.
    let refused = "SELECT embedding FROM predict(small, (SELECT repeat('the cat ', 12500000 + value) AS text FROM generate_series(0, 0)), truncate => false)";
    let (errors, peak) = run(directory.path(), LIMIT, refused);
    assert!(errors.contains("longer than the 22 tokens"), "{errors}");
    assert!(peak < idle + LIMIT / 4 * 5, "{} MB", peak >> 20);
}

/// The rows of both statements with a limit go through a hundredth of the memory in which all of them in order do not fit.
#[test]
fn the_nearest_rows_take_a_hundredth_of_the_memory_of_all_rows_in_order() {
    crate::take_turn();
    let directory = tempfile::tempdir().unwrap();
    let (rows, bytes_of_row) = (40_000, 2_000);
    let bytes = rows * bytes_of_row;
    let items = format!(
        "(SELECT value AS id, repeat('x', {bytes_of_row} + value % 2) AS body, [value * 1.0, 1.0] AS v FROM generate_series(1, {rows}))"
    );
    let answer = |limit: u64, query: &str| {
        let statements = format!(
            "SET datafusion.execution.batch_size = 64; SET datafusion.execution.target_partitions = 1; {query}"
        );
        let output = crate::vatic(directory.path())
            .args(["--memory-limit", &limit.to_string(), "--disk-limit", "1"])
            .args(["--format", "csv", "-c", &statements])
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    };
    let ordered = format!(
        "SELECT id, length(body) AS length FROM (SELECT * FROM {items} ORDER BY l2_distance(v, [50.2, 1.0]) LIMIT 2)"
    );
    let nearest = format!(
        "SELECT id, length(body) AS length FROM nearest((SELECT 'q' AS q, [50.2, 1.0] AS v), {items}, top_k => 2, metric => 'l2') ORDER BY distance LIMIT 2"
    );
    for query in [ordered, nearest] {
        let (found, error) = answer(bytes / 100, &query);
        assert_eq!(found, "id,length\n50,2000\n51,2001\n", "{query}\n{error}");
    }
    let all = format!(
        "SELECT sum(length(body)) AS length FROM (SELECT body, row_number() OVER (ORDER BY l2_distance(v, [50.2, 1.0])) AS place FROM {items}) WHERE place > 1"
    );
    let (found, error) = answer(bytes, &all);
    assert_eq!(found, "", "{error}");
    assert!(error.contains("spilling"), "{error}");
}
