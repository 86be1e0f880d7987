//! [`ScanRule`]: a physical optimizer rule that replaces file scans.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use crate::error::Result;

/// The configuration of a file scan; `None` for other operators.
pub(crate) fn file_scan(exec: &dyn ExecutionPlan) -> Option<&FileScanConfig> {
    let scan = exec.downcast_ref::<DataSourceExec>()?;
    scan.data_source().downcast_ref::<FileScanConfig>()
}

/// A rule that replaces file scans only.
#[derive(Debug)]
pub(crate) struct ScanRule {
    pub(super) name: &'static str,
    /// Returns the replacement of a scan; `None` keeps the scan.
    pub(super) other: fn(&FileScanConfig, &ConfigOptions) -> Option<FileScanConfig>,
}

impl PhysicalOptimizerRule for ScanRule {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let replace = |plan: Arc<dyn ExecutionPlan>| {
            let replaced = file_scan(plan.as_ref()).and_then(|scan| (self.other)(scan, options));
            Ok(match replaced {
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
