//! [`SHORT_FILTERS`]: the optimizer rule for filters above short batches. A filter gathers the rows that it keeps until it has a
//! batch of 8,192: gigabytes of files or arrays, which no memory pool counts. Where the batches below are short on purpose, the
//! filter gathers no more rows than one of them has.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::windows::BoundedWindowAggExec;

use crate::error::Result;
use crate::plan::replace_rule::ReplaceRule;
use crate::plan::scans::file_scan;
use crate::plan::series::ShortBatchesExec;

pub(crate) const SHORT_FILTERS: ReplaceRule = ReplaceRule {
    name: "ShortFilters",
    other: gathering_no_more,
};

fn gathering_no_more(exec: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(filter) = exec.downcast_ref::<FilterExec>() else {
        return Ok(None);
    };
    match rows_below(filter.input().as_ref()) {
        Some(rows) if rows < filter.batch_size() => {
            Ok(Some(Arc::new(filter.with_batch_size(rows)?)))
        }
        _ => Ok(None),
    }
}

/// The rows of a batch of an operator, if its batches are short on purpose.
fn rows_below(exec: &dyn ExecutionPlan) -> Option<usize> {
    if let Some(scan) = file_scan(exec) {
        return scan.batch_size;
    }
    if let Some(short) = exec.downcast_ref::<ShortBatchesExec>() {
        return Some(short.rows_max());
    }
    let is_limit = exec.is::<GlobalLimitExec>() || exec.is::<LocalLimitExec>();
    let moves_rows = exec.is::<RepartitionExec>() || exec.is::<CoalescePartitionsExec>();
    let computes = exec.is::<ProjectionExec>() || exec.is::<BoundedWindowAggExec>();
    if !(is_limit || moves_rows || computes || exec.is::<FilterExec>()) {
        return None;
    }
    let mut inputs = exec.children().into_iter();
    inputs.find_map(|input| rows_below(input.as_ref()))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::record_batch::RecordBatch;
    use datafusion::physical_plan::displayable;
    use futures::TryStreamExt;

    use super::*;
    use crate::engine::Engine;
    use crate::session::Session;

    fn session() -> Session {
        Engine::builder().build().unwrap().session().unwrap()
    }

    /// The sizes of the batches of the filters in the plan of a query.
    async fn sizes(session: &Session, query: &str) -> Vec<usize> {
        fn add(exec: &dyn ExecutionPlan, sizes: &mut Vec<usize>) {
            let filter = exec.downcast_ref::<FilterExec>();
            sizes.extend(filter.map(FilterExec::batch_size));
            for input in exec.children() {
                add(input.as_ref(), sizes);
            }
        }
        let plan = session.plan_query(query).await.unwrap();
        let plan = session.physical_plan(&plan).await.unwrap();
        let mut sizes = vec![];
        add(plan.as_ref(), &mut sizes);
        let shown = displayable(plan.as_ref()).indent(true).to_string();
        assert!(!sizes.is_empty(), "{shown}");
        sizes
    }

    #[tokio::test]
    async fn a_filter_of_image_files_passes_on_each_file() {
        let session = session();
        let files = "read_images('sql-tests/data/images/')";
        let is_wide = "image_info(bytes)['width'] > 4";
        let query = format!("SELECT path, bytes FROM {files} WHERE {is_wide}");
        assert_eq!(sizes(&session, &query).await, [1]);
        // A condition above a limit is not moved below it.
        let few = format!("SELECT path, bytes FROM {files} LIMIT 5");
        let query = format!("SELECT path FROM ({few}) WHERE {is_wide}");
        assert_eq!(sizes(&session, &query).await, [1]);
        let counts =
            format!("SELECT label, count(*) AS files FROM {files} WHERE {is_wide} GROUP BY label");
        let query = format!("SELECT label FROM ({counts}) WHERE files > 1");
        assert_eq!(sizes(&session, &query).await, [8_192, 1]);
    }

    #[tokio::test]
    async fn a_filter_of_arrays_gathers_no_more_than_their_scan_reads() {
        let session = session();
        let table = "CREATE TABLE t AS SELECT value, [value * 1.0, 2.0] AS numbers FROM generate_series(1, 9)";
        let rows = session.sql(table).await.unwrap();
        rows.try_collect::<Vec<RecordBatch>>().await.unwrap();
        let query = "SELECT numbers FROM t WHERE numbers[1] > 2.0";
        assert_eq!(sizes(&session, query).await, [512]);
        let query = "SELECT value FROM t WHERE value > 2";
        assert_eq!(sizes(&session, query).await, [8_192]);
    }

    #[tokio::test]
    async fn a_filter_of_windows_gathers_no_more_than_they_make() {
        let session = session();
        let rows = "(SELECT value AS t, value * 0.5 AS x FROM generate_series(1, 2000))";
        for (arguments, expected) in [
            ("lags => 14", 8_192),
            ("lags => 1000", 524),
            ("lags => 1000, horizon => 1", 524),
        ] {
            let query = format!("SELECT * FROM windows({rows}, order => t, {arguments})");
            let found = sizes(&session, &query).await;
            assert!(
                found.iter().all(|rows| *rows == expected),
                "{arguments}: {found:?}"
            );
        }
    }
}
