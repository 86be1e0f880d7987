//! [`Computed`]: the values of all outputs for the rows that were computed so far, and the failures of rows; at the end, as tensors
//! for all rows of the batch.

use candle_core::{Tensor, WithDType};
use tract_onnx::prelude::{Datum, TValue};
use tract_onnx::tract_hir::internal::TractResult;

use super::element::{Element, Stored};
use super::ports::Output;
use super::texts::{from_tensors, to_tensors};
use crate::device::HOST;
use crate::{Error, Result};

/// The values of an output, row-major.
#[derive(Debug, Clone)]
pub(super) enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
    Bool(Vec<u8>),
    Texts(Vec<String>),
}

#[derive(Debug)]
pub(super) struct Computed {
    outputs: Vec<(Values, usize)>,
    /// For each row the cause of its failure; empty if it has outputs.
    failures: Vec<String>,
}

impl Computed {
    pub(super) fn new(outputs: &[Output]) -> Self {
        let outputs = outputs.iter().map(|output| {
            let values = match output.element.stored() {
                Stored::F32 => Values::F32(vec![]),
                Stored::F64 => Values::F64(vec![]),
                Stored::I64 => Values::I64(vec![]),
                Stored::Bool => Values::Bool(vec![]),
                Stored::Text => Values::Texts(vec![]),
            };
            (values, output.width)
        });
        Self {
            outputs: outputs.collect(),
            failures: vec![],
        }
    }

    /// Adds the first `rows` of `of_run` rows that a run had.
    ///
    /// # Errors
    /// [`Error::Internal`] if the outputs of the run have other shapes than its graph says.
    pub(super) fn add(&mut self, tensors: &[TValue], rows: usize, of_run: usize) -> Result<()> {
        if tensors.len() != self.outputs.len() {
            return Err(Error::Internal(format!(
                "{} outputs of a graph",
                tensors.len()
            )));
        }
        for ((values, width), tensor) in self.outputs.iter_mut().zip(tensors) {
            if tensor.len() != of_run * *width {
                let shape = tensor.shape();
                return Err(Error::Internal(format!("an output of the shape {shape:?}")));
            }
            let added = values.add(tensor, rows * *width);
            added.map_err(|error| Error::Internal(error.to_string()))?;
        }
        self.failures
            .extend(std::iter::repeat_n(String::new(), rows));
        Ok(())
    }

    /// Adds a row without outputs.
    pub(super) fn fail(&mut self, cause: String) {
        self.fill(1);
        self.failures.push(cause);
    }

    fn fill(&mut self, rows: usize) {
        for (values, width) in &mut self.outputs {
            values.fill(rows * *width);
        }
    }

    /// The tensors of all `rows` rows: of each output one, or the bytes and lengths of texts; then those of the failures.
    /// `order` has the place of each computed row in the batch.
    pub(super) fn finish(self, order: Option<&[u32]>, rows: usize) -> Result<Vec<Tensor>> {
        let places = order.map(|order| {
            let mut places = vec![None; rows];
            for (at, row) in order.iter().enumerate() {
                places[*row as usize] = Some(at);
            }
            places
        });
        let places = places.as_deref();
        let mut tensors = Vec::with_capacity(self.outputs.len() + 2);
        for (values, width) in self.outputs {
            values.tensors(places, rows, width, &mut tensors)?;
        }
        Values::Texts(self.failures).tensors(places, rows, 1, &mut tensors)?;
        Ok(tensors)
    }
}

impl Values {
    fn add(&mut self, tensor: &TValue, count: usize) -> TractResult<()> {
        fn extend<T: Datum + Copy>(
            values: &mut Vec<T>,
            tensor: &TValue,
            count: usize,
        ) -> TractResult<()> {
            let cast = tensor.cast_to::<T>()?;
            values.extend_from_slice(&cast.try_as_plain_ram()?.as_slice::<T>()?[..count]);
            Ok(())
        }
        match self {
            Self::F32(values) => extend(values, tensor, count),
            Self::F64(values) => extend(values, tensor, count),
            Self::I64(values) => extend(values, tensor, count),
            Self::Bool(values) => extend(values, tensor, count),
            Self::Texts(values) => {
                let texts = tensor.try_as_plain_ram()?.as_slice::<String>()?;
                values.extend_from_slice(&texts[..count]);
                Ok(())
            }
        }
    }

    fn fill(&mut self, count: usize) {
        match self {
            Self::F32(values) => values.resize(values.len() + count, 0.0),
            Self::F64(values) => values.resize(values.len() + count, 0.0),
            Self::I64(values) => values.resize(values.len() + count, 0),
            Self::Bool(values) => values.resize(values.len() + count, 0),
            Self::Texts(values) => values.resize(values.len() + count, String::new()),
        }
    }

    fn tensors(
        self,
        places: Option<&[Option<usize>]>,
        rows: usize,
        width: usize,
        tensors: &mut Vec<Tensor>,
    ) -> Result<()> {
        fn tensor<T: WithDType + Default>(
            values: Vec<T>,
            places: Option<&[Option<usize>]>,
            (rows, width): (usize, usize),
        ) -> Result<Tensor> {
            let values = placed(values, places, width);
            Ok(Tensor::from_vec(values, (rows, width), &HOST)?)
        }
        let shape = (rows, width);
        let last = match self {
            Self::F32(values) => tensor(values, places, shape)?,
            Self::F64(values) => tensor(values, places, shape)?,
            Self::I64(values) => tensor(values, places, shape)?,
            Self::Bool(values) => tensor(values, places, shape)?,
            Self::Texts(values) => {
                let values = placed(values, places, width);
                let texts: Vec<&str> = values.iter().map(String::as_str).collect();
                let (bytes, lengths) = to_tensors(&texts, &[rows])?;
                tensors.push(bytes);
                lengths
            }
        };
        tensors.push(last);
        Ok(())
    }

    /// The values of an element, from the next tensors of [`Computed::finish`].
    pub(super) fn read<'a>(
        element: Element,
        tensors: &mut impl Iterator<Item = &'a Tensor>,
    ) -> Result<Self> {
        let missing = || Error::Internal("an output of the model is missing".into());
        let first = tensors.next().ok_or_else(missing)?;
        let flat = || first.flatten_all();
        Ok(match element.stored() {
            Stored::F32 => Self::F32(flat()?.to_vec1()?),
            Stored::F64 => Self::F64(flat()?.to_vec1()?),
            Stored::I64 => Self::I64(flat()?.to_vec1()?),
            Stored::Bool => Self::Bool(flat()?.to_vec1()?),
            Stored::Text => {
                let lengths = tensors.next().ok_or_else(missing)?;
                Self::Texts(from_tensors(first, lengths)?)
            }
        })
    }
}

/// The values of all rows: those of a row that was computed are at its place, others are empty.
fn placed<T: Clone + Default>(
    values: Vec<T>,
    places: Option<&[Option<usize>]>,
    width: usize,
) -> Vec<T> {
    let Some(places) = places else {
        return values;
    };
    let mut all = Vec::with_capacity(places.len() * width);
    for place in places {
        match place {
            Some(at) => all.extend_from_slice(&values[at * width..][..width]),
            None => all.resize(all.len() + width, T::default()),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use tract_onnx::prelude::{tensor1, tensor2};

    use super::super::ports::Role;
    use super::*;

    #[test]
    fn rows_come_back_at_their_places() {
        let output = |element, width, role| Output {
            element,
            width,
            role,
        };
        let outputs = [
            output(Element::F32, 2, Role::List),
            output(Element::Text, 1, Role::Value),
        ];
        let mut computed = Computed::new(&outputs);
        let texts = tensor1(&["a".to_owned(), "b".to_owned(), "pad".to_owned()]);
        let tensors: [TValue; 2] = [
            tensor2(&[[1.0f32, 2.0], [3.0, 4.0], [9.0, 9.0]]).into(),
            texts.into(),
        ];
        computed.add(&tensors, 2, 3).unwrap();
        computed.fail("no good".into());
        assert!(computed.add(&tensors[..1], 2, 3).is_err());
        assert!(computed.add(&tensors, 2, 4).is_err());
        let tensors = computed.finish(Some(&[3, 0, 1]), 4).unwrap();
        let mut tensors = tensors.iter();
        let Values::F32(numbers) = Values::read(Element::F32, &mut tensors).unwrap() else {
            panic!("another type");
        };
        assert_eq!(numbers, [3.0, 4.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0]);
        for expected in [["b", "", "", "a"], ["", "no good", "", ""]] {
            let Values::Texts(texts) = Values::read(Element::Text, &mut tensors).unwrap() else {
                panic!("another type");
            };
            assert_eq!(texts, expected);
        }
        assert!(Values::read(Element::Text, &mut tensors).is_err());
    }
}
