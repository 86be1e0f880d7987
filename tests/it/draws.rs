//! Random values in generated queries: each row satisfies the conditions of its query, wherever the query is computed.

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use futures::TryStreamExt;
use vatic::{Engine, Executor, ExecutorOptions, Session, report};

const ROWS: u64 = 2_000;
/// The number of queries for each way to compute them.
const SEEDS: u64 = 60;

/// A generator with the same numbers in each run (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 31)) % bound
    }
}

/// A query of columns id, g, r and q, and the conditions on its rows; r and q are the same random value.
struct Generated {
    sql: String,
    least: f64,
    below: f64,
    g_below: i64,
    has_unique_ids: bool,
}

fn generated(seed: u64) -> Generated {
    let mut random = Random(seed);
    let draw = match random.below(3) {
        0 => "random() * 10",
        1 => "floor(random() * 10)",
        _ => "coalesce(nullif(floor(random() * 10), 3), 3)",
    };
    let (first, has_unique_ids) = match random.below(4) {
        0 => (format!("SELECT id, g, {draw} AS r FROM t"), true),
        1 => (
            format!(
                "SELECT id, g, s['a'] AS r FROM (SELECT id, g, named_struct('a', {draw}) AS s FROM t) x"
            ),
            true,
        ),
        2 => (
            format!("SELECT count(*) AS id, max(g) AS g, {draw} AS r FROM t GROUP BY {draw}"),
            false,
        ),
        _ => (
            format!("SELECT id, g, {draw} AS r FROM t TABLESAMPLE BERNOULLI (70)"),
            true,
        ),
    };
    let mut query = Generated {
        sql: format!("SELECT id, g, r, r AS q FROM ({first}) x"),
        least: 0.0,
        below: 10.0,
        g_below: 10,
        has_unique_ids,
    };
    for _ in 0..=random.below(4) {
        wrap(&mut query, &mut random);
    }
    query
}

fn wrap(query: &mut Generated, random: &mut Random) {
    let inner = std::mem::take(&mut query.sql);
    let (low, high) = (random.below(4) as f64, 5.0 + random.below(5) as f64);
    let mut narrow = |least: f64, below: f64| {
        query.least = query.least.max(least);
        query.below = query.below.min(below);
    };
    query.sql = match random.below(10) {
        0 => {
            narrow(low, high);
            format!("SELECT * FROM ({inner}) x WHERE r >= {low:.1} AND q < {high:.1}")
        }
        1 => {
            // Slightly more, because BETWEEN includes the upper bound.
            narrow(low, high + 1e-9);
            format!("SELECT * FROM ({inner}) x WHERE r BETWEEN {low:.1} AND {high:.1}")
        }
        2 => {
            narrow(low, high);
            format!(
                "SELECT id, g, r, q FROM (SELECT *, named_struct('a', r, 'b', q) AS s FROM ({inner}) x) y \
                 WHERE s['a'] < {high:.1} AND s['b'] >= {low:.1}"
            )
        }
        3 => {
            query.g_below = 5;
            format!(
                "SELECT * FROM ({inner}) x WHERE g < 5 AND CASE WHEN r = q THEN true ELSE false END"
            )
        }
        4 => format!(
            "SELECT id, g, r, q FROM (SELECT *, row_number() OVER (PARTITION BY g ORDER BY r) AS n FROM ({inner}) x) y \
             WHERE n <= 100"
        ),
        5 => format!("SELECT DISTINCT * FROM ({inner}) x"),
        6 => format!("SELECT x.id, x.g, x.r, x.q FROM ({inner}) x JOIN t ON x.id = t.id"),
        7 => format!(
            "WITH s AS ({inner}) SELECT * FROM s WHERE r < {high:.1} UNION ALL SELECT * FROM s WHERE NOT r < {high:.1}"
        ),
        8 => {
            // Rows of equal values keep one of their ids.
            format!("SELECT max(id) AS id, max(g) AS g, r, q FROM ({inner}) x GROUP BY r, q")
        }
        _ => format!(
            "WITH s AS ({inner}) SELECT a.id, a.g, a.r, b.q FROM (SELECT *, row_number() OVER (ORDER BY id, r) AS n FROM s) a \
             JOIN (SELECT *, row_number() OVER (ORDER BY id, r) AS n FROM s) b ON a.n = b.n"
        ),
    };
}

async fn rows(session: &Session, sql: &str) -> Vec<RecordBatch> {
    let stream = session.sql(sql).await;
    let stream = stream.unwrap_or_else(|error| panic!("{sql}: {}", report(&error)));
    let batches = stream.try_collect().await;
    batches.unwrap_or_else(|error| panic!("{sql}: {}", report(&error)))
}

async fn check(session: &Session, name: &str) {
    let table = format!(
        "CREATE TABLE t AS SELECT value AS id, value % 10 AS g FROM generate_series(1, {ROWS})"
    );
    rows(session, &table).await;
    let mut checked = 0;
    for seed in 0..SEEDS {
        let query = generated(seed);
        let sql = format!(
            "SELECT CAST(id AS BIGINT), CAST(g AS BIGINT), CAST(r AS DOUBLE), CAST(q AS DOUBLE) FROM ({}) z",
            query.sql
        );
        let mut ids = std::collections::HashSet::new();
        for batch in rows(session, &sql).await {
            checked += batch.num_rows();
            for row in 0..batch.num_rows() {
                let id = batch.column(0).as_primitive::<Int64Type>().value(row);
                let g = batch.column(1).as_primitive::<Int64Type>().value(row);
                let r = batch.column(2).as_primitive::<Float64Type>().value(row);
                let q = batch.column(3).as_primitive::<Float64Type>().value(row);
                let holds = r == q && r >= query.least && r < query.below && g < query.g_below;
                assert!(
                    holds,
                    "{name}, seed {seed}: row ({id}, {g}, {r}, {q}) of {sql}"
                );
                let is_new = ids.insert(id);
                assert!(
                    is_new || !query.has_unique_ids,
                    "{name}, seed {seed}: {id} twice in {sql}"
                );
            }
        }
    }
    assert!(checked > 1_000, "{name}: {checked} rows were checked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_hold_what_their_query_says_of_drawn_values() {
    let engine = Engine::builder().build().unwrap();
    check(&engine.session().unwrap(), "one process").await;
    let engine = Engine::builder().build().unwrap();
    let session = engine.session().unwrap();
    for setting in ["target_partitions = 7", "batch_size = 16"] {
        rows(&session, &format!("SET datafusion.execution.{setting}")).await;
    }
    check(&session, "small pieces").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_cluster_hold_what_their_query_says_of_drawn_values() {
    let engine = Engine::builder().cluster("127.0.0.1:0").build().unwrap();
    let options = ExecutorOptions {
        scheduler: engine.cluster_address().unwrap().to_string(),
        slots: Some(4),
        listen: "127.0.0.1:0".into(),
        work_dir: None,
        cluster_secret_file: None,
        onnxruntime: None,
    };
    let _executor = Executor::start(&options).unwrap();
    while engine.cluster_slots().await < 4 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    check(&engine.session().unwrap(), "a cluster").await;
}
