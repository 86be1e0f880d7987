//! [`NULLABLE_FILTERS`]: a sort-merge join tries its condition on rows that have no partner too, whose other side is NULL, and
//! in DataFusion 55 that is refused if a column of that side has no NULL of its own, such as a `count(*)`. Here the columns
//! of conditions may be NULL.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::SortMergeJoinExec;
use datafusion::physical_plan::joins::utils::JoinFilter;

use crate::error::Result;
use crate::plan::instead::Instead;

pub(crate) const NULLABLE_FILTERS: Instead = Instead {
    name: "NullableFilters",
    other: with_nullable_filter,
};

fn with_nullable_filter(exec: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(join) = exec.downcast_ref::<SortMergeJoinExec>() else {
        return Ok(None);
    };
    let Some(filter) = join.filter() else {
        return Ok(None);
    };
    let fields = filter.schema().fields();
    if fields.iter().all(|field| field.is_nullable()) {
        return Ok(None);
    }
    let nullable = |field: &Arc<Field>| field.as_ref().clone().with_nullable(true);
    let fields: Vec<Field> = fields.iter().map(nullable).collect();
    let filter = JoinFilter::new(
        Arc::clone(filter.expression()),
        filter.column_indices().to_vec(),
        Arc::new(Schema::new(fields)),
    );
    let join = SortMergeJoinExec::try_new(
        Arc::clone(join.left()),
        Arc::clone(join.right()),
        join.on().to_vec(),
        Some(filter),
        join.join_type(),
        join.sort_options().to_vec(),
        join.null_equality(),
    )?;
    Ok(Some(Arc::new(join)))
}
