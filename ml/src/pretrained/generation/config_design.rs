//! [`design`]: the decoder that `config.json` describes. [`Kind`] are the families, and the methods of it their differences.

use super::attention::Heads;
use super::config_rope::{RopeOf, rope};
use super::design::{Design, LayerDesign, Names, Parts};
use crate::nn::Pointwise;
use crate::pretrained::config::{Config, LAYERS_MAX, WIDTH_MAX};
use crate::{Error, Result};

/// The most tokens of a vocabulary.
pub(super) const VOCABULARY_MAX: usize = 1 << 21;
/// The most tokens of a text.
pub(super) const POSITIONS_MAX: usize = 1 << 24;
/// The most numbers of a vector within a perceptron.
pub(super) const WIDE_MAX: usize = 1 << 18;
/// The most heads of a layer.
pub(super) const HEADS_MAX: usize = 1 << 10;

/// The kinds of layers.
const SLIDING: &str = "sliding_attention";
const FULL: &str = "full_attention";

/// A family of decoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    Gemma,
    Gemma2,
    Gemma3,
    Phi3,
}

impl Kind {
    /// Whether the weights of norms are those that are added to 1, and vectors of tokens are scaled.
    pub(super) fn is_gemma(self) -> bool {
        match self {
            Self::Gemma | Self::Gemma2 | Self::Gemma3 => true,
            Self::Llama | Self::Mistral | Self::Qwen2 | Self::Qwen3 | Self::Phi3 => false,
        }
    }

    /// The names of Hugging Face.
    pub(super) fn names(self) -> &'static Names {
        match self {
            Self::Gemma2 | Self::Gemma3 => &Names::WITH_OUTER_NORMS,
            _ => &Names::HUGGING_FACE,
        }
    }

    /// The parts that the decoder has beside those of all; `has_bias` and `has_wide_bias` are what a description may say.
    pub(super) fn parts(self, [has_bias, has_wide_bias]: [bool; 2], tied: bool) -> Parts {
        let plain = Parts {
            tied,
            ..Parts::default()
        };
        match self {
            Self::Llama => Parts {
                query_bias: has_bias,
                output_bias: has_bias,
                perceptron_bias: has_wide_bias,
                ..plain
            },
            Self::Mistral => plain,
            Self::Qwen2 => Parts {
                query_bias: true,
                ..plain
            },
            Self::Qwen3 => Parts {
                query_bias: has_bias,
                output_bias: has_bias,
                head_norms: true,
                ..plain
            },
            Self::Gemma => Parts {
                query_bias: has_bias,
                output_bias: has_bias,
                ..plain
            },
            Self::Gemma2 => Parts {
                query_bias: has_bias,
                output_bias: has_bias,
                outer_norms: true,
                ..plain
            },
            Self::Gemma3 => Parts {
                query_bias: has_bias,
                output_bias: has_bias,
                head_norms: true,
                outer_norms: true,
                ..plain
            },
            Self::Phi3 => Parts {
                fused: true,
                ..plain
            },
        }
    }

    /// The numbers of a head, if a description does not say it; those of a vector divided by the heads if `None`.
    fn head_width(self) -> Option<usize> {
        match self {
            Self::Qwen3 => Some(128),
            Self::Gemma | Self::Gemma2 | Self::Gemma3 => Some(256),
            Self::Llama | Self::Mistral | Self::Qwen2 | Self::Phi3 => None,
        }
    }
}

/// The decoder of a description.
///
/// # Errors
/// [`Error::Corrupt`] for numbers that do not fit; [`Error::Unsupported`] for what this build does not compute.
pub(super) fn design(config: &Config, kind: Kind) -> Result<Design> {
    let width = config.whole("hidden_size", None, 1..=WIDTH_MAX)?;
    let layers = config.whole("num_hidden_layers", None, 1..=LAYERS_MAX)?;
    let positions_max = config.whole("max_position_embeddings", Some(2_048), 2..=POSITIONS_MAX)?;
    config.require_flag("use_bidirectional_attention", false)?;
    let heads = heads(config, kind, width)?;
    let has_bias = ["attention_bias", "mlp_bias"].map(|field| config.flag(field, false));
    let [has_bias, has_wide_bias] = has_bias;
    let tied = config.flag("tie_word_embeddings", kind.is_gemma())?;
    let field = "final_logit_softcapping";
    let cap = match kind {
        Kind::Gemma2 => cap(config, field, 30.0)?,
        Kind::Gemma3 => cap(config, field, 0.0)?,
        _ => None,
    };
    let mut ropes = vec![rope_of(config, kind, heads.width, positions_max, FULL)?];
    if kind == Kind::Gemma3 {
        ropes.push(rope_of(config, kind, heads.width, positions_max, SLIDING)?);
    }
    let window = window(config, kind)?;
    let layer = |is_sliding: bool| LayerDesign {
        window: window.filter(|_| is_sliding),
        rope: usize::from(is_sliding && kind == Kind::Gemma3),
    };
    let sliding = sliding_layers(config, kind, layers)?;
    Ok(Design {
        vocabulary: config.whole("vocab_size", None, 1..=VOCABULARY_MAX)?,
        width,
        wide: config.whole("intermediate_size", None, 1..=WIDE_MAX)?,
        heads,
        positions_max,
        epsilon: config.epsilon("rms_norm_eps", 1e-6)? as f32,
        norm_offset: if kind.is_gemma() { 1.0 } else { 0.0 },
        activation: activation(config, kind)?,
        embedding_scale: embedding_scale(kind, width),
        cap,
        parts: kind.parts([has_bias?, has_wide_bias?], tied),
        ropes,
        layers: sliding.into_iter().map(layer).collect(),
    })
}

/// The factor of the vectors of tokens.
pub(super) fn embedding_scale(kind: Kind, width: usize) -> f32 {
    match kind.is_gemma() {
        true => (width as f64).sqrt() as f32,
        false => 1.0,
    }
}

fn heads(config: &Config, kind: Kind, width: usize) -> Result<Heads> {
    let queries = config.whole("num_attention_heads", None, 1..=HEADS_MAX)?;
    let keys = config.whole("num_key_value_heads", Some(queries), 1..=HEADS_MAX)?;
    if !queries.is_multiple_of(keys) {
        let what = format!("is {keys}, which does not divide the {queries} heads of queries");
        return Err(config.error("num_key_value_heads", what));
    }
    let field = "head_dim";
    let own = kind.head_width().unwrap_or(width / queries);
    let of_head = config.whole(field, Some(own), 1..=WIDTH_MAX)?;
    if of_head == 0 || queries * of_head > WIDE_MAX {
        let what = format!("is {of_head} for {queries} heads of vectors of {width} numbers");
        return Err(config.error(field, what));
    }
    let root = match kind {
        Kind::Gemma2 | Kind::Gemma3 => config.number("query_pre_attn_scalar", 256.0)?,
        _ => of_head as f64,
    };
    if root <= 0.0 {
        return Err(config.error("query_pre_attn_scalar", format!("is {root}, not above 0")));
    }
    let cap = match kind {
        Kind::Gemma2 => cap(config, "attn_logit_softcapping", 50.0)?,
        _ => None,
    };
    Ok(Heads {
        queries,
        keys,
        width: of_head,
        scale: (1.0 / root.sqrt()) as f32,
        cap,
    })
}

/// The bound of scores, if there is one.
fn cap(config: &Config, field: &str, default: f64) -> Result<Option<f32>> {
    if config.is_null(field) {
        return Ok(None);
    }
    let cap = config.number(field, default)? as f32;
    Ok(Some(cap).filter(|cap| *cap > 0.0))
}

fn activation(config: &Config, kind: Kind) -> Result<Pointwise> {
    let (field, default) = match kind {
        Kind::Gemma2 | Kind::Gemma3 => ("hidden_activation", "gelu_pytorch_tanh"),
        Kind::Gemma => ("hidden_act", "gelu_pytorch_tanh"),
        _ => ("hidden_act", "silu"),
    };
    let name = match config.text(field)?.unwrap_or(default) {
        // The first descriptions of Gemma say this and mean the other.
        "gelu" if kind == Kind::Gemma => default,
        name => name,
    };
    let function = Pointwise::named(name);
    function.ok_or_else(|| config.error(field, format!("is \"{name}\", which is not supported")))
}

fn rope_of(
    config: &Config,
    kind: Kind,
    head_width: usize,
    positions_max: usize,
    layers: &'static str,
) -> Result<super::rope::Rope> {
    let is_gemma3 = kind == Kind::Gemma3;
    let is_local = layers == SLIDING;
    rope(&RopeOf {
        config,
        layers: is_gemma3.then_some(layers),
        base_field: if is_local {
            "rope_local_base_freq"
        } else {
            "rope_theta"
        },
        base: if is_gemma3 && !is_local { 1e6 } else { 1e4 },
        takes_scaling: !is_local,
        head_width,
        positions_max,
        yarn_is_long: kind == Kind::Phi3,
    })
}

/// The tokens that a token sees in layers with a window.
fn window(config: &Config, kind: Kind) -> Result<Option<usize>> {
    let field = "sliding_window";
    let is_used = match kind {
        Kind::Qwen2 | Kind::Qwen3 => {
            config.flag("use_sliding_window", false)? && !config.is_null(field)
        }
        Kind::Gemma2 | Kind::Gemma3 | Kind::Mistral => !config.is_null(field),
        Kind::Phi3 => config.get(field).is_some(),
        Kind::Llama | Kind::Gemma => false,
    };
    match is_used {
        true => Ok(Some(config.whole(field, Some(4_096), 1..=POSITIONS_MAX)?)),
        false => Ok(None),
    }
}

/// Whether each layer has a window.
fn sliding_layers(config: &Config, kind: Kind, layers: usize) -> Result<Vec<bool>> {
    match kind {
        Kind::Llama | Kind::Gemma => return Ok(vec![false; layers]),
        Kind::Mistral | Kind::Phi3 => return Ok(vec![true; layers]),
        Kind::Qwen2 | Kind::Qwen3 | Kind::Gemma2 | Kind::Gemma3 => {}
    }
    let field = "layer_types";
    if let Some(types) = config.texts(field)? {
        if types.len() != layers {
            let what = format!("has {} types for {layers} layers", types.len());
            return Err(config.error(field, what));
        }
        let is_sliding = types.iter().map(|name| match name.as_str() {
            SLIDING => Ok(true),
            FULL => Ok(false),
            other => Err(Error::Unsupported(format!(
                "{}: layers of the type \"{other}\" are not supported; {FULL} and {SLIDING} are",
                config.file()
            ))),
        });
        return is_sliding.collect();
    }
    let every = match kind {
        Kind::Qwen2 | Kind::Qwen3 => {
            let first = config.whole("max_window_layers", Some(28), 0..=LAYERS_MAX)?;
            return Ok((0..layers).map(|number| number >= first).collect());
        }
        Kind::Gemma2 => 2,
        _ => config.whole("sliding_window_pattern", Some(6), 1..=LAYERS_MAX)?,
    };
    Ok(pattern(layers, every))
}

/// Of so many layers all but every one of this number have a window.
pub(super) fn pattern(layers: usize, every: usize) -> Vec<bool> {
    (1..=layers)
        .map(|number| !number.is_multiple_of(every))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(kind: Kind, more: &Value) -> Result<Design> {
        let mut config = json!({
            "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 4, "num_attention_heads": 4,
            "num_key_value_heads": 2, "vocab_size": 50, "max_position_embeddings": 64,
        });
        for (name, value) in more.as_object().unwrap() {
            config[name] = value.clone();
        }
        let config = Config::parse("config.json", config.to_string().as_bytes()).unwrap();
        design(&config, kind)
    }

    fn windows(kind: Kind, more: &Value) -> Vec<Option<usize>> {
        let design = read(kind, more).unwrap();
        design.layers.iter().map(|layer| layer.window).collect()
    }

    #[test]
    fn families_differ_in_windows() {
        let none = json!({});
        assert_eq!(
            windows(Kind::Llama, &json!({"sliding_window": 3})),
            [None; 4]
        );
        assert_eq!(
            windows(Kind::Mistral, &json!({"sliding_window": 3})),
            [Some(3); 4]
        );
        assert_eq!(windows(Kind::Mistral, &none), [Some(4_096); 4]);
        let null = json!({"sliding_window": null});
        assert_eq!(windows(Kind::Mistral, &null), [None; 4]);
        assert_eq!(windows(Kind::Phi3, &none), [None; 4]);
        let qwen = json!({"use_sliding_window": true, "sliding_window": 5, "max_window_layers": 3});
        assert_eq!(windows(Kind::Qwen2, &qwen), [None, None, None, Some(5)]);
        assert_eq!(
            windows(Kind::Qwen2, &json!({"sliding_window": 5})),
            [None; 4]
        );
        let unbounded =
            json!({"use_sliding_window": true, "sliding_window": null, "max_window_layers": 0});
        assert_eq!(windows(Kind::Qwen3, &unbounded), [None; 4]);
        let alternating = [Some(4_096), None, Some(4_096), None];
        assert_eq!(windows(Kind::Gemma2, &none), alternating);
        let types = json!({"sliding_window": 2, "sliding_window_pattern": 3});
        assert_eq!(
            windows(Kind::Gemma3, &types),
            [Some(2), Some(2), None, Some(2)]
        );
        let design = read(Kind::Gemma3, &types).unwrap();
        let ropes: Vec<usize> = design.layers.iter().map(|layer| layer.rope).collect();
        assert_eq!((ropes, design.ropes.len()), (vec![1, 1, 0, 1], 2));
        let named = json!({"layer_types": [FULL, SLIDING, FULL, FULL]});
        assert_eq!(
            windows(Kind::Gemma2, &named),
            [None, Some(4_096), None, None]
        );
    }

    #[test]
    fn families_differ_in_scales_and_parts() {
        let none = json!({});
        let gemma = read(Kind::Gemma2, &none).unwrap();
        assert_eq!((gemma.embedding_scale, gemma.norm_offset), (4.0, 1.0));
        assert_eq!((gemma.cap, gemma.heads.cap), (Some(30.0), Some(50.0)));
        assert_eq!((gemma.heads.width, gemma.heads.scale), (256, 1.0 / 16.0));
        assert!(gemma.parts.tied && gemma.parts.outer_norms && !gemma.parts.head_norms);
        let null = json!({"final_logit_softcapping": null, "attn_logit_softcapping": null});
        let gemma = read(Kind::Gemma2, &null).unwrap();
        assert_eq!((gemma.cap, gemma.heads.cap), (None, None));
        let llama = read(Kind::Llama, &json!({"mlp_bias": true})).unwrap();
        assert_eq!((llama.heads.width, llama.heads.scale), (4, 0.5));
        assert!(llama.parts.perceptron_bias && !llama.parts.query_bias && !llama.parts.tied);
        assert_eq!(llama.activation, Pointwise::Silu);
        let old = read(Kind::Gemma, &json!({"hidden_act": "gelu"})).unwrap();
        assert_eq!(old.activation, Pointwise::GeluTanh);
        assert!(read(Kind::Phi3, &none).unwrap().parts.fused);
        assert!(read(Kind::Qwen2, &none).unwrap().parts.query_bias);
        assert_eq!(read(Kind::Qwen3, &none).unwrap().heads.width, 128);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        for (more, expected) in [
            (
                json!({"num_hidden_layers": 1_000_000_000}),
                "num_hidden_layers is 1000000000; expected a whole number from 1 to 1000",
            ),
            (
                json!({"num_key_value_heads": 3}),
                "num_key_value_heads is 3, which does not divide the 4 heads",
            ),
            (
                json!({"num_attention_heads": 0}),
                "num_attention_heads is 0; expected a whole number from 1",
            ),
            (
                json!({"num_attention_heads": 32, "num_key_value_heads": 32}),
                "head_dim is 0 for 32 heads",
            ),
            (
                json!({"vocab_size": 3_000_000}),
                "vocab_size is 3000000; expected",
            ),
            (
                json!({"hidden_act": "mish"}),
                "hidden_act is \"mish\", which is not supported",
            ),
            (
                json!({"use_bidirectional_attention": true}),
                "use_bidirectional_attention is true",
            ),
        ] {
            let error = read(Kind::Llama, &more).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let few = json!({"layer_types": [FULL]});
        let error = read(Kind::Gemma2, &few).unwrap_err().to_string();
        assert!(
            error.contains("layer_types has 1 types for 4 layers"),
            "{error}"
        );
        let other = json!({"layer_types": ["chunked", FULL, FULL, FULL]});
        let error = read(Kind::Gemma2, &other).unwrap_err().to_string();
        assert!(
            error.contains("layers of the type \"chunked\" are not supported"),
            "{error}"
        );
    }
}
