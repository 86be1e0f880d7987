//! Files that are broken, of another kind, or change while they are read: an error, never a crash or missing rows.

use std::path::Path;
use std::process::Command;

use crate::{fails, run, text};

fn memory() -> &'static Path {
    Path::new(":memory:")
}

fn create(kind: &str, path: &Path) -> String {
    let options = "OPTIONS ('format.has_header' 'true')";
    let options = if kind == "CSV" { options } else { "" };
    format!(
        "CREATE EXTERNAL TABLE f STORED AS {kind} LOCATION '{}' {options}",
        path.display()
    )
}

#[test]
fn files_that_cannot_be_read_are_errors_that_name_the_cause() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let copy = format!(
        "COPY (SELECT value, random() AS r FROM generate_series(1, 10000)) TO '{}'",
        at("good.parquet").display()
    );
    assert!(run(memory(), &[&copy]).status.success());
    let good = std::fs::read(at("good.parquet")).unwrap();
    let middle = good.len() / 3;
    let mut damaged = good.clone();
    damaged[8..middle].fill(0xff);
    std::fs::create_dir(at("folder.csv")).unwrap();
    for (name, content, kind, expected) in [
        ("cut.parquet", &good[..good.len() / 2], "PARQUET", "Parquet"),
        ("damaged.parquet", &damaged, "PARQUET", ""),
        (
            "text.parquet",
            b"no Parquet".as_slice(),
            "PARQUET",
            "Parquet",
        ),
        (
            "empty.parquet",
            b"",
            "PARQUET",
            "has no columns: the file or directory is empty",
        ),
        (
            "empty.csv",
            b"",
            "CSV",
            "has no columns: the file or directory is empty",
        ),
        ("bytes.csv", b"a,b\n1,\xff\n", "CSV", "UTF-8"),
        (
            "short.csv",
            b"a,b\n1\n",
            "CSV",
            "line 2: 1 fields where there are 2 columns",
        ),
        ("broken.json", b"{\"a\": 1", "JSON", ""),
    ] {
        std::fs::write(at(name), content).unwrap();
        let error = fails(memory(), &[&create(kind, &at(name)), "SELECT * FROM f"], 1);
        assert!(
            error.starts_with("error[") && error.contains(expected),
            "{name}: {error}"
        );
        assert!(!error.contains("XX000"), "{name}: {error}");
    }
    let error = fails(memory(), &[&create("CSV", &at("folder.csv"))], 1);
    assert!(error.contains("No files found"), "{error}");
}

#[test]
fn of_files_that_disagree_the_error_names_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display();
    std::fs::write(directory.path().join("a.csv"), "x,y\n1,2\n").unwrap();
    std::fs::write(directory.path().join("b.csv"), "x,y,z\n1,2,3\n").unwrap();
    let options = "OPTIONS ('format.has_header' 'true')";
    let create = format!("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{path}' {options}");
    let error = fails(memory(), &[&create], 1);
    assert!(
        error.contains("file b.csv has 3 columns, file a.csv has 2"),
        "{error}"
    );
    let copy = |value: &str, name: &str| {
        format!("COPY (SELECT {value} AS a) TO '{path}/p/{name}.parquet'")
    };
    let create = format!("CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '{path}/p/'");
    let error = fails(
        memory(),
        &[&copy("1", "one"), &copy("'text'", "two"), &create],
        1,
    );
    assert!(
        error.contains("is utf8 in file two.parquet and int64 in file one.parquet"),
        "{error}"
    );
    std::fs::write(directory.path().join("p/three.parquet"), "no Parquet").unwrap();
    assert!(fails(memory(), &[&create], 1).contains("file three.parquet: "));
}

#[cfg(unix)]
#[test]
fn devices_and_pipes_are_no_tables() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe.csv");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let url = format!("file://{}", pipe.display());
    for path in [
        Path::new("/dev/zero"),
        &pipe,
        Path::new("file:///dev/zero"),
        Path::new(&url),
    ] {
        let error = fails(memory(), &[&create("CSV", path)], 1);
        assert!(
            error.contains("is neither a file nor a directory"),
            "{error}"
        );
    }
    // A pipe beside files in a folder is skipped.
    std::fs::write(directory.path().join("file.csv"), "a\n7\n").unwrap();
    let output = run(
        memory(),
        &[&create("CSV", directory.path()), "SELECT a FROM f"],
    );
    assert_eq!(text(&output.stdout), "a\n7\n", "{}", text(&output.stderr));
}

#[test]
fn a_file_that_changes_under_a_table_is_an_error_or_its_new_content() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t.parquet");
    let data = directory.path().join("data");
    let copy = |rows: u32| {
        format!(
            "COPY (SELECT value AS a FROM generate_series(1, {rows})) TO '{}'",
            path.display()
        )
    };
    assert!(
        run(&data, &[&copy(10), &create("PARQUET", &path)])
            .status
            .success()
    );
    // Truncated, gone, and replaced.
    let content = std::fs::read(&path).unwrap();
    std::fs::write(&path, &content[..content.len() - 20]).unwrap();
    assert!(fails(&data, &["SELECT sum(a) FROM f"], 1).contains("Parquet"));
    std::fs::remove_file(&path).unwrap();
    assert!(fails(&data, &["SELECT sum(a) FROM f"], 1).starts_with("error["));
    assert!(run(&data, &[&copy(20)]).status.success());
    let output = run(&data, &["SELECT count(a) AS n FROM f"]);
    assert_eq!(text(&output.stdout), "n\n20\n", "{}", text(&output.stderr));
}

#[test]
fn a_query_beyond_its_memory_is_an_error_and_the_session_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let output = crate::vatic(directory.path())
        .args(["--memory-limit", "20M", "--continue-on-error", "--format", "csv", "-c"])
        .arg("SELECT count(DISTINCT a.value || b.value) FROM generate_series(1, 3000) a, generate_series(1, 300) b; SELECT 1 AS one")
        .args(["-c", "SELECT array_length(array_agg(value)) FROM generate_series(1, 20000000)"])
        .args(["-c", "SELECT 2 AS two"])
        .output()
        .unwrap();
    let (rows, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(
        rows.contains("one\n1\n") && rows.ends_with("two\n2\n"),
        "{rows}{errors}"
    );
    assert!(errors.contains("error[53200]"), "{errors}");
    assert_eq!(output.status.code(), Some(1));
}
