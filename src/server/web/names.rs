//! The names that the SQL editor completes, as JSON.

use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::models::short;
use super::rows::{Rows, query};
use super::visit::Visit;
use crate::sql::{FILE_FUNCTIONS, RELATION_FUNCTIONS};
use crate::train::OPTIONS;

/// The columns of at most so many tables are completed.
const COLUMNS_MAX: usize = 20_000;

/// Tables with their columns, models, functions, table functions, and options of TRAIN.
pub(super) async fn json(visit: &Visit) -> Result<String, Failure> {
    let columns = format!(
        "SELECT table_schema, table_name, column_name FROM information_schema.columns \
         ORDER BY table_schema, table_name, ordinal_position LIMIT {COLUMNS_MAX}"
    );
    let columns = query(&visit.session, &columns).await?;
    let models = "SELECT model_schema, model_name FROM information_schema.models ORDER BY 1, 2";
    let models = query(&visit.session, models).await?;
    let functions = "SELECT DISTINCT routine_name FROM information_schema.routines ORDER BY 1";
    let functions = query(&visit.session, functions).await?;
    let models: Vec<String> = (0..models.len())
        .map(|row| {
            short(
                models.text(row, "model_schema"),
                models.text(row, "model_name"),
            )
        })
        .collect();
    let functions: Vec<&str> = (0..functions.len())
        .map(|row| functions.text(row, "routine_name"))
        .collect();
    let relations = RELATION_FUNCTIONS.iter().chain(FILE_FUNCTIONS);
    let options = OPTIONS.iter().map(|option| option.name);
    let names = json!({
        "tables": tables(&columns),
        "models": models,
        "functions": functions,
        "relations": relations.collect::<Vec<_>>(),
        "options": options.collect::<Vec<_>>(),
    });
    Ok(names.to_string())
}

/// The columns of each table.
fn tables(columns: &Rows) -> Map<String, Value> {
    let mut tables = Map::new();
    for row in 0..columns.len() {
        let text = |column: &str| columns.text(row, column);
        let name = short(text("table_schema"), text("table_name"));
        let known = tables.entry(name).or_insert_with(|| json!([]));
        if let Some(known) = known.as_array_mut() {
            known.push(text("column_name").into());
        }
    }
    tables
}
