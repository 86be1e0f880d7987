//! `series_position(order, by…)`: the position of a row in its series, from 1. It fails if two rows have one place, or if a row
//! has none.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl,
};
use datafusion::scalar::ScalarValue;

use crate::error::{Result, SqlState, sql_err};

/// The function, which is called over the rows of a series in order.
pub(crate) fn series_position() -> WindowUDF {
    WindowUDF::from(SeriesPosition {
        signature: Signature::variadic_any(Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SeriesPosition {
    signature: Signature,
}

impl WindowUDFImpl for SeriesPosition {
    fn name(&self) -> &str {
        "series_position"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(
        &self,
        args: PartitionEvaluatorArgs,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        let fields = args.input_fields().iter();
        Ok(Box::new(Position {
            names: fields.map(|field| field.name().clone()).collect(),
            previous: None,
            count: 0,
        }))
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), DataType::UInt64, false)))
    }
}

/// The position within one series.
#[derive(Debug)]
struct Position {
    /// The columns of the arguments.
    names: Vec<String>,
    /// The place of the row before.
    previous: Option<ScalarValue>,
    count: u64,
}

impl PartitionEvaluator for Position {
    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        let row = range.start;
        let place = ScalarValue::try_from_array(&values[0], row)?;
        if place.is_null() {
            let message = format!(
                "{} is NULL in a row{}; filter such rows out",
                self.names[0],
                self.series(values, row)?
            );
            return Err(sql_err(SqlState::Null, message));
        }
        if self.previous.as_ref() == Some(&place) {
            let message = format!(
                "two rows{} have {} = {}; a series has one row at each place, so name the columns that tell series apart in by",
                self.series(values, row)?,
                self.names[0],
                shown(&values[0], row)?
            );
            return Err(sql_err(SqlState::Data, message));
        }
        self.previous = Some(place);
        self.count += 1;
        Ok(ScalarValue::UInt64(Some(self.count)))
    }

    fn supports_bounded_execution(&self) -> bool {
        true
    }

    fn is_causal(&self) -> bool {
        true
    }
}

impl Position {
    /// The series of a row, for an error: empty if there is only one.
    fn series(&self, values: &[ArrayRef], row: usize) -> Result<String> {
        let columns = self.names.iter().zip(values).skip(1);
        let columns = columns.map(|(name, values)| {
            let value = shown(values, row);
            value.map(|value| format!("{name} = {value}"))
        });
        let columns: Vec<String> = columns.collect::<Result<_>>()?;
        Ok(match columns.is_empty() {
            true => String::new(),
            false => format!(" of series {}", columns.join(", ")),
        })
    }
}

fn shown(values: &ArrayRef, row: usize) -> Result<String> {
    let options = FormatOptions::default().with_null("NULL");
    let formatter = ArrayFormatter::try_new(values.as_ref(), &options)?;
    Ok(formatter.value(row).to_string())
}
