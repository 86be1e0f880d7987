//! The secret of a cluster: what works with it, and who is refused.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_with_a_secret_trains_and_predicts_as_one_without() {
    let cluster = Cluster::start_with_secret(3, 2, "one").await;
    cluster.sql(IRIS).await.unwrap();
    let with_three = TRAIN.replace("epochs", "workers = 3, epochs");
    cluster.sql(&with_three).await.unwrap();
    assert!(cluster.weights() == [undisturbed().await]);
    let rows = "SELECT count(predicted_species) FROM predict(m, iris)";
    assert_eq!(cluster.count(rows).await, 150);
    // The rows of the first stage travel between executors.
    let pairs = "SELECT count(*) FROM (SELECT DISTINCT species, sepal_length FROM iris)";
    assert_eq!(cluster.count(pairs).await, 57);
    let reported = "SELECT count(models) FROM ml.executors";
    let began = Instant::now();
    while cluster.count(reported).await != 3 {
        assert!(began.elapsed() < WAIT, "executors did not report");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The standard error of an executor that must end by itself with exit code 2.
async fn refused(mut command: Command) -> String {
    command.stderr(Stdio::piped());
    let ended = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = tokio::time::timeout(WAIT, ended).await;
    let output = output.expect("the executor does not end").unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    errors
}

#[tokio::test(flavor = "multi_thread")]
async fn executors_with_another_secret_or_none_are_refused() {
    let cluster = Cluster::start_with_secret(0, 1, "one").await;
    let address = cluster.engine.cluster_address().unwrap().to_string();
    let errors = refused(executor(&address, 1)).await;
    assert!(
        errors.contains("the engine has a cluster secret"),
        "{errors}"
    );
    assert!(errors.contains("--cluster-secret-file"), "{errors}");
    let mut command = executor(&address, 1);
    let other = secret_file(cluster.directory.path(), "other");
    command.arg("--cluster-secret-file").arg(other);
    let errors = refused(command).await;
    assert!(errors.contains("has another cluster secret"), "{errors}");
    assert_eq!(cluster.engine.cluster_slots().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_without_a_secret_refuses_an_executor_with_one() {
    let cluster = Cluster::start(0, 1).await;
    let address = cluster.engine.cluster_address().unwrap().to_string();
    let mut command = executor(&address, 1);
    let secret = secret_file(cluster.directory.path(), "one");
    command.arg("--cluster-secret-file").arg(secret);
    let errors = refused(command).await;
    assert!(
        errors.contains("the engine has no cluster secret"),
        "{errors}"
    );
}

/// The ports of 127.0.0.1 at which a process listens.
fn listens_at(process: u32) -> Vec<u16> {
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let files = files.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
    let sockets: Vec<PathBuf> = files.collect();
    let table = std::fs::read_to_string(format!("/proc/{process}/net/tcp")).unwrap();
    let of_line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let port = fields[1].strip_prefix("0100007F:")?;
        let socket = PathBuf::from(format!("socket:[{}]", fields[9]));
        // 0A is a socket that listens.
        let is_ours = fields[3] == "0A" && sockets.contains(&socket);
        is_ours.then(|| u16::from_str_radix(port, 16).unwrap())
    };
    table.lines().skip(1).filter_map(of_line).collect()
}

/// Without the secret nobody gets further than a handshake, at any port of engine and executors.
#[tokio::test(flavor = "multi_thread")]
async fn plain_connections_get_no_answer() {
    let cluster = Cluster::start_with_secret(1, 1, "one").await;
    let scheduler = cluster.engine.cluster_address().unwrap();
    let mut ports = vec![scheduler.port(), scheduler.port() + 1];
    ports.extend(listens_at(cluster.executors[0].id()));
    assert_eq!(
        ports.len(),
        4,
        "an executor has a port for rows and one for tasks"
    );
    for port in ports {
        let mut stream = TcpStream::connect((scheduler.ip(), port)).await.unwrap();
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await
            .unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        // The end may be a reset.
        let _ = tokio::time::timeout(WAIT, read).await.expect("no end");
        // At most an alert of TLS; settings of HTTP/2 would be longer and begin with their length.
        let is_alert = answer.first().is_none_or(|first| *first == 0x15);
        assert!(is_alert && answer.len() <= 7, "port {port}: {answer:?}");
    }
}

#[test]
fn addresses_beyond_loopback_need_a_secret() {
    // An address for documentation, which no machine has: the check comes before the listener.
    let far = "192.0.2.1:50050";
    let error = Engine::builder().cluster(far).build().unwrap_err();
    let error = report(&error);
    assert_eq!(error.state, SqlState::InvalidParameter);
    assert!(error.message.contains("--cluster-secret-file"), "{error}");
    let near = "127.0.0.1:50050";
    for flags in [
        vec!["--cluster", far, "--data-dir", ":memory:", "-c", "SELECT 1"],
        vec!["executor", "--scheduler", far],
        vec!["executor", "--scheduler", near, "--listen", "0.0.0.0:0"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vatic"));
        let output = command.args(&flags).stdin(Stdio::null()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {errors}");
        assert!(errors.contains("needs --cluster-secret-file"), "{errors}");
    }
}

#[test]
fn a_secret_file_that_others_can_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = secret_file(directory.path(), "one");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let engine = Engine::builder().cluster("127.0.0.1:0");
    let error = engine.cluster_secret_file(&path).build().unwrap_err();
    assert!(report(&error).message.contains("chmod 600"), "{error}");
}
