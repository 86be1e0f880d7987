//! The merged sums of all rows → the batch of results: metrics, a confusion matrix or a curve.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use vatic_ml::data::labels::class_array;
use vatic_ml::data::signature::Label;
use vatic_ml::model::metrics::{Assessment, Assessments, Metric, Predictions};

use super::node::{Curve, Report, has_classes, labels, metric_names, no_such_label};
use crate::error::{Result, ml_err};
use crate::model::ResolvedModel;

/// The batch of results for all rows.
pub(super) fn report(
    model: &ResolvedModel,
    report: Report,
    all: &Assessments,
    schema: SchemaRef,
) -> Result<RecordBatch> {
    match report {
        Report::Metrics => metrics(model, all, schema),
        Report::ConfusionMatrix { label } => confusion_matrix(model, label, all, schema),
        Report::Curve { label, curve } => points(model, (label, curve), all, schema),
    }
}

/// A row for each label: the metrics, which are NULL where they are not of the label's kind, and the counts of rows.
fn metrics(model: &ResolvedModel, all: &Assessments, schema: SchemaRef) -> Result<RecordBatch> {
    let labels = labels(model)?;
    let forms = labels.iter().map(Label::form);
    let of_labels: Vec<Vec<Metric>> = all.0.iter().map(Assessment::metrics).collect();
    let value = |name: &str| -> ArrayRef {
        let values = of_labels.iter().map(|metrics| {
            let metric = metrics.iter().find(|metric| metric.name == name);
            metric.and_then(|metric| metric.value)
        });
        Arc::new(Float64Array::from_iter(values))
    };
    let count = |of: &dyn Fn(&Assessment) -> Option<u64>| -> ArrayRef {
        let counts = all
            .0
            .iter()
            .map(|label| of(label).map(|count| count as i64));
        Arc::new(Int64Array::from_iter(counts))
    };
    let mut columns: Vec<ArrayRef> = vec![];
    if labels.len() > 1 {
        let names = labels.iter().map(|label| label.target.name.as_str());
        columns.push(Arc::new(StringArray::from_iter_values(names)));
    }
    columns.extend(metric_names(forms.clone()).into_iter().map(value));
    columns.push(count(&|label| Some(label.rows())));
    if forms.clone().any(has_classes) {
        columns.push(count(&unseen_labels));
    }
    columns.push(count(&|label| Some(label.null_rows)));
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// The rows whose label the model does not know; `None` for numbers.
fn unseen_labels(label: &Assessment) -> Option<u64> {
    match &label.predictions {
        Predictions::Classes(classified) => Some(classified.unseen()),
        Predictions::Sets(tagged) => Some(tagged.unseen()),
        Predictions::Numbers(_) | Predictions::Vectors(_) => None,
    }
}

/// The count of each pair of labels. If there are labels that training did not see, they form one NULL label.
fn confusion_matrix(
    model: &ResolvedModel,
    number: usize,
    all: &Assessments,
    schema: SchemaRef,
) -> Result<RecordBatch> {
    let labels = labels(model)?;
    let label = labels.get(number).ok_or_else(no_such_label)?;
    let all = all.0.get(number).ok_or_else(no_such_label)?;
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

/// The points of the curve of each class.
fn points(
    model: &ResolvedModel,
    (number, curve): (usize, Curve),
    all: &Assessments,
    schema: SchemaRef,
) -> Result<RecordBatch> {
    let labels = labels(model)?;
    let label = labels.get(number).ok_or_else(no_such_label)?;
    let all = all.0.get(number).ok_or_else(no_such_label)?;
    let of_classes = match &all.predictions {
        Predictions::Classes(classified) => classified.of_rankings(|class, ranking| {
            let points = match curve {
                Curve::Roc => ranking.roc_curve(),
                Curve::PrecisionRecall => ranking.pr_curve(),
                Curve::Calibration => ranking.calibration_curve(),
            };
            (class, points)
        }),
        Predictions::Sets(_) | Predictions::Numbers(_) | Predictions::Vectors(_) => vec![],
    };
    let classes = of_classes
        .iter()
        .flat_map(|(class, points)| std::iter::repeat_n(*class, points.len()));
    let classes: Vec<u32> = classes.collect();
    let array = class_array(label.classes, &classes, None, &label.target.data_type);
    let points: Vec<[f64; 3]> = of_classes
        .into_iter()
        .flat_map(|(_, points)| points)
        .collect();
    // A rate of no rows is NaN.
    let column = |place: usize| -> ArrayRef {
        let values = points.iter().map(|point| Some(point[place]));
        let values = values.map(|value| value.filter(|value| !value.is_nan()));
        Arc::new(Float64Array::from_iter(values))
    };
    let columns = [array.map_err(ml_err)?, column(0), column(1), column(2)];
    let columns = columns
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| cast(column, field.data_type()));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    Ok(RecordBatch::try_new(schema, columns)?)
}
