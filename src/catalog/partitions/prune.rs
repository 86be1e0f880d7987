//! [`kept_files`]: the files that may have rows for the conditions of a query, judged without reading them.

use std::sync::Arc;

use datafusion::arrow::datatypes::{FieldRef, Fields, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::Session;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::listing::helpers::expr_applicable_for_cols;
use datafusion::logical_expr::{Expr, utils};

use crate::error::Result;

/// Whether a condition reads only these columns, whose values are the same in all rows of a file.
pub(crate) fn is_of_files(columns: &[FieldRef], condition: &Expr) -> bool {
    let names: Vec<&str> = columns
        .iter()
        .map(|column| column.name().as_str())
        .collect();
    expr_applicable_for_cols(&names, condition)
}

/// For each file whether it has rows for these conditions. Conditions on other columns than these are left out.
///
/// # Errors
/// If a condition fails for a file.
pub(crate) fn kept_files(
    state: &dyn Session,
    columns: &[FieldRef],
    files: &[PartitionedFile],
    conditions: &[Expr],
) -> Result<Vec<bool>> {
    let known = conditions.iter().filter(|of| is_of_files(columns, of));
    let Some(condition) = utils::conjunction(known.cloned()) else {
        return Ok(vec![true; files.len()]);
    };
    if files.is_empty() {
        return Ok(vec![]);
    }
    let values = (0..columns.len()).map(|column| {
        let values = files
            .iter()
            .map(|file| file.partition_values[column].clone());
        ScalarValue::iter_to_array(values)
    });
    let values = values.collect::<Result<Vec<_>>>()?;
    let fields: Fields = columns.iter().cloned().collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields.clone())), values)?;
    let schema = DFSchema::from_unqualified_fields(fields, Default::default())?;
    let condition = state.create_physical_expr(condition, &schema)?;
    let kept = condition.evaluate(&batch)?.into_array(files.len())?;
    let kept = as_boolean_array(&kept)?.iter();
    Ok(kept.map(|kept| kept == Some(true)).collect())
}
