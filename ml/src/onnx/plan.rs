//! [`Plan`]: a graph that runs.

use std::fmt::Debug;

use tract_onnx::prelude::{DatumType, TValue, TVec};

use super::inputs::Batch;
use crate::{Error, Result};

/// A graph that runs. Many threads run it at once.
pub(super) trait Plan: Debug + Send + Sync {
    /// How many rows the graph takes at once.
    fn batch(&self) -> Batch;

    /// Whether the outputs of a row depend on the rows beside it, so that each must run alone.
    fn mixes_rows(&self) -> bool;

    /// The number of lengths of lists.
    fn lengths(&self) -> usize;

    /// The outputs for so many rows and for lists of these lengths.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if they are not known.
    fn outputs(&self, rows: usize, lengths: &[usize]) -> Result<Vec<Shape>>;

    /// The most memory that tensors between the operators take at once, in bytes.
    fn bytes(&self, rows: usize, lengths: &[usize]) -> usize;

    /// The outputs for these inputs. Looks now and then whether the statement was cancelled.
    fn run(&self, inputs: TVec<TValue>) -> Result<TVec<TValue>, Failed>;
}

/// The type and the shape of an output.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) datum_type: DatumType,
    /// The size of each dimension; `None` for one that no input decides.
    pub(super) sizes: Vec<Option<usize>>,
    /// The shape with the names of its dimensions, for errors.
    pub(super) written: String,
}

/// Why a run has no outputs.
#[derive(Debug)]
pub(super) enum Failed {
    /// A row is the cause, or may be.
    Row(String),
    /// The statement was cancelled, or the device failed.
    All(Error),
}

/// The error for a model that cannot run, for this reason.
pub(super) fn cannot_run(file: &str, problem: &str) -> Error {
    Error::Unsupported(format!(
        "{file}: this build cannot run the model: {problem}"
    ))
}

/// A text of several lines in one line, and not too long.
pub(super) fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
