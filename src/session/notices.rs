//! [`with_notices`]: what a query says about its rows once all of them are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

use crate::cluster::Cluster;
use crate::error::Result;
use crate::plan::nearest::index::{unread_graphs, uses_index};
use crate::predict::{may_truncate, truncated};
use crate::progress::{ProgressEvent, ProgressListener};

/// The rows of a plan that runs here, or in part on a cluster. After the last row, the listener hears which models have left out the
/// ends of texts, and which indexes could not be read.
pub(super) fn with_notices(
    rows: SendableRecordBatchStream,
    plan: Arc<dyn ExecutionPlan>,
    cluster: Option<Arc<Cluster>>,
    listener: Option<ProgressListener>,
) -> SendableRecordBatchStream {
    let Some(listener) = listener.filter(|_| may_truncate(&plan) || uses_index(&plan)) else {
        return rows;
    };
    let schema = rows.schema();
    let end = async move {
        let mut texts = BTreeMap::new();
        let mut graphs = BTreeMap::new();
        count_here(&plan, &mut texts, &mut graphs);
        if let Some(cluster) = &cluster {
            for (exec, metrics) in cluster.measured(&plan).await {
                add(truncated(&exec, &metrics), &mut texts);
                add(unread_graphs(&exec, &metrics), &mut graphs);
            }
        }
        for (model, count) in texts {
            listener(ProgressEvent::Notice {
                about: model,
                text: truncation(count),
            });
        }
        for (index, files) in graphs {
            listener(ProgressEvent::Notice {
                about: format!("index {index}"),
                text: unread(files),
            });
        }
        None::<Result<RecordBatch>>
    };
    let end = futures::stream::once(end).filter_map(std::future::ready);
    Box::pin(RecordBatchStreamAdapter::new(schema, rows.chain(end)))
}

type Counts = BTreeMap<String, usize>;

fn count_here(plan: &Arc<dyn ExecutionPlan>, texts: &mut Counts, graphs: &mut Counts) {
    if let Some(metrics) = plan.metrics() {
        add(truncated(plan, &metrics), texts);
        add(unread_graphs(plan, &metrics), graphs);
    }
    for input in plan.children() {
        count_here(input, texts, graphs);
    }
}

fn add(found: Option<(String, usize)>, counts: &mut Counts) {
    if let Some((name, count)) = found {
        *counts.entry(name).or_default() += count;
    }
}

fn unread(files: usize) -> String {
    let files = match files {
        1 => "the graphs of 1 file".to_owned(),
        files => format!("the graphs of {files} files"),
    };
    format!(
        "{files} cannot be read, so all rows there were searched; drop the index and create it again"
    )
}

fn truncation(count: usize) -> String {
    let texts = match count {
        1 => "1 text is longer than the model takes, so its end was left out".to_owned(),
        count => {
            format!("{count} texts are longer than the model takes, so their ends were left out")
        }
    };
    format!("{texts}; truncate => false makes them errors")
}
