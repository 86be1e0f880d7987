//! `prob(probs, label)`: the probability of a label among those that `predict` returns.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, ListArray, make_comparator};
use arrow::compute::{CastOptions, SortOptions, can_cast_types, cast, cast_with_options};
use arrow::datatypes::{DataType, Field, Fields, Float64Type};
use datafusion_common::{Result, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::doc::Doc;
use crate::vector::type_name;

const DOC: Doc = Doc {
    name: "prob",
    syntax: "prob(probs, label)",
    gives: "the probability of a label in a column such as predicted_y_probs; NULL if the list lacks the label",
    example: "SELECT id, prob(predicted_churned_probs, 'yes') AS risk FROM predict(m, customers) ORDER BY risk DESC",
};

/// A label that cannot have the type of the labels is an error and not NULL.
const STRICT: CastOptions<'_> = CastOptions {
    safe: false,
    format_options: arrow::util::display::FormatOptions::new(),
};

/// The function `prob`.
pub(crate) fn prob() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Prob {
        signature: Signature::any(2, Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Prob {
    signature: Signature,
}

/// The fields of an entry of the list: a label and its probability.
fn entry(data_type: &DataType) -> Option<&Fields> {
    let (DataType::List(item) | DataType::LargeList(item)) = data_type else {
        return None;
    };
    let DataType::Struct(fields) = item.data_type() else {
        return None;
    };
    let names = fields.iter().map(|field| field.name().as_str());
    let is_prob = names.eq(["label", "prob"]) && fields[1].data_type() == &DataType::Float64;
    is_prob.then_some(fields)
}

impl ScalarUDFImpl for Prob {
    fn name(&self) -> &str {
        DOC.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let [probs, label] = types else {
            return plan_err!("prob takes probabilities and a label");
        };
        let fits = match entry(probs) {
            Some(fields) => !label.is_nested() && can_cast_types(label, fields[0].data_type()),
            None => probs.is_null(),
        };
        match fits {
            true => Ok(DataType::Float64),
            false => plan_err!(
                "prob takes probabilities of predict, such as predicted_y_probs, and a label, found {} and {}",
                type_name(probs),
                type_name(label)
            ),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [probs, label] = args.args.as_slice() else {
            return exec_err!("prob takes two arguments");
        };
        let rows = args.number_rows;
        let probs = probs.to_array(rows)?;
        let Some(fields) = entry(probs.data_type()) else {
            let nulls = Float64Array::new_null(rows);
            return Ok(ColumnarValue::Array(Arc::new(nulls)));
        };
        let labels = cast_with_options(&label.to_array(rows)?, fields[0].data_type(), &STRICT)?;
        let item = Field::new_list_field(DataType::Struct(fields.clone()), true);
        let probs = cast(&probs, &DataType::List(Arc::new(item)))?;
        let found = probabilities(probs.as_list::<i32>(), &labels)?;
        Ok(ColumnarValue::Array(Arc::new(found)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: std::sync::OnceLock<Documentation> = std::sync::OnceLock::new();
        Some(DOCUMENTATION.get_or_init(|| DOC.documentation("Prediction functions")))
    }
}

/// The probability of `labels[row]` among `lists[row]`.
fn probabilities(lists: &ListArray, labels: &ArrayRef) -> Result<Float64Array> {
    let entries = lists.values().as_struct();
    let known = entries.column(0);
    let values = entries.column(1).as_primitive::<Float64Type>();
    let compare = make_comparator(known, labels, SortOptions::default())?;
    let of_row = |row: usize| {
        if lists.is_null(row) || labels.is_null(row) {
            return None;
        }
        let offsets = lists.value_offsets();
        let mut places = offsets[row] as usize..offsets[row + 1] as usize;
        let place = places.find(|&at| known.is_valid(at) && compare(at, row).is_eq())?;
        values.is_valid(place).then(|| values.value(place))
    };
    Ok((0..lists.len()).map(of_row).collect())
}

#[cfg(test)]
mod tests {
    use arrow::array::{StringArray, StructArray};
    use arrow::buffer::{NullBuffer, OffsetBuffer};

    use super::*;

    #[test]
    fn a_label_is_found_wherever_it_stands() {
        let fields = Fields::from(vec![
            Field::new("label", DataType::Utf8, true),
            Field::new("prob", DataType::Float64, false),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec!["yes", "no", "no", "yes"])),
            Arc::new(Float64Array::from(vec![0.75, 0.25, 0.5, 0.5])),
        ];
        let entries = StructArray::try_new(fields.clone(), columns, None).unwrap();
        let item = Arc::new(Field::new_list_field(DataType::Struct(fields), true));
        let lists = ListArray::try_new(
            item,
            OffsetBuffer::from_lengths([2, 0, 2, 0]),
            Arc::new(entries),
            Some(NullBuffer::from(vec![true, false, true, true])),
        )
        .unwrap();
        let found = |labels: Vec<Option<&str>>| {
            let labels: ArrayRef = Arc::new(StringArray::from(labels));
            let found = probabilities(&lists, &labels).unwrap();
            found.iter().collect::<Vec<_>>()
        };
        let every = |label| found(vec![Some(label); 4]);
        assert_eq!(every("yes"), [Some(0.75), None, Some(0.5), None]);
        assert_eq!(every("no"), [Some(0.25), None, Some(0.5), None]);
        assert_eq!(every("perhaps"), [None; 4]);
        let each = found(vec![Some("no"), Some("no"), None, None]);
        assert_eq!(each, [Some(0.25), None, None, None]);
    }

    #[test]
    fn only_probabilities_are_taken() {
        let prob = prob();
        let list = |data_type| DataType::List(Arc::new(Field::new_list_field(data_type, true)));
        let entry = DataType::Struct(Fields::from(vec![
            Field::new("label", DataType::Int64, true),
            Field::new("prob", DataType::Float64, false),
        ]));
        let found = |types: &[DataType]| prob.return_type(types).ok();
        let number = Some(DataType::Float64);
        assert_eq!(found(&[list(entry.clone()), DataType::Int32]), number);
        assert_eq!(found(&[list(entry.clone()), DataType::Null]), number);
        assert_eq!(found(&[DataType::Null, DataType::Utf8]), number);
        assert_eq!(found(&[list(entry), list(DataType::Utf8)]), None);
        assert_eq!(found(&[list(DataType::Float64), DataType::Utf8]), None);
    }
}
