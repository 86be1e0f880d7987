//! [`Pooling`]: the vectors of the tokens of a text → a vector of the text.
//!
//! Reimers and Gurevych, "Sentence-BERT: Sentence embeddings using siamese BERT-networks", 2019.

use candle_core::{CpuStorage, DType, Storage, Tensor};

use crate::nn::Sequences;
use crate::pretrained::config::Config;
use crate::{Error, Result, stop};

/// A way from the vectors of tokens to that of their text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The vector of the first token.
    First,
    /// The greatest number of each dimension.
    Max,
    Mean,
    /// The sum, divided by the root of the number of tokens.
    MeanSqrtLength,
    /// The mean in which a token weighs as much as its place, from 1.
    WeightedMean,
    /// The vector of the last token.
    Last,
}

impl Mode {
    /// The names in descriptions, in the order of the vectors of several modes; earlier descriptions have a flag for each.
    const ALL: [(&'static str, &'static str, Self); 6] = [
        ("cls", "pooling_mode_cls_token", Self::First),
        ("max", "pooling_mode_max_tokens", Self::Max),
        ("mean", "pooling_mode_mean_tokens", Self::Mean),
        (
            "mean_sqrt_len_tokens",
            "pooling_mode_mean_sqrt_len_tokens",
            Self::MeanSqrtLength,
        ),
        (
            "weightedmean",
            "pooling_mode_weightedmean_tokens",
            Self::WeightedMean,
        ),
        ("lasttoken", "pooling_mode_lasttoken", Self::Last),
    ];

    fn name(self) -> &'static str {
        let mut all = Self::ALL.iter();
        all.find(|(_, _, mode)| *mode == self)
            .map_or("", |(name, ..)| name)
    }
}

/// The vectors of one or more modes, side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pooling {
    modes: Vec<Mode>,
}

impl Pooling {
    /// The mean of the vectors of tokens.
    pub(crate) fn mean() -> Self {
        Self {
            modes: vec![Mode::Mean],
        }
    }

    /// The vector of the first token.
    pub(crate) fn first() -> Self {
        Self {
            modes: vec![Mode::First],
        }
    }

    /// What a description of sentence-transformers says, for vectors of this width.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for another width; [`Error::Unsupported`] for modes that this build does not know.
    pub(crate) fn of(config: &Config, width: usize) -> Result<Self> {
        for name in ["embedding_dimension", "word_embedding_dimension"] {
            if config.whole(name, Some(width), 1..=usize::MAX)? != width {
                let what = format!("is not the width of the model's vectors, {width}");
                return Err(config.error(name, what));
            }
        }
        let modes = match config.texts("pooling_mode")? {
            Some(names) => {
                let known = |name: &String| {
                    let mut all = Mode::ALL.iter();
                    let found = all.find(|(known, ..)| *known == name.as_str());
                    found.map(|(_, _, mode)| *mode).ok_or_else(|| {
                        let names = Mode::ALL.map(|(name, ..)| name);
                        Error::Unsupported(format!(
                            "{}: pooling_mode \"{name}\" is not supported; {} are",
                            config.file(),
                            names.join(", ")
                        ))
                    })
                };
                names.iter().map(known).collect::<Result<Vec<_>>>()?
            }
            None => {
                let mut modes = vec![];
                for (_, flag, mode) in Mode::ALL {
                    if config.flag(flag, false)? {
                        modes.push(mode);
                    }
                }
                modes
            }
        };
        match modes.is_empty() {
            true => Ok(Self::mean()),
            false => Ok(Self { modes }),
        }
    }

    /// The names of the modes.
    pub(crate) fn description(&self) -> String {
        let names: Vec<&str> = self.modes.iter().map(|mode| mode.name()).collect();
        names.join(", ")
    }

    /// The width of the vectors of texts, from that of the vectors of tokens.
    pub(crate) fn width(&self, of_tokens: usize) -> usize {
        self.modes.len() * of_tokens
    }

    /// The vectors `[texts, width]`, from those of tokens `[tokens, width]`. That of a text without tokens is 0.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub(crate) fn forward(&self, hidden: &Tensor, sequences: &Sequences) -> Result<Tensor> {
        let is_plain =
            hidden.device().is_cpu() && hidden.dtype() == DType::F32 && !hidden.track_op();
        if is_plain {
            return self.in_one_pass(hidden, sequences);
        }
        let width = hidden.dim(1)?;
        let mut rows = vec![];
        for range in sequences.ranges() {
            stop::check()?;
            rows.push(match range.is_empty() {
                true => Tensor::zeros(self.width(width), hidden.dtype(), hidden.device())?,
                false => self.of_tensors(&hidden.narrow(0, range.start, range.len())?)?,
            });
        }
        match rows.is_empty() {
            true => Ok(Tensor::zeros(
                (0, self.width(width)),
                hidden.dtype(),
                hidden.device(),
            )?),
            false => Ok(Tensor::stack(&rows, 0)?),
        }
    }

    /// The vector of a text `[tokens, width]` by operations that have gradients.
    fn of_tensors(&self, x: &Tensor) -> Result<Tensor> {
        let count = x.dim(0)?;
        let tokens = count as f64;
        let vectors = self.modes.iter().map(|mode| {
            Ok(match mode {
                Mode::First => x.get(0)?,
                Mode::Last => x.get(count - 1)?,
                Mode::Max => x.max(0)?,
                Mode::Mean => (x.sum(0)? / tokens)?,
                Mode::MeanSqrtLength => (x.sum(0)? / tokens.sqrt())?,
                Mode::WeightedMean => {
                    let places: Vec<f32> = (1..=count).map(|place| place as f32).collect();
                    let sum = tokens * (tokens + 1.0) / 2.0;
                    let places = Tensor::from_vec(places, (count, 1), x.device())?;
                    let places = places.to_dtype(x.dtype())?;
                    (x.broadcast_mul(&places)?.sum(0)? / sum)?
                }
            })
        });
        let vectors = vectors.collect::<Result<Vec<Tensor>>>()?;
        Ok(Tensor::cat(&vectors, 0)?)
    }

    /// All vectors from the numbers themselves.
    fn in_one_pass(&self, hidden: &Tensor, sequences: &Sequences) -> Result<Tensor> {
        let width = hidden.dim(1)?;
        let hidden = hidden.contiguous()?;
        let (storage, layout) = hidden.storage_and_layout();
        let Storage::Cpu(CpuStorage::F32(numbers)) = &*storage else {
            return Err(Error::Internal("pooling of another type".into()));
        };
        let numbers = &numbers[layout.start_offset()..];
        let mut all = vec![0.0f32; sequences.count() * self.width(width)];
        let of_texts = all.chunks_exact_mut(self.width(width).max(1));
        for (range, vector) in sequences.ranges().zip(of_texts) {
            stop::check()?;
            let tokens = &numbers[range.start * width..range.end * width];
            if tokens.is_empty() {
                continue;
            }
            for (mode, vector) in self.modes.iter().zip(vector.chunks_exact_mut(width)) {
                mode.write(tokens, vector);
            }
        }
        let shape = (sequences.count(), self.width(width));
        Ok(Tensor::from_vec(all, shape, hidden.device())?)
    }
}

impl Mode {
    /// Writes the vector of a text with these vectors of tokens, of which there is one.
    fn write(self, tokens: &[f32], vector: &mut [f32]) {
        let width = vector.len();
        let count = tokens.len() / width;
        let rows = tokens.chunks_exact(width);
        let scale = match self {
            Self::First => return vector.copy_from_slice(&tokens[..width]),
            Self::Last => return vector.copy_from_slice(&tokens[(count - 1) * width..]),
            Self::Max => {
                vector.copy_from_slice(&tokens[..width]);
                for row in rows {
                    let pairs = vector.iter_mut().zip(row);
                    pairs.for_each(|(most, &x)| {
                        // NaN stays.
                        if x > *most || x.is_nan() {
                            *most = x;
                        }
                    });
                }
                return;
            }
            Self::Mean | Self::MeanSqrtLength => {
                for row in rows {
                    vector.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
                }
                match self {
                    Self::Mean => count as f32,
                    _ => (count as f32).sqrt(),
                }
            }
            Self::WeightedMean => {
                for (place, row) in (1..).zip(rows) {
                    let weight = place as f32;
                    let pairs = vector.iter_mut().zip(row);
                    pairs.for_each(|(sum, x)| *sum += weight * x);
                }
                (count * (count + 1)) as f32 / 2.0
            }
        };
        vector.iter_mut().for_each(|x| *x /= scale);
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn each_mode_has_its_vector() {
        // Texts of three, no and one tokens.
        let values: Vec<f32> = vec![1.0, -4.0, 2.0, -6.0, 6.0, -5.0, 7.0, 8.0];
        let hidden = Tensor::from_vec(values, (4, 2), &Device::Cpu).unwrap();
        let sequences = Sequences::of_lengths([3, 0, 1]);
        let root = 3f32.sqrt();
        for (mode, expected) in [
            (Mode::First, [1.0, -4.0]),
            (Mode::Last, [6.0, -5.0]),
            (Mode::Max, [6.0, -4.0]),
            (Mode::Mean, [3.0, -5.0]),
            (Mode::MeanSqrtLength, [9.0 / root, -15.0 / root]),
            (Mode::WeightedMean, [23.0 / 6.0, -31.0 / 6.0]),
        ] {
            let pooling = Pooling { modes: vec![mode] };
            // A variable takes the way with gradients.
            let variable = Var::from_tensor(&hidden).unwrap();
            for hidden in [&hidden, variable.as_tensor()] {
                let found = pooling.forward(hidden, &sequences).unwrap();
                let found: Vec<Vec<f32>> = found.to_vec2().unwrap();
                for (found, expected) in found[0].iter().zip(expected) {
                    assert!((found - expected).abs() < 1e-6, "{mode:?}: {found}");
                }
                assert_eq!(found[1], [0.0, 0.0]);
                for (found, expected) in found[2].iter().zip([7.0, 8.0]) {
                    assert!((found - expected).abs() < 1e-6, "{mode:?}: {found}");
                }
            }
        }
    }

    #[test]
    fn descriptions_name_modes_in_two_ways() {
        let of = |text: &str| {
            let config = Config::parse("1_Pooling/config.json", text.as_bytes()).unwrap();
            Pooling::of(&config, 4).map(|pooling| pooling.description())
        };
        let older = r#"{"word_embedding_dimension": 4, "pooling_mode_cls_token": true, "pooling_mode_max_tokens": true}"#;
        assert_eq!(of(older).unwrap(), "cls, max");
        let newer = r#"{"embedding_dimension": 4, "pooling_mode": ["lasttoken", "mean"]}"#;
        assert_eq!(of(newer).unwrap(), "lasttoken, mean");
        assert_eq!(of("{}").unwrap(), "mean");
        let error = of(r#"{"embedding_dimension": 3}"#).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("is not the width of the model's vectors, 4")
        );
        let error = of(r#"{"pooling_mode": "middle"}"#).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("pooling_mode \"middle\" is not supported; cls, max, mean")
        );
    }
}
