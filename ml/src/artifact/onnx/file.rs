//! [`onnx`]: a trained model as the content of a file.

use super::columns::encode;
use super::labels::add_outputs;
use crate::artifact::{WEIGHTS_FILE, corrupt};
use crate::data::columns::Column;
use crate::data::encode::tabular::Encoder;
use crate::data::labels::outputs_of;
use crate::graph::{Drawing, Graph, Weight, check_length};
use crate::model::network::{ModelType, Parameter};
use crate::model::trained::ModelConfig;
use crate::{Error, Result};

/// The file of a model; `name` is the name of its graph, `weights` holds its weights in the order of the network's parameters.
///
/// # Errors
/// [`Error::Unsupported`] with the part of the model that ONNX cannot express.
pub(in crate::artifact) fn onnx(
    name: &str,
    config: &ModelConfig,
    model_type: &dyn ModelType,
    weights: &[f64],
) -> Result<Vec<u8>> {
    let precision = model_type.precision();
    check_length(weights.len() * precision.dtype().size_in_bytes())?;
    let ids = |column: &Column| model_type.ids(&config.options, column);
    let encoder = Encoder::new(config.encoders.clone(), precision).with_ids(ids);
    let network =
        model_type.network(encoder.shape(), outputs_of(&config.labels), &config.options)?;
    let weights = by_parameter(network.parameters(), weights)?;
    let mut graph = Graph::new(precision);
    let encoded = encode(&mut graph, encoder.columns(), ids)?;
    let mut drawing = Drawing::new(&mut graph, &weights);
    drawing.numbers = encoded.numbers;
    drawing.categories = encoded.categories;
    drawing.pixels = encoded.pixels;
    let drawn = network.draw(&mut drawing)?;
    let [outputs] = drawn.as_slice() else {
        return Err(Error::Internal(format!(
            "{} outputs of a network; the targets of a model share one",
            drawn.len()
        )));
    };
    let targets = &config.columns.targets;
    let is_null = encoded.is_null.as_ref();
    add_outputs(&mut graph, &config.labels, targets, outputs, is_null)?;
    graph.finish(name)
}

/// The weights of each parameter.
fn by_parameter<'a>(parameters: &'a [Parameter], weights: &'a [f64]) -> Result<Vec<Weight<'a>>> {
    let mut rest = weights;
    let found = parameters.iter().map(|parameter| {
        let parts = rest.split_at_checked(parameter.len());
        let (values, tail) = parts.ok_or_else(|| corrupt(WEIGHTS_FILE, "too few weights"))?;
        rest = tail;
        Ok(Weight {
            name: &parameter.name,
            shape: &parameter.shape,
            values,
        })
    });
    found.collect()
}
