//! Inputs → outputs, some rows at a time. Rows with lists of one length run together. A run that fails is repeated with half of
//! its rows, until the row is found that is the cause.

use std::ops::Range;

use candle_core::Tensor as Encoded;
use tract_onnx::prelude::{TValue, TVec, Tensor};
use tract_onnx::tract_hir::internal::TractResult;

use super::computed::Computed;
use super::element::Stored;
use super::encode::COMPUTED;
use super::inputs::{Batch, Input, Row};
use super::operators::tensors::text_tensor;
use super::plan::{Failed, Plan};
use super::ports::Output;
use super::texts::from_tensors;
use crate::data::inputs::Inputs;
use crate::device::HOST;
use crate::{Error, Result, stop};

/// The memory that a run may take: tensors between the operators stay in the cache of a core.
const RUN_BYTES: usize = 16 << 20;
/// A statement is cancelled between two runs, or two operators.
const RUN_ROWS_MAX: usize = 8192;
/// Rows of a batch that may fail one by one. A model that fails on more rows is not the fault of the rows.
const FAILURES_MAX: usize = 100;

/// The tensors of a batch, as [`Computed::finish`] makes them.
pub(super) fn run(
    plan: &dyn Plan,
    inputs: &[Input],
    outputs: &[Output],
    batch: &Inputs,
) -> Result<Vec<Encoded>> {
    let order = order(inputs, batch)?;
    let rows = match &order {
        Some(order) => batch.select(&order.rows)?,
        None => batch.clone(),
    };
    let mut running = Running {
        plan,
        inputs,
        rows: &rows,
        computed: Computed::new(outputs),
        failures: 0,
    };
    let count = order
        .as_ref()
        .map_or(batch.rows(), |order| order.rows.len());
    let groups = match &order {
        Some(order) => order.groups.clone(),
        None => vec![(0..count, vec![])],
    };
    for (group, lengths) in groups {
        let at_once = running.rows_at_once(&lengths);
        for start in group.clone().step_by(at_once) {
            stop::check()?;
            let end = group.end.min(start + at_once);
            running.run(start..end, &lengths)?;
        }
    }
    let order = order.as_ref().map(|order| order.rows.as_slice());
    running.computed.finish(order, batch.rows())
}

/// The rows to compute, and the order in which they run.
struct Order {
    rows: Vec<u32>,
    /// The rows whose lists have the same lengths, by their position in `rows`, with the lengths by input.
    groups: Vec<(Range<usize>, Vec<usize>)>,
}

/// `None` if all rows run in their order.
fn order(inputs: &[Input], batch: &Inputs) -> Result<Option<Order>> {
    let computed: Option<Vec<u8>> = match batch.get(COMPUTED) {
        Some(computed) => Some(computed.to_device(&HOST)?.to_vec1()?),
        None => None,
    };
    let mut lengths: Vec<Vec<u32>> = Vec::new();
    for input in inputs
        .iter()
        .filter(|input| matches!(input.row, Row::List { .. }))
    {
        let of_input = batch.lengths(&input.name).ok_or_else(|| missing(input))?;
        lengths.push(of_input.to_device(&HOST)?.to_vec1()?);
    }
    if computed.is_none() && lengths.is_empty() {
        return Ok(None);
    }
    let is_computed = |row: &u32| {
        computed
            .as_ref()
            .is_none_or(|flags| flags[*row as usize] != 0)
    };
    let of_row = |row: u32| {
        lengths
            .iter()
            .map(move |lengths| lengths[row as usize] as usize)
    };
    let mut rows: Vec<u32> = (0..batch.rows() as u32).filter(is_computed).collect();
    rows.sort_by_cached_key(|row| of_row(*row).collect::<Vec<_>>());
    let mut groups: Vec<(Range<usize>, Vec<usize>)> = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let lengths: Vec<usize> = of_row(*row).collect();
        match groups.last_mut() {
            Some((group, same)) if *same == lengths => group.end = at + 1,
            _ => groups.push((at..at + 1, lengths)),
        }
    }
    Ok(Some(Order { rows, groups }))
}

fn missing(input: &Input) -> Error {
    Error::Internal(format!("input \"{}\" is missing", input.name))
}

/// A batch that is being computed.
struct Running<'a> {
    plan: &'a dyn Plan,
    inputs: &'a [Input],
    /// The rows in the order in which they run.
    rows: &'a Inputs,
    computed: Computed,
    /// Rows that failed so far.
    failures: usize,
}

impl Running<'_> {
    /// The lengths by dimension of the graph, from those by input.
    fn dimensions(&self, lengths: &[usize]) -> Vec<usize> {
        let mut dimensions = Vec::new();
        let lists = self.inputs.iter().filter_map(|input| match input.row {
            Row::List { length } => Some(length),
            Row::One { .. } | Row::Array(_) => None,
        });
        for (dimension, length) in lists.zip(lengths) {
            if dimensions.len() <= dimension {
                dimensions.resize(dimension + 1, 1);
            }
            dimensions[dimension] = *length;
        }
        dimensions
    }

    fn rows_at_once(&self, lengths: &[usize]) -> usize {
        match self.plan.batch() {
            Batch::Any | Batch::Of(_) if self.plan.mixes_rows() => 1,
            Batch::Of(rows) => rows,
            Batch::Any => {
                let lengths = self.dimensions(lengths);
                let (one, two) = (self.plan.bytes(1, &lengths), self.plan.bytes(2, &lengths));
                (RUN_BYTES / two.saturating_sub(one).max(1)).clamp(1, RUN_ROWS_MAX)
            }
        }
    }

    /// Runs these rows, or the halves of them.
    fn run(&mut self, rows: Range<usize>, lengths: &[usize]) -> Result<()> {
        let of_run = match self.plan.batch() {
            Batch::Any => rows.len(),
            Batch::Of(rows) => rows,
        };
        let failed = match self.once(rows.clone(), of_run, lengths)? {
            Ok(outputs) => return self.computed.add(&outputs, rows.len(), of_run),
            Err(failed) => failed,
        };
        let cause = match failed {
            Failed::All(error) => return Err(error),
            Failed::Row(cause) => cause,
        };
        if rows.len() > 1 {
            let middle = rows.start + rows.len() / 2;
            self.run(rows.start..middle, lengths)?;
            return self.run(middle..rows.end, lengths);
        }
        self.failures += 1;
        if self.failures > FAILURES_MAX {
            return Err(Error::Invalid(format!(
                "more than {FAILURES_MAX} rows of a batch fail; of the last one, {cause}"
            )));
        }
        self.computed.fail(cause);
        Ok(())
    }

    fn once(
        &self,
        rows: Range<usize>,
        of_run: usize,
        lengths: &[usize],
    ) -> Result<Result<TVec<TValue>, Failed>> {
        let mut lengths = lengths.iter();
        let mut tensors: TVec<TValue> = TVec::new();
        for input in self.inputs {
            let length = match input.row {
                Row::List { .. } => lengths.next().copied(),
                Row::One { .. } | Row::Array(_) => None,
            };
            tensors.push(self.tensor(input, rows.clone(), of_run, length)?.into());
        }
        Ok(self.plan.run(tensors))
    }

    /// The tensor of an input for `of_run` rows, of which those after `rows` are copies of the last.
    fn tensor(
        &self,
        input: &Input,
        rows: Range<usize>,
        of_run: usize,
        length: Option<usize>,
    ) -> Result<Tensor> {
        let values = self.rows.get(&input.name).ok_or_else(|| missing(input))?;
        let mut values = values.narrow(0, rows.start, rows.len())?;
        let mut shape = vec![of_run];
        match (&input.row, length) {
            (Row::One { rank }, _) => shape.resize(*rank, 1),
            (Row::Array(row), _) => shape.extend(row),
            (Row::List { .. }, length) => {
                let length = length.unwrap_or(0);
                values = values.narrow(1, 0, length)?;
                shape.push(length);
            }
        }
        let values = values.to_device(&HOST)?;
        let tensor = match input.element.stored() {
            Stored::F32 => {
                let values = filled(values.flatten_all()?.to_vec1::<f32>()?, rows.len(), of_run);
                Tensor::from_shape(&shape, &values)
            }
            Stored::F64 => {
                let values = filled(values.flatten_all()?.to_vec1::<f64>()?, rows.len(), of_run);
                Tensor::from_shape(&shape, &values)
            }
            Stored::I64 => {
                let values = filled(values.flatten_all()?.to_vec1::<i64>()?, rows.len(), of_run);
                Tensor::from_shape(&shape, &values)
            }
            Stored::Bool => {
                let values = filled(values.flatten_all()?.to_vec1::<u8>()?, rows.len(), of_run);
                let values: Vec<bool> = values.iter().map(|flag| *flag != 0).collect();
                Tensor::from_shape(&shape, &values)
            }
            Stored::Text => {
                let lengths = self
                    .rows
                    .lengths(&input.name)
                    .ok_or_else(|| missing(input))?;
                let lengths = lengths
                    .narrow(0, rows.start, rows.len())?
                    .to_device(&HOST)?;
                let values = from_tensors(&values, &lengths)?;
                text_tensor(&shape, filled(values, rows.len(), of_run))
            }
        };
        let of = input.element.datum_type();
        let cast = |tensor: Tensor| -> TractResult<Tensor> {
            match tensor.datum_type() == of {
                true => Ok(tensor),
                false => Ok(tensor.cast_to_dt(of)?.into_owned()),
            }
        };
        let tensor = tensor.and_then(cast);
        tensor.map_err(|error| Error::Internal(error.to_string()))
    }
}

/// The values of `rows` rows, and then those of the last row until there are `of_run`.
fn filled<T: Clone>(mut values: Vec<T>, rows: usize, of_run: usize) -> Vec<T> {
    let width = values.len() / rows.max(1);
    let last = values.len().saturating_sub(width)..values.len();
    for _ in rows..of_run {
        values.extend_from_within(last.clone());
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_rows_are_copies_of_the_last() {
        assert_eq!(filled(vec![1, 2, 3, 4], 2, 2), [1, 2, 3, 4]);
        assert_eq!(filled(vec![1, 2, 3, 4], 2, 4), [1, 2, 3, 4, 3, 4, 3, 4]);
        assert!(filled(Vec::<i64>::new(), 2, 4).is_empty());
    }
}
