//! Which table the columns of a result come from, as JDBC shows it.

use std::collections::HashMap;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, TableReference};
use datafusion::logical_expr::LogicalPlan;

use crate::catalog::CATALOG;

/// The schema of the rows of `plan`, with the table of each column that is one of a table and nothing else, in the
/// metadata of its field that Flight SQL has for it (FlightSql.proto, "CommandGetTables"). Columns of views have none.
pub(crate) fn with_origins(
    schema: &Schema,
    plan: &LogicalPlan,
    default_schema: &str,
) -> Result<SchemaRef> {
    let tables = tables(plan)?;
    let columns = plan.schema().iter().map(|(qualifier, _)| qualifier);
    let fields = schema.fields().iter().zip(columns);
    let fields = fields.map(|(field, qualifier)| {
        let Some(table) = qualifier.and_then(|name| tables.get(name)) else {
            return Field::clone(field);
        };
        let table = table.clone().resolve(CATALOG, default_schema);
        let mut metadata = field.metadata().clone();
        for (key, value) in [
            ("CATALOG_NAME", table.catalog),
            ("SCHEMA_NAME", table.schema),
            ("TABLE_NAME", table.table),
        ] {
            metadata.extend([fact(key, value)]);
        }
        Field::clone(field).with_metadata(metadata)
    });
    let fields: Vec<Field> = fields.collect();
    Ok(Schema::new_with_metadata(fields, schema.metadata().clone()).into())
}

/// A fact about a column, as Flight SQL has it in the metadata of a field.
pub(crate) fn fact(key: &str, value: impl ToString) -> (String, String) {
    (format!("ARROW:FLIGHT:SQL:{key}"), value.to_string())
}

/// The tables that a plan reads, by the names that its columns have them under.
fn tables(plan: &LogicalPlan) -> Result<HashMap<TableReference, TableReference>> {
    let mut tables = HashMap::new();
    plan.apply(|node| {
        match node {
            LogicalPlan::TableScan(scan) => {
                tables.insert(scan.table_name.clone(), scan.table_name.clone());
            }
            LogicalPlan::SubqueryAlias(named) => {
                if let LogicalPlan::TableScan(scan) = named.input.as_ref() {
                    tables.insert(named.alias.clone(), scan.table_name.clone());
                }
                // Names below it are not those of its columns.
                return Ok(TreeNodeRecursion::Jump);
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(tables)
}
