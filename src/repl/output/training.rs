//! The result of TRAIN in words, for people. Programs read its columns in the other formats.

use std::io::Write;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::display::array_value_to_string;

use super::cell::escaped;
use crate::error::Result;
use crate::train::result_schema;

/// Whether this is the schema of TRAIN's result.
pub(super) fn is_training(schema: &Schema) -> bool {
    let expected = result_schema();
    names(schema) == names(&expected)
}

/// The label of the version that a training made, `model@version`; `None` if the model existed and was kept.
pub(super) fn trained(batch: &RecordBatch) -> Result<Option<String>> {
    let training = Training { batch, row: 0 };
    if batch.num_rows() == 0 || training.text("status")? == "EXISTS" {
        return Ok(None);
    }
    let (model, version) = (training.text("model")?, training.text("version")?);
    Ok(Some(format!("{model}@{version}")))
}

fn names(schema: &Schema) -> Vec<&str> {
    let fields = schema.fields().iter();
    fields.map(|field| field.name().as_str()).collect()
}

/// Writes two lines for each row.
pub(super) fn render(batch: &RecordBatch, out: &mut impl Write) -> Result<()> {
    for row in 0..batch.num_rows() {
        let training = Training { batch, row };
        let text = format!("{}\n{}\n", training.what()?, training.figures()?);
        out.write_all(text.as_bytes())?;
    }
    Ok(())
}

/// A row of the result.
struct Training<'a> {
    batch: &'a RecordBatch,
    row: usize,
}

impl Training<'_> {
    /// What was trained, on what, and how long that took.
    fn what(&self) -> Result<String> {
        let status = match self.text("status")?.as_str() {
            "CREATED" => "was created",
            "REPLACED" => "has a new version",
            _ => "exists and was kept",
        };
        let (model, version) = (self.text("model")?, self.text("version")?);
        let rows = counted(&self.text("train_rows")?, "row");
        let epochs = counted(&self.text("epochs")?, "epoch");
        let refit = match self.number("refit_epochs")? {
            None => " and".to_owned(),
            Some(epochs) => {
                let epochs = counted(&epochs.to_string(), "epoch");
                format!(", then on all rows in {epochs},")
            }
        };
        let seconds = self.number("duration_ms")?.unwrap_or_default() / 1_000.0;
        let device = self.text("device")?;
        let skipped = match self.text("skipped_rows")?.as_str() {
            "0" => String::new(),
            skipped => format!("; {} left out", counted(skipped, "row")),
        };
        Ok(format!(
            "model {model} {status}: version {version}, trained on {rows} in {epochs}{refit} {seconds:.1} s on {device}{skipped}"
        ))
    }

    /// The main metric and the losses, and the rows that they are about.
    fn figures(&self) -> Result<String> {
        let eval_loss = self.number("eval_loss")?;
        let mut figures = match self.text("eval_rows")?.as_str() {
            "0" => "on these rows:".to_owned(),
            rows if self.number("refit_epochs")?.is_some() => {
                format!(
                    "on {} that the first training did not see:",
                    counted(rows, "row")
                )
            }
            rows => format!("on {} that training did not see:", counted(rows, "row")),
        };
        if let Some(value) = self.number("metric_value")? {
            let metric = self.text("metric")?;
            figures.push_str(&format!(" {metric} {},", short(value)));
        }
        let train_loss = self.number("train_loss")?.map_or("NULL".into(), short);
        figures.push_str(&match eval_loss {
            Some(loss) => format!(" loss {} (training rows {train_loss})", short(loss)),
            None => format!(" loss {train_loss}"),
        });
        Ok(figures)
    }

    fn text(&self, name: &str) -> Result<String> {
        match self.batch.column_by_name(name) {
            Some(column) => Ok(escaped(array_value_to_string(column, self.row)?)),
            None => Ok(String::new()),
        }
    }

    fn number(&self, name: &str) -> Result<Option<f64>> {
        let Some(column) = self.batch.column_by_name(name) else {
            return Ok(None);
        };
        let numbers = cast(column, &DataType::Float64)?;
        let numbers = numbers.as_primitive::<Float64Type>();
        Ok(numbers.is_valid(self.row).then(|| numbers.value(self.row)))
    }
}

fn counted(count: &str, noun: &str) -> String {
    match count {
        "1" => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

/// A figure with as many digits as people compare.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        size if size == 0.0 || (1e-3..1e6).contains(&size) => format!("{value:.4}"),
        _ => format!("{value:.3e}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};

    use super::*;

    fn result(status: &str, eval: Option<(i64, f64)>, skipped: i64) -> String {
        result_with(status, eval, skipped, None)
    }

    fn result_with(
        status: &str,
        eval: Option<(i64, f64)>,
        skipped: i64,
        refit_epochs: Option<i64>,
    ) -> String {
        let text = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
        let count = |count: i64| Arc::new(Int64Array::from(vec![count])) as ArrayRef;
        let number = |number: Option<f64>| Arc::new(Float64Array::from(vec![number])) as ArrayRef;
        let columns = vec![
            text("m"),
            count(2),
            text(status),
            count(120),
            count(eval.map_or(0, |(rows, _)| rows)),
            count(skipped),
            count(1),
            number(Some(0.00001234)),
            number(eval.map(|(_, loss)| loss)),
            text("accuracy"),
            number(Some(0.96666)),
            count(1_270),
            count(0),
            text("cpu"),
            count(2),
            count(8),
            Arc::new(Int64Array::from(vec![refit_epochs])),
        ];
        let batch = RecordBatch::try_new(result_schema(), columns).unwrap();
        assert!(is_training(&batch.schema()));
        let is_new = status != "EXISTS";
        assert_eq!(trained(&batch).unwrap(), is_new.then(|| "m@2".to_owned()));
        let mut out = Vec::new();
        render(&batch, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_second_training_is_told_too() {
        assert_eq!(
            result_with("CREATED", Some((30, 0.2526)), 0, Some(39)),
            "model m was created: version 2, trained on 120 rows in 1 epoch, then on all rows in 39 epochs, 1.3 s on cpu\n\
             on 30 rows that the first training did not see: accuracy 0.9667, loss 0.2526 (training rows 1.234e-5)\n"
        );
    }

    #[test]
    fn a_training_is_told_in_two_lines() {
        assert_eq!(
            result("CREATED", Some((30, 0.2526)), 0),
            "model m was created: version 2, trained on 120 rows in 1 epoch and 1.3 s on cpu\n\
             on 30 rows that training did not see: accuracy 0.9667, loss 0.2526 (training rows 1.234e-5)\n"
        );
        assert_eq!(
            result("REPLACED", None, 3),
            "model m has a new version: version 2, trained on 120 rows in 1 epoch and 1.3 s on cpu; 3 rows left out\n\
             on these rows: accuracy 0.9667, loss 1.234e-5\n"
        );
        assert!(result("EXISTS", None, 0).starts_with("model m exists and was kept: version 2"));
    }
}
