//! `COPY … TO 'x.csv'` writes lists, structs and maps as JSON, because CSV has no nested values.

use std::sync::Arc;

use arrow_json::writer::{LineDelimited, WriterBuilder};
use datafusion::arrow::array::{Array, ArrayRef, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Column;
use datafusion::logical_expr::dml::CopyTo;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

use crate::error::{Result, SqlState, sql_err};

/// The plan; if it writes CSV, nested columns become text.
pub(crate) fn with_text_in_csv(plan: LogicalPlan) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Copy(copy) => Ok(LogicalPlan::Copy(with_text(copy)?)),
        LogicalPlan::Explain(mut explain) => {
            explain.plan = Arc::new(with_text_in_csv(Arc::unwrap_or_clone(explain.plan))?);
            Ok(LogicalPlan::Explain(explain))
        }
        LogicalPlan::Analyze(mut analyze) => {
            analyze.input = Arc::new(with_text_in_csv(Arc::unwrap_or_clone(analyze.input))?);
            Ok(LogicalPlan::Analyze(analyze))
        }
        plan => Ok(plan),
    }
}

fn with_text(mut copy: CopyTo) -> Result<CopyTo> {
    let fields = copy.input.schema().fields().iter();
    let has_nested = fields.clone().any(|field| field.data_type().is_nested());
    if copy.file_type.get_ext() != "csv" || !has_nested {
        return Ok(copy);
    }
    let function = Arc::new(nested_as_json());
    let columns = copy.input.schema().iter().map(|named| {
        let field = named.1;
        let column = Expr::Column(Column::from((named.0, field)));
        match field.data_type().is_nested() {
            true => function.call(vec![column]).alias(field.name()),
            false => column,
        }
    });
    let columns: Vec<Expr> = columns.collect();
    let input = LogicalPlanBuilder::from(Arc::clone(&copy.input));
    copy.input = Arc::new(input.project(columns)?.build()?);
    Ok(copy)
}

/// A function that converts a nested value to JSON. Users do not call it; plans on executors do.
pub(crate) fn nested_as_json() -> ScalarUDF {
    let signature = Signature::any(1, Volatility::Immutable);
    ScalarUDF::from(NestedAsJson { signature })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct NestedAsJson {
    signature: Signature,
}

impl ScalarUDFImpl for NestedAsJson {
    fn name(&self) -> &str {
        "nested_as_json"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let values = ColumnarValue::values_to_arrays(&args.args)?;
        Ok(ColumnarValue::Array(json(&values[0])?))
    }
}

fn json(values: &ArrayRef) -> Result<ArrayRef> {
    let damaged = || sql_err(SqlState::Internal, "a value cannot be written as JSON");
    let field = Field::new("v", values.data_type().clone(), true);
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::clone(values)])?;
    let builder = WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, LineDelimited>(Vec::new());
    writer.write(&batch)?;
    writer.finish()?;
    let text = String::from_utf8(writer.into_inner()).map_err(|_| damaged())?;
    // Each line is {"v":VALUE}; line breaks in texts are escaped.
    let lines = text.lines().enumerate().map(|(row, line)| {
        let value = line
            .strip_prefix("{\"v\":")
            .and_then(|rest| rest.strip_suffix('}'))
            .ok_or_else(damaged)?;
        Ok((!values.is_null(row)).then_some(value))
    });
    let lines: Vec<Option<&str>> = lines.collect::<Result<_>>()?;
    Ok(Arc::new(StringArray::from(lines)))
}
