//! [`FloatStatistics`]: what Parquet says of the least and greatest of floats leaves NaN out, and DataFusion takes it at
//! its word: a column of 1 and NaN would be read as all 1, and `max` would not be NaN. Here the bounds become estimates.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::Statistics;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use crate::error::Result;

/// Must come before the rules that answer from statistics.
#[derive(Debug)]
pub(crate) struct FloatStatistics;

impl PhysicalOptimizerRule for FloatStatistics {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let loosen = |plan: Arc<dyn ExecutionPlan>| {
            let scan = plan.downcast_ref::<DataSourceExec>();
            let config = scan.and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>());
            Ok(match config.and_then(loosened) {
                Some(config) => Transformed::yes(DataSourceExec::from_data_source(config) as _),
                None => Transformed::no(plan),
            })
        };
        Ok(plan.transform_up(loosen)?.data)
    }

    fn name(&self) -> &str {
        "FloatStatistics"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The same scan with estimates, if it has floats.
fn loosened(config: &FileScanConfig) -> Option<FileScanConfig> {
    let schema = config.file_source.table_schema().table_schema();
    if !schema
        .fields()
        .iter()
        .any(|field| field.data_type().is_floating())
    {
        return None;
    }
    let loosen = |statistics: &Statistics| without_float_bounds(statistics, schema);
    let file = |file: &PartitionedFile| {
        let mut file = file.clone();
        file.statistics = file.statistics.map(|found| Arc::new(loosen(&found)));
        file
    };
    let groups = config.file_groups.iter().map(|group| {
        let files = FileGroup::new(group.files().iter().map(file).collect());
        match group.file_statistics(None) {
            Some(found) => files.with_statistics(Arc::new(loosen(found))),
            None => files,
        }
    });
    let builder = FileScanConfigBuilder::from(config.clone())
        .with_statistics(loosen(&config.statistics()))
        .with_file_groups(groups.collect());
    Some(builder.build())
}

fn without_float_bounds(statistics: &Statistics, schema: &Schema) -> Statistics {
    let mut statistics = statistics.clone();
    let columns = statistics.column_statistics.iter_mut();
    for (column, field) in columns.zip(schema.fields()) {
        if field.data_type().is_floating() {
            column.min_value = std::mem::take(&mut column.min_value).to_inexact();
            column.max_value = std::mem::take(&mut column.max_value).to_inexact();
        }
    }
    statistics
}
