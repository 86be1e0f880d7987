//! `text_classifier` and `text_regressor`: a perceptron behind an encoder of texts, whose own layers may be trained, too.

use super::Mlp;
use crate::data::columns::{Column, Columns};
use crate::data::encode::shape::InputShape;
use crate::data::types::{is_text, type_name};
use crate::model::network::{ModelType, Network, Task};
use crate::model::options::{Freeze, NullHandling, TrainOptions};
use crate::{Error, Result};

/// More tokens than any encoder has; f32 holds all whole numbers up to here.
const IDS_MAX: usize = 1 << 24;

/// A network behind an encoder of texts that predicts a class or a number.
#[derive(Debug)]
pub(super) struct TextNetwork(pub(super) Task);

impl ModelType for TextNetwork {
    fn name(&self) -> &str {
        match self.0 {
            Task::Classification => "text_classifier",
            Task::Regression => "text_regressor",
        }
    }

    fn task(&self, _options: &TrainOptions) -> Task {
        self.0
    }

    fn check(&self, options: &TrainOptions) -> Result<()> {
        let wrong = |message: &str| Err(Error::Invalid(message.into()));
        let is_frozen = options.text.freeze == Freeze::Encoder;
        if options.base_model.is_none() {
            let name = self.name();
            return Err(Error::Invalid(format!(
                "model type {name} needs base_model = 'model', an encoder of texts such as CREATE MODEL … FROM opens"
            )));
        }
        if is_frozen && options.text.layer_decay < 1.0 {
            return wrong("layer_decay works only with freeze = 'embeddings' or 'none'");
        }
        if is_frozen && options.dropout > 0.0 && options.hidden_units.is_empty() {
            return wrong("dropout needs hidden_units, or freeze = 'embeddings' or 'none'");
        }
        if options.null_handling == NullHandling::Impute {
            return wrong(
                "null_handling = 'impute' has no value for a text; use 'skip' to leave these rows out",
            );
        }
        Ok(())
    }

    fn check_columns(&self, columns: &Columns, _options: &TrainOptions) -> Result<()> {
        let [Column { name, data_type }] = columns.features.as_slice() else {
            let names = columns.features.iter();
            let names: Vec<String> = names.map(|column| format!("\"{}\"", column.name)).collect();
            return Err(Error::Invalid(format!(
                "model type {} takes one column of texts, found {}; keep one of them",
                self.name(),
                names.join(", ")
            )));
        };
        match is_text(data_type) {
            true => Ok(()),
            false => Err(Error::Type(format!(
                "column \"{name}\" is {}, and model type {} takes a text; use CAST({name} AS TEXT)",
                type_name(data_type),
                self.name()
            ))),
        }
    }

    fn takes_texts(&self) -> bool {
        true
    }

    /// The tokens of a text, if the encoder is part of the network.
    fn ids(&self, options: &TrainOptions, _column: &Column) -> Option<usize> {
        (options.text.freeze != Freeze::Encoder).then_some(IDS_MAX)
    }

    fn takes_categories(&self, _options: &TrainOptions) -> bool {
        false
    }

    fn network_options(&self) -> &[&str] {
        &[
            "hidden_units",
            "activation",
            "dropout",
            "freeze",
            "pooling",
            "layer_decay",
        ]
    }

    /// The network behind vectors. One with the encoder in it is made by the encoder.
    fn network(
        &self,
        shape: &InputShape,
        outputs: usize,
        options: &TrainOptions,
    ) -> Result<Box<dyn Network>> {
        let hidden = &options.hidden_units;
        Ok(Box::new(Mlp::new(shape, hidden, outputs, options)))
    }
}
