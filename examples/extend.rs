//! Adds an SQL function, a model type and a model format to the engine.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use futures::TryStreamExt;
use vatic::Engine;
use vatic::ml::artifact::{Files, Loader};
use vatic::ml::candle::{DType, Device, Tensor};
use vatic::ml::data::columns::Column;
use vatic::ml::data::encode::shape::InputShape;
use vatic::ml::data::inputs::{Inputs, RowReport};
use vatic::ml::data::labels::ClassValue;
use vatic::ml::data::signature::{Port, PortKind, Signature, Values};
use vatic::ml::model::compute::{ComputeType, LoadOptions};
use vatic::ml::model::network::{ModelType, Network, Task};
use vatic::ml::model::options::TrainOptions;
use vatic::ml::model::{Batching, Model, Outputs, Wanted};
use vatic::ml::models::Mlp;
use vatic::ml::nn::Activation;
use vatic::ml::{Error, Result};

/// `celsius(fahrenheit DOUBLE) -> DOUBLE`
fn celsius(arguments: &[ColumnarValue]) -> vatic::Result<ColumnarValue> {
    let arrays = ColumnarValue::values_to_arrays(arguments)?;
    let degrees = arrays[0].as_primitive::<Float64Type>();
    let converted: Float64Array = degrees.unary(|fahrenheit| (fahrenheit - 32.0) / 1.8);
    Ok(ColumnarValue::Array(Arc::new(converted) as ArrayRef))
}

/// `tiny_net`: a classifier with one small hidden layer, for tables of few rows.
#[derive(Debug)]
struct TinyNet;

impl ModelType for TinyNet {
    fn name(&self) -> &str {
        "tiny_net"
    }

    fn task(&self, _options: &TrainOptions) -> Task {
        Task::Classification
    }

    fn network(
        &self,
        shape: &InputShape,
        outputs: usize,
        options: &TrainOptions,
    ) -> Result<Box<dyn Network>> {
        let options = TrainOptions {
            activation: Activation::Tanh,
            ..options.clone()
        };
        Ok(Box::new(Mlp::new(shape, &[4], outputs, &options)))
    }
}

/// Loads `centroids.csv`, which has a class and its centroid in each line. A row gets the class of the nearest centroid.
#[derive(Debug)]
struct Centroids;

const FILE: &str = "centroids.csv";

impl Loader for Centroids {
    fn format(&self) -> &str {
        "centroids"
    }

    fn takes(&self, files: &Files) -> bool {
        files.known().iter().any(|file| file.name == FILE)
    }

    fn load(&self, files: &Files, options: &LoadOptions) -> Result<Arc<dyn Model>> {
        if let Some(other) = options.compute.filter(|wanted| *wanted != ComputeType::F64) {
            let message = format!("centroids compute in f64, not {other}; leave out dtype");
            return Err(Error::Unsupported(message));
        }
        let corrupt = |problem: &str| Error::Corrupt(format!("{FILE}: {problem}"));
        let content = files.read(FILE, 1 << 20)?;
        let text = String::from_utf8(content).map_err(|_| corrupt("not UTF-8"))?;
        let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let header = lines.next().filter(|header| header.len() > 1);
        let header = header.ok_or_else(|| corrupt("the header needs a class and an input"))?;
        let (mut classes, mut points) = (Vec::new(), Vec::new());
        for line in lines {
            if line.len() != header.len() {
                return Err(corrupt("lines have different numbers of fields"));
            }
            classes.push(line[0].to_owned());
            for number in &line[1..] {
                let number = number.trim().parse::<f64>();
                points.push(number.map_err(|_| corrupt("a value is not a number"))?);
            }
        }
        let shape = (classes.len(), header.len() - 1);
        Ok(Arc::new(NearestCentroid {
            signature: signature(&header, &classes),
            points: Tensor::from_vec(points, shape, &options.device)?,
            classes,
        }))
    }
}

/// The inputs are the columns of the header after the first; the outputs are the class and the distance to its centroid.
fn signature(header: &[&str], classes: &[String]) -> Signature {
    let port = |name: String, data_type, kind| Port {
        name,
        data_type,
        kind,
    };
    let number = |name: &&str| port((*name).into(), DataType::Float64, PortKind::Number);
    let mut known: Vec<ClassValue> = classes.iter().cloned().map(ClassValue::Text).collect();
    known.sort();
    let target = Column {
        name: header[0].into(),
        data_type: DataType::Utf8,
    };
    let label = PortKind::Label {
        target,
        classes: known,
        values: Values::One,
    };
    let name = format!("predicted_{}", header[0]);
    Signature {
        inputs: header[1..].iter().map(number).collect(),
        outputs: vec![
            port(name, DataType::Utf8, label),
            port("distance".into(), DataType::Float64, PortKind::Number),
        ],
    }
}

#[derive(Debug)]
struct NearestCentroid {
    signature: Signature,
    classes: Vec<String>,
    /// `[classes, inputs]`
    points: Tensor,
}

impl NearestCentroid {
    /// The class probabilities of each row, in the order of the port: 1 for the nearest class, 0 for all others.
    fn probabilities(&self, nearest: &[u32]) -> Vec<f64> {
        let mut known = self.classes.clone();
        known.sort();
        let is_nearest = |class: &u32| {
            let class = &self.classes[*class as usize];
            known
                .iter()
                .map(move |known| f64::from(u8::from(known == class)))
        };
        nearest.iter().flat_map(is_nearest).collect()
    }
}

impl Model for NearestCentroid {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn batching(&self) -> Batching {
        Batching::Rows
    }

    fn compute_type(&self) -> ComputeType {
        ComputeType::F64
    }

    fn encode(&self, batch: &RecordBatch) -> Result<Inputs> {
        let mut inputs = Inputs::new(batch.num_rows());
        let mut valid = None;
        for (port, column) in self.signature.inputs.iter().zip(batch.columns()) {
            let column = cast(column, &DataType::Float64)?;
            valid = NullBuffer::union(valid.as_ref(), column.logical_nulls().as_ref());
            let numbers = column.as_primitive::<Float64Type>().values().to_vec();
            let rows = numbers.len();
            inputs = inputs.with(&port.name, Tensor::from_vec(numbers, rows, &Device::Cpu)?)?;
        }
        inputs.report.valid = valid;
        Ok(inputs)
    }

    /// The squared distance of each row to each centroid.
    fn forward(&self, inputs: &Inputs) -> Result<Vec<Tensor>> {
        let rows = inputs.rows();
        let mut squares =
            Tensor::zeros((rows, self.classes.len()), DType::F64, self.points.device())?;
        for (index, port) in self.signature.inputs.iter().enumerate() {
            let missing = || Error::Internal(format!("input \"{}\" is missing", port.name));
            let numbers = inputs.get(&port.name).ok_or_else(missing)?;
            let numbers = numbers.to_device(self.points.device())?.unsqueeze(1)?;
            let points = self.points.narrow(1, index, 1)?.t()?;
            squares = (squares + numbers.broadcast_sub(&points)?.sqr()?)?;
        }
        Ok(vec![squares])
    }

    fn outputs(&self, computed: &[Tensor], report: RowReport, wanted: &Wanted) -> Result<Outputs> {
        let squares = &computed[0];
        let nearest = squares.argmin(1)?.to_vec1::<u32>()?;
        let distances = squares.min(1)?.sqrt()?.to_vec1::<f64>()?;
        let valid = report.valid.as_ref();
        let is_valid = |row: usize| valid.is_none_or(|valid| valid.is_valid(row));
        let column = |output: &usize| -> ArrayRef {
            match output {
                0 => Arc::new(StringArray::from_iter(nearest.iter().enumerate().map(
                    |(row, &class)| is_valid(row).then(|| &self.classes[class as usize]),
                ))),
                _ => Arc::new(Float64Array::new(distances.clone().into(), valid.cloned())),
            }
        };
        let columns = wanted.outputs.iter().map(column).collect();
        let scores = match wanted.scores {
            true => self.probabilities(&nearest),
            false => vec![],
        };
        Ok(Outputs {
            columns,
            scores,
            report,
        })
    }

    fn bytes(&self) -> usize {
        self.points.elem_count() * size_of::<f64>()
    }

    fn working_bytes(&self, rows: usize) -> usize {
        let widths = self.signature.inputs.len() + 2 * self.classes.len();
        rows * widths * size_of::<f64>()
    }
}

#[tokio::main]
async fn main() -> vatic::Result<()> {
    let double = DataType::Float64;
    let function = create_udf(
        "celsius",
        vec![double.clone()],
        double,
        Volatility::Immutable,
        Arc::new(celsius),
    );
    let engine = Engine::builder()
        .function(function)
        .model_type(Arc::new(TinyNet))
        .loader(Arc::new(Centroids))
        .build()?;
    let session = engine.session()?;
    let seasons = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/seasons");
    let statements = format!(
        "
        CREATE TABLE days AS SELECT value AS id, celsius(value) AS temperature, value > 70 AS is_warm
        FROM generate_series(1, 140);
        TRAIN MODEL warm TARGET is_warm OPTIONS (model_type = 'tiny_net', learn_rate = 0.05)
        AS SELECT temperature, is_warm FROM days;
        SELECT predicted_is_warm FROM predict(warm, (SELECT celsius(100) AS temperature));

        CREATE MODEL season FROM '{seasons}' OPTIONS (licence = 'CC0');
        SELECT temperature, predicted_season, round(distance, 1) AS distance
        FROM predict(season, (SELECT * FROM (VALUES (18.0, 200.0), (2.0, NULL), (3.0, 70.0)) AS days(temperature, sunshine)));
        SELECT accuracy, rows FROM evaluate(season, (SELECT * FROM (VALUES
            (18.0, 200.0, 'summer'), (3.0, 70.0, 'winter'), (3.0, 70.0, 'spring'), (9.0, 160.0, 'spring')
        ) AS days(temperature, sunshine, season)));
    "
    );
    for statement in vatic::statements(&statements) {
        let batches: Vec<_> = session.sql(statement).await?.try_collect().await?;
        let table = pretty_format_batches(&batches)?.to_string();
        use std::io::Write;
        writeln!(std::io::stdout(), "{table}")?;
    }
    Ok(())
}
