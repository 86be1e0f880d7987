//! Conversion of schemas and batches to types that every client can read, and JDBC's metadata of types.
//!
//! Views, dictionaries and run-end-encoded arrays become plain arrays, half floats become floats, large lists become
//! lists, intervals become MonthDayNano, small decimals become Decimal128: JDBC or JavaScript cannot read the originals.
//! All columns are nullable: an optimizer's findings about NULLs must not make a stream's schema differ from the schema
//! announced before.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, Fields, IntervalUnit, Schema, SchemaRef,
};
use datafusion::common::DataFusionError;

use crate::session::column_tables::column_metadata;

/// A schema in the types of the wire.
pub(super) fn wire_schema(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter();
    let fields: Fields = fields
        .map(|field| {
            let data_type = wire_type(field.data_type());
            let field =
                Field::new(field.name(), data_type, true).with_metadata(field.metadata().clone());
            Arc::new(field)
        })
        .collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// The schema of a result, with JDBC's metadata of its types.
pub(super) fn result_schema(schema: &Schema) -> SchemaRef {
    let wire = wire_schema(schema);
    let fields = wire.fields().iter().map(|field| {
        let mut metadata = field.metadata().clone();
        metadata.extend(type_facts(field.data_type()));
        field.as_ref().clone().with_metadata(metadata)
    });
    let fields: Vec<Field> = fields.collect();
    Arc::new(Schema::new_with_metadata(fields, wire.metadata().clone()))
}

/// A type as clients receive it.
pub(super) fn wire_type(data_type: &DataType) -> DataType {
    let inner = |field: &FieldRef| -> FieldRef {
        Arc::new(
            field
                .as_ref()
                .clone()
                .with_data_type(wire_type(field.data_type())),
        )
    };
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Dictionary(_, value) => wire_type(value),
        DataType::RunEndEncoded(_, values) => wire_type(values.data_type()),
        // arrow-flight's encoder converts large lists to lists.
        DataType::List(field)
        | DataType::ListView(field)
        | DataType::LargeList(field)
        | DataType::LargeListView(field) => DataType::List(inner(field)),
        DataType::Interval(_) => DataType::Interval(IntervalUnit::MonthDayNano),
        DataType::FixedSizeList(field, length) => DataType::FixedSizeList(inner(field), *length),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::Map(entries, is_sorted) => DataType::Map(inner(entries), *is_sorted),
        other => other.clone(),
    }
}

/// Casts a batch to `schema`, the [`wire_schema`] of the batch's schema.
pub(super) fn wire_batch(
    batch: &RecordBatch,
    schema: &SchemaRef,
) -> Result<RecordBatch, DataFusionError> {
    let adapt =
        |(column, field): (&ArrayRef, &FieldRef)| match column.data_type() == field.data_type() {
            true => Ok(Arc::clone(column)),
            false => cast(column, field.data_type()),
        };
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(adapt).collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}

/// The JDBC metadata of a column's type.
pub(super) fn type_facts(data_type: &DataType) -> impl Iterator<Item = (String, String)> {
    let (name, precision, scale) = sql_type(data_type);
    let precision = precision.map(|precision| column_metadata("PRECISION", precision));
    let scale = scale.map(|scale| column_metadata("SCALE", scale));
    let name = column_metadata("TYPE_NAME", name);
    std::iter::once(name).chain(precision).chain(scale)
}

/// The SQL name of a type, its precision and its scale.
fn sql_type(data_type: &DataType) -> (String, Option<i32>, Option<i32>) {
    let (name, precision) = match data_type {
        DataType::Boolean => ("BOOLEAN", Some(1)),
        DataType::Int8 => ("TINYINT", Some(3)),
        DataType::Int16 => ("SMALLINT", Some(5)),
        DataType::Int32 => ("INT", Some(10)),
        DataType::Int64 => ("BIGINT", Some(19)),
        DataType::UInt8 => ("TINYINT UNSIGNED", Some(3)),
        DataType::UInt16 => ("SMALLINT UNSIGNED", Some(5)),
        DataType::UInt32 => ("INT UNSIGNED", Some(10)),
        DataType::UInt64 => ("BIGINT UNSIGNED", Some(20)),
        DataType::Float32 => ("REAL", Some(24)),
        DataType::Float64 => ("DOUBLE", Some(53)),
        DataType::Utf8 | DataType::LargeUtf8 => ("VARCHAR", None),
        DataType::Binary | DataType::LargeBinary => ("BYTEA", None),
        DataType::Date32 | DataType::Date64 => ("DATE", None),
        DataType::Time32(_) | DataType::Time64(_) => ("TIME", None),
        DataType::Timestamp(_, None) => ("TIMESTAMP", None),
        DataType::Timestamp(_, Some(_)) => ("TIMESTAMP WITH TIME ZONE", None),
        DataType::Interval(_) => ("INTERVAL", None),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            return (
                "DECIMAL".into(),
                Some((*precision).into()),
                Some((*scale).into()),
            );
        }
        other => return (other.to_string(), None, None),
    };
    (name.to_owned(), precision, None)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{
        AsArray, DictionaryArray, Int32Array, ListBuilder, StringViewArray, StringViewBuilder,
    };
    use datafusion::arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn types_that_some_clients_lack_are_replaced_wherever_they_are() {
        let mut lists = ListBuilder::new(StringViewBuilder::new());
        lists.append_value([Some("a"), None]);
        let dictionary: DictionaryArray<Int32Type> = ["x"].into_iter().collect();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("view", Arc::new(StringViewArray::from(vec!["v"]))),
            ("list", Arc::new(lists.finish())),
            ("dictionary", Arc::new(dictionary)),
            (
                "half",
                cast(&Int32Array::from(vec![2]), &DataType::Float16).unwrap(),
            ),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let schema = wire_schema(&batch.schema());
        let types: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| field.data_type().to_string())
            .collect();
        assert_eq!(types, ["Utf8", "List(Utf8)", "Utf8", "Float32"]);
        let batch = wire_batch(&batch, &schema).unwrap();
        assert_eq!(batch.column(0).as_string::<i32>().value(0), "v");
        assert!(schema.fields().iter().all(|field| field.is_nullable()));
    }
}
