//! `Imputer`: a number in the place of each missing one, which is NaN or a number that means it.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{DatumType, Tensor, TractResult};

use super::attributes::{floats, longs};
use super::own::{Built, Operator, Shaped, built, wrong};
use super::tensors::{self, last, only};

const NAME: &str = "Imputer";

#[derive(Debug)]
pub(super) enum Imputer {
    Floats { missing: f32, imputed: Vec<f32> },
    Integers { missing: i64, imputed: Vec<i64> },
}

pub(super) fn build(_: &ParsingContext, node: &NodeProto) -> Built {
    built(Imputer::read(node)?)
}

impl Imputer {
    pub(super) fn read(node: &NodeProto) -> TractResult<Self> {
        let imputed = floats(node, "imputed_value_floats")?;
        if !imputed.is_empty() {
            let missing = node.get_attr_opt("replaced_value_float")?.unwrap_or(0.0);
            return Ok(Self::Floats { missing, imputed });
        }
        let imputed = longs(node, "imputed_value_int64s")?;
        if !imputed.is_empty() {
            let missing = node.get_attr_opt("replaced_value_int64")?.unwrap_or(0);
            return Ok(Self::Integers { missing, imputed });
        }
        Err(wrong(NAME, "has no value to impute"))
    }

    fn count(&self) -> usize {
        match self {
            Self::Floats { imputed, .. } => imputed.len(),
            Self::Integers { imputed, .. } => imputed.len(),
        }
    }
}

impl Operator for Imputer {
    fn name(&self) -> &'static str {
        NAME
    }

    fn outputs(&self, inputs: &[Shaped]) -> TractResult<Vec<Shaped>> {
        let input = only(NAME, inputs)?;
        let (width, count) = (last(NAME, input)?, self.count());
        if count != 1 && count != width {
            return Err(wrong(
                NAME,
                format!("has {count} values to impute for {width} features"),
            ));
        }
        let fits = match self {
            Self::Floats { .. } => matches!(input.datum_type, DatumType::F32 | DatumType::F64),
            Self::Integers { .. } => input.datum_type == DatumType::I64,
        };
        match fits {
            true => Ok(vec![input.clone()]),
            false => Err(wrong(
                NAME,
                format!("has no value to impute in {:?}", input.datum_type),
            )),
        }
    }

    fn run(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = only(NAME, inputs)?;
        let (shape, width) = (input.shape(), input.shape().last().copied().unwrap_or(1));
        let output = match (self, input.datum_type()) {
            (Self::Floats { missing, imputed }, DatumType::F64) => {
                let (missing, mut values) = (f64::from(*missing), tensors::doubles(input)?);
                let imputed: Vec<f64> = imputed.iter().map(|value| f64::from(*value)).collect();
                let is_missing =
                    |value: f64| value == missing || missing.is_nan() && value.is_nan();
                impute(&mut values, width, &imputed, is_missing);
                Tensor::from_shape(shape, &values)?
            }
            (Self::Floats { missing, imputed }, _) => {
                let mut values = tensors::singles(input)?;
                let is_missing =
                    |value: f32| value == *missing || missing.is_nan() && value.is_nan();
                impute(&mut values, width, imputed, is_missing);
                Tensor::from_shape(shape, &values)?
            }
            (Self::Integers { missing, imputed }, _) => {
                let mut values = tensors::longs(input)?;
                impute(&mut values, width, imputed, |value| value == *missing);
                Tensor::from_shape(shape, &values)?
            }
        };
        Ok(vec![output])
    }
}

fn impute<T: Copy>(values: &mut [T], width: usize, imputed: &[T], is_missing: impl Fn(T) -> bool) {
    for row in values.chunks_mut(width.max(1)) {
        for (value, imputed) in row.iter_mut().zip(imputed.iter().cycle()) {
            if is_missing(*value) {
                *value = *imputed;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::tensor2;

    use super::super::examples::{close, integer, integers, matrix, node, number, numbers};
    use super::*;

    #[test]
    fn missing_numbers_are_imputed_as_in_onnxruntime() {
        let attributes = [
            numbers("imputed_value_floats", &[7.0, 8.0]),
            number("replaced_value_float", f32::NAN),
        ];
        let imputer = Imputer::read(&node(NAME, &attributes)).unwrap();
        let input = matrix(&[[f32::NAN, 1.0], [2.0, f32::NAN]]);
        close(&imputer.run(&[&input]).unwrap()[0], &[7.0, 1.0, 2.0, 8.0]);
        let input = tensor2(&[[f64::NAN, 1.0], [2.0, f64::NAN]]);
        let outputs = imputer.run(&[&input]).unwrap();
        assert_eq!(outputs[0], tensor2(&[[7.0f64, 1.0], [2.0, 8.0]]));
        let attributes = [
            integers("imputed_value_int64s", &[5]),
            integer("replaced_value_int64", -1),
        ];
        let imputer = Imputer::read(&node(NAME, &attributes)).unwrap();
        let outputs = imputer.run(&[&tensor2(&[[-1i64, 1], [2, -1]])]).unwrap();
        assert_eq!(outputs[0], tensor2(&[[5i64, 1], [2, 5]]));
    }

    #[test]
    fn values_must_fit_the_features() {
        let attributes = [numbers("imputed_value_floats", &[7.0, 8.0])];
        let imputer = Imputer::read(&node(NAME, &attributes)).unwrap();
        let input = |of| Shaped::new(of, [5.into(), 3.into()]);
        let error = |input| imputer.outputs(&[input]).unwrap_err().to_string();
        let expected = "Imputer has 2 values to impute for 3 features";
        assert_eq!(error(input(DatumType::F32)), expected);
        let input = Shaped::new(DatumType::String, [5.into(), 2.into()]);
        assert_eq!(error(input), "Imputer has no value to impute in String");
        assert!(Imputer::read(&node(NAME, &[])).is_err());
    }
}
