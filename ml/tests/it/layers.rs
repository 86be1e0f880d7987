//! Layers over images, and networks of all layers: their gradients against finite differences, their values against numpy
//! (`fixtures/layers.py`).

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, Int64Array, RecordBatch,
};
use arrow::datatypes::{DataType, Field, Int64Type};
use candle_core::{DType, Device, Tensor, Var};
use vatic_ml::data::encode::shape::InputShape;
use vatic_ml::data::encode::tabular::{CATEGORIES, NUMBERS};
use vatic_ml::data::inputs::Inputs;
use vatic_ml::model::Model;
use vatic_ml::model::network::{Mode, Network, ParameterKind};
use vatic_ml::model::options::TrainOptions;
use vatic_ml::models::{LAYERS, Sequential};
use vatic_ml::nn::{
    Activation, Convolution, Pooling, Runs, Window, activate, convolution, linear, normalise, pool,
};
use vatic_ml::{Result, random};

use crate::gradients::check_within;
use crate::{batch_of, model, noise, predict, train};

/// Compares the gradient of a layer with finite differences.
fn check(name: &str, shapes: &[&[usize]], function: impl Fn(&[Tensor]) -> Result<Tensor>) {
    check_within(1e-7, name, shapes, function);
}

const WINDOWS: [(usize, usize, usize); 5] = [(1, 1, 0), (2, 2, 0), (3, 1, 1), (3, 2, 1), (2, 3, 1)];

#[test]
fn gradients_of_convolutions() {
    for (kernel, stride, padding) in WINDOWS {
        for groups in [1, 2] {
            let layer = Convolution {
                window: Window::square(kernel, stride, padding),
                groups,
            };
            for activation in [None, Some(Activation::Tanh), Some(Activation::Gelu)] {
                check(
                    &format!("{layer:?} {activation:?}"),
                    &[&[2, 4, 4, 5], &[6, 4 / groups, kernel, kernel], &[6]],
                    |v| convolution(&v[0], &v[1], &v[2], layer, activation),
                );
            }
        }
    }
    let depthwise = Convolution {
        window: Window::line(3, 2, 1),
        groups: 3,
    };
    check("depthwise", &[&[2, 3, 1, 6], &[3, 1, 1, 3], &[3]], |v| {
        let sigmoid = Some(Activation::Sigmoid);
        convolution(&v[0], &v[1], &v[2], depthwise, sigmoid)
    });
}

/// Calls `each` with the places of each product of a convolution in its weights, its image and its output.
fn each_product(
    [rows, groups]: [usize; 2],
    weight: &[usize],
    image: [usize; 2],
    window: Window,
    mut each: impl FnMut(usize, usize, usize),
) {
    let ([height, width], [down, across]) = (image, window.positions(image).unwrap());
    let &[outputs, channels, tall, wide] = weight else {
        panic!("weights {weight:?}");
    };
    let along = |axis: usize, place: usize, offset: usize| {
        let pixel = (place * window.stride[axis] + offset).checked_sub(window.padding[axis]);
        pixel.filter(|pixel| *pixel < image[axis])
    };
    for row in 0..rows {
        for output in 0..outputs {
            let first = (row * groups + output / (outputs / groups)) * channels;
            for channel in 0..channels {
                for element in 0..tall * wide {
                    for place in 0..down * across {
                        let pixel_y = along(0, place / across, element / wide);
                        let pixel_x = along(1, place % across, element % wide);
                        if let (Some(y), Some(x)) = (pixel_y, pixel_x) {
                            each(
                                (output * channels + channel) * tall * wide + element,
                                ((first + channel) * height + y) * width + x,
                                (row * outputs + output) * down * across + place,
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_convolution_in_many_tiles_is_the_sum_of_its_products() {
    // A tile has 256 positions and 512 elements of the windows, in f64.
    for (groups, kernel, stride, padding) in [(1, 5, 1, 2), (2, 6, 1, 1), (1, 7, 2, 3)] {
        let (rows, channels, outputs, image) = (2, 48, 4, [35, 33]);
        let window = Window::square(kernel, stride, padding);
        let shape = [outputs, channels / groups, kernel, kernel];
        let x = Var::from_tensor(&numbers(&[rows, channels, image[0], image[1]])).unwrap();
        let weight = Var::from_tensor(&reversed(&shape)).unwrap();
        let bias = Var::from_tensor(&numbers(&[outputs])).unwrap();
        let y = convolution(&x, &weight, &bias, Convolution { window, groups }, None).unwrap();
        let slopes = reversed(y.dims());
        let gradients = (&y * &slopes)
            .unwrap()
            .sum_all()
            .unwrap()
            .backward()
            .unwrap();
        let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        let (xs, weights, dys) = (flat(&x), flat(&weight), flat(&slopes));
        let places = y.elem_count() / (rows * outputs);
        let biases = flat(&bias);
        let mut expected: Vec<f64> = (0..y.elem_count())
            .map(|n| biases[n / places % outputs])
            .collect();
        let (mut dx, mut dw) = (vec![0.0; xs.len()], vec![0.0; weights.len()]);
        each_product([rows, groups], &shape, image, window, |w, x, y| {
            expected[y] += weights[w] * xs[x];
            dx[x] += weights[w] * dys[y];
            dw[w] += xs[x] * dys[y];
        });
        let gradient = |variable: &Var| flat(gradients.get(variable).unwrap());
        for (name, found, expected) in [
            ("y", flat(&y), expected),
            ("dx", gradient(&x), dx),
            ("dw", gradient(&weight), dw),
        ] {
            assert_eq!(found.len(), expected.len());
            let differences = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
            let worst = differences.fold(0.0, f64::max);
            assert!(worst < 1e-9, "{name}: {worst}, kernel {kernel}");
        }
    }
}

#[test]
fn gradients_of_pools() {
    for (kernel, stride, padding) in WINDOWS {
        let window = Window::square(kernel, stride, padding);
        for pooling in [Pooling::Max, Pooling::Mean] {
            check(&format!("{pooling:?} {window:?}"), &[&[2, 3, 5, 4]], |v| {
                pool(&v[0], window, pooling)
            });
        }
    }
}

#[test]
fn gradients_of_norms() {
    for (width, positions) in [(6, 1), (12, 6), (24, 6)] {
        let channels = if positions == 1 { 6 } else { 4 };
        let runs = Runs { width, positions };
        check(
            &format!("{runs:?}"),
            &[&[3, 4, 6], &[channels], &[channels]],
            |v| normalise(&v[0], &v[1], &v[2], runs),
        );
    }
}

#[test]
fn the_gradient_of_a_maximum_goes_to_the_first() {
    let x = Var::from_slice(&[1f32, 3.0, 3.0, 3.0], (1, 1, 2, 2), &Device::Cpu).unwrap();
    let y = pool(&x, Window::square(2, 2, 0), Pooling::Max).unwrap();
    let gradients = y.sum_all().unwrap().backward().unwrap();
    let gradient = gradients.get(&x).unwrap().flatten_all().unwrap();
    assert_eq!(gradient.to_vec1::<f32>().unwrap(), [0.0, 1.0, 0.0, 0.0]);
    let with_nan = Tensor::new(&[[[[f32::NAN, 1.0], [2.0, 3.0]]]], &Device::Cpu).unwrap();
    let y = pool(&with_nan, Window::square(2, 2, 0), Pooling::Max).unwrap();
    assert!(y.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0].is_nan());
}

/// The numbers of `fixtures/layers.py` and `fixtures/sequences.py`.
pub(crate) fn numbers(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let values = (0..count).map(|index| ((index * 37 + 11) % 101) as f64 / 50.0 - 1.0);
    Tensor::from_vec(values.collect::<Vec<f64>>(), shape, &Device::Cpu).unwrap()
}

pub(crate) fn reversed(shape: &[usize]) -> Tensor {
    let values = numbers(shape).flatten_all().unwrap();
    let mut values = values.to_vec1::<f64>().unwrap();
    values.reverse();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    shape: Vec<usize>,
    y: Vec<f64>,
}

impl Case {
    fn compute(&self) -> Tensor {
        let image = numbers(&[2, 4, 5, 6]);
        let words: Vec<&str> = self.name.split(' ').collect();
        let sizes = words[1..].iter().map(|word| word.parse::<usize>().unwrap());
        match (words[0], sizes.collect::<Vec<usize>>().as_slice()) {
            ("conv", &[kernel, stride, padding, groups]) => {
                let weight = numbers(&[4, 4 / groups, kernel, kernel]);
                let window = Window::square(kernel, stride, padding);
                let layer = Convolution { window, groups };
                convolution(&image, &weight, &numbers(&[4]), layer, None).unwrap()
            }
            (kind, &[kernel, stride, padding]) => {
                let pooling = match kind {
                    "max" => Pooling::Max,
                    _ => Pooling::Mean,
                };
                pool(&image, Window::square(kernel, stride, padding), pooling).unwrap()
            }
            ("layer_norm", _) => {
                let rows = image.reshape((40, 6)).unwrap();
                let runs = Runs {
                    width: 6,
                    positions: 1,
                };
                let y = normalise(&rows, &numbers(&[6]), &reversed(&[6]), runs);
                y.unwrap().unsqueeze(2).unwrap()
            }
            _ => {
                let runs = Runs {
                    width: 60,
                    positions: 30,
                };
                let y = normalise(&image, &numbers(&[4]), &reversed(&[4]), runs);
                y.unwrap().flatten_from(2).unwrap()
            }
        }
    }
}

#[test]
fn layers_agree_with_numpy() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("fixtures/layers.json")).unwrap();
    assert_eq!(cases.len(), 12);
    for case in cases {
        let y = case.compute();
        assert_eq!(y.dims(), case.shape, "{}", case.name);
        let found = y.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for (found, expected) in found.iter().zip(&case.y) {
            assert!(
                (found - expected).abs() < 1e-9,
                "{}: {found}, expected {expected}",
                case.name
            );
        }
    }
}

/// Layers over rows of `[2, 6, 6]`.
const OVER_IMAGES: &[&str] = &[
    "conv2d(4, 3, padding=same)",
    "group_norm(2)",
    "silu",
    "batch_norm",
    "residual(conv2d(4, 3, padding=same, groups=2), tanh)",
    "max_pool2d(2)",
    "dropout(0.3)",
    "avg_pool2d(2, stride=1)",
    "leaky_relu",
    "reshape(8, 2)",
    "conv1d(8, 2)",
    "global_avg_pool",
    "layer_norm",
    "linear(5)",
    "gelu",
    "linear(classes)",
];

/// Layers over rows of `[2, 12]`.
const OVER_SEQUENCES: &[&str] = &[
    "conv1d(4, 3, padding=same)",
    "sigmoid",
    "max_pool1d(3, stride=2)",
    "transpose",
    "lstm(3, sequences=true)",
    "gru(4, sequences=true)",
    "transpose",
    "avg_pool1d(2)",
    "flatten",
    "reshape(4, 2)",
    "relu",
    "global_max_pool",
    "linear(classes)",
];

/// Layers over rows of four ids.
const OVER_IDS: &[&str] = &[
    "embedding(5, 3)",
    "gru(3, sequences=true, bidirectional=true)",
    "transpose",
    "conv1d(4, 2)",
    "batch_norm",
    "tanh",
    "transpose",
    "lstm(3, reverse=true)",
    "linear(classes)",
];

/// Layers over rows of an array of four numbers, and other columns.
const BESIDE_AN_ARRAY: &[&str] = &[
    "reshape(2, 2)",
    "conv1d(2, 1)",
    "tanh",
    "flatten",
    "inputs(3)",
    "tanh",
    "linear(classes)",
];

#[test]
fn every_layer_is_in_a_network_whose_gradients_are_checked() {
    let networks = [OVER_IMAGES, OVER_SEQUENCES, OVER_IDS, BESIDE_AN_ARRAY];
    let texts = networks.concat().join(" ");
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let names: Vec<&str> = texts.split(|letter: char| !is_part(letter)).collect();
    for layer in LAYERS {
        assert!(names.contains(&layer.name()), "{}", layer.name());
    }
}

pub(crate) fn network(texts: &[&str], input: &[usize], outputs: usize) -> Sequential {
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    let shape = InputShape {
        numbers: input.iter().product(),
        ..InputShape::default()
    };
    Sequential::new(&texts, input, &shape, outputs).unwrap()
}

#[test]
fn gradients_of_networks() {
    let networks: [(&[usize], &[&str]); 2] =
        [(&[2, 6, 6], OVER_IMAGES), (&[2, 12], OVER_SEQUENCES)];
    for (input, texts) in networks {
        let width: usize = input.iter().product();
        let mut draw = noise(8);
        let values: Vec<f64> = (0..3 * width).map(|_| draw()).collect();
        let values = Tensor::from_vec(values, (3, width), &Device::Cpu).unwrap();
        check_network(&network(texts, input, 3), &values);
    }
    let ids = [0.0, 4.0, 1.0, 1.0, 2.0, 3.0, 3.0, 0.0, 2.0, 4.0, 4.0, 1.0];
    let ids = Tensor::from_slice(&ids, (3, 4), &Device::Cpu).unwrap();
    check_network(&network(OVER_IDS, &[4], 3), &ids);
}

#[test]
fn gradients_of_columns_beside_an_array() {
    let layers: Vec<String> = BESIDE_AN_ARRAY.iter().copied().map(str::to_owned).collect();
    let ids = [0u32, 4, 1, 5, 2, 6];
    let ids = Tensor::from_slice(&ids, (3, 2), &Device::Cpu).unwrap();
    // The array is at the beginning, between other numbers, and at the end.
    for (start, width) in [(0, 6), (1, 6), (2, 6), (0, 4)] {
        for categories in [0, 2] {
            if width == 4 && categories == 0 {
                continue;
            }
            let array = start..start + 4;
            let shape = InputShape {
                numbers: width,
                categories,
                category_ids: 7 * categories / 2,
                unseen_ids: [0, 4][..categories].to_vec(),
                arrays: vec![array],
                ..InputShape::default()
            };
            let network = Sequential::new(&layers, &[], &shape, 3).unwrap();
            let inputs = Inputs::new(3).with(NUMBERS, numbers(&[3, width])).unwrap();
            let inputs = match categories {
                0 => inputs,
                _ => inputs.with(CATEGORIES, ids.clone()).unwrap(),
            };
            check_inputs(&network, &inputs);
        }
    }
}

/// Compares the gradient of everything that an optimiser learns with finite differences.
fn check_network(network: &Sequential, values: &Tensor) {
    let inputs = Inputs::new(values.dim(0).unwrap());
    check_inputs(network, &inputs.with(NUMBERS, values.clone()).unwrap());
}

fn check_inputs(network: &Sequential, inputs: &Inputs) {
    let specs = network.parameters();
    let is_learned = |kind: ParameterKind| kind != ParameterKind::Statistic;
    let learned = specs.iter().filter(|spec| is_learned(spec.kind));
    let shapes: Vec<&[usize]> = learned.map(|spec| spec.shape.as_slice()).collect();
    let with_statistics = |learned: &[Tensor]| -> Vec<Tensor> {
        let mut learned = learned.iter();
        let all = specs.iter().map(|spec| match is_learned(spec.kind) {
            true => learned.next().unwrap().clone(),
            false => {
                let values = spec.initial_values(0);
                let values = Tensor::from_vec(values, spec.shape.as_slice(), &Device::Cpu);
                values.unwrap().to_dtype(DType::F64).unwrap()
            }
        });
        all.collect()
    };
    check_within(1e-5, "inference", &shapes, |v| {
        let outputs = network.forward(&with_statistics(v), inputs, Mode::Inference);
        outputs.map(|mut outputs| outputs.remove(0))
    });
    check_within(1e-5, "training", &shapes, |v| {
        let random = &mut random::stream(1, "test", &[]);
        let statistics = &mut vec![];
        let mode = Mode::Training { random, statistics };
        let outputs = network.forward(&with_statistics(v), inputs, mode);
        outputs.map(|mut outputs| outputs.remove(0))
    });
}

#[test]
fn each_activation_function_is_applied_once_in_its_place() {
    let layers = ["linear(4)", "relu", "sigmoid", "gelu", "linear(classes)"];
    let network = network(&layers, &[5], 3);
    let specs = network.parameters().iter();
    let parameters: Vec<Tensor> = specs.map(|spec| numbers(&spec.shape)).collect();
    let [first, first_bias, last, last_bias] = parameters.as_slice() else {
        panic!("{parameters:?}");
    };
    let x = numbers(&[2, 5]);
    let mut y = linear(&x, first, first_bias, None).unwrap();
    for activation in [Activation::Relu, Activation::Sigmoid, Activation::Gelu] {
        y = activate(activation, &y).unwrap();
    }
    let expected = linear(&y, last, last_bias, None).unwrap();
    let inputs = Inputs::new(2).with(NUMBERS, x).unwrap();
    let found = network.forward(&parameters, &inputs, Mode::Inference);
    let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let (found, expected) = (flat(&found.unwrap()[0]), flat(&expected));
    let mut pairs = found.iter().zip(&expected);
    assert!(
        pairs.all(|(y, expected)| (y - expected).abs() < 1e-12),
        "{found:?}, expected {expected:?}"
    );
}

#[test]
fn a_row_has_the_same_outputs_in_every_batch() {
    let network = network(OVER_IMAGES, &[2, 6, 6], 3);
    let parameters: Vec<Tensor> = network
        .parameters()
        .iter()
        .map(|spec| {
            let values = spec.initial_values(7);
            Tensor::from_vec(values, spec.shape.as_slice(), &Device::Cpu).unwrap()
        })
        .collect();
    let mut draw = noise(2);
    let values: Vec<f32> = (0..40 * 72).map(|_| draw() as f32).collect();
    let values = Tensor::from_vec(values, (40, 72), &Device::Cpu).unwrap();
    let images = values.reshape((40, 2, 6, 6)).unwrap();
    let layer = Convolution {
        window: Window::square(3, 1, 1),
        groups: 1,
    };
    let convolved = |rows: &Tensor| {
        let y = convolution(rows, &parameters[0], &parameters[1], layer, None).unwrap();
        y.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let outputs = |rows: Tensor| {
        let inputs = Inputs::new(rows.dim(0).unwrap()).with(NUMBERS, rows);
        let outputs = network.forward(&parameters, &inputs.unwrap(), Mode::Inference);
        let outputs = outputs.unwrap().remove(0).to_dtype(DType::F64).unwrap();
        outputs.to_vec2::<f64>().unwrap()
    };
    let (all, together) = (convolved(&images), outputs(values.clone()));
    let width = all.len() / 40;
    for (start, length) in [(0, 1), (7, 1), (3, 20), (39, 1)] {
        let some = convolved(&images.narrow(0, start, length).unwrap());
        assert_eq!(some, all[start * width..(start + length) * width]);
        let alone = outputs(values.narrow(0, start, length).unwrap());
        for (alone, together) in alone.iter().zip(&together[start..]) {
            let mut pairs = alone.iter().zip(together);
            assert!(pairs.all(|(a, b)| (a - b).abs() < 1e-5), "{start}");
        }
    }
}

/// Images of 6 x 6 with a bright row or column, and which of them.
pub(crate) fn images(count: usize) -> (RecordBatch, Vec<u128>) {
    let mut draw = noise(4);
    let mut pixels = Vec::with_capacity(count * 36);
    for image in 0..count {
        let line = (draw().abs() * 6.0) as usize % 6;
        for place in 0..36 {
            let is_bright = match image % 2 {
                0 => place / 6 == line,
                _ => place % 6 == line,
            };
            pixels.push(draw() as f32 * 0.3 + if is_bright { 1.0 } else { 0.0 });
        }
    }
    let item = Arc::new(Field::new_list_field(DataType::Float32, true));
    let pixels: ArrayRef = Arc::new(Float32Array::from(pixels));
    let pixels = FixedSizeListArray::new(item, 36, pixels, None);
    let label = Int64Array::from_iter_values((0..count as i64).map(|image| image % 2));
    let columns: Vec<(&str, Arc<dyn Array>)> =
        vec![("pixels", Arc::new(pixels)), ("label", Arc::new(label))];
    let hashes = (0..count as u128).map(|row| row.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060));
    (batch_of(columns), hashes.collect())
}

fn options(model_type: &str) -> TrainOptions {
    let layers = [
        "conv2d(6, 3)",
        "relu",
        "max_pool2d(2)",
        "dropout(0.1)",
        "flatten",
        "linear(classes)",
    ];
    TrainOptions {
        model_type: model_type.into(),
        layers: match model_type {
            "sequential" => layers.map(str::to_owned).to_vec(),
            _ => vec![],
        },
        input_shape: vec![1, 6, 6],
        hidden_units: vec![8],
        epochs: Some(30),
        learn_rate: 0.01,
        seed: 5,
        ..TrainOptions::default()
    }
}

#[test]
fn networks_of_images_learn_and_do_not_depend_on_the_number_of_workers() {
    let (batch, hashes) = images(300);
    for model_type in ["sequential", "cnn_classifier"] {
        let options = options(model_type);
        let alone = train(&batch, &hashes, &options, 1).unwrap();
        let metrics = &alone.metrics;
        let accuracy = metrics.iter().find(|metric| metric.name == "accuracy");
        let accuracy = accuracy.unwrap().value.unwrap();
        assert!(accuracy > 0.85, "{model_type}: {accuracy}");
        for workers in [2, 3, 8] {
            let together = train(&batch, &hashes, &options, workers).unwrap();
            assert_eq!(together.weights, alone.weights, "{model_type}, {workers}");
        }
        let model = model(&alone);
        assert_eq!(model.layers().last().unwrap().output, [1]);
        let outputs = predict(&model, &batch.project(&[0]).unwrap());
        let predicted = outputs.columns[0].as_primitive::<Int64Type>();
        let labels = batch.column(1).as_primitive::<Int64Type>();
        let pairs = predicted.values().iter().zip(labels.values().iter());
        let right = pairs.filter(|(predicted, label)| predicted == label);
        let right = right.count();
        assert!(right > 255, "{model_type}: {right} of 300");
    }
}

#[test]
fn a_regressor_of_images_learns() {
    let (batch, hashes) = images(300);
    let trained = train(&batch, &hashes, &options("cnn_regressor"), 2).unwrap();
    let r2 = trained.metrics.iter().find(|metric| metric.name == "r2");
    assert!(r2.unwrap().value.unwrap() > 0.5, "{:?}", trained.metrics);
}

#[test]
fn a_thousand_layers_train() {
    let (batch, hashes) = images(40);
    let mut layers = vec!["flatten", "linear(4)"];
    let rest = ["leaky_relu", "dropout(0.01)", "gelu", "layer_norm"];
    layers.extend(rest.into_iter().cycle().take(997));
    layers.push("linear(classes)");
    let options = TrainOptions {
        layers: layers.into_iter().map(str::to_owned).collect(),
        epochs: Some(1),
        ..options("sequential")
    };
    let trained = train(&batch, &hashes, &options, 1).unwrap();
    assert_eq!(model(&trained).layers().len(), 1_000);
}
