//! [`LONE_FILES`]: the optimizer rule for filters of image files. A filter gathers the rows that it keeps until it has a batch of
//! 8,192: gigabytes of files, which no memory pool counts. Above a scan of images it passes on each file alone, as the scan does.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;

use super::source::ImageSource;
use crate::error::Result;
use crate::plan::replace_rule::ReplaceRule;
use crate::plan::scans::file_scan;

pub(crate) const LONE_FILES: ReplaceRule = ReplaceRule {
    name: "LoneFiles",
    other: passing_each_file,
};

fn passing_each_file(exec: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(filter) = exec.downcast_ref::<FilterExec>() else {
        return Ok(None);
    };
    match filter.batch_size() > 1 && has_files(filter.input().as_ref()) {
        true => Ok(Some(Arc::new(filter.with_batch_size(1)?))),
        false => Ok(None),
    }
}

/// Whether the rows of an operator are those of a scan of images.
fn has_files(exec: &dyn ExecutionPlan) -> bool {
    if let Some(scan) = file_scan(exec) {
        return scan.file_source.is::<ImageSource>();
    }
    let is_limit = exec.is::<GlobalLimitExec>() || exec.is::<LocalLimitExec>();
    let moves_rows = exec.is::<RepartitionExec>() || exec.is::<CoalescePartitionsExec>();
    let keeps_rows =
        is_limit || moves_rows || exec.is::<FilterExec>() || exec.is::<ProjectionExec>();
    let mut inputs = exec.children().into_iter();
    keeps_rows && inputs.any(|input| has_files(input.as_ref()))
}

#[cfg(test)]
mod tests {
    use datafusion::physical_plan::displayable;

    use super::*;
    use crate::engine::Engine;

    /// The sizes of the batches of the filters in the plan of a query.
    async fn sizes(query: &str) -> Vec<usize> {
        fn add(exec: &dyn ExecutionPlan, sizes: &mut Vec<usize>) {
            sizes.extend(
                exec.downcast_ref::<FilterExec>()
                    .map(FilterExec::batch_size),
            );
            for input in exec.children() {
                add(input.as_ref(), sizes);
            }
        }
        let session = Engine::builder().build().unwrap().session().unwrap();
        let plan = session.plan_query(query).await.unwrap();
        let plan = session.physical_plan(&plan).await.unwrap();
        let mut sizes = vec![];
        add(plan.as_ref(), &mut sizes);
        assert!(
            !sizes.is_empty(),
            "{}",
            displayable(plan.as_ref()).indent(true)
        );
        sizes
    }

    #[tokio::test]
    async fn a_filter_of_image_files_passes_on_each_file() {
        let files = "read_images('sql-tests/data/images/')";
        let is_wide = "image_info(bytes)['width'] > 4";
        let kept = sizes(&format!("SELECT path, bytes FROM {files} WHERE {is_wide}")).await;
        assert_eq!(kept, [1]);
        // A condition above a limit is not moved below it.
        let few = format!("SELECT path, bytes FROM {files} LIMIT 5");
        let kept = sizes(&format!("SELECT path FROM ({few}) WHERE {is_wide}")).await;
        assert_eq!(kept, [1]);
        let kept = sizes(&format!(
            "SELECT label FROM (SELECT label, count(*) AS files FROM {files} WHERE {is_wide} GROUP BY label) WHERE files > 1"
        ))
        .await;
        assert_eq!(kept, [8_192, 1]);
    }
}
