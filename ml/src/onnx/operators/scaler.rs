//! `Scaler`: each feature minus an offset, times a scale.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{DatumType, Tensor, TractResult};

use super::attributes::floats;
use super::own::{Built, Operator, Shaped, built, wrong};
use super::tensors::{last, only, single, singles};

const NAME: &str = "Scaler";

#[derive(Debug)]
pub(super) struct Scaler {
    offset: Vec<f32>,
    scale: Vec<f32>,
}

pub(super) fn build(_: &ParsingContext, node: &NodeProto) -> Built {
    built(Scaler::read(node)?)
}

impl Scaler {
    pub(super) fn read(node: &NodeProto) -> TractResult<Self> {
        let (offset, scale) = (floats(node, "offset")?, floats(node, "scale")?);
        match offset.is_empty() || scale.is_empty() {
            true => Err(wrong(NAME, "has no offset or no scale")),
            false => Ok(Self { offset, scale }),
        }
    }
}

impl Operator for Scaler {
    fn name(&self) -> &'static str {
        NAME
    }

    fn outputs(&self, inputs: &[Shaped]) -> TractResult<Vec<Shaped>> {
        let input = only(NAME, inputs)?;
        let width = last(NAME, input)?;
        let fits = |values: &[f32]| values.len() == 1 || values.len() == width;
        if !fits(&self.offset) || !fits(&self.scale) {
            return Err(wrong(
                NAME,
                format!(
                    "has {} offsets and {} scales for {width} features",
                    self.offset.len(),
                    self.scale.len()
                ),
            ));
        }
        let shape = input.shape.iter().cloned();
        Ok(vec![Shaped::new(DatumType::F32, shape)])
    }

    fn run(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = only(NAME, inputs)?;
        let mut values = singles(input)?;
        let width = input.shape().last().copied().unwrap_or(1).max(1);
        for row in values.chunks_mut(width) {
            let offsets = self.offset.iter().cycle();
            let scales = self.scale.iter().cycle();
            for ((value, offset), scale) in row.iter_mut().zip(offsets).zip(scales) {
                *value = (*value - offset) * scale;
            }
        }
        Ok(vec![single(input.shape(), &values)?])
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::{close, matrix, node, numbers};
    use super::*;

    #[test]
    fn features_are_shifted_and_scaled_as_in_onnxruntime() {
        let attributes = [
            numbers("offset", &[1.0, -2.0, 0.5]),
            numbers("scale", &[0.1, 2.0, -1.0]),
        ];
        let scaler = Scaler::read(&node(NAME, &attributes)).unwrap();
        let input = matrix(&[[1.5, 2.5, -3.5], [f32::INFINITY, 0.0, f32::NAN]]);
        let outputs = scaler.run(&[&input]).unwrap();
        close(&outputs[0], &[0.05, 9.0, 4.0, f32::INFINITY, 4.0, f32::NAN]);
        let one = [numbers("offset", &[1.0]), numbers("scale", &[0.5])];
        let scaler = Scaler::read(&node(NAME, &one)).unwrap();
        let outputs = scaler.run(&[&input]).unwrap();
        close(
            &outputs[0],
            &[0.25, 0.75, -2.25, f32::INFINITY, -0.5, f32::NAN],
        );
    }

    #[test]
    fn as_many_offsets_as_features_are_wanted() {
        let attributes = [numbers("offset", &[1.0, 2.0]), numbers("scale", &[0.5])];
        let scaler = Scaler::read(&node(NAME, &attributes)).unwrap();
        let input = Shaped::new(DatumType::F32, [5.into(), 3.into()]);
        let error = scaler.outputs(&[input]).unwrap_err().to_string();
        assert_eq!(error, "Scaler has 2 offsets and 1 scales for 3 features");
        assert!(Scaler::read(&node(NAME, &[])).is_err());
    }
}
