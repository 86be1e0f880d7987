//! `LabelEncoder`: the value of each key, by a table. Version 1 of the operator has a list of texts instead, whose values are their
//! positions.

use std::collections::HashMap;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{DatumType, Tensor, TractResult};

use super::attributes::{
    floats, longs as long_attributes, tensor as tensor_attribute, texts as text_attributes,
};
use super::own::{Built, Operator, Shaped, built, wrong};
use super::tensors::{doubles, longs, only, text_tensor, texts};

const NAME: &str = "LabelEncoder";
/// The text for a key that the table does not have, unless the node has another one.
const UNUSED: &str = "_Unused";

/// The values of one type, with the default.
#[derive(Debug, Clone, PartialEq)]
enum Values {
    Texts(Vec<String>, String),
    Integers(Vec<i64>, i64),
    /// As double-precision numbers, which are written in this type.
    Numbers(Vec<f64>, f64, DatumType),
}

/// The position of each key.
#[derive(Debug)]
enum Keys {
    Texts(HashMap<String, usize>),
    Integers(HashMap<i64, usize>),
    /// By the bits of a number, one for all NaN and one for both zeros.
    Numbers(HashMap<u64, usize>),
}

#[derive(Debug)]
pub(super) struct LabelEncoder {
    keys: Keys,
    values: Values,
}

pub(super) fn build(context: &ParsingContext, node: &NodeProto) -> Built {
    let load = |name: &str| tensor_attribute(context, node, name);
    built(LabelEncoder::read(node, load)?)
}

impl LabelEncoder {
    fn read(
        node: &NodeProto,
        tensor: impl Fn(&str) -> TractResult<Option<Tensor>>,
    ) -> TractResult<Self> {
        let classes = text_attributes(node, "classes_strings")?;
        if !classes.is_empty() {
            return Self::of_classes(node, classes);
        }
        let defaults = tensor("default_tensor")?;
        let keys = side(node, "keys", &tensor, defaults.as_ref())?;
        let values = side(node, "values", &tensor, defaults.as_ref())?;
        if keys.len() != values.len() {
            return Err(wrong(
                NAME,
                format!("has {} keys and {} values", keys.len(), values.len()),
            ));
        }
        let keys = Keys::of(keys);
        Ok(Self { keys, values })
    }

    /// Version 1 of the operator: texts to their positions. The other way, positions to texts, is refused for the type of its input.
    fn of_classes(node: &NodeProto, classes: Vec<String>) -> TractResult<Self> {
        let default = node.get_attr_opt("default_int64")?.unwrap_or(-1);
        let positions = (0..classes.len() as i64).collect();
        Ok(Self {
            keys: Keys::of(Values::Texts(classes, String::new())),
            values: Values::Integers(positions, default),
        })
    }
}

/// The keys or values of a node, with the default for values.
fn side(
    node: &NodeProto,
    prefix: &str,
    tensor: &impl Fn(&str) -> TractResult<Option<Tensor>>,
    default: Option<&Tensor>,
) -> TractResult<Values> {
    let texts = text_attributes(node, &format!("{prefix}_strings"))?;
    if !texts.is_empty() {
        let default = node.get_attr_opt::<String>("default_string")?;
        let default = default.unwrap_or_else(|| UNUSED.into());
        return Ok(Values::Texts(texts, default));
    }
    let integers = long_attributes(node, &format!("{prefix}_int64s"))?;
    if !integers.is_empty() {
        let default = node.get_attr_opt("default_int64")?.unwrap_or(-1);
        return Ok(Values::Integers(integers, default));
    }
    let numbers = floats(node, &format!("{prefix}_floats"))?;
    if !numbers.is_empty() {
        let default: f32 = node.get_attr_opt("default_float")?.unwrap_or(-0.0);
        let numbers = numbers.into_iter().map(f64::from).collect();
        return Ok(Values::Numbers(numbers, default.into(), DatumType::F32));
    }
    match tensor(&format!("{prefix}_tensor"))? {
        Some(tensor) => of_tensor(&tensor, default),
        None => Err(wrong(NAME, format!("has no {prefix}"))),
    }
}

fn of_tensor(tensor: &Tensor, default: Option<&Tensor>) -> TractResult<Values> {
    let of = tensor.datum_type();
    let default = default.filter(|default| default.datum_type() == of && default.len() == 1);
    Ok(match of {
        DatumType::String => {
            let default = default
                .map(texts)
                .transpose()?
                .map(|texts| texts[0].clone());
            let default = default.unwrap_or_else(|| UNUSED.into());
            Values::Texts(texts(tensor)?.to_vec(), default)
        }
        of if of.is_float() => {
            let default = default.map(doubles).transpose()?.map_or(-0.0, |of| of[0]);
            Values::Numbers(doubles(tensor)?, default, of)
        }
        DatumType::I64 => {
            let default = default.map(longs).transpose()?.map_or(-1, |of| of[0]);
            Values::Integers(longs(tensor)?, default)
        }
        other => return Err(wrong(NAME, format!("has keys or values of type {other:?}"))),
    })
}

fn bits(number: f64) -> u64 {
    match number {
        nan if nan.is_nan() => f64::NAN.to_bits(),
        0.0 => 0,
        other => other.to_bits(),
    }
}

impl Keys {
    /// Of equal keys, the first one counts.
    fn of(values: Values) -> Self {
        fn positions<K: std::hash::Hash + Eq>(keys: impl Iterator<Item = K>) -> HashMap<K, usize> {
            let mut positions = HashMap::new();
            for (position, key) in keys.enumerate() {
                positions.entry(key).or_insert(position);
            }
            positions
        }
        match values {
            Values::Texts(keys, _) => Self::Texts(positions(keys.into_iter())),
            Values::Integers(keys, _) => Self::Integers(positions(keys.into_iter())),
            Values::Numbers(keys, ..) => Self::Numbers(positions(keys.into_iter().map(bits))),
        }
    }

    /// The position of the key of each element of a tensor.
    fn find(&self, tensor: &Tensor) -> TractResult<Vec<Option<usize>>> {
        Ok(match self {
            Self::Texts(keys) => {
                let texts = texts(tensor)?.iter();
                texts.map(|text| keys.get(text).copied()).collect()
            }
            Self::Integers(keys) => {
                let integers = longs(tensor)?;
                integers.iter().map(|key| keys.get(key).copied()).collect()
            }
            Self::Numbers(keys) => {
                let numbers = doubles(tensor)?.into_iter();
                numbers
                    .map(|number| keys.get(&bits(number)).copied())
                    .collect()
            }
        })
    }
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Self::Texts(values, _) => values.len(),
            Self::Integers(values, _) => values.len(),
            Self::Numbers(values, ..) => values.len(),
        }
    }

    fn datum_type(&self) -> DatumType {
        match self {
            Self::Texts(..) => DatumType::String,
            Self::Integers(..) => DatumType::I64,
            Self::Numbers(_, _, of) => *of,
        }
    }

    fn tensor(&self, shape: &[usize], positions: &[Option<usize>]) -> TractResult<Tensor> {
        fn picked<T: Clone>(values: &[T], default: &T, positions: &[Option<usize>]) -> Vec<T> {
            let pick = |at: &Option<usize>| at.map_or(default, |at| &values[at]).clone();
            positions.iter().map(pick).collect()
        }
        match self {
            Self::Texts(values, default) => text_tensor(shape, picked(values, default, positions)),
            Self::Integers(values, default) => {
                Tensor::from_shape(shape, &picked(values, default, positions))
            }
            Self::Numbers(values, default, of) => {
                let numbers = Tensor::from_shape(shape, &picked(values, default, positions))?;
                Ok(numbers.cast_to_dt(*of)?.into_owned())
            }
        }
    }
}

impl Operator for LabelEncoder {
    fn name(&self) -> &'static str {
        NAME
    }

    fn outputs(&self, inputs: &[Shaped]) -> TractResult<Vec<Shaped>> {
        let input = only(NAME, inputs)?;
        let is_text = input.datum_type == DatumType::String;
        if is_text != matches!(self.keys, Keys::Texts(_)) {
            let of = input.datum_type;
            return Err(wrong(NAME, format!("has no keys of type {of:?}")));
        }
        let shape = input.shape.iter().cloned();
        Ok(vec![Shaped::new(self.values.datum_type(), shape)])
    }

    fn run(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = only(NAME, inputs)?;
        let positions = self.keys.find(input)?;
        Ok(vec![self.values.tensor(input.shape(), &positions)?])
    }
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::tensor1;

    use super::super::examples::{
        integer, integers, node, number, numbers, text, texts as of_texts,
    };
    use super::*;

    fn none(_: &str) -> TractResult<Option<Tensor>> {
        Ok(None)
    }

    fn encoded(attributes: &[tract_onnx::pb::AttributeProto], input: &Tensor) -> Tensor {
        let encoder = LabelEncoder::read(&node(NAME, attributes), none).unwrap();
        encoder.run(&[input]).unwrap().remove(0)
    }

    fn strings(texts: &[&str]) -> Tensor {
        tensor1(&texts.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn keys_become_values_as_in_onnxruntime() {
        let to_numbers = [
            of_texts("keys_strings", &["a", "b"]),
            integers("values_int64s", &[10, 20]),
        ];
        let input = strings(&["b", "c", "a"]);
        assert_eq!(encoded(&to_numbers, &input), tensor1(&[20i64, -1, 10]));
        let with_default = [
            to_numbers[0].clone(),
            to_numbers[1].clone(),
            integer("default_int64", 7),
        ];
        assert_eq!(encoded(&with_default, &input), tensor1(&[20i64, 7, 10]));
        let to_texts = [
            integers("keys_int64s", &[1, 2]),
            of_texts("values_strings", &["x", "y"]),
        ];
        let input = tensor1(&[2i64, 3]);
        assert_eq!(encoded(&to_texts, &input), strings(&["y", "_Unused"]));
        let with_default = [
            to_texts[0].clone(),
            to_texts[1].clone(),
            text("default_string", "z"),
        ];
        assert_eq!(encoded(&with_default, &input), strings(&["y", "z"]));
        let of_floats = [
            numbers("keys_floats", &[0.5, f32::NAN, 0.0]),
            numbers("values_floats", &[1.0, 2.0, 3.0]),
            number("default_float", 4.0),
        ];
        let input = tensor1(&[f32::NAN, 0.5, -0.0, 9.0]);
        assert_eq!(
            encoded(&of_floats, &input),
            tensor1(&[2.0f32, 1.0, 3.0, 4.0])
        );
        let classes = [of_texts("classes_strings", &["p", "q"])];
        let input = strings(&["q", "r"]);
        assert_eq!(encoded(&classes, &input), tensor1(&[1i64, -1]));
    }

    #[test]
    fn tables_may_be_tensors() {
        let tensor = |name: &str| -> TractResult<Option<Tensor>> {
            Ok(match name {
                "keys_tensor" => Some(tensor1(&[1i64, 2])),
                "values_tensor" => Some(tensor1(&[0.25f64, 0.5])),
                "default_tensor" => Some(tensor1(&[9.0f64])),
                _ => None,
            })
        };
        let encoder = LabelEncoder::read(&node(NAME, &[]), tensor).unwrap();
        let outputs = encoder.run(&[&tensor1(&[2i64, 5])]).unwrap();
        assert_eq!(outputs[0], tensor1(&[0.5f64, 9.0]));
    }

    #[test]
    fn keys_fit_the_values_and_the_input() {
        let unequal = [
            integers("keys_int64s", &[1, 2]),
            integers("values_int64s", &[1]),
        ];
        let error = LabelEncoder::read(&node(NAME, &unequal), none).unwrap_err();
        assert_eq!(error.to_string(), "LabelEncoder has 2 keys and 1 values");
        let table = [
            of_texts("keys_strings", &["a"]),
            integers("values_int64s", &[1]),
        ];
        let encoder = LabelEncoder::read(&node(NAME, &table), none).unwrap();
        let input = Shaped::new(DatumType::I64, [2.into()]);
        let error = encoder.outputs(&[input]).unwrap_err().to_string();
        assert_eq!(error, "LabelEncoder has no keys of type I64");
    }
}
