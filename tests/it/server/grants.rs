//! Grants: users see and use their own objects and granted objects; other objects seem not to exist.

use super::{PASSWORD, Server, column, connect, error, outcome, runtime, users};

const TRAIN: &str =
    "TRAIN MODEL price TARGET b OPTIONS (model_type = 'linear_reg') AS SELECT a, b FROM houses";
const HOUSES: &str =
    "CREATE TABLE houses AS SELECT value * 1.0 AS a, value * 2.0 AS b FROM generate_series(1, 50)";

#[test]
fn what_is_not_granted_looks_like_what_is_not_there() {
    let (_directory, file) = users();
    let server = Server::start(&["--users", &file]);
    runtime().block_on(async {
        let ada = connect(&server, "ada", PASSWORD).await.unwrap();
        let bob = connect(&server, "bob", PASSWORD).await.unwrap();
        column(&ada, HOUSES).await;
        column(&ada, TRAIN).await;
        column(&ada, "CREATE TABLE points AS SELECT [1.0, 2.0] AS v").await;
        column(&ada, "CREATE INDEX near ON points USING hnsw (v)").await;
        column(
            &ada,
            "CREATE VIEW cheap AS SELECT a FROM houses WHERE b < 20",
        )
        .await;
        for (there, absent) in [
            ("SELECT * FROM houses", "SELECT * FROM h0uses"),
            ("SELECT * FROM cheap", "SELECT * FROM ch3ap"),
            (
                "INSERT INTO houses VALUES (1, 2)",
                "INSERT INTO h0uses VALUES (1, 2)",
            ),
            ("DROP TABLE houses", "DROP TABLE h0uses"),
            ("DROP VIEW cheap", "DROP VIEW ch3ap"),
            (
                "SELECT * FROM predict(price, (SELECT 1.0 AS a))",
                "SELECT * FROM predict(pr1ce, (SELECT 1.0 AS a))",
            ),
            (
                "SELECT predict_value(price, a => 1.0)",
                "SELECT predict_value(pr1ce, a => 1.0)",
            ),
            ("SELECT embed(price, 1.0)", "SELECT embed(pr1ce, 1.0)"),
            (
                "SELECT * FROM evaluate(price)",
                "SELECT * FROM evaluate(pr1ce)",
            ),
            (
                "TRAIN MODEL n OPTIONS (base_model = 'price') AS SELECT 1.0 AS a, 2.0 AS b",
                "TRAIN MODEL n OPTIONS (base_model = 'pr1ce') AS SELECT 1.0 AS a, 2.0 AS b",
            ),
            ("DESCRIBE MODEL price", "DESCRIBE MODEL pr1ce"),
            ("LOAD MODEL price", "LOAD MODEL pr1ce"),
            ("UNLOAD MODEL price", "UNLOAD MODEL pr1ce"),
            (
                "EXPORT MODEL price TO 'm.onnx'",
                "EXPORT MODEL pr1ce TO 'm.onnx'",
            ),
            ("SHOW CREATE MODEL price", "SHOW CREATE MODEL pr1ce"),
            (
                "SHOW VERSIONS IN MODEL price",
                "SHOW VERSIONS IN MODEL pr1ce",
            ),
            ("DROP MODEL price", "DROP MODEL pr1ce"),
            (
                "ALTER MODEL price SET COMMENT = 'x'",
                "ALTER MODEL pr1ce SET COMMENT = 'x'",
            ),
            (
                "GRANT EXECUTE ON MODEL price TO bob",
                "GRANT EXECUTE ON MODEL pr1ce TO bob",
            ),
            (
                "GRANT SELECT ON houses TO bob",
                "GRANT SELECT ON h0uses TO bob",
            ),
            (
                "EXPLAIN SELECT * FROM predict(price, (SELECT 1.0 AS a))",
                "EXPLAIN SELECT * FROM predict(pr1ce, (SELECT 1.0 AS a))",
            ),
        ] {
            let plain = |error: String| {
                error
                    .replace("h0uses", "houses")
                    .replace("ch3ap", "cheap")
                    .replace("pr1ce", "price")
            };
            let closed = error(&bob, there).await;
            assert_eq!(closed, plain(error(&bob, absent).await), "{there}");
            assert!(!closed.contains("nearest"), "{closed}");
        }
        for listing in [
            "SELECT * FROM information_schema.models",
            "SELECT * FROM information_schema.model_versions",
            "SELECT * FROM ml.training_runs",
            "SELECT * FROM ml.training_metrics",
            "SELECT * FROM ml.metrics",
            "SELECT * FROM ml.model_cache",
            "SELECT * FROM ml.indexes",
            "SELECT * FROM information_schema.tables WHERE table_schema = 'public'",
            "SELECT * FROM information_schema.columns WHERE table_schema = 'public'",
            "SHOW MODELS",
            "SHOW GRANTS",
        ] {
            assert_eq!(column(&bob, listing).await, [""; 0], "{listing}");
            if !listing.contains("model_cache") && !listing.contains("training_metrics") {
                assert_ne!(column(&ada, listing).await, [""; 0], "{listing}");
            }
        }
        assert!(bob.sql("DROP MODEL IF EXISTS price").await.is_ok());
        assert_eq!(
            column(&ada, "SELECT count(*) FROM predict(price, houses)").await,
            ["50"]
        );
    });
}

#[test]
fn what_is_granted_can_be_used_and_no_more() {
    let (_directory, file) = users();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        text.replace("[users.bob]\n", "[users.bob]\nroles = ['analyst']\n"),
    )
    .unwrap();
    let server = Server::start(&["--users", &file]);
    runtime().block_on(async {
        let ada = connect(&server, "ada", PASSWORD).await.unwrap();
        let bob = connect(&server, "bob", PASSWORD).await.unwrap();
        let root = connect(&server, "root", PASSWORD).await.unwrap();
        column(&ada, HOUSES).await;
        column(&ada, TRAIN).await;
        column(
            &ada,
            "CREATE VIEW cheap AS SELECT a FROM houses WHERE b < 20",
        )
        .await;
        let predict = "SELECT count(*) FROM predict(price, (SELECT 1.0 AS a))";
        column(&ada, "GRANT EXECUTE ON MODEL price TO analyst").await;
        assert_eq!(column(&bob, predict).await, ["1"]);
        assert_eq!(column(&bob, "LOAD MODEL price").await.len(), 1);
        assert_eq!(column(&bob, "UNLOAD MODEL price").await, ["engine,1"]);
        // Who may run a model may export it, where files are open at all.
        let export = error(&bob, "EXPORT MODEL price TO 'm.onnx'").await;
        assert!(
            export.starts_with("42501") && export.contains("m.onnx is not open to SQL"),
            "{export}"
        );
        // The grant does not cover the table that the model was trained on.
        assert!(
            error(&bob, "SELECT * FROM houses")
                .await
                .starts_with("42P01")
        );
        for sql in [
            "DROP MODEL price",
            "ALTER MODEL price SET COMMENT = 'x'",
            "GRANT EXECUTE ON MODEL price TO eve",
        ] {
            assert!(error(&bob, sql).await.starts_with("42501"), "{sql}");
        }
        let again = TRAIN.replace("TRAIN", "TRAIN OR REPLACE");
        column(&bob, &HOUSES.replace("houses", "bobs")).await;
        assert!(
            error(&bob, &again.replace("houses", "bobs"))
                .await
                .starts_with("42710")
        );
        // A grant on a view is enough to read the view, without a grant on its table.
        column(&ada, "GRANT SELECT ON cheap TO bob").await;
        assert_eq!(column(&bob, "SELECT count(*) FROM cheap").await, ["9"]);
        assert!(
            error(&bob, "SELECT * FROM houses")
                .await
                .starts_with("42P01")
        );
        column(&ada, "GRANT SELECT ON TABLE houses TO 'bob'").await;
        assert_eq!(column(&bob, "SELECT count(*) FROM houses").await, ["50"]);
        for sql in [
            "INSERT INTO houses VALUES (1, 2)",
            "EXPLAIN ANALYZE INSERT INTO houses VALUES (1, 2)",
            "PREPARE p AS INSERT INTO houses VALUES (1, 2)",
            "DROP TABLE houses",
            "CREATE OR REPLACE TABLE houses AS SELECT 1 AS a",
        ] {
            assert!(error(&bob, sql).await.starts_with("42501"), "{sql}");
        }
        assert_eq!(
            sorted(column(&bob, "SHOW GRANTS").await),
            [
                "EXECUTE,MODEL,public,price,analyst",
                "OWN,TABLE,public,bobs,bob",
                "SELECT,TABLE,public,cheap,bob",
                "SELECT,TABLE,public,houses,bob"
            ]
        );
        column(&ada, "REVOKE EXECUTE ON MODEL price FROM analyst").await;
        assert!(error(&bob, predict).await.starts_with("42704"));
        column(&ada, "REVOKE SELECT ON houses FROM bob").await;
        assert!(
            error(&bob, "SELECT * FROM houses")
                .await
                .starts_with("42P01")
        );
        // An administrator may do everything. A new object does not get the grants of a dropped object of the same name.
        assert_eq!(column(&root, predict).await, ["1"]);
        column(&ada, "GRANT SELECT ON houses TO public").await;
        column(&root, "DROP TABLE houses").await;
        column(&root, "CREATE TABLE houses AS SELECT 1 AS a").await;
        assert!(
            error(&bob, "SELECT * FROM houses")
                .await
                .starts_with("42P01")
        );
        assert!(error(&bob, "CREATE SCHEMA s").await.starts_with("42501"));
        assert!(outcome(&root, "CREATE SCHEMA s").await.is_ok());
    });
}

#[test]
fn names_that_hide_others_give_no_rights() {
    let (_directory, file) = users();
    let server = Server::start(&["--users", &file]);
    runtime().block_on(async {
        let ada = connect(&server, "ada", PASSWORD).await.unwrap();
        let bob = connect(&server, "bob", PASSWORD).await.unwrap();
        column(&ada, "CREATE TABLE readable AS SELECT 42 AS a").await;
        column(&ada, "CREATE TABLE secret AS SELECT 43 AS a").await;
        column(&ada, "GRANT SELECT ON readable TO bob").await;
        // A temporary table of bob hides the table of ada, and does not change it.
        column(&bob, "CREATE TEMP TABLE readable AS SELECT 1 AS a").await;
        column(&bob, "CREATE TEMP TABLE secret AS SELECT 2 AS a").await;
        column(&bob, "INSERT OVERWRITE readable VALUES (3)").await;
        assert_eq!(column(&bob, "SELECT a FROM readable").await, ["3"]);
        assert_eq!(column(&bob, "SELECT a FROM secret").await, ["2"]);
        column(&bob, "DROP TABLE readable").await;
        column(&bob, "DROP TABLE secret").await;
        assert_eq!(column(&bob, "SELECT a FROM readable").await, ["42"]);
        let refused = error(&bob, "INSERT OVERWRITE readable VALUES (3)").await;
        assert!(refused.starts_with("42501"), "{refused}");
        let refused = error(&bob, "SELECT a FROM secret").await;
        assert!(refused.starts_with("42P01"), "{refused}");
        // The names in a view are resolved as they will be when the view is read.
        column(&bob, "CREATE TABLE \"Secret\" AS SELECT 0 AS a").await;
        column(
            &bob,
            "SET datafusion.sql_parser.enable_ident_normalization = false",
        )
        .await;
        let refused = error(&bob, "CREATE VIEW spy AS SELECT a FROM Secret").await;
        assert!(refused.starts_with("42P01"), "{refused}");
        column(&bob, "CREATE VIEW own AS SELECT a FROM \"Secret\"").await;
        assert_eq!(column(&bob, "SELECT a FROM own").await, ["0"]);
    });
}

/// An object keeps its owner and its grants when it is renamed; a new object of the same name gets none of them.
#[test]
fn owners_and_privileges_follow_their_objects() {
    let (_directory, file) = users();
    let server = Server::start(&["--users", &file]);
    runtime().block_on(async {
        let ada = connect(&server, "ada", PASSWORD).await.unwrap();
        let bob = connect(&server, "bob", PASSWORD).await.unwrap();
        let root = connect(&server, "root", PASSWORD).await.unwrap();
        column(&root, "CREATE SCHEMA s").await;
        column(&ada, HOUSES).await;
        column(&ada, TRAIN).await;
        column(&ada, "GRANT EXECUTE ON MODEL price TO bob").await;
        let guess = "SELECT count(*) FROM predict(price, (SELECT 1.0 AS a))";
        assert_eq!(column(&bob, guess).await, ["1"]);
        // A model that is dropped and trained again belongs to ada, and bob has no grant on it.
        column(&ada, "DROP MODEL price").await;
        column(&ada, TRAIN).await;
        assert!(error(&bob, guess).await.starts_with("42704"));
        assert_eq!(column(&ada, guess).await, ["1"]);
        column(&ada, &TRAIN.replace("TRAIN", "TRAIN OR REPLACE")).await;
        column(&ada, "GRANT EXECUTE ON MODEL price TO bob").await;
        column(&ada, "ALTER MODEL price RENAME TO s.cost").await;
        let guess = guess.replace("price", "s.cost");
        assert_eq!(column(&bob, &guess).await, ["1"]);
        assert_eq!(
            sorted(column(&bob, "SHOW GRANTS").await),
            ["EXECUTE,MODEL,s,cost,bob"]
        );
        assert!(error(&bob, "DROP MODEL s.cost").await.starts_with("42501"));
        assert_eq!(
            sorted(column(&ada, "SHOW GRANTS").await),
            [
                "EXECUTE,MODEL,s,cost,bob",
                "OWN,MODEL,s,cost,ada",
                "OWN,TABLE,public,houses,ada"
            ]
        );
        // The old name is free, and a model that bob makes under this name is his alone.
        column(&bob, &HOUSES.replace("houses", "bobs")).await;
        column(&bob, &TRAIN.replace("houses", "bobs")).await;
        let refused = error(&ada, "ALTER MODEL price SET COMMENT = 'x'").await;
        assert!(refused.starts_with("42704"), "{refused}");
        let refused = error(&bob, "ALTER MODEL price RENAME TO s.cost").await;
        assert!(refused.starts_with("42710"), "{refused}");
        column(&ada, "DROP MODEL s.cost").await;
        column(&bob, "ALTER MODEL price RENAME TO s.cost").await;
        assert!(error(&ada, &guess).await.starts_with("42704"));
        column(&root, "DROP SCHEMA s CASCADE").await;
        assert_eq!(
            column(&root, "SHOW GRANTS").await.len(),
            2,
            "of the tables of ada and bob"
        );
    });
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort();
    rows
}
