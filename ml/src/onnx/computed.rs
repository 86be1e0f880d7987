//! [`Computed`]: the values of all outputs for the rows that were computed so far, and the failures of rows; at the end, as tensors
//! for all rows of the batch.

use candle_core::{Tensor, WithDType};
use tract_onnx::prelude::{Datum, TValue};
use tract_onnx::tract_hir::internal::TractResult;

use super::element::{Element, Stored};
use super::ports::{Output, Width};
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

/// The values of an output in a batch.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) values: Values,
    /// The number of values of each row, if it differs.
    pub(super) lengths: Option<Vec<usize>>,
}

#[derive(Debug)]
pub(super) struct Computed {
    outputs: Vec<Rows>,
    /// For each row the cause of its failure; empty if it has outputs.
    failures: Vec<String>,
}

/// The values of an output for the rows that were computed.
#[derive(Debug)]
struct Rows {
    values: Values,
    width: Width,
    /// The number of values of each row, if it differs.
    lengths: Vec<usize>,
}

impl Computed {
    pub(super) fn new(outputs: &[Output]) -> Self {
        let outputs = outputs.iter().map(|output| Rows {
            values: match output.element.stored() {
                Stored::F32 => Values::F32(vec![]),
                Stored::F64 => Values::F64(vec![]),
                Stored::I64 => Values::I64(vec![]),
                Stored::Bool => Values::Bool(vec![]),
                Stored::Text => Values::Texts(vec![]),
            },
            width: output.width,
            lengths: vec![],
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
        for (output, tensor) in self.outputs.iter_mut().zip(tensors) {
            let width = match output.width {
                Width::Of(width) => width,
                Width::Any { .. } => tensor.len() / of_run.max(1),
            };
            if tensor.len() != of_run * width {
                let shape = tensor.shape();
                return Err(Error::Internal(format!("an output of the shape {shape:?}")));
            }
            let added = output.values.add(tensor, rows * width);
            added.map_err(|error| Error::Internal(error.to_string()))?;
            output.add_lengths(rows, width);
        }
        self.failures
            .extend(std::iter::repeat_n(String::new(), rows));
        Ok(())
    }

    /// Adds a row without outputs.
    pub(super) fn fail(&mut self, cause: String) {
        for output in &mut self.outputs {
            let width = match output.width {
                Width::Of(width) => width,
                Width::Any { .. } => 0,
            };
            output.values.fill(width);
            output.add_lengths(1, width);
        }
        self.failures.push(cause);
    }

    /// The tensors of all `rows` rows: of each output one, or two: the bytes and lengths of texts, or the values of rows of any
    /// length, filled up, and their lengths; then those of the failures. `order` has the place of each computed row in the batch.
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
        for output in self.outputs {
            match output.width {
                Width::Of(width) => output.values.tensors(places, rows, width, &mut tensors)?,
                Width::Any { .. } => {
                    let width = output.lengths.iter().copied().max().unwrap_or(0).max(1);
                    let values = output.values.filled_up(&output.lengths, width);
                    values.tensors(places, rows, width, &mut tensors)?;
                    let lengths = output.lengths.iter().map(|length| *length as u32);
                    let lengths = placed::<u32>(lengths.collect(), places, 1);
                    tensors.push(Tensor::from_vec(lengths, rows, &HOST)?);
                }
            }
        }
        Values::Texts(self.failures).tensors(places, rows, 1, &mut tensors)?;
        Ok(tensors)
    }
}

impl Rows {
    /// Adds rows of so many values each.
    fn add_lengths(&mut self, rows: usize, width: usize) {
        match self.width {
            Width::Of(_) => {}
            Width::Any { .. } => self.lengths.extend(std::iter::repeat_n(width, rows)),
        }
    }
}

impl Column {
    /// The values of an output, from the next tensors of [`Computed::finish`].
    ///
    /// # Errors
    /// [`Error::Internal`] if these are other tensors.
    pub(super) fn read<'a>(
        output: &Output,
        tensors: &mut impl Iterator<Item = &'a Tensor>,
    ) -> Result<Self> {
        let values = Values::read(output.element, tensors)?;
        match output.width {
            Width::Of(_) => Ok(Self {
                values,
                lengths: None,
            }),
            Width::Any { .. } => {
                let missing =
                    || Error::Internal("the lengths of an output of the model are missing".into());
                let lengths: Vec<u32> = tensors.next().ok_or_else(missing)?.to_vec1()?;
                let lengths: Vec<usize> =
                    lengths.into_iter().map(|length| length as usize).collect();
                let values = values.without_filling(&lengths);
                Ok(Self {
                    values,
                    lengths: Some(lengths),
                })
            }
        }
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

    /// Rows of these lengths, each filled up to `width` values.
    fn filled_up(self, lengths: &[usize], width: usize) -> Self {
        match self {
            Self::F32(values) => Self::F32(filled_up(&values, lengths, width)),
            Self::F64(values) => Self::F64(filled_up(&values, lengths, width)),
            Self::I64(values) => Self::I64(filled_up(&values, lengths, width)),
            Self::Bool(values) => Self::Bool(filled_up(&values, lengths, width)),
            Self::Texts(values) => Self::Texts(filled_up(&values, lengths, width)),
        }
    }

    /// The values before [`Values::filled_up`].
    fn without_filling(self, lengths: &[usize]) -> Self {
        match self {
            Self::F32(values) => Self::F32(without_filling(&values, lengths)),
            Self::F64(values) => Self::F64(without_filling(&values, lengths)),
            Self::I64(values) => Self::I64(without_filling(&values, lengths)),
            Self::Bool(values) => Self::Bool(without_filling(&values, lengths)),
            Self::Texts(values) => Self::Texts(without_filling(&values, lengths)),
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

    /// The values of an element, from the next tensors of [`Computed::finish`]; of rows of any length with their filling.
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

fn filled_up<T: Clone + Default>(values: &[T], lengths: &[usize], width: usize) -> Vec<T> {
    let mut all = Vec::with_capacity(lengths.len() * width);
    let mut rest = values;
    for length in lengths {
        let (row, others) = rest.split_at(*length);
        all.extend_from_slice(row);
        all.resize(all.len() + width - length, T::default());
        rest = others;
    }
    all
}

fn without_filling<T: Clone>(values: &[T], lengths: &[usize]) -> Vec<T> {
    let width = values.len() / lengths.len().max(1);
    let rows = values.chunks_exact(width.max(1)).zip(lengths);
    rows.flat_map(|(row, length)| row[..*length].iter().cloned())
        .collect()
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
            width: Width::Of(width),
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

    #[test]
    fn rows_of_any_length_come_back_at_their_places() {
        let output = Output {
            element: Element::F32,
            width: Width::Any { of_element: 1 },
            role: Role::List,
        };
        let mut computed = Computed::new(std::slice::from_ref(&output));
        let short: TValue = tensor2(&[[1.0f32], [2.0], [9.0]]).into();
        let long: TValue = tensor2(&[[3.0f32, 4.0, 5.0]]).into();
        computed.add(&[short], 2, 3).unwrap();
        computed.fail("no good".into());
        computed.add(&[long], 1, 1).unwrap();
        let tensors = computed.finish(Some(&[4, 0, 3, 1]), 5).unwrap();
        assert!(tensors.iter().all(|tensor| tensor.dims()[0] == 5));
        let mut tensors = tensors.iter();
        let column = Column::read(&output, &mut tensors).unwrap();
        assert_eq!(column.lengths, Some(vec![1, 3, 0, 0, 1]));
        let Values::F32(numbers) = column.values else {
            panic!("another type");
        };
        assert_eq!(numbers, [2.0, 3.0, 4.0, 5.0, 1.0]);
        let Values::Texts(causes) = Values::read(Element::Text, &mut tensors).unwrap() else {
            panic!("another type");
        };
        assert_eq!(causes, ["", "", "", "no good", ""]);
        assert!(Column::read(&output, &mut tensors).is_err());
    }
}
