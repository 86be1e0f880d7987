//! [`with_added`]: the schema of a node that adds columns to those of its input.

use std::sync::Arc;

use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::{DFSchema, DFSchemaRef, Result};

use crate::error::{SqlState, sql_err};

/// The columns of the input, as `kept` makes them, then the `added` ones; `adder` is what adds them, as an error names it.
///
/// # Errors
/// If the input has a column of the name of an added one.
pub(super) fn with_added(
    input: &DFSchema,
    kept: fn(&FieldRef) -> FieldRef,
    added: impl IntoIterator<Item = FieldRef>,
    adder: &str,
) -> Result<DFSchemaRef> {
    let own = input.iter();
    let mut fields: Vec<_> = own
        .map(|(qualifier, field)| (qualifier.cloned(), kept(field)))
        .collect();
    for field in added {
        if input.has_column_with_unqualified_name(field.name()) {
            let message = format!(
                "the input of predict has a column \"{name}\", which {adder} would add; rename it in the query: SELECT {name} AS another_name",
                name = field.name(),
            );
            return Err(sql_err(SqlState::DuplicateName, message));
        }
        fields.push((None, field));
    }
    let metadata = input.metadata().clone();
    Ok(Arc::new(DFSchema::new_with_metadata(fields, metadata)?))
}
