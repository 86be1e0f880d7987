//! [`t5_design`]: the encoder and the decoder that `config.json` describes.

use super::attention::Heads;
use super::config_design::{HEADS_MAX, VOCABULARY_MAX, WIDE_MAX};
use super::t5::T5Design;
use crate::Result;
use crate::nn::Pointwise;
use crate::pretrained::config::{Config, LAYERS_MAX, WIDTH_MAX};

/// The most tokens of a prompt. The architecture has no limit, and the time of attention grows with the square of the tokens.
const POSITIONS_MAX: usize = 1 << 15;
/// The most buckets of distances, and the greatest distance.
const BUCKETS_MAX: usize = 1 << 12;
const DISTANCE_MAX: usize = 1 << 20;

/// The design that a description and `generation_config.json` give, for files without a matrix for scores if `is_tied`.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) for numbers that do not fit.
pub(super) fn t5_design(
    config: &Config,
    generation: Option<&Config>,
    is_tied: bool,
) -> Result<T5Design> {
    let vocabulary = config.whole("vocab_size", None, 1..=VOCABULARY_MAX)?;
    let width = config.whole("d_model", None, 1..=WIDTH_MAX)?;
    let heads = config.whole("num_heads", None, 1..=HEADS_MAX)?;
    let of_head = config.whole("d_kv", Some(64), 1..=WIDTH_MAX)?;
    if heads * of_head > WIDE_MAX {
        let what = format!("is {of_head} for {heads} heads; at most {WIDE_MAX} numbers together");
        return Err(config.error("d_kv", what));
    }
    let encoder_layers = config.whole("num_layers", None, 1..=LAYERS_MAX)?;
    let (buckets_field, distance_field) = (
        "relative_attention_num_buckets",
        "relative_attention_max_distance",
    );
    let buckets = config.whole(buckets_field, Some(32), 4..=BUCKETS_MAX)?;
    let distance_max = config.whole(distance_field, Some(128), 1..=DISTANCE_MAX)?;
    if distance_max <= buckets {
        let what = format!("is {distance_max}; expected more than the {buckets} buckets");
        return Err(config.error(distance_field, what));
    }
    let (activation, is_gated) = activation(config)?;
    let is_scaled = config.flag("tie_word_embeddings", true)?;
    let is_scaled = config.flag("scale_decoder_outputs", is_scaled)?;
    Ok(T5Design {
        vocabulary,
        width,
        wide: config.whole("d_ff", None, 1..=WIDE_MAX)?,
        heads: Heads {
            queries: heads,
            keys: heads,
            width: of_head,
            scale: 1.0,
            cap: None,
        },
        encoder_layers,
        decoder_layers: config.whole("num_decoder_layers", Some(encoder_layers), 1..=LAYERS_MAX)?,
        positions_max: POSITIONS_MAX,
        buckets,
        distance_max,
        epsilon: config.epsilon("layer_norm_epsilon", 1e-6)? as f32,
        activation,
        is_gated,
        scale: match is_scaled {
            true => (1.0 / (width as f64).sqrt()) as f32,
            false => 1.0,
        },
        first_token: first_token(config, generation, vocabulary)?,
        is_tied,
    })
}

/// The function in a perceptron, and whether there are gates.
fn activation(config: &Config) -> Result<(Pointwise, bool)> {
    let field = "feed_forward_proj";
    let name = config.text(field)?.unwrap_or("relu");
    let (function, is_gated) = match name.strip_prefix("gated-") {
        // The name has always meant the function with a hyperbolic tangent.
        Some("gelu") => (Some(Pointwise::GeluTanh), true),
        Some(gated) => (Pointwise::named(gated), true),
        None => (Pointwise::named(name), false),
    };
    let found = function.map(|function| (function, is_gated));
    found.ok_or_else(|| config.error(field, format!("is \"{name}\", which is not supported")))
}

/// What the decoder begins with: `decoder_start_token_id`, or else what fills texts up.
fn first_token(config: &Config, generation: Option<&Config>, vocabulary: usize) -> Result<u32> {
    let field = "decoder_start_token_id";
    let range = 0..=vocabulary - 1;
    let of_generation = generation.filter(|generation| generation.get(field).is_some());
    let token = match of_generation {
        Some(generation) => generation.whole(field, None, range)?,
        None => {
            let padding = config.whole("pad_token_id", Some(0), range.clone())?;
            config.whole(field, Some(padding), range)?
        }
    };
    Ok(token as u32)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(more: &Value, generation: Option<Value>) -> Result<T5Design> {
        let mut config = json!({"vocab_size": 50, "d_model": 16, "d_ff": 24, "num_heads": 2, "d_kv": 4, "num_layers": 2});
        for (name, value) in more.as_object().unwrap() {
            config[name] = value.clone();
        }
        let parsed = |value: &Value| Config::parse("config.json", value.to_string().as_bytes());
        let config = parsed(&config).unwrap();
        let generation = generation.map(|generation| parsed(&generation).unwrap());
        t5_design(&config, generation.as_ref(), true)
    }

    #[test]
    fn functions_scales_and_first_tokens() {
        let plain = read(&json!({}), None).unwrap();
        assert_eq!((plain.activation, plain.is_gated), (Pointwise::Relu, false));
        assert_eq!((plain.scale, plain.first_token), (0.25, 0));
        let newer = json!({"feed_forward_proj": "gated-gelu", "tie_word_embeddings": false, "decoder_start_token_id": 3});
        let newer = read(&newer, None).unwrap();
        assert_eq!(
            (newer.activation, newer.is_gated),
            (Pointwise::GeluTanh, true)
        );
        assert_eq!((newer.scale, newer.first_token), (1.0, 3));
        let own =
            json!({"tie_word_embeddings": true, "scale_decoder_outputs": false, "pad_token_id": 7});
        assert_eq!(read(&own, None).unwrap().first_token, 7);
        assert_eq!(read(&own, None).unwrap().scale, 1.0);
        let generation = Some(json!({"decoder_start_token_id": 9}));
        assert_eq!(read(&own, generation).unwrap().first_token, 9);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        for (more, expected) in [
            (
                json!({"num_layers": 2_000}),
                "num_layers is 2000; expected a whole number from 1 to 1000",
            ),
            (
                json!({"feed_forward_proj": "gated-mish"}),
                "feed_forward_proj is \"gated-mish\", which is not",
            ),
            (
                json!({"relative_attention_max_distance": 32}),
                "is 32; expected more than the 32 buckets",
            ),
            (
                json!({"decoder_start_token_id": 50}),
                "decoder_start_token_id is 50; expected",
            ),
            (
                json!({"num_heads": 1_000, "d_kv": 1_000}),
                "d_kv is 1000 for 1000 heads",
            ),
        ] {
            let error = read(&more, None).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
