//! [`PartitionNulls`]: an analyzer rule that lets COPY … PARTITIONED BY write a folder for NULL. DataFusion's writer
//! reads the value in the buffer of a NULL, so NULL rows of an integer column would land in the folder of 0.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::dml::CopyTo;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit, when};
use datafusion::optimizer::AnalyzerRule;

use super::folders::NULL_FOLDER;

/// The analyzer rule: gives NULL rows their own folder.
#[derive(Debug)]
pub(crate) struct PartitionNulls;

impl AnalyzerRule for PartitionNulls {
    fn name(&self) -> &str {
        "partition_nulls"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let named = plan.transform_down(|plan| match plan {
            LogicalPlan::Copy(copy) if !copy.partition_by.is_empty() => {
                Ok(Transformed::yes(LogicalPlan::Copy(with_folders(copy)?)))
            }
            plan => Ok(Transformed::no(plan)),
        })?;
        Ok(named.data)
    }
}

fn with_folders(copy: CopyTo) -> Result<CopyTo> {
    let input = Arc::unwrap_or_clone(copy.input);
    let columns = input.schema().iter().map(|(qualifier, field)| {
        let column = Expr::Column(Column::from((qualifier, field)));
        match copy.partition_by.contains(field.name()) {
            true => {
                let text = cast(column.clone(), DataType::Utf8);
                let folder = when(column.is_null(), lit(NULL_FOLDER)).otherwise(text)?;
                Ok(folder.alias_qualified(qualifier.cloned(), field.name()))
            }
            false => Ok(column),
        }
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let input = LogicalPlanBuilder::from(input).project(columns)?.build()?;
    Ok(CopyTo::new(
        Arc::new(input),
        copy.output_url,
        copy.partition_by,
        copy.file_type,
        copy.options,
    ))
}
