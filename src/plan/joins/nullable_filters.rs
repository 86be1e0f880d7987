//! [`NULLABLE_FILTERS`]: the physical optimizer rule that makes the columns of sort-merge join conditions nullable. The join
//! also evaluates its condition for rows without a partner, whose other side is NULL; DataFusion 55 fails if a column of that
//! side is not nullable, such as a `count(*)`.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::SortMergeJoinExec;
use datafusion::physical_plan::joins::utils::JoinFilter;

use crate::error::Result;
use crate::plan::replace_rule::ReplaceRule;

pub(crate) const NULLABLE_FILTERS: ReplaceRule = ReplaceRule {
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
