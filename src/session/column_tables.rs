//! The tables that the columns of a result come from, for JDBC's `ResultSetMetaData.getTableName`.

use std::collections::HashMap;

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, TableReference};
use datafusion::logical_expr::LogicalPlan;

use crate::catalog::CATALOG;

/// Adds Flight SQL's table metadata (FlightSql.proto, "CommandGetTables") to each column that comes unchanged from one
/// table. Columns of views get none.
pub(crate) fn with_column_tables(
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
            metadata.extend([column_metadata(key, value)]);
        }
        Field::clone(field).with_metadata(metadata)
    });
    let fields: Vec<Field> = fields.collect();
    Ok(Schema::new_with_metadata(fields, schema.metadata().clone()).into())
}

/// An entry of the metadata that Flight SQL defines for the field of a column.
pub(crate) fn column_metadata(key: &str, value: impl ToString) -> (String, String) {
    (format!("ARROW:FLIGHT:SQL:{key}"), value.to_string())
}

/// The tables that a plan reads, by the qualifiers of its columns.
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
                // Qualifiers below an alias are not those of the plan's columns.
                return Ok(TreeNodeRecursion::Jump);
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(tables)
}
