//! CREATE INDEX and DROP INDEX.

use datafusion::arrow::datatypes::Schema;
use datafusion::common::TableReference;
use datafusion::sql::sqlparser::ast::{CreateIndex, ObjectName};

use super::index_clauses::Declared;
use crate::access::grants::{Object, Privilege};
use crate::catalog::indexes::{Building, VectorIndex, build};
use crate::catalog::name::table_reference;
use crate::catalog::{TableEntry, TableState};
use crate::error::{Result, SqlState, sql_err, with_cause};
use crate::plan::nearest::index::GraphOptions;
use crate::plan::nearest::is_vector;
use crate::session::Session;
use crate::storage::IfTaken;

/// `CREATE INDEX`.
pub(super) async fn create_index(session: &Session, statement: CreateIndex) -> Result<()> {
    let declared = Declared::try_new(statement)?;
    let catalog = session.engine().catalog();
    let at = catalog.resolve(
        &session.default_schema(),
        reference(session, &declared.table),
    )?;
    if session.temporary().has(&at) {
        let message = format!("\"{}\" is a temporary table, which has no indexes", at.1);
        return Err(sql_err(SqlState::Unsupported, message));
    }
    let seen = changeable(session, &at)?;
    let Some(TableState::Managed { schema, files, .. }) = &seen.state else {
        let message = format!(
            "\"{}\" is not a managed table; only those have indexes",
            at.1
        );
        return Err(sql_err(SqlState::Unsupported, message));
    };
    if catalog.table_of_index(&at.0, &declared.name)?.is_some() {
        return taken(&declared);
    }
    let column = vector_column(schema, &declared.column, &at.1)?;
    let state = session.context().state();
    let options = GraphOptions {
        threads: state.config().target_partitions(),
        ..declared.options
    };
    let building = Building {
        at: &at,
        schema,
        files,
        column,
        options,
    };
    let built = Box::pin(build(catalog, &building, &state, &session.task_context())).await?;
    let index = VectorIndex {
        name: declared.name.clone(),
        column: declared.column.clone(),
        metric: options.metric,
        m: options.m,
        ef_construction: options.ef_construction,
        graphs: built.iter().map(|(graphs, _)| graphs.clone()).collect(),
    };
    // The rights may have changed while the graphs were built.
    changeable(session, &at)?;
    // An error of the commit may come after the commit, so the files must stay; those that no state names become orphans.
    for (_, written) in &built {
        written.keep();
    }
    match catalog.add_index(&at, &seen, &index)? {
        true => Ok(()),
        false => taken(&declared),
    }
}

/// `DROP INDEX`. Nothing is removed if one of the names is wrong, or if the session may not remove one of the indexes.
pub(super) fn drop_indexes(session: &Session, names: &[ObjectName], if_exists: bool) -> Result<()> {
    for name in names {
        removable(session, name, if_exists)?;
    }
    let catalog = session.engine().catalog();
    for name in names {
        // Nothing is found if the name is given twice, or if another process was first.
        while let Some(found) = removable(session, name, true)? {
            if catalog.remove_index(&found.at, &found.entry, &found.index)? {
                break;
            }
        }
    }
    Ok(())
}

/// An index that the session may remove.
struct Removable {
    /// The schema and the name of the table.
    at: (String, String),
    entry: TableEntry,
    index: String,
}

/// The index of a name; `None` if there is none and it may be missing.
fn removable(session: &Session, name: &ObjectName, if_exists: bool) -> Result<Option<Removable>> {
    let catalog = session.engine().catalog();
    let (schema, index) = catalog.resolve(&session.default_schema(), reference(session, name))?;
    let found = catalog.table_of_index(&schema, &index)?;
    let open = found.filter(|(table, entry)| {
        let object = Object::table(&schema, table);
        let access = session.access();
        let may = access.may(Privilege::Select, &object, &entry.ownership);
        may.unwrap_or(false)
    });
    let Some((table, entry)) = open else {
        if if_exists {
            return Ok(None);
        }
        let known = visible_names(session, &schema)?;
        let message = with_cause(
            format!("index \"{index}\" does not exist"),
            &index,
            known.iter().map(String::as_str),
        );
        return Err(sql_err(SqlState::NoSuchModel, message));
    };
    let at = (schema, table);
    session.access().check_table(&at, &entry.ownership)?;
    Ok(Some(Removable { at, entry, index }))
}

/// The names of the indexes, if the session is an administrator's: others must not learn names of tables that they cannot read.
fn visible_names(session: &Session, schema: &str) -> Result<Vec<String>> {
    match session.access().name() {
        None => session.engine().catalog().index_names(schema),
        Some(_) => Ok(Vec::new()),
    }
}

fn reference(session: &Session, name: &ObjectName) -> TableReference {
    let state = session.context().state();
    let normalizes = state.config_options().sql_parser.enable_ident_normalization;
    table_reference(&name.to_string(), normalizes)
}

/// The entry of an object that exists for the session and that it may change.
fn changeable(session: &Session, at: &(String, String)) -> Result<TableEntry> {
    let (schema, name) = at;
    let (catalog, access) = (session.engine().catalog(), session.access());
    let entry = catalog.entry(schema, name)?;
    let object = Object::table(schema, name);
    let is_open = access.may(Privilege::Select, &object, &entry.ownership)?;
    if !is_open || entry.state.is_none() {
        let known = catalog.open_names(access, schema, catalog.names(schema)?);
        let what = format!("table \"{name}\" does not exist");
        let message = with_cause(what, name, known.iter().map(String::as_str));
        return Err(sql_err(SqlState::NoSuchTable, message));
    }
    access.check_table(at, &entry.ownership)?;
    Ok(entry)
}

/// What happens if the name of the index is taken.
fn taken(declared: &Declared) -> Result<()> {
    match declared.if_taken {
        IfTaken::Keep => Ok(()),
        IfTaken::Fail | IfTaken::Replace => {
            let message = format!("index \"{}\" exists", declared.name);
            Err(sql_err(SqlState::TableExists, message))
        }
    }
}

fn vector_column(schema: &Schema, column: &str, table: &str) -> Result<usize> {
    let Ok(at) = schema.index_of(column) else {
        let known = schema.fields().iter().map(|field| field.name().as_str());
        let what = format!("table \"{table}\" has no column \"{column}\"");
        let message = with_cause(what, column, known);
        return Err(sql_err(SqlState::MissingColumn, message));
    };
    let data_type = schema.field(at).data_type();
    if is_vector(data_type) {
        return Ok(at);
    }
    let message = format!(
        "column \"{column}\" is {data_type}; an index takes vectors, which are lists of numbers"
    );
    Err(sql_err(SqlState::TypeMismatch, message))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures::TryStreamExt;

    use super::*;
    use crate::Engine;
    use crate::progress::ProgressEvent;

    /// The rows of a statement as text.
    async fn text(session: &Session, statement: &str) -> String {
        let rows = session.sql(statement).await.unwrap();
        let rows: Vec<_> = rows.try_collect().await.unwrap();
        let rows = arrow::util::pretty::pretty_format_batches(&rows);
        rows.unwrap().to_string()
    }

    const NEAR: &str = "SELECT id FROM items ORDER BY l2_distance(v, [50.2, 1.0]) LIMIT 3";
    const NEAREST: &str = "SELECT id FROM nearest((SELECT 'q' AS q, [50.2, 1.0] AS v), items, top_k => 3, metric => 'l2')";

    async fn session() -> Session {
        let engine = Engine::builder().build().unwrap();
        let session = engine.session().unwrap();
        for statement in [
            "CREATE TABLE items AS SELECT value AS id, [value * 1.0, 1.0] AS v FROM generate_series(1, 300)",
            "CREATE INDEX near ON items USING hnsw (v) WITH (metric = 'l2', m = 4, ef_construction = 40)",
            "SET vatic.vector_index = 'on'",
        ] {
            text(&session, statement).await;
        }
        session
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_plan_shows_its_index_and_an_analysis_the_recall() {
        let session = session().await;
        for query in [NEAR, NEAREST] {
            let plan = text(&session, &format!("EXPLAIN {query}")).await;
            let expected =
                "VectorIndexExec: index=near, metric=l2, top_k=3, ef_search=64, indexed_files=1";
            assert!(plan.contains(expected), "{plan}");
            let analysis = text(&session, &format!("EXPLAIN ANALYZE {query}")).await;
            assert!(analysis.contains("recall=100% (3/3)"), "{analysis}");
            assert!(analysis.contains("near_rows=3"), "{analysis}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_plan_says_that_a_filter_or_changing_queries_need_an_exact_search() {
        let session = session().await;
        let filtered = NEAR.replace("items", "items WHERE id % 2 = 0");
        let plan = text(&session, &format!("EXPLAIN {filtered}")).await;
        assert!(plan.contains("exact search because of a filter"), "{plan}");
        let rows = text(&session, &filtered).await;
        assert!(rows.contains("| 50 ") && rows.contains("| 52 "), "{rows}");
        let drawn = NEAREST.replace("[50.2, 1.0]", "[random(), 1.0]");
        let plan = text(&session, &format!("EXPLAIN {drawn}")).await;
        assert!(plan.contains("the queries may change"), "{plan}");
        // Of rows with equal keys, the first one may be another when they are read again.
        text(
            &session,
            "CREATE TABLE queries AS SELECT value AS q, 1 AS grade, [value * 1.0, 1.0] AS v FROM generate_series(1, 9)",
        )
        .await;
        for queries in [
            "SELECT DISTINCT ON (grade) grade AS q, v FROM queries",
            "SELECT grade AS q, first_value(v ORDER BY grade) AS v FROM queries GROUP BY grade",
            "SELECT q, v FROM (SELECT q, v, row_number() OVER (ORDER BY grade) AS number FROM queries) WHERE number = 1",
            "SELECT q, v FROM queries ORDER BY grade LIMIT 1",
        ] {
            let nearest = format!(
                "EXPLAIN SELECT id FROM nearest(({queries}), items, top_k => 3, metric => 'l2')"
            );
            let plan = text(&session, &nearest).await;
            assert!(plan.contains("the queries may change"), "{plan}");
        }
        // Without the setting, or by another distance, there is no index.
        let other = NEAR.replace("l2_distance", "cosine_distance");
        let plan = text(&session, &format!("EXPLAIN {other}")).await;
        assert!(!plan.contains("VectorIndex"), "{plan}");
        text(&session, "SET vatic.vector_index = 'off'").await;
        let plan = text(&session, &format!("EXPLAIN {NEAR}")).await;
        assert!(!plan.contains("VectorIndex"), "{plan}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn graphs_that_are_missing_mean_an_exact_search() {
        let session = session().await;
        let catalog = session.engine().catalog();
        let (_, entry) = catalog.table_of_index("public", "near").unwrap().unwrap();
        let Some(TableState::Managed { indexes, .. }) = entry.state else {
            panic!("the table has no index");
        };
        let before = text(&session, NEAR).await;
        for graphs in &indexes[0].graphs {
            let directory = catalog.data().blobs().join(&graphs.directory);
            directory.remove_directory().unwrap();
        }
        assert_eq!(text(&session, NEAR).await, before);
        let analysis = text(&session, &format!("EXPLAIN ANALYZE {NEAR}")).await;
        assert!(analysis.contains("unread_graphs=1"), "{analysis}");
        let told: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let heard = Arc::clone(&told);
        let listening = session.with_progress(Arc::new(move |event| {
            if let ProgressEvent::Notice { about, text } = event {
                heard.lock().unwrap().push((about, text));
            }
        }));
        assert_eq!(text(&listening, NEAR).await, before);
        let notice = "the graphs of 1 file cannot be read, so all rows there were searched; drop the index and create it again";
        let expected = [("index near".to_owned(), notice.to_owned())];
        assert_eq!(*told.lock().unwrap(), expected);
    }
}
