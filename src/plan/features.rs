//! [`bind_features`]: the columns of an input that a model reads, and [`feature_batch`]: these columns of a batch.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::{Column, DFSchema};
use vatic_ml::data::signature::{Port, PortKind};
use vatic_ml::data::types::{coercion, is_image, is_text, type_name};

use crate::error::{Result, SqlState, sql_err};
use crate::model::ResolvedModel;

/// The input column of each feature of the model, by name. The types of the columns must be convertible to those of the model.
pub(crate) fn bind_features(model: &ResolvedModel, input: &DFSchema) -> Result<Vec<usize>> {
    let all: Vec<usize> = (0..model.manifest.signature.inputs.len()).collect();
    bind_inputs(model, &all, input)
}

/// The same for the inputs of the model at these positions.
pub(crate) fn bind_inputs(
    model: &ResolvedModel,
    positions: &[usize],
    input: &DFSchema,
) -> Result<Vec<usize>> {
    let label = model.label();
    let features = positions
        .iter()
        .map(|at| &model.manifest.signature.inputs[*at]);
    let mut indices = Vec::with_capacity(positions.len());
    let mut missing = Vec::new();
    for feature in features.clone() {
        let named = find_column(&feature.name, input, &label)?;
        match named.or_else(|| only_column(model, input)) {
            Some(index) => indices.push(index),
            None => missing.push(feature.name.as_str()),
        }
    }
    if !missing.is_empty() {
        let names: Vec<&str> = input
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        let describe = |feature: &&str| match crate::error::nearest(feature, names.iter().copied())
        {
            Some(nearest) => format!("\"{feature}\" (nearest column \"{nearest}\")"),
            None => format!("\"{feature}\""),
        };
        let missing = missing.iter().map(describe).collect::<Vec<_>>().join(", ");
        return Err(sql_err(
            SqlState::MissingColumn,
            format!("model \"{label}\" needs columns that the input does not have: {missing}"),
        ));
    }
    let columns = features.zip(&indices);
    let misfits: Vec<String> = columns
        .filter_map(|(feature, &index)| {
            let (field, wanted) = (input.field(index), &feature.data_type);
            let fits = coercion(field.data_type(), wanted).is_some();
            (!fits).then(|| {
                let (found, expected) = (type_name(field.data_type()), type_name(wanted));
                let name = field.name();
                let advice = cast_advice(name, field.data_type(), wanted);
                format!(
                    "column \"{name}\" is {found}, model \"{label}\" expects {expected}; use {advice}"
                )
            })
        })
        .collect();
    match misfits.is_empty() {
        true => Ok(indices),
        false => Err(sql_err(SqlState::TypeMismatch, misfits.join("; "))),
    }
}

/// The only column of images or of texts, for an imported model that takes one image or one text and nothing else: whoever made
/// the model did not know the names of the columns.
fn only_column(model: &ResolvedModel, input: &DFSchema) -> Option<usize> {
    let [port] = model.manifest.signature.inputs.as_slice() else {
        return None;
    };
    let is_meant: fn(&DataType) -> bool = match port.kind {
        PortKind::Image => is_image,
        PortKind::Text => is_text,
        _ => return None,
    };
    if model.manifest.trained().is_some() {
        return None;
    }
    let fields = input.fields().iter().enumerate();
    let mut columns = fields.filter(|(_, field)| is_meant(field.data_type()));
    let first = columns.next().map(|(index, _)| index);
    first.filter(|_| columns.next().is_none())
}

/// The one column of this name: an exact match, else a match that ignores case.
pub(crate) fn find_column(name: &str, input: &DFSchema, model: &str) -> Result<Option<usize>> {
    let find = |is_match: &dyn Fn(&str) -> bool| -> Vec<usize> {
        let fields = input.fields().iter().enumerate();
        fields
            .filter(|(_, field)| is_match(field.name()))
            .map(|(index, _)| index)
            .collect()
    };
    let exact = find(&|field| field == name);
    let found = if exact.is_empty() {
        find(&|field| field.eq_ignore_ascii_case(name))
    } else {
        exact
    };
    match found.as_slice() {
        [] => Ok(None),
        [index] => Ok(Some(*index)),
        several => {
            let columns: Vec<String> = several
                .iter()
                .map(|&index| format!("\"{}\"", qualified(input, index)))
                .collect();
            Err(sql_err(
                SqlState::DuplicateName,
                format!(
                    "feature \"{name}\" of \"{model}\" may be {}; select one of them",
                    columns.join(" or ")
                ),
            ))
        }
    }
}

fn qualified(schema: &DFSchema, index: usize) -> String {
    Column::from(schema.qualified_field(index)).flat_name()
}

/// What makes a column of the type `found` fit: an expression that casts it to `wanted`, or another column to use. SQL has no names for
/// some types.
pub(crate) fn cast_advice(name: &str, found: &DataType, wanted: &DataType) -> String {
    if let (DataType::FixedSizeList(_, length), DataType::FixedSizeList(_, needed)) =
        (found, wanted)
        && length != needed
    {
        return format!("arrays of length {needed}");
    }
    let sql_type = match wanted {
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INT",
        DataType::Int64 => "BIGINT",
        DataType::UInt8 => "TINYINT UNSIGNED",
        DataType::UInt16 => "SMALLINT UNSIGNED",
        DataType::UInt32 => "INT UNSIGNED",
        DataType::UInt64 => "BIGINT UNSIGNED",
        DataType::Float32 => "REAL",
        DataType::Float64 => "DOUBLE",
        DataType::Utf8 => "VARCHAR",
        DataType::Boolean => "BOOLEAN",
        DataType::Date32 => "DATE",
        image if is_image(image) => return "the bytes of image files, or decode_image".to_owned(),
        other => return format!("arrow_cast({name}, '{other}')"),
    };
    format!("CAST({name} AS {sql_type})")
}

/// The features of a batch in the order of the signature, not yet converted; `columns` holds the column of each feature.
pub(crate) fn feature_batch(
    model: &ResolvedModel,
    columns: &[usize],
    batch: &RecordBatch,
) -> Result<RecordBatch> {
    let features = model.manifest.signature.inputs.iter();
    batch_of(features.zip(columns), batch)
}

/// The same for the inputs of the model at these positions.
pub(crate) fn input_batch(
    model: &ResolvedModel,
    positions: &[usize],
    columns: &[usize],
    batch: &RecordBatch,
) -> Result<RecordBatch> {
    let inputs = positions
        .iter()
        .map(|at| &model.manifest.signature.inputs[*at]);
    batch_of(inputs.zip(columns), batch)
}

fn batch_of<'a>(
    features: impl Iterator<Item = (&'a Port, &'a usize)>,
    batch: &RecordBatch,
) -> Result<RecordBatch> {
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for (feature, &index) in features {
        let column = batch.column(index);
        fields.push(Field::new(&feature.name, column.data_type().clone(), true));
        arrays.push(Arc::clone(column));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let schema = Arc::new(Schema::new(fields));
    Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::TimeUnit;

    use super::*;
    use crate::error::report;
    use crate::model::example_model;

    /// The columns that the features of a model bind to.
    fn bound(
        features: &[(&str, DataType)],
        columns: &[(Option<&str>, &str, DataType)],
    ) -> Result<Vec<usize>, (SqlState, String)> {
        let model = example_model(features);
        let field = |(table, name, data_type): &(Option<&str>, &str, DataType)| {
            let field = Arc::new(Field::new(*name, data_type.clone(), true));
            (table.map(Into::into), field)
        };
        let fields = columns.iter().map(field).collect();
        let schema = DFSchema::new_with_metadata(fields, Default::default()).unwrap();
        bind_features(&model, &schema).map_err(|error| {
            let error = report(&error);
            (error.state, error.message)
        })
    }

    #[test]
    fn features_bind_by_name_an_exact_one_before_one_in_another_case() {
        let number = DataType::Float64;
        let features = [("a", number.clone()), ("B", number.clone())];
        let columns = ["id", "b", "A", "a"].map(|name| (None, name, number.clone()));
        assert_eq!(bound(&features, &columns), Ok(vec![3, 1]));
    }

    #[test]
    fn a_feature_that_two_tables_have_is_not_guessed() {
        let number = DataType::Float64;
        let columns = ["t", "u"].map(|table| (Some(table), "a", number.clone()));
        let (state, message) = bound(&[("a", number)], &columns).unwrap_err();
        assert_eq!(state, SqlState::DuplicateName);
        assert!(message.contains("\"t.a\" or \"u.a\""), "{message}");
    }

    #[test]
    fn every_missing_feature_is_named_with_the_nearest_column() {
        let number = DataType::Float64;
        let features = [("tenure", number.clone()), ("zzz", number.clone())];
        let columns = [(None, "tenur", number)];
        let (state, message) = bound(&features, &columns).unwrap_err();
        assert_eq!(state, SqlState::MissingColumn);
        let expected = "\"tenure\" (nearest column \"tenur\"), \"zzz\"";
        assert!(message.ends_with(expected), "{message}");
    }

    #[test]
    fn a_column_of_another_type_gets_the_cast_that_makes_it_fit() {
        let columns = [(None, "a", DataType::Utf8)];
        let (_, message) = bound(&[("a", DataType::Float64)], &columns).unwrap_err();
        assert!(message.ends_with("use CAST(a AS DOUBLE)"), "{message}");
        // Without loss an integer becomes a larger one.
        let columns = [(None, "a", DataType::Int32)];
        assert_eq!(bound(&[("a", DataType::Int64)], &columns), Ok(vec![0]));
        let columns = [(None, "a", DataType::Int32)];
        let (_, message) = bound(&[("a", DataType::Binary)], &columns).unwrap_err();
        assert!(message.ends_with("use the bytes of image files, or decode_image"));
        let columns = [(None, "a", DataType::BinaryView)];
        assert_eq!(bound(&[("a", DataType::Binary)], &columns), Ok(vec![0]));
        let duration = DataType::Duration(TimeUnit::Second);
        let advice = cast_advice("a", &DataType::Int64, &duration);
        assert_eq!(advice, format!("arrow_cast(a, '{duration}')"));
    }

    #[test]
    fn no_cast_makes_an_array_longer() {
        let array = |length| DataType::new_fixed_size_list(DataType::Float32, length, true);
        let columns = [(None, "a", array(3))];
        let (state, message) = bound(&[("a", array(2))], &columns).unwrap_err();
        assert_eq!(state, SqlState::TypeMismatch);
        assert!(message.ends_with("use arrays of length 2"), "{message}");
    }
}
