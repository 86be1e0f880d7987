//! Work that was asked to stop ends within a step, within a pass, and within a backward pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, Float64Array, RecordBatch};
use candle_core::{Device, Tensor, Var};
use vatic_ml::collective::LocalCollective;
use vatic_ml::data::encode::shape::InputShape;
use vatic_ml::data::inputs::Inputs;
use vatic_ml::model::Model;
use vatic_ml::model::network::{Mode, ModelType, Network, Parameter, Task};
use vatic_ml::model::options::TrainOptions;
use vatic_ml::models::Mlp;
use vatic_ml::nn::{
    Activation, Cell, CellWeights, Convolution, Direction, Pooling, Runs, Window, activate,
    convolution, dropout, linear, normalise, pool, recurrent,
};
use vatic_ml::stop::Stop;
use vatic_ml::train::control::Control;
use vatic_ml::train::fit::fit;
use vatic_ml::train::raw::RankRows;
use vatic_ml::{Error, Result, random};

use crate::layers::numbers;
use crate::{model, spec_of, train};

fn rows(count: usize) -> (RecordBatch, Vec<u128>) {
    let x: ArrayRef = Arc::new(Float64Array::from_iter_values((0..count).map(|n| n as f64)));
    let y: ArrayRef = Arc::new(Float64Array::from_iter_values(
        (0..count).map(|n| (n % 3) as f64),
    ));
    let batch = RecordBatch::try_from_iter([("x", x), ("y", y)]).unwrap();
    (batch, (0..count as u128).collect())
}

/// A type whose networks ask to stop in each forward pass, and count the passes.
#[derive(Debug, Default)]
struct Impatient {
    stop: Stop,
    passes: Arc<AtomicUsize>,
}

struct ImpatientNetwork {
    network: Mlp,
    stop: Stop,
    passes: Arc<AtomicUsize>,
}

impl ModelType for Impatient {
    fn name(&self) -> &str {
        "impatient"
    }

    fn task(&self, _options: &TrainOptions) -> Task {
        Task::Regression
    }

    fn network(
        &self,
        shape: &InputShape,
        outputs: usize,
        options: &TrainOptions,
    ) -> Result<Box<dyn Network>> {
        Ok(Box::new(ImpatientNetwork {
            network: Mlp::new(shape, &[4], outputs, options),
            stop: self.stop.clone(),
            passes: Arc::clone(&self.passes),
        }))
    }
}

impl Network for ImpatientNetwork {
    fn parameters(&self) -> &[Parameter] {
        self.network.parameters()
    }

    fn forward(
        &self,
        parameters: &[Tensor],
        inputs: &Inputs,
        mode: Mode<'_>,
    ) -> Result<Vec<Tensor>> {
        let outputs = self.network.forward(parameters, inputs, mode);
        self.stop.ask();
        self.passes.fetch_add(1, Ordering::Relaxed);
        outputs
    }
}

#[test]
fn a_training_ends_within_a_step() {
    let (batch, hashes) = rows(400);
    let kind = Impatient::default();
    let spec = spec_of(&batch, &TrainOptions::default());
    let control = Control {
        stop: kind.stop.clone(),
        ..Control::default()
    };
    let rows = RankRows {
        batches: vec![batch],
        hashes: vec![hashes],
        ..RankRows::default()
    };
    let collective = LocalCollective::group(1).remove(0);
    let error = fit(&spec, &kind, rows, &collective, &control).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert_eq!(kind.passes.load(Ordering::Relaxed), 1);
}

#[test]
fn a_model_computes_no_further_pass() {
    let (batch, hashes) = rows(100);
    let options = TrainOptions {
        model_type: "linear_reg".into(),
        ..TrainOptions::default()
    };
    let model = model(&train(&batch, &hashes, &options, 1).unwrap());
    let inputs = model.encode(&batch.project(&[0]).unwrap()).unwrap();
    let stop = Stop::default();
    assert!(stop.watch(|| model.forward(&inputs)).is_ok());
    stop.ask();
    let error = stop.watch(|| model.forward(&inputs)).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert!(model.forward(&inputs).is_ok());
}

#[test]
fn each_layer_ends_its_backward_pass() {
    let var = |shape: &[usize]| Var::from_tensor(&numbers(shape)).unwrap();
    let (rows, images) = (var(&[3, 4]), var(&[2, 2, 5, 5]));
    let (weight, bias) = (var(&[4, 2]), var(&[2]));
    let window = Window::square(3, 1, 1);
    let layer = Convolution { window, groups: 1 };
    let runs = Runs {
        width: 4,
        positions: 1,
    };
    let (of_inputs, of_outputs, of_gates) = (var(&[8, 4]), var(&[8, 2]), var(&[8]));
    let weights = CellWeights {
        weight_ih: &of_inputs,
        weight_hh: &of_outputs,
        bias_ih: &of_gates,
        bias_hh: &of_gates,
    };
    let steps = rows.unsqueeze(0).unwrap();
    let mut random = random::stream(1, "test", &[]);
    let outputs = [
        linear(&rows, &weight, &bias, Some(Activation::Relu)),
        activate(Activation::Gelu, &rows),
        dropout(&rows, 0.5, &mut random),
        convolution(&images, &var(&[2, 2, 3, 3]), &bias, layer, None),
        pool(&images, window, Pooling::Max),
        normalise(&rows, &var(&[4]), &var(&[4]), runs),
        recurrent(Cell::Lstm, &steps, weights, Direction::Forward),
    ];
    let stop = Stop::default();
    stop.ask();
    for (number, output) in outputs.into_iter().enumerate() {
        let sum = output.unwrap().sum_all().unwrap();
        assert!(sum.backward().is_ok(), "{number}");
        let error = stop.watch(|| sum.backward()).unwrap_err();
        assert!(matches!(Error::from(error), Error::Cancelled), "{number}");
    }
}

#[test]
fn a_convolution_ends_within_its_forward_pass() {
    let (images, weight) = (numbers(&[1, 1, 8, 8]), numbers(&[1, 1, 256, 256]));
    let layer = Convolution {
        window: Window::square(256, 1, 256),
        groups: 1,
    };
    let stop = Stop::default();
    stop.ask();
    let bias = Tensor::zeros(1, images.dtype(), &Device::Cpu).unwrap();
    let output = stop.watch(|| convolution(&images, &weight, &bias, layer, None));
    assert!(matches!(output, Err(Error::Cancelled)), "{output:?}");
}
