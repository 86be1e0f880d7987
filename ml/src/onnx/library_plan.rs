//! [`LibraryPlan`]: a graph that a library of onnxruntime runs. One run at a time has all cores: the crate lets only one thread use a
//! session. Tensors have the form of tract's on both sides.

use std::borrow::Cow;
use std::fmt::Debug;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use ort::environment::Environment;
use ort::session::{NoSelectedOutputs, RunOptions, Session, SessionInputValue};
use ort::value::{
    DynValue, PrimitiveTensorElementType, Tensor as LibraryTensor, TensorElementType, TensorRef,
    ValueType,
};
use prost::Message;
use tract_onnx::prelude::{Datum, DatumType, TValue, TVec, Tensor, f16};

use super::graph::Graph;
use super::inputs::{Batch, Input, Row};
use super::library::environment;
use super::operators::tensors::{text_tensor, texts};
use super::plan::{Failed, Plan, Shape, one_line};
use crate::device::cores;
use crate::worker::catch;
use crate::{Error, Result, stop};

/// How often a thread looks whether a run should stop.
const LOOK: Duration = Duration::from_millis(50);
/// The memory of a run for each byte of its inputs and outputs: the library does not say how large the tensors between the operators
/// are.
const BETWEEN: usize = 4;
/// The most bytes of a graph with its weights that the library takes from memory.
const GRAPH_BYTES_MAX: usize = i32::MAX as usize;

/// A graph that a library runs.
#[derive(Debug)]
pub(super) struct LibraryPlan {
    session: Mutex<Session>,
    inputs: Vec<Input>,
    outputs: Vec<Declared>,
    batch: Batch,
    mixes_rows: bool,
    lengths: usize,
}

/// An output, as far as the library knows it without a run.
#[derive(Debug)]
struct Declared {
    name: String,
    datum_type: DatumType,
    /// The sizes of the dimensions; `None` for one that differs.
    sizes: Vec<Option<usize>>,
    written: String,
}

impl LibraryPlan {
    /// The graph on the library at this path.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if there is no such library, or if it does not take the graph.
    pub(super) fn of(file: &str, graph: &Graph, library: &Path) -> Result<Self> {
        let environment = environment(library)?;
        let cannot = |problem: &str| {
            let problem = one_line(problem);
            Error::Unsupported(format!(
                "{file}: onnxruntime cannot run the model: {problem}"
            ))
        };
        let bytes = graph.model.encoded_len();
        if bytes > GRAPH_BYTES_MAX {
            return Err(cannot(&format!(
                "it has {bytes} bytes with its weights, at most {GRAPH_BYTES_MAX} are taken; export it in half precision"
            )));
        }
        let content = graph.model.encode_to_vec();
        let opened = catch(|| Ok(session(&environment, &content)));
        let opened = opened.map_err(|panic| cannot(&panic.to_string()))?;
        let session = opened.map_err(|error| cannot(error.message()))?;
        let outputs = session.outputs().iter();
        let outputs = outputs.map(|output| declared(file, output.name(), output.dtype()));
        let outputs = outputs.collect::<Result<Vec<Declared>>>()?;
        Ok(Self {
            inputs: graph.inputs.clone(),
            outputs,
            batch: graph.batch,
            mixes_rows: graph.mixes_rows,
            lengths: graph.lengths,
            session: Mutex::new(session),
        })
    }

    /// The tensor of an input for so many rows and lists of these lengths, whose values are 0 or empty.
    fn example(input: &Input, rows: usize, lengths: &[usize]) -> Result<Tensor> {
        let mut shape = vec![rows];
        match &input.row {
            Row::One { rank } => shape.resize(*rank, 1),
            Row::Array(row) => shape.extend(row),
            Row::List { length } => shape.push(lengths.get(*length).copied().unwrap_or(1)),
        }
        let tensor = match input.element.datum_type() {
            DatumType::String => text_tensor(&shape, vec![String::new(); shape.iter().product()]),
            other => Tensor::zero_dt(other, &shape),
        };
        tensor.map_err(|error| Error::Internal(error.to_string()))
    }

    fn once(&self, inputs: &[TValue]) -> Result<TVec<TValue>, Failed> {
        let failed = |problem: &str| match stop::check() {
            Err(cancelled) => Failed::All(cancelled),
            Ok(()) => Failed::Row(format!("the model failed: {}", one_line(problem))),
        };
        let mut values = Vec::with_capacity(inputs.len());
        for (input, tensor) in self.inputs.iter().zip(inputs) {
            let value = value(tensor).map_err(|problem| failed(&problem))?;
            values.push((Cow::from(input.name.as_str()), value));
        }
        let options = RunOptions::new().map_err(|error| failed(error.message()))?;
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        until_stopped(&options, || {
            let outputs = session.run_with_options(values, &options);
            let outputs = outputs.map_err(|error| failed(error.message()))?;
            let mut tensors = TVec::new();
            for output in &self.outputs {
                let missing = || failed("an output is missing");
                let found = outputs.get(&output.name).ok_or_else(missing)?;
                let tensor = tensor(found).map_err(|problem| failed(&problem))?;
                tensors.push(TValue::from(tensor));
            }
            Ok(tensors)
        })
    }
}

impl Plan for LibraryPlan {
    fn batch(&self) -> Batch {
        self.batch
    }

    fn mixes_rows(&self) -> bool {
        self.mixes_rows
    }

    fn lengths(&self) -> usize {
        self.lengths
    }

    /// Shapes show in a run. A model may refuse a row of zeros and empty texts; then they are as the graph declares them.
    fn outputs(&self, rows: usize, lengths: &[usize]) -> Result<Vec<Shape>> {
        let inputs = self.inputs.iter();
        let inputs = inputs.map(|input| Self::example(input, rows, lengths).map(TValue::from));
        let inputs = inputs.collect::<Result<TVec<TValue>>>()?;
        let sizes: Vec<Vec<Option<usize>>> = match self.run(inputs) {
            Ok(tensors) => {
                let sizes = |tensor: &TValue| tensor.shape().iter().copied().map(Some).collect();
                tensors.iter().map(sizes).collect()
            }
            Err(Failed::All(error)) => return Err(error),
            Err(Failed::Row(_)) => {
                let sizes = |output: &Declared| {
                    let mut sizes = output.sizes.clone();
                    if let Some(first) = sizes.first_mut() {
                        *first = first.or(Some(rows));
                    }
                    sizes
                };
                self.outputs.iter().map(sizes).collect()
            }
        };
        let shapes = self.outputs.iter().zip(sizes);
        let shapes = shapes.map(|(output, sizes)| Shape {
            datum_type: output.datum_type,
            sizes,
            written: output.written.clone(),
        });
        Ok(shapes.collect())
    }

    fn bytes(&self, rows: usize, lengths: &[usize]) -> usize {
        let longest = lengths.iter().copied().max().unwrap_or(1);
        let inputs = self.inputs.iter().map(|input| {
            let elements = match &input.row {
                Row::One { .. } => 1,
                Row::Array(row) => row.iter().product(),
                Row::List { length } => lengths.get(*length).copied().unwrap_or(1),
            };
            elements.saturating_mul(input.element.bytes())
        });
        let outputs = self.outputs.iter().map(|output| {
            let sizes = output.sizes.iter().skip(1);
            let elements = sizes.map(|size| size.unwrap_or(longest));
            let elements = elements.fold(1, usize::saturating_mul);
            elements.saturating_mul(output.datum_type.size_of())
        });
        let row = inputs.chain(outputs).fold(0, usize::saturating_add);
        row.saturating_mul(BETWEEN).saturating_mul(rows)
    }

    fn run(&self, inputs: TVec<TValue>) -> Result<TVec<TValue>, Failed> {
        stop::check().map_err(Failed::All)?;
        let caught = catch(|| Ok(self.once(&inputs)));
        caught.unwrap_or_else(|panic| Err(Failed::Row(panic.to_string())))
    }
}

fn session(environment: &Environment, content: &[u8]) -> ort::Result<Session> {
    // Threads that spin between two runs would take the cores from the operators of the query.
    let mut builder = Session::builder(environment)?
        .with_intra_threads(cores())?
        .with_intra_op_spinning(false)?;
    builder.commit_from_memory(content)
}

fn declared(file: &str, name: &str, of: &ValueType) -> Result<Declared> {
    let wrong = |what: &str| {
        Error::Unsupported(format!(
            "{file}: output \"{name}\" is {what}, which no column can be"
        ))
    };
    let ValueType::Tensor { ty, shape, .. } = of else {
        return Err(wrong(&format!("a {of}")));
    };
    let datum_type = datum_type(*ty).ok_or_else(|| wrong(&format!("a tensor of {ty}")))?;
    let sizes: Vec<Option<usize>> = shape
        .iter()
        .map(|size| usize::try_from(*size).ok())
        .collect();
    let written = sizes.iter().map(|size| match size {
        Some(size) => size.to_string(),
        None => "?".to_owned(),
    });
    let written: Vec<String> = written.collect();
    Ok(Declared {
        name: name.to_owned(),
        datum_type,
        written: written.join(","),
        sizes,
    })
}

/// Runs until the end, or until the statement is asked to stop.
fn until_stopped<T>(
    options: &RunOptions<NoSelectedOutputs>,
    run: impl FnOnce() -> Result<T, Failed>,
) -> Result<T, Failed> {
    let Some(stop) = stop::watched() else {
        return run();
    };
    let (done, is_done) = channel::<()>();
    let look = move || {
        while let Err(RecvTimeoutError::Timeout) = is_done.recv_timeout(LOOK) {
            if stop.is_asked() {
                // The run ends by itself at the latest; there is nothing else to try.
                let _ = options.terminate();
            }
        }
    };
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("vatic-stop".into());
        let looking = builder.spawn_scoped(scope, look);
        looking.map_err(|error| Failed::All(error.into()))?;
        let result = run();
        drop(done);
        result
    })
}

/// The tensor as the library takes it; numbers stay where they are.
fn value(tensor: &Tensor) -> Result<SessionInputValue<'_>, String> {
    fn numbers<T>(tensor: &Tensor) -> Result<SessionInputValue<'_>, String>
    where
        T: Datum + PrimitiveTensorElementType + Clone + Debug + 'static,
    {
        let view = tensor
            .try_as_plain_ram()
            .map_err(|error| error.to_string())?;
        let values = view.as_slice::<T>().map_err(|error| error.to_string())?;
        let value = TensorRef::from_array_view((tensor.shape().to_vec(), values));
        Ok(value.map_err(|error| error.to_string())?.into())
    }
    match tensor.datum_type() {
        DatumType::Bool => numbers::<bool>(tensor),
        DatumType::I8 => numbers::<i8>(tensor),
        DatumType::I16 => numbers::<i16>(tensor),
        DatumType::I32 => numbers::<i32>(tensor),
        DatumType::I64 => numbers::<i64>(tensor),
        DatumType::U8 => numbers::<u8>(tensor),
        DatumType::U16 => numbers::<u16>(tensor),
        DatumType::U32 => numbers::<u32>(tensor),
        DatumType::F16 => numbers::<f16>(tensor),
        DatumType::F32 => numbers::<f32>(tensor),
        DatumType::F64 => numbers::<f64>(tensor),
        DatumType::String => {
            let texts = texts(tensor).map_err(|error| error.to_string())?;
            let value =
                LibraryTensor::<String>::from_string_array((tensor.shape().to_vec(), texts));
            Ok(value.map_err(|error| error.to_string())?.into())
        }
        other => Err(format!("an input is a tensor of {other:?}")),
    }
}

/// A tensor of the library as one of tract.
fn tensor(value: &DynValue) -> Result<Tensor, String> {
    fn sizes(shape: &[i64]) -> Vec<usize> {
        shape.iter().map(|size| *size as usize).collect()
    }
    fn numbers<T>(value: &DynValue) -> Result<Tensor, String>
    where
        T: Datum + Copy + PrimitiveTensorElementType,
    {
        let found = value.try_extract_tensor::<T>();
        let (shape, values) = found.map_err(|error| error.to_string())?;
        let tensor = Tensor::from_shape(&sizes(shape), values);
        tensor.map_err(|error| error.to_string())
    }
    let ValueType::Tensor { ty, .. } = value.dtype() else {
        return Err("an output is no tensor".to_owned());
    };
    match ty {
        TensorElementType::Bool => numbers::<bool>(value),
        TensorElementType::Int8 => numbers::<i8>(value),
        TensorElementType::Int16 => numbers::<i16>(value),
        TensorElementType::Int32 => numbers::<i32>(value),
        TensorElementType::Int64 => numbers::<i64>(value),
        TensorElementType::Uint8 => numbers::<u8>(value),
        TensorElementType::Uint16 => numbers::<u16>(value),
        TensorElementType::Uint32 => numbers::<u32>(value),
        TensorElementType::Float16 => numbers::<f16>(value),
        TensorElementType::Float32 => numbers::<f32>(value),
        TensorElementType::Float64 => numbers::<f64>(value),
        TensorElementType::String => {
            let found = value.try_extract_strings();
            let (shape, texts) = found.map_err(|error| error.to_string())?;
            text_tensor(&sizes(shape), texts).map_err(|error| error.to_string())
        }
        other => Err(format!("an output is a tensor of {other}")),
    }
}

/// tract's type for a type of the library; `None` if no column can have it.
fn datum_type(of: TensorElementType) -> Option<DatumType> {
    Some(match of {
        TensorElementType::Bool => DatumType::Bool,
        TensorElementType::Int8 => DatumType::I8,
        TensorElementType::Int16 => DatumType::I16,
        TensorElementType::Int32 => DatumType::I32,
        TensorElementType::Int64 => DatumType::I64,
        TensorElementType::Uint8 => DatumType::U8,
        TensorElementType::Uint16 => DatumType::U16,
        TensorElementType::Uint32 => DatumType::U32,
        TensorElementType::Float16 => DatumType::F16,
        TensorElementType::Float32 => DatumType::F32,
        TensorElementType::Float64 => DatumType::F64,
        TensorElementType::String => DatumType::String,
        _ => return None,
    })
}
