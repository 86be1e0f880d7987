//! `OneHotEncoder`: for each element, 1 at the position of its category, and 0 elsewhere.

use std::collections::HashMap;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{DatumType, Tensor, TractError, TractResult};

use super::attributes::{longs as long_attributes, texts as text_attributes};
use super::own::{Built, Operator, RowFailure, Shaped, built, wrong};
use super::tensors::{longs, only, single, texts};

const NAME: &str = "OneHotEncoder";

#[derive(Debug)]
enum Categories {
    Texts(HashMap<String, usize>),
    Integers(HashMap<i64, usize>),
}

#[derive(Debug)]
pub(super) struct OneHotEncoder {
    categories: Categories,
    count: usize,
    /// Whether an unknown category is all zeros; else its row fails.
    takes_unknown: bool,
}

pub(super) fn build(_: &ParsingContext, node: &NodeProto) -> Built {
    built(OneHotEncoder::read(node)?)
}

impl OneHotEncoder {
    pub(super) fn read(node: &NodeProto) -> TractResult<Self> {
        let takes_unknown = node.get_attr_opt::<i64>("zeros")?.unwrap_or(1) != 0;
        let of_texts = text_attributes(node, "cats_strings")?;
        let of_integers = long_attributes(node, "cats_int64s")?;
        let (categories, count) = match (of_texts.is_empty(), of_integers.is_empty()) {
            (false, true) => {
                let count = of_texts.len();
                let positions = of_texts.into_iter().zip(0..);
                (Categories::Texts(positions.collect()), count)
            }
            (true, false) => {
                let count = of_integers.len();
                let positions = of_integers.into_iter().zip(0..);
                (Categories::Integers(positions.collect()), count)
            }
            _ => return Err(wrong(NAME, "needs categories of one type")),
        };
        Ok(Self {
            categories,
            count,
            takes_unknown,
        })
    }

    fn unknown(&self, category: impl std::fmt::Display) -> TractResult<Option<usize>> {
        match self.takes_unknown {
            true => Ok(None),
            false => {
                let cause = format!("the model does not know the category \"{category}\"");
                Err(TractError::new(RowFailure(cause)))
            }
        }
    }

    fn positions(&self, input: &Tensor) -> TractResult<Vec<Option<usize>>> {
        match &self.categories {
            Categories::Texts(known) => {
                let position = |text: &String| match known.get(text) {
                    Some(position) => Ok(Some(*position)),
                    None => self.unknown(text),
                };
                texts(input)?.iter().map(position).collect()
            }
            Categories::Integers(known) => {
                let position = |integer: &i64| match known.get(integer) {
                    Some(position) => Ok(Some(*position)),
                    None => self.unknown(integer),
                };
                longs(input)?.iter().map(position).collect()
            }
        }
    }
}

impl Operator for OneHotEncoder {
    fn name(&self) -> &'static str {
        NAME
    }

    fn outputs(&self, inputs: &[Shaped]) -> TractResult<Vec<Shaped>> {
        let input = only(NAME, inputs)?;
        let is_text = input.datum_type == DatumType::String;
        if is_text != matches!(self.categories, Categories::Texts(_)) {
            let of = input.datum_type;
            return Err(wrong(NAME, format!("has no categories of type {of:?}")));
        }
        let shape = input.shape.iter().cloned().chain([self.count.into()]);
        Ok(vec![Shaped::new(DatumType::F32, shape)])
    }

    fn run(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = only(NAME, inputs)?;
        let positions = self.positions(input)?;
        let mut encoded = vec![0.0; positions.len() * self.count];
        for (row, position) in encoded.chunks_mut(self.count).zip(positions) {
            if let Some(position) = position {
                row[position] = 1.0;
            }
        }
        let shape: Vec<usize> = input.shape().iter().copied().chain([self.count]).collect();
        Ok(vec![single(&shape, &encoded)?])
    }
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::{tensor1, tensor2};

    use super::super::examples::{close, integer, integers, matrix, node, texts as of_texts};
    use super::*;

    #[test]
    fn categories_are_encoded_as_in_onnxruntime() {
        let attributes = [of_texts("cats_strings", &["a", "b", "c"])];
        let encoder = OneHotEncoder::read(&node(NAME, &attributes)).unwrap();
        let input = tensor2(&[["b".to_owned()], ["z".to_owned()]]);
        let outputs = encoder.run(&[&input]).unwrap();
        assert_eq!(outputs[0].shape(), [2, 1, 3]);
        close(&outputs[0], &[0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
        let attributes = [integers("cats_int64s", &[5, 7])];
        let encoder = OneHotEncoder::read(&node(NAME, &attributes)).unwrap();
        let outputs = encoder.run(&[&tensor1(&[7i64, 5])]).unwrap();
        close(&outputs[0], &[0.0, 1.0, 1.0, 0.0]);
        // A number is cut to an integer.
        let outputs = encoder.run(&[&matrix(&[[7.9]])]).unwrap();
        close(&outputs[0], &[0.0, 1.0]);
    }

    #[test]
    fn an_unknown_category_fails_if_the_model_says_so() {
        let attributes = [of_texts("cats_strings", &["a"]), integer("zeros", 0)];
        let encoder = OneHotEncoder::read(&node(NAME, &attributes)).unwrap();
        let error = encoder.run(&[&tensor1(&["z".to_owned()])]).unwrap_err();
        let failure = error.downcast_ref::<RowFailure>().unwrap();
        assert_eq!(failure.0, "the model does not know the category \"z\"");
        let input = Shaped::new(DatumType::F32, [1.into()]);
        assert!(encoder.outputs(&[input]).is_err());
    }
}
