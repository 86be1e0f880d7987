//! `Cast`, with texts, of which tract casts few. Integers stay integers: tract makes its numbers for shapes of them, which have 32
//! bits on their way back.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::cast;
use tract_onnx::tract_hir::internal::{
    DatumType, Expansion, InferenceResult, OutletId, Solver, SpecialOps, StaticName, TVec, Tensor,
    TensorProxy, TractError, TractResult, TypedModel, expand,
};

use super::own::{Built, Operator, RowFailure, Shaped, node_of, wrong};
use super::tensors::{doubles, longs, only, text_tensor, texts};

const NAME: &str = "Cast";
/// The digits of a number as a text, as onnxruntime writes them.
const DIGITS: i32 = 8;

#[derive(Debug, Clone)]
struct Cast {
    to: DatumType,
}

pub(super) fn build(_: &ParsingContext, node: &NodeProto) -> Built {
    let to = node.get_attr::<DatumType>("to")?;
    Ok((expand(Cast { to }), vec![]))
}

impl Cast {
    /// The type of the output for an input of this type.
    fn target(&self, from: DatumType) -> DatumType {
        match (from, self.to) {
            (DatumType::TDim, DatumType::I64) => DatumType::TDim,
            (_, to) => to,
        }
    }
}

impl Expansion for Cast {
    fn name(&self) -> StaticName {
        NAME.into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let ([input], [output]) = (inputs, outputs) else {
            return Err(wrong(NAME, "takes one input"));
        };
        solver.equals(&output.shape, &input.shape)?;
        solver.given(&input.datum_type, move |solver, from: DatumType| {
            solver.equals(&output.datum_type, self.target(from))
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let from = model.outlet_fact(*only(NAME, inputs)?)?.datum_type;
        let to = self.target(from);
        let is_text = from == DatumType::String || to == DatumType::String;
        match is_text && from != to {
            true => model.wire_node(prefix, node_of(TextCast { to }), inputs),
            false => model.wire_node(prefix, cast::cast(to), inputs),
        }
    }
}

/// A cast from or to texts.
#[derive(Debug)]
struct TextCast {
    to: DatumType,
}

impl Operator for TextCast {
    fn name(&self) -> &'static str {
        NAME
    }

    fn outputs(&self, inputs: &[Shaped]) -> TractResult<Vec<Shaped>> {
        let shape = only(NAME, inputs)?.shape.iter().cloned();
        Ok(vec![Shaped::new(self.to, shape)])
    }

    fn run(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = only(NAME, inputs)?;
        let shape = input.shape();
        if self.to == DatumType::String {
            return Ok(vec![text_tensor(shape, as_texts(input)?)?]);
        }
        let texts = texts(input)?;
        let tensor = match self.to {
            DatumType::F32 => Tensor::from_shape(shape, &parsed::<f32>(texts, self.to)?)?,
            DatumType::F64 => Tensor::from_shape(shape, &parsed::<f64>(texts, self.to)?)?,
            DatumType::Bool => {
                let numbers = parsed::<f64>(texts, self.to)?;
                let flags: Vec<bool> = numbers.iter().map(|number| *number != 0.0).collect();
                Tensor::from_shape(shape, &flags)?
            }
            other => {
                let numbers = parsed::<i64>(texts, other)?;
                let tensor = Tensor::from_shape(shape, &numbers)?;
                tensor.cast_to_dt(other)?.into_owned()
            }
        };
        Ok(vec![tensor])
    }
}

fn parsed<T: std::str::FromStr>(texts: &[String], to: DatumType) -> TractResult<Vec<T>> {
    let parse = |text: &String| {
        let value = text.trim().parse::<T>().ok();
        value.ok_or_else(|| {
            let cause = format!("the model takes texts that are {to:?}, and gets \"{text}\"");
            TractError::new(RowFailure(cause))
        })
    };
    texts.iter().map(parse).collect()
}

fn as_texts(tensor: &Tensor) -> TractResult<Vec<String>> {
    match tensor.datum_type().is_float() {
        true => Ok(doubles(tensor)?.into_iter().map(general).collect()),
        false => Ok(longs(tensor)?.iter().map(ToString::to_string).collect()),
    }
}

/// A number with the given digits, without zeros at the end, and with an exponent if it is large or small.
fn general(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        let text = if value > 0.0 { "INF" } else { "-INF" };
        return text.into();
    }
    let decimals = (DIGITS - 1) as usize;
    let scientific = format!("{value:.decimals$e}");
    let (mantissa, exponent) = scientific
        .split_once('e')
        .unwrap_or((scientific.as_str(), "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |digits: &str| match digits.contains('.') {
        true => digits
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
        false => digits.to_owned(),
    };
    if (-4..DIGITS).contains(&exponent) {
        let decimals = (DIGITS - 1 - exponent).max(0) as usize;
        return trimmed(&format!("{value:.decimals$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs())
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::tensor1;

    use super::*;

    /// The texts are those of onnxruntime 1.32.
    #[test]
    fn numbers_are_written_as_in_onnxruntime() {
        for (value, expected) in [
            (1.0, "1"),
            (1.5, "1.5"),
            (f64::from(-0.1f32), "-0.1"),
            (1e10, "1e+10"),
            (f64::from(123_456.79_f32), "123456.79"),
            (f64::from(1e-7f32), "1e-07"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "INF"),
            (f64::NEG_INFINITY, "-INF"),
            (f64::from(0.3_f32), "0.30000001"),
            (1.0 / 3.0, "0.33333333"),
            (100_000_000.0, "1e+08"),
            (99_999_999.9, "1e+08"),
            (-0.0, "-0"),
            (0.0, "0"),
        ] {
            assert_eq!(general(value), expected, "{value}");
        }
        let integers = tensor1(&[1i64, -5, 1 << 62]);
        let texts = as_texts(&integers).unwrap();
        assert_eq!(texts, ["1", "-5", "4611686018427387904"]);
        assert_eq!(as_texts(&tensor1(&[true, false])).unwrap(), ["1", "0"]);
    }

    #[test]
    fn texts_are_read_and_one_that_is_no_number_fails() {
        let run = |to, texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
            TextCast { to }.run(&[&tensor1(&texts)])
        };
        let outputs = run(DatumType::F32, &["1.5", " 2", "-inf", "1e3"]).unwrap();
        assert_eq!(
            outputs[0],
            tensor1(&[1.5f32, 2.0, f32::NEG_INFINITY, 1000.0])
        );
        let outputs = run(DatumType::I64, &["4611686018427387905", "-3"]).unwrap();
        assert_eq!(outputs[0], tensor1(&[4_611_686_018_427_387_905i64, -3]));
        let outputs = run(DatumType::Bool, &["0", "2"]).unwrap();
        assert_eq!(outputs[0], tensor1(&[false, true]));
        for (to, text) in [(DatumType::F32, "abc"), (DatumType::I64, "1.5")] {
            let error = run(to, &["1", text]).unwrap_err();
            let failure = error.downcast_ref::<RowFailure>().unwrap();
            assert!(failure.0.contains(&format!("\"{text}\"")), "{failure}");
        }
    }
}
