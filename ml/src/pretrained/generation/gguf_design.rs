//! [`design`]: the decoder that the values of a file in GGUF describe.
//!
//! Files differ from those of Hugging Face: the weights of Gemma's norms have 1 added, and in Llama the numbers of a pair are neighbours.

use super::attention::Heads;
use super::config_design::{
    HEADS_MAX, Kind, POSITIONS_MAX, VOCABULARY_MAX, WIDE_MAX, embedding_scale, pattern,
};
use super::config_rope::long_amplitude;
use super::design::{Design, LayerDesign, Names, Parts};
use super::rope::{Pairs, Rope, Scaling};
use super::stored::Tensors;
use crate::nn::Pointwise;
use crate::pretrained::config::{Config, LAYERS_MAX, WIDTH_MAX};
use crate::{Error, Result};

/// The architectures of files, and their families.
const ARCHITECTURES: [(&str, Kind); 7] = [
    ("llama", Kind::Llama),
    ("qwen2", Kind::Qwen2),
    ("qwen3", Kind::Qwen3),
    ("gemma", Kind::Gemma),
    ("gemma2", Kind::Gemma2),
    ("gemma3", Kind::Gemma3),
    ("phi3", Kind::Phi3),
];

/// The factors of the frequencies of pairs.
const DIVISORS: &str = "rope_freqs.weight";
const SHORT_DIVISORS: &str = "rope_factors_short.weight";
const LONG_DIVISORS: &str = "rope_factors_long.weight";

/// The values of an architecture.
struct Values<'a> {
    config: &'a Config,
    architecture: &'a str,
}

impl Values<'_> {
    fn name(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn whole(&self, name: &str, default: Option<usize>, max: usize) -> Result<usize> {
        self.config.whole(&self.name(name), default, 1..=max)
    }

    fn number(&self, name: &str, default: f64) -> Result<f64> {
        self.config.number(&self.name(name), default)
    }

    fn error(&self, name: &str, problem: String) -> Error {
        self.config.error(&self.name(name), problem)
    }
}

/// The family of a file, and the name of its architecture.
///
/// # Errors
/// [`Error::Unsupported`] for an architecture that this build does not know.
pub(super) fn kind(config: &Config) -> Result<(Kind, &str)> {
    let field = "general.architecture";
    let name = config.text(field)?;
    let name = name.ok_or_else(|| config.error(field, "is missing"))?;
    let mut known = ARCHITECTURES.iter();
    let found = known.find(|(known, _)| *known == name);
    found.map(|(_, kind)| (*kind, name)).ok_or_else(|| {
        let known = ARCHITECTURES.map(|(name, _)| name).join(", ");
        Error::Unsupported(format!(
            "{}: the architecture {name} is not supported in GGUF; this build opens {known}",
            config.file()
        ))
    })
}

/// The decoder of a file with these values; the factors of frequencies are taken from its tensors.
///
/// # Errors
/// [`Error::Corrupt`] for numbers that do not fit; [`Error::Unsupported`] for what this build does not compute.
pub(super) fn design(config: &Config, tensors: &mut Tensors) -> Result<Design> {
    let (kind, architecture) = kind(config)?;
    let values = Values {
        config,
        architecture,
    };
    let width = values.whole("embedding_length", None, WIDTH_MAX)?;
    let layers = values.whole("block_count", None, LAYERS_MAX)?;
    let positions_max = values.whole("context_length", Some(2_048), POSITIONS_MAX)?;
    let heads = heads(&values, kind, width, layers)?;
    let embedding = format!("{}.weight", Names::GGUF.embedding);
    let vocabulary = tensors.shape(&embedding)?.first().copied().unwrap_or(0);
    if !(1..=VOCABULARY_MAX).contains(&vocabulary) {
        let what = format!("has {vocabulary} rows; expected from 1 to {VOCABULARY_MAX}");
        return Err(config.error(&embedding, what));
    }
    let cap = match kind {
        Kind::Gemma2 => values.number("final_logit_softcapping", 30.0)?,
        _ => values.number("final_logit_softcapping", 0.0)?,
    };
    let ropes = ropes(&values, kind, tensors, (heads.width, positions_max))?;
    let epsilon = config.epsilon(&values.name("attention.layer_norm_rms_epsilon"), 1e-6)?;
    Ok(Design {
        vocabulary,
        width,
        wide: values.whole("feed_forward_length", None, WIDE_MAX)?,
        heads,
        positions_max,
        epsilon: epsilon as f32,
        norm_offset: 0.0,
        activation: match kind.is_gemma() {
            true => Pointwise::GeluTanh,
            false => Pointwise::Silu,
        },
        embedding_scale: embedding_scale(kind, width),
        cap: Some(cap as f32).filter(|cap| *cap > 0.0),
        parts: parts(kind, tensors),
        ropes,
        layers: layer_designs(&values, kind, layers)?,
    })
}

/// The parts that the tensors show.
fn parts(kind: Kind, tensors: &Tensors) -> Parts {
    let has = |name: &str| tensors.has(name);
    Parts {
        query_bias: has("blk.0.attn_q.bias") || has("blk.0.attn_qkv.bias"),
        output_bias: has("blk.0.attn_output.bias"),
        perceptron_bias: has("blk.0.ffn_up.bias"),
        fused: has("blk.0.attn_qkv.weight"),
        ..kind.parts([false; 2], !has("output.weight"))
    }
}

fn heads(values: &Values<'_>, kind: Kind, width: usize, layers: usize) -> Result<Heads> {
    let queries = values.whole("attention.head_count", None, HEADS_MAX)?;
    let keys = values.whole("attention.head_count_kv", Some(queries), HEADS_MAX)?;
    if !queries.is_multiple_of(keys) {
        let what = format!("is {keys}, which does not divide the {queries} heads of queries");
        return Err(values.error("attention.head_count_kv", what));
    }
    let of_head = values.whole("attention.key_length", Some(width / queries), WIDTH_MAX)?;
    let of_value = values.whole("attention.value_length", Some(of_head), WIDTH_MAX)?;
    if of_head == 0 || of_head != of_value || queries * of_head > WIDE_MAX {
        let what = format!("is {of_head}, with {of_value} for values and {queries} heads");
        return Err(values.error("attention.key_length", what));
    }
    // The largest model of each family has another scale than the others.
    let root = match (kind, layers) {
        (Kind::Gemma2, 46) | (Kind::Gemma3, 62) => width as f64 / queries as f64,
        _ => of_head as f64,
    };
    let cap = match kind {
        Kind::Gemma2 => values.number("attn_logit_softcapping", 50.0)?,
        _ => 0.0,
    };
    let scale = values.number("attention.scale", 1.0 / root.sqrt())?;
    Ok(Heads {
        queries,
        keys,
        width: of_head,
        scale: scale as f32,
        cap: Some(cap as f32).filter(|cap| *cap > 0.0),
    })
}

fn layer_designs(values: &Values<'_>, kind: Kind, layers: usize) -> Result<Vec<LayerDesign>> {
    let field = "attention.sliding_window";
    let of_phi = || {
        values
            .config
            .whole(&values.name(field), Some(0), 0..=POSITIONS_MAX)
    };
    let (window, every) = match kind {
        Kind::Gemma2 => (values.whole(field, Some(4_096), POSITIONS_MAX)?, 2),
        Kind::Gemma3 => (values.whole(field, None, POSITIONS_MAX)?, 6),
        // All layers have the window, if there is one.
        Kind::Phi3 => (of_phi()?, layers + 1),
        Kind::Llama | Kind::Mistral | Kind::Qwen2 | Kind::Qwen3 | Kind::Gemma => (0, layers + 1),
    };
    let every = values.whole(
        "attention.sliding_window_pattern",
        Some(every),
        LAYERS_MAX + 1,
    )?;
    let layer = |is_sliding: bool| LayerDesign {
        window: Some(window).filter(|window| is_sliding && *window > 0),
        rope: usize::from(is_sliding && kind == Kind::Gemma3),
    };
    Ok(pattern(layers, every).into_iter().map(layer).collect())
}

/// The turns of layers, and those of layers with a window where they differ.
fn ropes(
    values: &Values<'_>,
    kind: Kind,
    tensors: &mut Tensors,
    (head_width, positions_max): (usize, usize),
) -> Result<Vec<Rope>> {
    let pairs = match kind {
        Kind::Llama => Pairs::Neighbours,
        _ => Pairs::Halves,
    };
    let field = "rope.dimension_count";
    let turned = values.whole(field, Some(head_width), head_width)?;
    if !turned.is_multiple_of(2) {
        return Err(values.error(field, format!("is {turned}; expected an even number")));
    }
    let base = |name: &str, default: f64| -> Result<f32> {
        let base = values.number(name, default)?;
        match (1.0..=1e12).contains(&base) {
            true => Ok(base as f32),
            false => Err(values.error(name, format!("is {base}; expected from 1 to 1e12"))),
        }
    };
    let scaling = scaling(values, tensors, turned / 2, positions_max)?;
    let (far, near) = (
        base("rope.freq_base", 1e4)?,
        base("rope.freq_base_swa", 1e4)?,
    );
    let mut ropes = vec![Rope::new(pairs, turned, far, &scaling)];
    if kind == Kind::Gemma3 {
        ropes.push(Rope::new(pairs, turned, near, &Scaling::None));
    }
    Ok(ropes)
}

fn scaling(
    values: &Values<'_>,
    tensors: &mut Tensors,
    pairs: usize,
    positions_max: usize,
) -> Result<Scaling> {
    let is_long = tensors.has(SHORT_DIVISORS) && tensors.has(LONG_DIVISORS);
    let mut divisors = |name: &str| -> Result<Option<Vec<f32>>> {
        if !tensors.has(name) {
            return Ok(None);
        }
        let found = tensors.vector(name, pairs)?;
        match found.iter().all(|divisor| *divisor > 0.0) {
            true => Ok(Some(found)),
            false => Err(values
                .config
                .error(name, "has a number that is not above 0")),
        }
    };
    let before = "rope.scaling.original_context_length";
    let before = values
        .whole(before, Some(positions_max), POSITIONS_MAX)?
        .max(2);
    let of_positions = positions_max as f64 / before as f64;
    if is_long
        && let (Some(short), Some(long)) = (divisors(SHORT_DIVISORS)?, divisors(LONG_DIVISORS)?)
    {
        let own = long_amplitude(of_positions, before);
        let amplitude = values.number("rope.scaling.attn_factor", own)? as f32;
        return Ok(Scaling::Long {
            short,
            long,
            positions: before,
            amplitude,
        });
    }
    if let Some(divisors) = divisors(DIVISORS)? {
        return Ok(Scaling::Divided(divisors));
    }
    let old = values.number("rope.scale_linear", 1.0)?;
    let factor = values.number("rope.scaling.factor", old)?;
    let field = values.name("rope.scaling.type");
    let named = values.config.text(&field)?;
    if factor <= 0.0 {
        return Err(values.error("rope.scaling.factor", format!("is {factor}, not above 0")));
    }
    match named.unwrap_or(if factor == 1.0 { "none" } else { "linear" }) {
        "none" => Ok(Scaling::None),
        "linear" => Ok(Scaling::Linear(factor as f32)),
        "yarn" => {
            let own = if factor > 1.0 {
                0.1 * factor.ln() + 1.0
            } else {
                1.0
            };
            let more = values.number("rope.scaling.attn_factor", 1.0)?;
            Ok(Scaling::Yarn {
                factor: factor as f32,
                fast: values.number("rope.scaling.yarn_beta_fast", 32.0)?,
                slow: values.number("rope.scaling.yarn_beta_slow", 1.0)?,
                positions: before as f64,
                amplitude: (own * more) as f32,
                is_whole: true,
            })
        }
        other => Err(Error::Unsupported(format!(
            "{}: {field} is \"{other}\", which is not supported; none, linear and yarn are",
            values.config.file()
        ))),
    }
}
