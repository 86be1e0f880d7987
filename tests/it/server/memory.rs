//! Statements that need more memory than there is.

use futures::StreamExt;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_over_its_limit_fails_alone() {
    let server = Server::start(&["--memory-limit", "1G", "--statement-memory", "30M"]);
    let (one, other) = (server.connect().await, server.connect().await);
    let join = |rows: u64| {
        format!(
            "SELECT count(*) FROM generate_series(1, {rows}) a JOIN generate_series(1, {rows}) b ON a.value = b.value"
        )
    };
    let (large, small) = (join(3_000_000), join(10_000));
    let (refused, count) = tokio::join!(error(&one, &large), column(&other, &small));
    assert!(refused.starts_with("53200"), "{refused}");
    assert!(
        refused.contains("the statement may have 30.0 MB in all"),
        "{refused}"
    );
    assert_eq!(count, ["10000"]);
    // An operator that can spill to disk does so.
    let sorted = "SELECT sum(n) FROM (SELECT row_number() OVER (ORDER BY value % 1000, value) AS n \
                  FROM generate_series(1, 1000000))";
    assert_eq!(column(&one, sorted).await, ["500000500000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_process_grows_too_large_the_largest_statement_is_stopped() {
    let server = Server::start(&["--memory-limit", "64G", "--process-memory", "600M"]);
    let (one, other) = (server.connect().await, server.connect().await);
    // This statement holds almost no memory, and its client fetches slowly.
    let mut waiting = one
        .sql("SELECT value FROM generate_series(1, 1000000)")
        .await
        .unwrap();
    waiting.next().await.unwrap().unwrap();
    let hog = "SELECT array_length(array_agg(value)) FROM generate_series(1, 400000000)";
    let probe = async {
        // Statements run as long as there is memory; then one is refused.
        loop {
            match outcome(&other, "SELECT 1").await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(error) => return error,
            }
        }
    };
    tokio::pin!(probe);
    let stopped = error(&one, hog);
    tokio::pin!(stopped);
    let stopped = tokio::select! {
        stopped = &mut stopped => stopped,
        refused = &mut probe => {
            assert!(refused.starts_with("53200"), "{refused}");
            assert!(refused.contains("the server is short of memory"), "{refused}");
            stopped.await
        }
    };
    assert!(stopped.starts_with("53200"), "{stopped}");
    assert!(stopped.contains("was stopped"), "{stopped}");
    welcomes(&other).await;
    // No client fetches this result, so no client would notice that the statement must end.
    let mut client = server.client().await;
    let unwanted = client
        .get_flight_info(query(hog))
        .await
        .unwrap()
        .into_inner();
    assert!(server.is_idle_within(Duration::from_secs(30)).await);
    assert!(server.peak_bytes() < 1 << 30, "{}", server.peak_bytes());
    welcomes(&other).await;
    let ticket = unwanted.endpoint[0].ticket.clone().unwrap();
    let mut rows = client.do_get(ticket).await.unwrap().into_inner();
    let status = loop {
        match rows.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the statement went on"),
            Err(status) => break status,
        }
    };
    assert!(status.message().contains("was stopped"), "{status}");
    let mut count = 0;
    while let Some(batch) = waiting.next().await {
        count += batch.unwrap().num_rows();
    }
    assert!(count > 900_000, "{count}");
}

/// Waits until the server accepts statements; memory that the allocator keeps from ended statements must not prevent this.
async fn welcomes(client: &Remote) {
    let until = Instant::now() + Duration::from_secs(10);
    while let Err(error) = outcome(client, "SELECT 1").await {
        assert!(Instant::now() < until, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
