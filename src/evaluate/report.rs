//! The merged sums of all rows → the batch of results: metrics or a confusion matrix.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use vatic_ml::data::labels::class_array;
use vatic_ml::model::metrics::{Assessment, Metric, Predictions};

use super::node::{Report, single_label};
use crate::error::{Result, ml_err};
use crate::model::ResolvedModel;

/// The batch of results for all rows.
pub(super) fn report(
    model: &ResolvedModel,
    report: Report,
    all: &Assessment,
    schema: SchemaRef,
) -> Result<RecordBatch> {
    match report {
        Report::Metrics => metrics(all, schema),
        Report::ConfusionMatrix => confusion_matrix(model, all, schema),
    }
}

fn metrics(all: &Assessment, schema: SchemaRef) -> Result<RecordBatch> {
    let mut counts = vec![all.rows()];
    if let Predictions::Classes(classified) = &all.predictions {
        counts.push(classified.unseen());
    }
    counts.push(all.null_rows);
    let number = |metric: Metric| Arc::new(Float64Array::from(vec![metric.value])) as ArrayRef;
    let count = |count: u64| Arc::new(Int64Array::from(vec![count as i64])) as ArrayRef;
    let columns = all.metrics().into_iter().map(number);
    let columns = columns.chain(counts.into_iter().map(count)).collect();
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// The count of each pair of labels. If there are labels that training did not see, they form one NULL label.
fn confusion_matrix(
    model: &ResolvedModel,
    all: &Assessment,
    schema: SchemaRef,
) -> Result<RecordBatch> {
    let label = single_label(model)?;
    let classes = label.classes.len();
    let mut counts = vec![0i64; (classes + 1) * classes];
    if let Predictions::Classes(classified) = &all.predictions {
        for (expected, predicted, count) in classified.counts() {
            let expected = expected.map_or(classes, |class| class as usize);
            counts[expected * classes + predicted as usize] = count as i64;
        }
    }
    let has_unseen = counts[classes * classes..].iter().any(|count| *count > 0);
    counts.truncate(if has_unseen {
        (classes + 1) * classes
    } else {
        classes * classes
    });
    let expected: Vec<u32> = (0..counts.len())
        .map(|pair| (pair / classes % classes) as u32)
        .collect();
    let predicted: Vec<u32> = (0..counts.len())
        .map(|pair| (pair % classes) as u32)
        .collect();
    let seen = NullBuffer::from_iter((0..counts.len()).map(|pair| pair / classes < classes));
    let array = |positions: &[u32], valid: Option<&NullBuffer>| {
        class_array(label.classes, positions, valid, &label.target.data_type).map_err(ml_err)
    };
    let columns = vec![
        array(&expected, Some(&seen))?,
        array(&predicted, None)?,
        Arc::new(Int64Array::from(counts)),
    ];
    let columns = columns
        .into_iter()
        .zip(schema.fields())
        .map(|(column, field)| cast(&column, field.data_type()));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new(schema, columns)?)
}
