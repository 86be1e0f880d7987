//! Protection of a server: files, settings, users and encryption; and how a server ends.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use datafusion::arrow::array::RecordBatch;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use vatic::client::{Remote, RemoteOptions};

use super::{Server, column, error, outcome, runtime, vatic_server};
use crate::text;

#[test]
fn files_outside_of_the_roots_are_closed() {
    let root = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let csv = |directory: &Path| {
        let path = directory.join("canary.csv");
        std::fs::write(&path, "a\n42\n").unwrap();
        path.to_string_lossy().into_owned()
    };
    let (open, closed) = (csv(root.path()), csv(other.path()));
    let server = Server::start(&["--root", &root.path().to_string_lossy()]);
    let external = |path: &str| {
        format!(
            "CREATE EXTERNAL TABLE e STORED AS CSV LOCATION '{path}' OPTIONS ('format.has_header' 'true')"
        )
    };
    runtime().block_on(async {
        let remote = server.connect().await;
        column(&remote, &external(&open)).await;
        assert_eq!(column(&remote, "SELECT a FROM e").await, ["42"]);
        column(&remote, "DROP TABLE e").await;
        let train = "TRAIN MODEL m TARGET y OPTIONS (model_type = 'linear_reg') \
                     AS SELECT value AS x, 2 * value AS y FROM generate_series(1, 9)";
        column(&remote, train).await;
        let data = server.data.path().to_string_lossy().into_owned();
        let climbing = format!(
            "{}/../{}/canary.csv",
            root.path().display(),
            other.path().file_name().unwrap().to_string_lossy()
        );
        let spellings = [
            closed.clone(),
            format!("file://{closed}"),
            format!("FILE://{closed}"),
            format!("/{closed}"),
            climbing.clone(),
            format!("file://{}", climbing.replace("..", "%2e%2e")),
            "file:/etc/passwd".into(),
            " file:/etc/passwd".into(),
            format!("{}/*.csv", other.path().display()),
            other.path().to_string_lossy().into_owned(),
            data.clone(),
            "/etc/passwd".into(),
            "/proc/self/environ".into(),
            "/dev/stdin".into(),
            "/".into(),
            "../".into(),
            "~".into(),
            "http://169.254.169.254/latest".into(),
            "s3://bucket/key".into(),
            "memory:///x".into(),
            "data:text/csv,a".into(),
            "x".repeat(5_000),
        ];
        for path in &spellings {
            for sql in [
                external(path),
                format!("COPY (SELECT 1) TO '{path}' STORED AS CSV"),
                format!("EXPLAIN ANALYZE COPY (SELECT 1) TO '{path}' STORED AS CSV"),
                format!("SELECT * FROM '{path}'"),
                format!("EXPORT OR REPLACE MODEL m TO '{path}/'"),
                format!("EXPORT MODEL m TO '{path}/m.onnx'"),
            ] {
                let refused = error(&remote, &sql).await;
                let is_refused = refused.starts_with("42501")
                    || (sql.starts_with("SELECT") && refused.starts_with("42P01"));
                // A path that is not valid on this system may be refused as such.
                assert!(
                    is_refused || refused.starts_with("42601"),
                    "{sql}: {refused}"
                );
                assert!(!refused.contains("42\n"));
            }
        }
        // Even below a root, COPY does not replace a file; a new file is written.
        let copy = |path: &str| format!("COPY (SELECT 7 AS a) TO '{path}' STORED AS CSV");
        assert!(error(&remote, &copy(&open)).await.starts_with("42501"));
        column(
            &remote,
            &copy(&format!("{}/new.csv", root.path().display())),
        )
        .await;
        assert_eq!(std::fs::read_to_string(&open).unwrap(), "a\n42\n");
        let export = |name: &str| {
            let root = root.path().display();
            format!("EXPORT OR REPLACE MODEL m TO '{root}/{name}'")
        };
        for (name, file) in [("m.onnx", "m.onnx"), ("m/", "m/config.json")] {
            column(&remote, &export(name)).await;
            let written = std::fs::read(root.path().join(file)).unwrap();
            let again = error(&remote, &export(name)).await;
            assert!(
                again.starts_with("42501") && again.contains("on a server replaces no file"),
                "{again}"
            );
            assert_eq!(std::fs::read(root.path().join(file)).unwrap(), written);
        }
        assert!(
            std::fs::read_dir(other.path()).unwrap().count() == 1,
            "nothing was written"
        );
    });
}

#[test]
fn settings_that_protect_the_server_are_closed() {
    let server = Server::start(&[]);
    runtime().block_on(async {
        let remote = server.connect().await;
        for (name, value) in [
            ("datafusion.runtime.memory_limit", "100G"),
            ("datafusion.runtime.max_temp_directory_size", "100G"),
            ("datafusion.execution.target_partitions", "100000"),
            ("datafusion.execution.batch_size", "1000000"),
            ("datafusion.sql_parser.recursion_limit", "100000"),
            ("datafusion.catalog.location", "/etc"),
            (
                "datafusion.execution.parquet.max_row_group_size",
                "1000000000",
            ),
        ] {
            for sql in [
                format!("SET {name} = '{value}'"),
                format!("SET {} = '{value}'", name.to_uppercase()),
            ] {
                let refused = error(&remote, &sql).await;
                assert!(refused.starts_with("42501"), "{sql}: {refused}");
            }
        }
        assert!(
            error(&remote, "RESET datafusion.runtime.memory_limit")
                .await
                .starts_with("42501")
        );
        for sql in [
            "SET datafusion.execution.batch_size = 100",
            "SET TIME ZONE = 'UTC'",
            "SET vatic.workers = 2",
            "SET datafusion.execution.parquet.pushdown_filters = true",
            "SET datafusion.sql_parser.default_null_ordering = 'nulls_min'",
        ] {
            outcome(&remote, sql)
                .await
                .unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    });
}

#[test]
fn a_server_open_to_others_needs_users_and_encryption() {
    let data = tempfile::tempdir().unwrap();
    let output = vatic_server(data.path(), &["--listen", "0.0.0.0:0"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("--users, --tls-cert and --tls-key"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn what_a_server_cannot_start_with_is_said() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("users.toml");
    std::fs::write(&file, "[users.ada]\npasword = 'x'\n").unwrap();
    let file = file.to_string_lossy().into_owned();
    for (arguments, expected) in [
        (vec!["--users", "/nowhere/users.toml"], "No such file"),
        (vec!["--users", &file], "unknown field"),
        (
            vec![
                "--tls-cert",
                "/nowhere/cert.pem",
                "--tls-key",
                "/nowhere/key.pem",
            ],
            "No such file",
        ),
        (vec!["--tls-cert", "x.pem"], "--tls-key"),
        (vec!["--root", "/nowhere"], "No such file"),
        (vec!["--listen", "256.1.1.1:x"], "256.1.1.1:x"),
        (vec!["--config", "/nowhere/c.toml"], "/nowhere/c.toml"),
        (vec!["--statement-timeout", "0"], "statement-timeout"),
    ] {
        let output = vatic_server(data.path(), &arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}

#[test]
fn a_server_is_set_up_by_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("server.toml");
    std::fs::write(&file, "result-rows = 5\nset = ['vatic.batch_size=77']\n").unwrap();
    let server = Server::start(&["--config", &file.to_string_lossy()]);
    runtime().block_on(async {
        let remote = server.connect().await;
        assert_eq!(
            column(&remote, "SHOW vatic.batch_size").await,
            ["vatic.batch_size,77"]
        );
        assert!(
            error(&remote, "SELECT * FROM generate_series(1, 6)")
                .await
                .contains("over 5 rows")
        );
    });
}

/// Writes the certificates of an authority, of a server and of a client to files.
fn certificates(directory: &Path) {
    let write = |name: &str, text: String| std::fs::write(directory.join(name), text).unwrap();
    let authority = |name: &str| {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        write(&format!("{name}.pem"), issuer.pem());
        issuer
    };
    let (right, wrong) = (authority("ca"), authority("other-ca"));
    for (name, issuer) in [("server", &right), ("client", &right), ("stranger", &wrong)] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
        let certificate = params.signed_by(&key, issuer).unwrap();
        write(&format!("{name}.pem"), certificate.pem());
        write(&format!("{name}-key.pem"), key.serialize_pem());
    }
}

#[test]
fn encryption_and_certificates_of_clients() {
    let directory = tempfile::tempdir().unwrap();
    certificates(directory.path());
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let (certificate, key, ca) = (path("server.pem"), path("server-key.pem"), path("ca.pem"));
    let encrypted = ["--tls-cert", &certificate, "--tls-key", &key];
    let connect = async |server: &Server, ca: &str, own: Option<&str>| {
        let options = RemoteOptions {
            url: server.url.clone(),
            ca: Some(path(ca).into()),
            certificate: own.map(|own| {
                (
                    path(&format!("{own}.pem")).into(),
                    path(&format!("{own}-key.pem")).into(),
                )
            }),
            ..RemoteOptions::default()
        };
        Remote::connect(options)
            .await
            .map_err(|error| vatic::report(&error).message)
    };
    runtime().block_on(async {
        let server = Server::start(&encrypted);
        assert!(server.url.starts_with("grpc+tls://"));
        let remote = connect(&server, "ca.pem", None).await.unwrap();
        assert_eq!(column(&remote, "SELECT 1").await, ["1"]);
        assert!(connect(&server, "other-ca.pem", None).await.is_err());
        let plain = RemoteOptions {
            url: server.url.replace("+tls", ""),
            ..RemoteOptions::default()
        };
        assert!(Remote::connect(plain).await.is_err());
        let mutual = [&encrypted[..], &["--tls-client-ca", &ca]].concat();
        let server = Server::start(&mutual);
        let remote = connect(&server, "ca.pem", Some("client")).await.unwrap();
        assert_eq!(column(&remote, "SELECT 1").await, ["1"]);
        for own in [None, Some("stranger")] {
            assert!(connect(&server, "ca.pem", own).await.is_err(), "{own:?}");
        }
    });
}

#[test]
fn a_server_that_is_told_to_end_lets_statements_end() {
    let mut server = Server::start(&[]);
    runtime().block_on(async {
        let remote = server.connect().await;
        let rows = remote
            .sql("SELECT * FROM generate_series(1, 3000000)")
            .await
            .unwrap();
        server.signal("-TERM");
        tokio::time::sleep(Duration::from_millis(300)).await;
        // A running result is fetched to its end; a new statement is refused.
        let refused = outcome(&remote, "SELECT 1").await;
        assert!(refused.is_err(), "{refused:?}");
        let batches: Vec<_> = futures::TryStreamExt::try_collect(rows).await.unwrap();
        let count: usize = batches
            .iter()
            .map(|batch: &RecordBatch| batch.num_rows())
            .sum();
        assert_eq!(count, 3_000_000);
    });
    assert_eq!(server.code_within(Duration::from_secs(5)), Some(0));
}

#[test]
fn a_second_signal_ends_a_server_at_once() {
    let mut server = Server::start(&[]);
    runtime().block_on(async {
        let remote = server.connect().await;
        let endless =
            "SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 1000000) b";
        let _rows = remote.sql(endless).await.unwrap();
        server.signal("-TERM");
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(
            server.child.try_wait().unwrap().is_none(),
            "it waits for the statement"
        );
        server.signal("-TERM");
    });
    let began = Instant::now();
    assert_eq!(server.code_within(Duration::from_secs(2)), Some(0));
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_server_ends_with_its_standard_input_if_it_is_told_to() {
    let data = tempfile::tempdir().unwrap();
    let mut command = vatic_server(data.path(), &["--stop-with-stdin"]);
    command.stdin(Stdio::piped());
    let mut server = Server::run(data, command);
    let input = server.child.stdin.take();
    runtime().block_on(server.assert_alive());
    assert!(server.child.try_wait().unwrap().is_none());
    drop(input);
    assert_eq!(server.code_within(Duration::from_secs(10)), Some(0));
}

#[test]
fn tables_are_there_after_a_restart() {
    let mut server = Server::start(&[]);
    runtime().block_on(async {
        let remote = server.connect().await;
        column(&remote, "CREATE TABLE t AS SELECT 5 AS a").await;
        column(&remote, "CREATE VIEW v AS SELECT a + 1 AS b FROM t").await;
    });
    server.signal("-KILL");
    server.child.wait().unwrap();
    let data = std::mem::replace(&mut server.data, tempfile::tempdir().unwrap());
    let server = Server::start_in(data, &[]);
    runtime().block_on(async {
        assert_eq!(
            column(&server.connect().await, "SELECT b FROM v").await,
            ["6"]
        );
    });
}
