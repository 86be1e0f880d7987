//! [`Network`]: what writes a text token by token; [`Cache`]: the keys and values of the tokens so far.

use std::fmt::Debug;

use crate::Result;

/// A network that gives scores to the token after a text.
pub(super) trait Network: Debug + Send + Sync {
    /// The number of different tokens.
    fn vocabulary(&self) -> usize;

    /// The most tokens of a prompt and what is written after it.
    fn positions_max(&self) -> usize;

    /// The numbers that a cache has for a token.
    fn numbers_of_token(&self) -> usize;

    /// The most numbers that the layers compute for a token at once.
    fn layer_numbers(&self) -> usize;

    /// Begins a text, after whose prompt up to `written_max` tokens are written: the tokens to compute first, and an empty cache.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled).
    fn begin(&self, prompt: &[u32], written_max: usize) -> Result<(Vec<u32>, Cache)>;

    /// Whether a text of so many tokens is computed in another way than this cache was. The cache is of no use then.
    fn is_stale(&self, _cache: &Cache, _tokens: usize) -> bool {
        false
    }

    /// Computes pieces of texts, and adds them to their caches. The scores `[texts, vocabulary]` are those after the pieces that
    /// end their texts. The result for a text depends on no other text, and not on how it is cut into pieces.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled).
    fn forward(&self, pieces: &mut [Piece<'_>]) -> Result<Vec<f32>>;
}

/// A piece of a text.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    /// Of each less than the vocabulary; at least one.
    pub(super) tokens: &'a [u32],
    /// The tokens before it.
    pub(super) cache: &'a mut Cache,
    /// Whether the text ends with the piece.
    pub(super) is_last: bool,
}

/// The keys and values of a text.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// The tokens in the cache.
    pub(super) tokens: usize,
    /// Of each layer.
    pub(super) layers: Vec<KeysAndValues>,
    /// Of each layer, those of another text that the text attends to.
    pub(super) across: Vec<KeysAndValues>,
    /// Whether the text is longer than those for which the model's first frequencies are.
    pub(super) is_long: bool,
}

/// The keys and values of a layer, those of one token after those of the other.
#[derive(Debug, Default)]
pub(super) struct KeysAndValues {
    pub(super) keys: Vec<f32>,
    pub(super) values: Vec<f32>,
}

impl Cache {
    /// An empty cache of so many layers, in each of which the keys have up to so many numbers together.
    pub(super) fn new(layers: usize, numbers: usize) -> Self {
        let layer = |_| KeysAndValues {
            keys: Vec::with_capacity(numbers),
            values: Vec::with_capacity(numbers),
        };
        Self {
            layers: (0..layers).map(layer).collect(),
            ..Self::default()
        }
    }

    /// Takes all tokens of the text out.
    pub(super) fn clear(&mut self) {
        self.tokens = 0;
        for layer in &mut self.layers {
            layer.keys.clear();
            layer.values.clear();
        }
    }
}

/// The tokens of all pieces, one piece after the other, and the positions of tokens in their texts.
pub(super) fn packed(pieces: &[Piece<'_>]) -> (Vec<u32>, Vec<usize>) {
    let tokens = pieces.iter().flat_map(|piece| piece.tokens);
    let positions = pieces.iter().flat_map(|piece| {
        let first = piece.cache.tokens;
        first..first + piece.tokens.len()
    });
    (tokens.copied().collect(), positions.collect())
}

/// Of the vectors `x` `[tokens, width]` of all pieces those of the last tokens of texts.
pub(super) fn last_vectors(pieces: &[Piece<'_>], x: &[f32], width: usize) -> Vec<f32> {
    let mut last = vec![];
    let mut end = 0;
    for piece in pieces {
        end += piece.tokens.len();
        if piece.is_last {
            last.extend_from_slice(&x[(end - 1) * width..end * width]);
        }
    }
    last
}
