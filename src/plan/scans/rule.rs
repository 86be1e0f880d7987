//! [`ScanRule`]: puts another scan of files in the place of one.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use crate::error::Result;

/// What a scan of files reads, and how.
pub(crate) fn file_scan(exec: &dyn ExecutionPlan) -> Option<&FileScanConfig> {
    let scan = exec.downcast_ref::<DataSourceExec>()?;
    scan.data_source().downcast_ref::<FileScanConfig>()
}

/// A rule that looks at scans only.
#[derive(Debug)]
pub(crate) struct ScanRule {
    pub(super) name: &'static str,
    /// The scan that comes in the place of one, if it has to be another.
    pub(super) other: fn(&FileScanConfig) -> Option<FileScanConfig>,
}

impl PhysicalOptimizerRule for ScanRule {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let replace = |plan: Arc<dyn ExecutionPlan>| {
            Ok(match file_scan(plan.as_ref()).and_then(self.other) {
                Some(config) => Transformed::yes(DataSourceExec::from_data_source(config) as _),
                None => Transformed::no(plan),
            })
        };
        Ok(plan.transform_up(replace)?.data)
    }

    fn name(&self) -> &str {
        self.name
    }

    fn schema_check(&self) -> bool {
        true
    }
}
