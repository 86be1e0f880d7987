//! [`SequenceHead`]: the head of transformers for the classes of a text, if the layers of a training are of its form.

use super::heads::heads_of;
use crate::artifact::HeadLayer;
use crate::nn::{Activation, Pointwise};
use crate::pretrained::config::Config;
use crate::pretrained::texts::family::TextFamily;
use crate::pretrained::texts::spec::EncoderSpec;

/// The end of the names of architectures with such a head.
const CLASSIFICATION: &str = "ForSequenceClassification";

/// A head whose layers have the names that transformers gives them.
#[derive(Debug)]
pub(crate) struct SequenceHead {
    pub(crate) architecture: &'static str,
    /// What the names of the encoder's tensors begin with.
    pub(crate) base: &'static str,
    /// The names of the two layers.
    pub(crate) layers: [String; 2],
}

impl SequenceHead {
    /// The head for these layers behind the vector of the first token. A family whose head has a norm, another function or another width
    /// than the layers has none for them.
    pub(crate) fn of(
        family: &TextFamily,
        (config, encoder): (&Config, &EncoderSpec),
        layers: &[HeadLayer],
    ) -> Option<Self> {
        let heads = heads_of(family.model_type)?;
        let transform = heads.text.transform?;
        let mut architectures = family.architectures.iter().copied();
        let architecture = architectures.find(|name| name.ends_with(CLASSIFICATION))?;
        let [first, _] = layers else {
            return None;
        };
        let width = encoder.sizes.width;
        let is_square = first.inputs() == width && first.outputs() == width;
        let is_plain = transform.norm.is_none() && transform.bias.is_none() && !transform.narrows;
        let function = transform.function.of(config, encoder).ok()?;
        let is_same = first.activation.and_then(pointwise) == Some(function);
        // The last of the beginnings is the one that transformers writes.
        let base = family.bases.last().copied().unwrap_or("");
        (is_square && is_plain && is_same).then(|| Self {
            architecture,
            base,
            layers: [transform.name(base), heads.text.output.to_owned()],
        })
    }
}

/// The function of a layer as one of each number, if there is one.
fn pointwise(activation: Activation) -> Option<Pointwise> {
    match activation {
        Activation::Relu => Some(Pointwise::Relu),
        Activation::Gelu => Some(Pointwise::Gelu),
        Activation::Silu => Some(Pointwise::Silu),
        Activation::Tanh => Some(Pointwise::Tanh),
        Activation::Sigmoid => Some(Pointwise::Sigmoid),
        Activation::LeakyRelu => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pretrained::texts::families::text_family;

    #[test]
    fn a_head_has_the_layers_of_its_family() {
        let config = r#"{"hidden_size": 4, "dim": 4, "num_attention_heads": 2, "n_heads": 2}"#;
        let config = Config::parse("config.json", config.as_bytes()).unwrap();
        let head = |model_type: &str, width: usize, activation: Activation| {
            let family = text_family(model_type).unwrap();
            let encoder = (family.spec)(&config).unwrap();
            let layer = |[inputs, outputs]: [usize; 2], activation| HeadLayer {
                weights: vec![0.0; inputs * outputs],
                biases: vec![0.0; outputs],
                activation,
            };
            let layers = [layer([4, width], Some(activation)), layer([width, 3], None)];
            let found = SequenceHead::of(family, (&config, &encoder), &layers);
            found.map(|head| (head.architecture, head.layers))
        };
        let names = |names: [&str; 2]| names.map(str::to_owned);
        assert_eq!(
            head("bert", 4, Activation::Tanh),
            Some((
                "BertForSequenceClassification",
                names(["bert.pooler.dense", "classifier"])
            ))
        );
        assert_eq!(
            head("roberta", 4, Activation::Tanh),
            Some((
                "RobertaForSequenceClassification",
                names(["classifier.dense", "classifier.out_proj"])
            ))
        );
        assert_eq!(
            head("distilbert", 4, Activation::Relu),
            Some((
                "DistilBertForSequenceClassification",
                names(["pre_classifier", "classifier"])
            ))
        );
        for (model_type, width, activation) in [
            ("bert", 4, Activation::Relu),
            ("bert", 3, Activation::Tanh),
            ("distilbert", 4, Activation::Tanh),
            ("modernbert", 4, Activation::Gelu),
        ] {
            assert_eq!(head(model_type, width, activation), None, "{model_type}");
        }
    }
}
