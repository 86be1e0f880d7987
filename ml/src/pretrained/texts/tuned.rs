//! [`TunedNetwork`]: an encoder of texts and a perceptron behind it as one network, whose weights TRAIN changes.
//!
//! ```text
//! tokens ─ encoder ─▶ vectors of tokens ─ pooling ─▶ vectors of texts ─ dropout ─ perceptron ─▶ outputs
//! ```
//! The encoder is the same code that predicts: it is made anew in each pass, of the parameters of the pass. Frozen tensors are those of
//! the base.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::batch::TokenBatch;
use super::embedding::Embedding;
use super::encoder::{Encoder, TextEncoder};
use super::inputs::{has_tokens, token_batch};
use super::modules::SentenceHead;
use super::spec::EncoderSpec;
use super::tensors::{Tensors, Wanted};
use crate::data::encode::shape::InputShape;
use crate::data::encode::tabular::NUMBERS;
use crate::data::inputs::Inputs;
use crate::device::HOST;
use crate::model::network::{Init, Mode, Network, Parameter, ParameterKind};
use crate::model::options::{Freeze, TrainOptions};
use crate::model::text_base::ENCODER;
use crate::models::Mlp;
use crate::nn::Sequences;
use crate::{Error, Result, stop};

/// The encoder of a base, and what comes behind it.
pub(crate) struct Tuned<'a> {
    pub(crate) spec: &'a EncoderSpec,
    /// The beginning of the names of its tensors.
    pub(crate) base: &'static str,
    /// All tensors of the encoder.
    pub(crate) tensors: &'a HashMap<Wanted, Tensor>,
    /// What makes vectors of texts of those of tokens. It stays as it is.
    pub(crate) head: Arc<SentenceHead>,
}

/// An encoder and a perceptron behind it.
#[derive(Debug)]
pub(crate) struct TunedNetwork {
    spec: EncoderSpec,
    base: &'static str,
    head: Arc<SentenceHead>,
    perceptron: Mlp,
    /// Those of the encoder, then those of the perceptron.
    parameters: Vec<Parameter>,
    rates: Vec<f32>,
    /// The position of each tensor of the encoder among the parameters.
    places: HashMap<Wanted, usize>,
    /// The tensors of the encoder that are no parameters.
    frozen: HashMap<Wanted, Tensor>,
    /// The tokens of a row of numbers.
    tokens: usize,
    dropout_rate: f64,
}

impl TunedNetwork {
    /// A network of rows of at most so many tokens, with so many outputs.
    ///
    /// # Errors
    /// [`Error::Internal`] if the tensors are not those of the encoder.
    pub(crate) fn new(
        tuned: &Tuned<'_>,
        (tokens, outputs): (usize, usize),
        options: &TrainOptions,
    ) -> Result<Self> {
        let (spec, base) = (tuned.spec, tuned.base);
        let host = HOST;
        let mut tensors = tuned.tensors.values();
        let mut listing = Listing {
            known: tuned.tensors,
            device: tensors.next().map_or(&host, Tensor::device),
            order: vec![],
        };
        Embedding::take(&mut listing, spec, base)?;
        let embeddings = listing.order.len();
        Encoder::take(&mut listing, spec, base)?;
        let first = match options.text.freeze {
            Freeze::Embeddings => embeddings,
            Freeze::None => 0,
            Freeze::Encoder => listing.order.len(),
        };
        let shape = InputShape {
            numbers: tuned.head.width(),
            ..InputShape::default()
        };
        let perceptron = Mlp::new(&shape, &options.hidden_units, outputs, options);
        let (mut parameters, mut rates) = (vec![], vec![]);
        let (mut places, mut frozen) = (HashMap::new(), HashMap::new());
        let layers = Layers { spec, base };
        for (number, wanted) in listing.order.into_iter().enumerate() {
            let tensor = known(tuned.tensors, &wanted)?;
            if number < first {
                frozen.insert(wanted, tensor.clone());
                continue;
            }
            let depth = match number < embeddings {
                true => 0,
                false => layers.depth(&wanted),
            };
            let steps = (spec.sizes.layers + 1 - depth) as i32;
            rates.push(options.text.layer_decay.powi(steps) as f32);
            parameters.push(Parameter {
                name: name_of(&wanted),
                shape: tensor.dims().to_vec(),
                init: Init::Constant { value: 0.0 },
                kind: match tensor.rank() {
                    0 | 1 => ParameterKind::Free,
                    _ => ParameterKind::Penalised,
                },
            });
            places.insert(wanted, parameters.len() - 1);
        }
        rates.extend(perceptron.parameters().iter().map(|_| 1.0));
        parameters.extend_from_slice(perceptron.parameters());
        Ok(Self {
            spec: spec.clone(),
            base,
            head: Arc::clone(&tuned.head),
            perceptron,
            parameters,
            rates,
            places,
            frozen,
            tokens,
            dropout_rate: options.dropout,
        })
    }

    /// The vectors `[rows, width]` of texts.
    fn vectors(&self, parameters: &[Tensor], inputs: &Inputs) -> Result<Tensor> {
        let host = HOST;
        let device = parameters.first().map_or(&host, Tensor::device);
        let tokens = match has_tokens(inputs) {
            true => token_batch(inputs, device)?,
            false => unpadded(inputs, device)?,
        };
        let mut tensors = Held {
            network: self,
            parameters,
            device,
        };
        let encoder = Encoder::take(&mut tensors, &self.spec, self.base)?;
        let hidden = match tokens.sequences.tokens() {
            0 => Tensor::zeros((0, encoder.width()), DType::F32, device)?,
            _ => encoder.hidden(&tokens)?,
        };
        self.head.forward(&hidden, &tokens.sequences)
    }
}

impl Network for TunedNetwork {
    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn forward(
        &self,
        parameters: &[Tensor],
        inputs: &Inputs,
        mut mode: Mode<'_>,
    ) -> Result<Vec<Tensor>> {
        let vectors = self.vectors(parameters, inputs)?;
        stop::check()?;
        let vectors = mode.dropout(vectors, self.dropout_rate)?;
        let inputs = Inputs::new(inputs.rows()).with(NUMBERS, vectors)?;
        let of_perceptron = &parameters[self.places.len()..];
        self.perceptron.forward(of_perceptron, &inputs, mode)
    }

    fn numbers_per_row(&self) -> usize {
        let sizes = &self.spec.sizes;
        let gates = if self.spec.is_gated { 2 } else { 1 };
        // Queries, keys and values, and the vectors before, between and behind the parts of a layer.
        let of_token = sizes.layers * (8 * sizes.width + gates * sizes.wide);
        self.tokens * of_token + self.perceptron.numbers_per_row()
    }

    fn rates(&self) -> Option<Vec<f32>> {
        let is_same = self.rates.iter().all(|rate| *rate == 1.0);
        (!is_same).then(|| self.rates.clone())
    }
}

/// The weights before the first step, flat: those of the tensors of a base, and initial values of what is behind them.
///
/// # Errors
/// [`Error::Internal`] for tensors of another shape.
pub(crate) fn first_weights(
    tensors: &HashMap<Wanted, Tensor>,
    network: &dyn Network,
    seed: u64,
) -> Result<Vec<f64>> {
    let named = tensors
        .iter()
        .map(|(wanted, tensor)| (name_of(wanted), tensor));
    let named: HashMap<String, &Tensor> = named.collect();
    let specs = network.parameters();
    let mut weights = Vec::with_capacity(specs.iter().map(Parameter::len).sum());
    for spec in specs {
        let values = match named.get(&spec.name) {
            Some(tensor) if tensor.dims() == spec.shape => {
                tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?
            }
            Some(_) => {
                let message = format!("weights \"{}\" have another shape in the base", spec.name);
                return Err(Error::Internal(message));
            }
            None => spec.initial_values(seed),
        };
        weights.extend(values.into_iter().map(f64::from));
    }
    Ok(weights)
}

/// The memory of those tensors of a base that are no parameters of a network, in bytes.
pub(crate) fn frozen_bytes(tensors: &HashMap<Wanted, Tensor>, network: &dyn Network) -> usize {
    let names: HashSet<&str> = network
        .parameters()
        .iter()
        .map(|parameter| parameter.name.as_str())
        .collect();
    let is_frozen = |wanted: &Wanted| !names.contains(name_of(wanted).as_str());
    let frozen = tensors.iter().filter(|entry| is_frozen(entry.0));
    frozen
        .map(|(_, tensor)| tensor.elem_count() * tensor.dtype().size_in_bytes())
        .sum()
}

/// The name of a parameter that is a tensor of the encoder.
pub(crate) fn name_of(wanted: &Wanted) -> String {
    format!("{ENCODER}{}", wanted.names.join(" + "))
}

fn known<'a>(tensors: &'a HashMap<Wanted, Tensor>, wanted: &Wanted) -> Result<&'a Tensor> {
    tensors.get(wanted).ok_or_else(|| {
        let message = format!("the encoder has no tensor \"{}\"", name_of(wanted));
        Error::Internal(message)
    })
}

/// The names of the layers of an encoder.
struct Layers<'a> {
    spec: &'a EncoderSpec,
    base: &'a str,
}

impl Layers<'_> {
    /// How many layers are before a tensor that is behind the embeddings, with its own: 0 for one that layers share.
    fn depth(&self, wanted: &Wanted) -> usize {
        let names = &self.spec.names;
        let name = wanted.names.first().map_or("", String::as_str);
        let name = name.strip_prefix(self.base).unwrap_or(name);
        let layer = name
            .strip_prefix(names.layers)
            .and_then(|rest| rest.strip_prefix('.'))
            .and_then(|rest| rest.split('.').next());
        match layer.and_then(|number| number.parse::<usize>().ok()) {
            Some(number) => (number + 1).min(self.spec.sizes.layers),
            None if !names.last_norm.is_empty() && name.starts_with(names.last_norm) => {
                self.spec.sizes.layers
            }
            None => 0,
        }
    }
}

/// Notes which tensors an encoder takes.
struct Listing<'a> {
    known: &'a HashMap<Wanted, Tensor>,
    device: &'a Device,
    order: Vec<Wanted>,
}

impl Tensors for Listing<'_> {
    fn has(&self, name: &str) -> bool {
        let mut names = self.known.keys().flat_map(|wanted| &wanted.names);
        names.any(|known| known == name)
    }

    fn take(&mut self, wanted: &Wanted) -> Result<Tensor> {
        if !self.order.contains(wanted) {
            self.order.push(wanted.clone());
        }
        known(self.known, wanted).cloned()
    }

    fn device(&self) -> &Device {
        self.device
    }
}

/// The tensors of a pass.
struct Held<'a> {
    network: &'a TunedNetwork,
    parameters: &'a [Tensor],
    device: &'a Device,
}

impl Tensors for Held<'_> {
    fn has(&self, name: &str) -> bool {
        let (trained, frozen) = (self.network.places.keys(), self.network.frozen.keys());
        let mut names = trained.chain(frozen).flat_map(|wanted| &wanted.names);
        names.any(|known| known == name)
    }

    fn take(&mut self, wanted: &Wanted) -> Result<Tensor> {
        let place = self.network.places.get(wanted);
        match place.and_then(|place| self.parameters.get(*place)) {
            Some(parameter) => Ok(parameter.clone()),
            None => Ok(known(&self.network.frozen, wanted)?.to_device(self.device)?),
        }
    }

    fn device(&self) -> &Device {
        self.device
    }
}

/// The tokens of rows of numbers, which end with zeros.
fn unpadded(inputs: &Inputs, device: &Device) -> Result<TokenBatch> {
    let missing = || Error::Internal("a model of texts without tokens".into());
    let numbers = inputs.get(NUMBERS).ok_or_else(missing)?;
    let rows: Vec<Vec<f32>> = numbers.to_dtype(DType::F32)?.to_vec2()?;
    let (mut ids, mut lengths) = (vec![], Vec::with_capacity(rows.len()));
    for row in rows {
        let before = ids.len();
        let tokens = row.iter().take_while(|number| **number >= 1.0);
        ids.extend(tokens.map(|number| *number as u32 - 1));
        lengths.push(ids.len() - before);
    }
    let tokens = ids.len();
    Ok(TokenBatch {
        ids: Tensor::from_vec(ids, tokens, device)?,
        types: Tensor::zeros(tokens, DType::U32, device)?,
        sequences: Sequences::of_lengths(lengths),
    })
}
