//! [`LAYERS`]: every layer of `layers = […]`, with its arguments.

use super::layer::{Layer, Written, at_layer};
use super::residual::Residual;
use super::text::{Arguments, invalid, short};
use super::{
    activation, batch_norm, convolution, dropout, embedding, inputs, linear, norm, pool, recurrent,
    shape,
};
use crate::{Error, Result};

/// The most layers of a model, not counting those in other layers.
const LAYERS_MAX: usize = 1_000;
/// The length of all layers together, as text.
const BYTES_MAX: usize = 32_768;
/// How deep layers can be nested.
const DEPTH_MAX: usize = 4;

/// A kind of layer.
#[derive(Debug)]
pub struct LayerKind {
    /// How it is written: its name, and its arguments with their defaults.
    pub written: &'static str,
    read: Read,
}

type Read = fn(&mut Arguments<'_>) -> Result<Box<dyn Layer>>;

impl LayerKind {
    /// The name.
    pub fn name(&self) -> &'static str {
        self.written.split('(').next().unwrap_or_default()
    }
}

const fn kind(written: &'static str, read: Read) -> LayerKind {
    LayerKind { written, read }
}

/// Every layer.
pub const LAYERS: &[LayerKind] = &[
    kind("linear(outputs)", linear::read),
    kind(
        "conv1d(channels, kernel, stride=1, padding=0, groups=1)",
        convolution::read_1d,
    ),
    kind(
        "conv2d(channels, kernel, stride=1, padding=0, groups=1)",
        convolution::read_2d,
    ),
    kind(
        "max_pool1d(kernel, stride=kernel, padding=0)",
        pool::read_max_1d,
    ),
    kind(
        "max_pool2d(kernel, stride=kernel, padding=0)",
        pool::read_max_2d,
    ),
    kind(
        "avg_pool1d(kernel, stride=kernel, padding=0)",
        pool::read_mean_1d,
    ),
    kind(
        "avg_pool2d(kernel, stride=kernel, padding=0)",
        pool::read_mean_2d,
    ),
    kind("global_max_pool", pool::read_global_max),
    kind("global_avg_pool", pool::read_global_mean),
    kind(
        "lstm(units, sequences=false, reverse=false, bidirectional=false)",
        recurrent::read_lstm,
    ),
    kind(
        "gru(units, sequences=false, reverse=false, bidirectional=false)",
        recurrent::read_gru,
    ),
    kind("embedding(count, width)", embedding::read),
    kind("inputs(units)", inputs::read),
    kind("flatten", shape::read_flatten),
    kind("reshape(size, …)", shape::read_reshape),
    kind("transpose", shape::read_transpose),
    kind("relu", activation::read),
    kind("gelu", activation::read),
    kind("silu", activation::read),
    kind("tanh", activation::read),
    kind("sigmoid", activation::read),
    kind("leaky_relu", activation::read),
    kind("dropout(share)", dropout::read),
    kind("batch_norm", batch_norm::read),
    kind("layer_norm", norm::read_layer),
    kind("group_norm(groups)", norm::read_group),
    kind("residual(layer, …)", residual),
];

/// The layers of a model.
///
/// # Errors
/// [`Error::Invalid`] with the number and the text of the layer, and how it is written.
pub(super) fn layers<T: AsRef<str>>(texts: &[T]) -> Result<Vec<Written>> {
    let bytes: usize = texts.iter().map(|text| text.as_ref().len()).sum();
    if texts.len() > LAYERS_MAX || bytes > BYTES_MAX {
        return Err(invalid(format!(
            "a model has at most {LAYERS_MAX} layers, of {BYTES_MAX} bytes together"
        )));
    }
    layers_at(texts, 0)
}

fn layers_at<T: AsRef<str>>(texts: &[T], depth: usize) -> Result<Vec<Written>> {
    let written = (1..).zip(texts).map(|(number, text)| {
        let text = text.as_ref().trim();
        let layer = layer(text, depth).and_then(|layer| {
            let is_first = number == 1 && depth == 0;
            if layer.ids().is_some() && !is_first {
                return Err(invalid(
                    "it must be the first layer, because it takes the numbers of the columns as they are",
                ));
            }
            if layer.takes_columns() && depth > 0 {
                return Err(invalid("it cannot be within another layer"));
            }
            Ok(layer)
        });
        let layer = layer.map_err(|error| at_layer(number, text, &error))?;
        let text = text.to_owned();
        Ok(Written { text, layer })
    });
    written.collect()
}

fn layer(text: &str, depth: usize) -> Result<Box<dyn Layer>> {
    let mut arguments = Arguments::parse(text, depth)?;
    let name = arguments.name.clone();
    let Some(kind) = LAYERS.iter().find(|kind| kind.name() == name) else {
        return Err(unknown(&name));
    };
    let read = (kind.read)(&mut arguments);
    let read = read.and_then(|layer| arguments.finish().map(|()| layer));
    read.map_err(|error| match error {
        // The layers within a layer say themselves how they are written.
        Error::Invalid(problem) if !problem.starts_with("layer ") => {
            invalid(format!("{problem}; write {}", kind.written))
        }
        error => error,
    })
}

fn unknown(name: &str) -> Error {
    match name {
        "softmax" => {
            return invalid(
                "leave it out: predict makes probabilities of the outputs of linear(classes)",
            );
        }
        "batch_norm1d" | "batch_norm2d" => {
            return invalid("write batch_norm, which takes inputs of any dimensions");
        }
        _ => {}
    }
    let known: Vec<&str> = LAYERS.iter().map(LayerKind::name).collect();
    invalid(format!(
        "there is no layer \"{}\"; use one of {}",
        short(name),
        known.join(", ")
    ))
}

fn residual(arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    if arguments.depth == DEPTH_MAX {
        return Err(invalid(format!(
            "layers can be nested at most {DEPTH_MAX} deep"
        )));
    }
    let inner = arguments.rest();
    if inner.is_empty() {
        return Err(invalid("it has no layers"));
    }
    let inner = layers_at(&inner, arguments.depth + 1)?;
    Ok(Box::new(Residual(inner)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Activation;

    #[test]
    fn a_mistake_names_the_layer_and_how_it_is_written() {
        for (text, expected) in [
            (
                "conv2d(3)",
                "layer 2 (conv2d(3)): kernel is missing; write conv2d(channels, kernel, stride=1,",
            ),
            (
                "dense(3)",
                "layer 2 (dense(3)): there is no layer \"dense\"; use one of linear, conv1d",
            ),
            (
                "lstm(8, reverse=yes)",
                "reverse is yes; expected true or false; write lstm(units, sequences=false,",
            ),
            (
                "gru(8, reverse=true, bidirectional=true)",
                "bidirectional=true includes reverse=true; write gru(units,",
            ),
            (
                "embedding(10, 4)",
                "layer 2 (embedding(10, 4)): it must be the first layer, because it takes",
            ),
            (
                "residual(embedding(10, 4))",
                "layer 1 (embedding(10, 4)): it must be the first layer",
            ),
            (
                "residual(inputs(4))",
                "layer 2 (residual(inputs(4))): layer 1 (inputs(4)): it cannot be within another layer",
            ),
            ("softmax", "layer 2 (softmax): leave it out"),
            ("batch_norm2d", "layer 2 (batch_norm2d): write batch_norm,"),
            (
                "relu(1)",
                "layer 2 (relu(1)): 1 is one argument too many; write relu",
            ),
            (
                "dropout(1)",
                "share is 1; expected a number from 0 to below 1; write dropout(share)",
            ),
            (
                "conv2d(8, 2, padding=same)",
                "padding=same needs an odd kernel and stride=1; write conv2d(",
            ),
            (
                "conv2d(8, 3, padding=sane)",
                "padding is sane; expected a whole number from 0 to 1024, or same; write conv2d(",
            ),
            (
                "linear(classes, )",
                "layer 2 (linear(classes, )): argument 2 is empty",
            ),
            (
                "reshape(64,)",
                "layer 2 (reshape(64,)): argument 2 is empty",
            ),
            (
                "residual(conv2d(4, padding=same, 3))",
                "layer 1 (conv2d(4, padding=same, 3)): 3 comes after padding=…; arguments without a name come first",
            ),
            ("residual('relu, tanh')", "a quote is missing in 'relu"),
            (
                "max_pool2d(2, padding=2)",
                "padding is 2; expected at most half of the kernel of 2",
            ),
            (
                "residual()",
                "layer 2 (residual()): it has no layers; write residual(layer, …)",
            ),
            (
                "residual(relu, linear)",
                "layer 2 (residual(relu, linear)): layer 2 (linear): outputs is missing; write linear(outputs)",
            ),
            (
                "residual(residual(residual(residual(residual(relu)))))",
                "at most 4 deep",
            ),
            ("", "layer 2 (): there is no layer \"\""),
        ] {
            let error = layers(&["relu", text]).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let long = format!("linear({})", "1".repeat(200));
        let error = layers(&[long]).unwrap_err().to_string();
        let expected = format!(
            "layer 1 (linear({}…): outputs is {}…;",
            "1".repeat(93),
            "1".repeat(100)
        );
        assert!(error.starts_with(&expected), "{error}");
        assert!(layers(&["conv2d(8, 3, padding='same')", "residual('relu', 'tanh')"]).is_ok());
        assert!(layers(&["embedding(10, 4)", "lstm(8)"]).is_ok());
        assert!(layers(&["relu"; 1_000]).is_ok());
        let long = format!("relu{}", " ".repeat(BYTES_MAX));
        for too_many in [vec!["relu"; 1_001], vec![long.as_str()]] {
            let error = layers(&too_many).unwrap_err().to_string();
            let expected = "at most 1000 layers, of 32768 bytes together";
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn every_activation_function_is_a_layer() {
        for (name, _) in Activation::ALL {
            assert!(layers(&[name]).is_ok(), "{name}");
        }
    }
}
