//! Tables and models in a store with the S3 protocol, used by processes that share nothing else.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::lossy_store::LossyStore;
use crate::{GUESS, HOUSES, LONG, Running, TRAIN, first_line, say, text, vatic};

const SECRET: &str = "do-not-show-this";
const IRIS: &str = "CREATE EXTERNAL TABLE iris STORED AS CSV LOCATION 'sql-tests/data/iris.csv'";
/// Rank 0 keeps a checkpoint every five epochs.
const FLOWERS: &str = "TRAIN MODEL flowers TARGET species OPTIONS (model_type = 'dnn_classifier', epochs = 30, workers = 2, \
                       early_stop = false, checkpoint_every = 5, batch_size = 32, hidden_units = [64]) \
                       AS SELECT * EXCEPT (id) FROM iris";

/// A store that ends with the test.
struct Store {
    child: Child,
    endpoint: String,
    inside: Arc<dyn ObjectStore>,
}

impl Store {
    /// Starts a store; `None`, with a message, if no program for a store is installed.
    fn start() -> Option<Self> {
        crate::take_turn();
        let mut child = Command::new("tests/clients/run")
            .args(["store", "sh", "-c", "echo $AWS_ENDPOINT_URL; cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let endpoint = first_line(&mut child);
        if endpoint.starts_with("skipped") {
            say(&format!("{endpoint}\n"));
            child.wait().unwrap();
            return None;
        }
        assert!(endpoint.starts_with("http://"), "{endpoint}");
        let builder = AmazonS3Builder::new()
            .with_bucket_name("lake")
            .with_endpoint(&endpoint)
            .with_allow_http(true)
            .with_access_key_id("writer")
            .with_secret_access_key(SECRET)
            .with_region("us-east-1");
        let inside = Arc::new(builder.build().unwrap());
        Some(Self {
            child,
            endpoint,
            inside,
        })
    }

    /// Sets the environment variables by which a process finds the store.
    fn lead<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_ACCESS_KEY_ID", "writer")
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("AWS_REGION", "us-east-1")
    }

    /// A process with this data directory that runs these statements.
    fn vatic(&self, data: &str, statements: &[&str]) -> Command {
        let mut command = vatic(Path::new(data));
        self.lead(&mut command).args(["--format", "csv"]);
        for statement in statements {
            command.args(["-c", statement]);
        }
        command
    }

    fn run(&self, data: &str, statements: &[&str]) -> Output {
        let output = self.vatic(data, statements).output().unwrap();
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(!said.contains(SECRET), "{said}");
        output
    }

    /// The lines that statements print, without headers.
    fn lines(&self, data: &str, statements: &[&str]) -> Vec<String> {
        let output = self.run(data, statements);
        let errors = text(&output.stderr);
        assert!(output.status.success(), "{statements:?}: {errors}");
        let lines = text(&output.stdout);
        lines.lines().skip(1).map(str::to_owned).collect()
    }

    fn fails(&self, data: &str, statements: &[&str]) -> String {
        let output = self.run(data, statements);
        assert!(!output.status.success(), "{statements:?}");
        text(&output.stderr)
    }

    async fn put(&self, key: &str, content: &[u8]) {
        let payload = content.to_vec().into();
        self.inside.put(&Key::from(key), payload).await.unwrap();
    }

    async fn keys(&self, prefix: &str, end: &str) -> Vec<Key> {
        let all = self.inside.list(Some(&Key::from(prefix)));
        let all: Vec<_> = all.try_collect().await.unwrap();
        let keys = all.into_iter().map(|object| object.location);
        keys.filter(|key| key.as_ref().ends_with(end)).collect()
    }

    /// The weights of the only version below a data directory.
    async fn weights(&self, data: &str) -> Vec<u8> {
        let keys = self
            .keys(&format!("{data}/blobs"), "model.safetensors")
            .await;
        assert_eq!(keys.len(), 1, "{keys:?}");
        let read = self.inside.get(&keys[0]).await.unwrap();
        read.bytes().await.unwrap().to_vec()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // The command of the store ends with its input.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn images_may_lie_in_a_store() {
    let Some(store) = Store::start() else { return };
    let image = std::fs::read("sql-tests/data/images/grey.png").unwrap();
    store.put("photos/cat/a.png", &image).await;
    store.put("photos/cat/notes.txt", b"no image").await;
    let query =
        "SELECT path, label, image_info(bytes)['width'] FROM read_images('s3://lake/photos/')";
    let expected = ["s3://lake/photos/cat/a.png,cat,4"];
    assert_eq!(store.lines(":memory:", &[query]), expected);
    let query = query.replace("photos/", "photos/cat/a.png");
    let expected = ["s3://lake/photos/cat/a.png,,4"];
    assert_eq!(store.lines(":memory:", &[&query]), expected);
    let error = store.fails(
        ":memory:",
        &["SELECT * FROM read_images('s3://lake/nothing/')"],
    );
    assert!(
        error.contains("error[58030]: s3://lake/nothing/"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_may_lie_in_a_store() {
    let Some(store) = Store::start() else { return };
    store.put("in/a.csv", b"a,b\n1,x\n2,y\n").await;
    store.put("in/b.csv", b"a,b\n3,z\n").await;
    let sum = |location: &str| {
        let create = format!("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{location}'");
        store.lines(":memory:", &[&create, "SELECT sum(a) FROM t"])
    };
    assert_eq!(sum("s3://lake/in/a.csv"), ["3"]);
    assert_eq!(sum("s3://lake/in/"), ["6"]);
    assert_eq!(sum("s3://lake/in"), ["6"], "a directory without a slash");
    assert_eq!(sum("s3a://lake/in/b.csv"), ["3"]);
    let copy =
        "COPY (SELECT value AS a FROM generate_series(1, 100000)) TO 's3://lake/out/t.parquet'";
    let create = "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION 's3://lake/out/'";
    let lines = store.lines(":memory:", &[copy, create, "SELECT sum(a) FROM t"]);
    assert_eq!(lines, ["100000", "sum(t.a)", "5000050000"]);

    let missing = "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 's3://lake/nothing/'";
    let error = store.fails(":memory:", &[missing]);
    assert!(
        error.contains("error[58030]: s3://lake/nothing/"),
        "{error}"
    );
    let bucket = "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 's3://no-such-bucket/a.csv'";
    let error = store.fails(":memory:", &[bucket]);
    assert!(
        error.contains("error[58030]: s3://no-such-bucket/a.csv"),
        "{error}"
    );
    store.put("in/c.csv", b"a,b,c\n1,2,3\n").await;
    let create = "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 's3://lake/in/'";
    let error = store.fails(":memory:", &[create]);
    assert!(
        error.contains("file c.csv has 3 columns, file a.csv has 2"),
        "{error}"
    );
    let pattern = "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 's3://lake/in/*.csv'";
    assert!(store.fails(":memory:", &[pattern]).contains("error[22023]"));
    let other = "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 'gs://lake/in/'";
    let error = store.fails(":memory:", &[other]);
    assert!(
        error.contains("error[0A000]") && error.contains("gs://"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_a_data_directory_in_a_store() {
    let Some(store) = Store::start() else { return };
    let data = "s3://lake/shared/data";
    store.lines(data, &[HOUSES, TRAIN]);
    assert_eq!(store.lines(data, &[GUESS]), ["30.0"]);
    store.lines(
        data,
        &[
            "INSERT INTO houses VALUES (101, 303)",
            "CREATE SCHEMA empty",
        ],
    );
    assert_eq!(store.lines(data, &["SELECT count(*) FROM houses"]), ["101"]);
    assert!(
        store
            .run(data, &["CREATE TABLE empty.t AS SELECT 1 AS a"])
            .status
            .success()
    );

    // Each of several concurrent trainings becomes a version.
    let replace = TRAIN.replace("TRAIN MODEL", "TRAIN OR REPLACE MODEL");
    let children: Vec<Child> = (0..4)
        .map(|_| {
            store
                .vatic(data, &[&replace])
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let versions = "SELECT count(*), max(version) FROM information_schema.model_versions WHERE model_name = 'price'";
    assert_eq!(store.lines(data, &[versions]), ["5,5"]);

    // A killed training leaves no version, and does not block other processes.
    let mut killed = store
        .vatic(data, &[LONG])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while store.keys("shared/data/runs", ".lock").await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let error = store.fails(data, &["SELECT * FROM predict(long, (SELECT 1 AS area))"]);
    assert!(
        error.contains("error[42704]: model \"long\" does not exist"),
        "{error}"
    );

    // A model with changed files is not used.
    for key in store.keys("shared/data/blobs", "model.safetensors").await {
        let mut content = store
            .inside
            .get(&key)
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap()
            .to_vec();
        let last = content.last_mut().unwrap();
        *last ^= 1;
        store.put(key.as_ref(), &content).await;
    }
    let error = store.fails(data, &[GUESS]);
    assert!(
        error.contains("error[58030]") && error.contains("SHA-256"),
        "{error}"
    );
    store.lines(data, &["DROP MODEL price", TRAIN]);
    assert_eq!(store.lines(data, &[GUESS]), ["30.0"]);
}

/// The store has written what it was asked to write, and the client does not learn it: each change counts once.
#[tokio::test(flavor = "multi_thread")]
async fn lost_replies_of_a_store_fail_no_statement() {
    let Some(mut store) = Store::start() else {
        return;
    };
    let lossy = LossyStore::before(&store.endpoint);
    store.endpoint.clone_from(&lossy.endpoint);
    let data = "s3://lake/lossy/data";
    let insert = "INSERT INTO houses VALUES (101, 303)";
    for statements in [&[HOUSES, TRAIN][..], &[insert, insert, insert]] {
        let output = store.run(data, statements);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    // Each way to lose a reply was taken.
    assert!(lossy.lost() >= 6, "{} replies were lost", lossy.lost());
    assert_eq!(store.lines(data, &["SELECT count(*) FROM houses"]), ["103"]);
    assert_eq!(store.lines(data, &[GUESS]), ["30.0"]);
    let versions = "SELECT count(*), max(version) FROM information_schema.model_versions WHERE model_name = 'price'";
    assert_eq!(store.lines(data, &[versions]), ["1,1"]);
    let error = store.fails(data, &[TRAIN]);
    assert!(error.contains("error[42710]"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_that_share_a_store_train_and_predict() {
    let Some(store) = Store::start() else { return };
    store.lines("s3://lake/alone", &[IRIS, FLOWERS]);
    let undisturbed = store.weights("alone").await;

    let directory = tempfile::tempdir().unwrap();
    let fault = directory.path().join("fault");
    let scheduler = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let executor = || {
        let mut command = crate::cluster::executor(&scheduler, 2);
        command.env(
            "VATIC_FAULT",
            format!("checkpoint-kept:3:{}", fault.display()),
        );
        Running(store.lead(&mut command).spawn().unwrap())
    };
    let _executors = [executor(), executor()];
    let data = "s3://lake/many";
    let predict = "SELECT count(*), sum(CAST(predicted_species = species AS INT)) > 100 \
                   FROM predict(flowers, TABLE copied)";
    let output = store
        .vatic(
            data,
            &[
                IRIS,
                "CREATE TABLE copied AS SELECT * FROM iris",
                FLOWERS,
                predict,
            ],
        )
        .args(["--cluster", &scheduler])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(fault.exists(), "no executor kept a third checkpoint");
    assert!(
        text(&output.stdout).ends_with("150,true\n"),
        "{}",
        text(&output.stdout)
    );
    assert!(store.weights("many").await == undisturbed, "other weights");
    assert!(store.keys("many/runs", ".checkpoint").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_exported_to_a_store() {
    let Some(store) = Store::start() else { return };
    let data = tempfile::tempdir().unwrap();
    let data = data.path().to_str().unwrap();
    let export = |location: &str| format!("EXPORT MODEL price TO 's3://lake/{location}'");
    let train = [HOUSES, TRAIN, &export("out/m.onnx"), &export("out/m/")];
    assert!(store.run(data, &train).status.success());
    let mut names = store.keys("out", "").await;
    names.sort();
    let names: Vec<&str> = names.iter().map(|key| key.as_ref()).collect();
    let expected = [
        "out/m.onnx",
        "out/m/config.json",
        "out/m/manifest.json",
        "out/m/model.safetensors",
    ];
    assert_eq!(names, expected);
    for (location, expected) in [
        ("out/m.onnx", "exists; use EXPORT OR REPLACE MODEL"),
        ("out/m/", "exists; use EXPORT OR REPLACE MODEL"),
        ("out/", "exists; use EXPORT OR REPLACE MODEL"),
    ] {
        let error = store.fails(data, &[&export(location)]);
        assert!(error.contains(expected), "{location}: {error}");
    }
    let replace = |location: &str| export(location).replace("EXPORT", "EXPORT OR REPLACE");
    let error = store.fails(data, &[&replace("out/")]);
    assert!(error.contains("holds other files than those"), "{error}");
    let again = [&replace("out/m.onnx")[..], &replace("out/m/")];
    assert!(store.run(data, &again).status.success());
    let imported = "CREATE MODEL again FROM 's3://lake/out/m/'";
    let guess = GUESS.replace("predict(price", "predict(again");
    let lines = store.lines(data, &[imported, &guess, GUESS]);
    assert_eq!(lines.last().unwrap(), "30.0");
    assert_eq!(lines.iter().filter(|line| *line == "30.0").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_reach_a_store_below_the_roots_only() {
    let Some(store) = Store::start() else { return };
    store.put("open/a.csv", b"a\n1\n").await;
    store.put("openly/a.csv", b"a\n1\n").await;
    let program = vatic(Path::new(":memory:"));
    let mut server = Command::new(program.get_program());
    server
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--data-dir",
            "s3://lake/open/data",
        ])
        .args(["--root", "s3://lake/open"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut server = Running(store.lead(&mut server).spawn().unwrap());
    let line = first_line(&mut server.0);
    let url = line.rsplit(' ').next().unwrap().to_owned();
    let run = |statement: &str| {
        let mut command = Command::new(program.get_program());
        let output = command
            .args(["--connect", &url, "--format", "csv", "-c", statement])
            .output();
        let output = output.unwrap();
        format!("{}{}", text(&output.stdout), text(&output.stderr))
    };
    let create = |location: &str| {
        run(&format!(
            "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{location}'"
        ))
    };
    for closed in [
        "s3://lake/openly/a.csv",
        "s3://lake/open/../openly/a.csv",
        "s3://lake/open/%2e%2e/openly/a.csv",
        "s3://lake/open/data/format.json",
        "s3://other/open/a.csv",
        "s3a://lake/*",
        "s3://lake/open/*/../../openly/a.csv",
        "s3://lake/open/*.csv",
        "s3:/lake/open/a.csv",
        "S3://lake/openly/a.csv",
    ] {
        let said = create(closed);
        assert!(said.contains("error[42501]"), "{closed}: {said}");
    }
    assert_eq!(create("s3://lake/open/a.csv"), "");
    assert_eq!(run("SELECT a FROM t"), "a\n1\n");
    let copy = "COPY (SELECT 1 AS a) TO 's3://lake/open/new.csv'";
    assert!(run(copy).contains("1\n"));
    let out = run("COPY (SELECT 1 AS a) TO 's3://lake/open/*/../data/new.csv'");
    assert!(out.contains("error[42501]"), "{out}");
    let again = run(copy);
    assert!(again.contains("replaces no file"), "{again}");
}
