//! [`OnnxModel`]: a graph as a [`Model`]. It computes on the processor.

use std::fmt::{self, Debug};
use std::path::Path;

use arrow::array::RecordBatch;
use candle_core::Tensor;
use tract_onnx::pb::ModelProto;

use super::encode::encode;
use super::external::inline;
use super::graph::{Runner, checked};
use super::inputs::{Input, Row};
use super::library_plan::LibraryPlan;
use super::outputs::columns;
use super::plan::Plan;
use super::ports::{Output, Width, outputs, signature};
use super::proto::decode;
use super::run::run;
use super::tract_plan::TractPlan;
use crate::Result;
use crate::data::inputs::{Inputs, RowReport};
use crate::data::signature::Signature;
use crate::model::compute::ComputeType;
use crate::model::{Batching, Model, Outputs, Wanted};

/// The length of a list of any length that is assumed for the memory of a batch.
const LENGTH_ASSUMED: usize = 128;
/// Rows that may be in one run, for the memory of a batch.
const ROWS_ASSUMED: usize = 256;

/// A model from a file in ONNX.
pub struct OnnxModel {
    signature: Signature,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    plan: Box<dyn Plan>,
    bytes: usize,
}

impl Debug for OnnxModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnnxModel")
            .field("inputs", &self.inputs)
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}

impl OnnxModel {
    /// The model of a file of this name with this content. `read` returns the content of another file of the model. It runs on the
    /// library of onnxruntime at `library`, or on tract.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) for a file that is damaged or not whole; [`Error::Unsupported`](crate::Error::Unsupported) for a graph that this build or the
    /// library cannot run, naming what it lacks, and for a library that cannot be opened; the errors of `read`.
    pub fn open(
        file: &str,
        content: &[u8],
        read: &mut dyn FnMut(&str) -> Result<Vec<u8>>,
        library: Option<&Path>,
    ) -> Result<Self> {
        let mut bytes = content.len();
        let mut model = decode(file, content)?;
        let mut counted = |name: &str| -> Result<Vec<u8>> {
            let content = read(name)?;
            bytes += content.len();
            Ok(content)
        };
        if let Some(graph) = &mut model.graph {
            inline(file, graph, &mut counted)?;
        }
        Self::of(file, model, bytes, library)
    }

    /// The model of a message, whose file and the files beside it have so many bytes.
    fn of(file: &str, model: ModelProto, bytes: usize, library: Option<&Path>) -> Result<Self> {
        let runner = match library {
            Some(_) => Runner::Library,
            None => Runner::Tract,
        };
        let graph = checked(file, model, runner)?;
        let plan: Box<dyn Plan> = match library {
            Some(path) => Box::new(LibraryPlan::of(file, &graph, path)?),
            None => Box::new(TractPlan::of(file, &graph)?),
        };
        let outputs = outputs(file, &graph, plan.as_ref())?;
        let signature = signature(&graph.inputs, &graph.outputs, &outputs);
        Ok(Self {
            signature,
            outputs,
            inputs: graph.inputs,
            plan,
            bytes,
        })
    }
}

impl Model for OnnxModel {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn batching(&self) -> Batching {
        Batching::Rows
    }

    fn compute_type(&self) -> ComputeType {
        ComputeType::F32
    }

    fn encode(&self, batch: &RecordBatch) -> Result<Inputs> {
        encode(&self.inputs, batch)
    }

    /// One tensor for each output, two for texts and for rows of any length; then two with the causes of rows without outputs.
    fn forward(&self, inputs: &Inputs) -> Result<Vec<Tensor>> {
        run(self.plan.as_ref(), &self.inputs, &self.outputs, inputs)
    }

    fn outputs(&self, computed: &[Tensor], report: RowReport, wanted: &Wanted) -> Result<Outputs> {
        columns(&self.outputs, computed, report, wanted)
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn working_bytes(&self, rows: usize) -> usize {
        let of_input = |input: &Input| {
            let elements = match &input.row {
                Row::One { .. } => 1,
                Row::Array(shape) => shape.iter().product(),
                Row::List { .. } => LENGTH_ASSUMED,
            };
            elements * input.element.bytes()
        };
        let inputs: usize = self.inputs.iter().map(of_input).sum();
        let outputs = self.outputs.iter();
        let outputs: usize = outputs
            .map(|output| {
                let elements = match output.width {
                    Width::Of(width) => width,
                    Width::Any { of_element } => of_element * LENGTH_ASSUMED,
                };
                elements * output.element.bytes()
            })
            .sum();
        let lengths = vec![LENGTH_ASSUMED; self.plan.lengths()];
        // The inputs are also there in the order in which they run, and outputs as tensors and as columns.
        let run = self.plan.bytes(rows.min(ROWS_ASSUMED), &lengths);
        rows * 2 * (inputs + outputs) + run
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
