//! [`Writing`]: writes texts after prompts, token by token.
//!
//! Several texts are written at once, so that weights are read once for all of them. When one ends, another one begins. What is
//! written after a prompt depends on the prompt and on the arguments, and on nothing beside it: numbers are drawn from a stream
//! whose key is the seed, the prompt and the position.

use rand::Rng;
use xxhash_rust::xxh3::xxh3_64;

use super::choose::choose;
use super::network::{Cache, Network, Piece};
use crate::model::generation::Generation;
use crate::random::stream;
use crate::{Result, stop};

/// The most texts that are written at once.
pub(super) const TEXTS_AT_ONCE: usize = 32;
/// The most tokens that go through a layer at once.
pub(super) const TOKENS_AT_ONCE: usize = 256;
/// Texts are written at once if their keys and values have up to so many bytes together, and are those of so many tokens.
const CACHE_BYTES_AT_ONCE: usize = 256 << 20;
pub(super) const CACHE_TOKENS_AT_ONCE: usize = 4_096;

/// Writes texts.
pub(super) struct Writing<'a> {
    pub(super) network: &'a dyn Network,
    pub(super) how: &'a Generation,
    /// Tokens that end a text, and are no part of it.
    pub(super) ends: &'a [u32],
    /// The text of written tokens.
    pub(super) text: &'a dyn Fn(&[u32]) -> String,
}

/// The tokens written after a prompt; `None` if the scores of a token are no numbers.
pub(super) type Written = Option<Vec<u32>>;

/// A text that is being written.
struct Text {
    /// The position of its prompt.
    prompt: usize,
    /// The key of what is drawn for it.
    key: u64,
    /// All tokens so far, with those before the written ones.
    tokens: Vec<u32>,
    /// The number of tokens before the written ones.
    given: usize,
    cache: Cache,
    cache_bytes: usize,
    end: Option<End>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    Failed,
}

/// The bytes of keys and values that texts have together, unless a single one has more.
pub(super) fn cache_bytes_at_once(network: &dyn Network) -> usize {
    let of_token = network.numbers_of_token() * size_of::<f32>();
    CACHE_BYTES_AT_ONCE.min(CACHE_TOKENS_AT_ONCE * of_token)
}

/// The bytes of the keys and values of a text with a prompt of so many tokens.
pub(super) fn cache_bytes(network: &dyn Network, how: &Generation, prompt: usize) -> usize {
    let tokens = prompt.saturating_add(how.tokens_max);
    let numbers = network.numbers_of_token();
    tokens
        .min(network.positions_max().saturating_add(1))
        .saturating_mul(numbers * size_of::<f32>())
}

impl Writing<'_> {
    /// What is written after each prompt, which has a token or more, and fewer than the network takes.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled).
    pub(super) fn write(&self, prompts: &[&[u32]]) -> Result<Vec<Written>> {
        let mut written = vec![None; prompts.len()];
        let mut waiting = (0..prompts.len()).peekable();
        let mut texts: Vec<Text> = vec![];
        loop {
            while let Some(prompt) = waiting.next_if(|next| self.has_room(&texts, prompts[*next])) {
                texts.push(self.begin(prompt, prompts[prompt])?);
            }
            if texts.is_empty() {
                return Ok(written);
            }
            stop::check()?;
            self.step(&mut texts)?;
            for text in texts.extract_if(.., |text| text.end.is_some()) {
                if text.end == Some(End::Done) {
                    written[text.prompt] = Some(text.tokens[text.given..].to_vec());
                }
            }
        }
    }

    fn has_room(&self, texts: &[Text], prompt: &[u32]) -> bool {
        let held: usize = texts.iter().map(|text| text.cache_bytes).sum();
        let bytes = cache_bytes(self.network, self.how, prompt.len());
        let fits = held.saturating_add(bytes) <= cache_bytes_at_once(self.network);
        texts.is_empty() || (fits && texts.len() < TEXTS_AT_ONCE)
    }

    fn begin(&self, number: usize, prompt: &[u32]) -> Result<Text> {
        let positions_max = self.network.positions_max();
        let written_max = self.how.tokens_max.min(positions_max);
        let (tokens, cache) = self.network.begin(prompt, written_max)?;
        let bytes: Vec<u8> = prompt
            .iter()
            .flat_map(|token| token.to_le_bytes())
            .collect();
        Ok(Text {
            prompt: number,
            key: xxh3_64(&bytes),
            given: tokens.len(),
            tokens,
            cache,
            cache_bytes: cache_bytes(self.network, self.how, prompt.len()),
            end: None,
        })
    }

    /// Computes the next tokens of texts, and writes one after each that is computed to its end.
    fn step(&self, texts: &mut [Text]) -> Result<()> {
        let mut room = TOKENS_AT_ONCE;
        let (mut pieces, mut ready) = (vec![], vec![]);
        for (number, text) in texts.iter_mut().enumerate() {
            let all = text.tokens.len();
            if self.network.is_stale(&text.cache, all) {
                text.cache.clear();
                text.cache.is_long = !text.cache.is_long;
            }
            let first = text.cache.tokens;
            let count = room.min(all - first);
            if count == 0 {
                continue;
            }
            room -= count;
            let is_last = first + count == all;
            if is_last {
                ready.push(number);
            }
            pieces.push(Piece {
                tokens: &text.tokens[first..first + count],
                cache: &mut text.cache,
                is_last,
            });
        }
        let scores = self.network.forward(&mut pieces)?;
        let of_texts = scores.chunks_exact(self.network.vocabulary());
        for (number, scores) in ready.into_iter().zip(of_texts) {
            self.append(&mut texts[number], scores);
        }
        Ok(())
    }

    /// Writes the next token of a text, or ends it.
    fn append(&self, text: &mut Text, scores: &[f32]) {
        let step = (text.tokens.len() - text.given) as u64;
        let draw = || stream(self.how.seed, "generation", &[text.key, step]).random::<f64>();
        let token = match choose(scores, self.how, draw) {
            Some(token) => token,
            None => {
                text.end = Some(End::Failed);
                return;
            }
        };
        if self.ends.contains(&token) {
            text.end = Some(End::Done);
            return;
        }
        text.tokens.push(token);
        let written = &text.tokens[text.given..];
        let is_full = written.len() >= self.how.tokens_max
            || text.tokens.len() >= self.network.positions_max();
        if is_full || self.stops(written) {
            text.end = Some(End::Done);
        }
    }

    /// Whether a text has one of the texts that end it.
    fn stops(&self, written: &[u32]) -> bool {
        if self.how.stop.is_empty() {
            return false;
        }
        let text = (self.text)(written);
        self.how
            .stop
            .iter()
            .any(|stop| text.contains(stop.as_str()))
    }
}

/// The text before the first of the texts that end it.
pub(super) fn before_stop<'a>(text: &'a str, stop: &[String]) -> &'a str {
    let found = stop.iter().filter_map(|stop| text.find(stop.as_str()));
    &text[..found.min().unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next token is the sum of all tokens so far, modulo 10; a text of seven tokens is computed anew.
    #[derive(Debug)]
    struct Sums;

    impl Network for Sums {
        fn vocabulary(&self) -> usize {
            10
        }

        fn positions_max(&self) -> usize {
            1_000
        }

        fn numbers_of_token(&self) -> usize {
            1
        }

        fn layer_numbers(&self) -> usize {
            1
        }

        fn begin(&self, prompt: &[u32], _written_max: usize) -> Result<(Vec<u32>, Cache)> {
            Ok((prompt.to_vec(), Cache::new(1, 0)))
        }

        fn is_stale(&self, cache: &Cache, tokens: usize) -> bool {
            cache.is_long != (tokens > 6)
        }

        fn forward(&self, pieces: &mut [Piece<'_>]) -> Result<Vec<f32>> {
            let mut scores = vec![];
            for piece in pieces {
                let keys = &mut piece.cache.layers[0].keys;
                keys.extend(piece.tokens.iter().map(|token| *token as f32));
                piece.cache.tokens += piece.tokens.len();
                assert_eq!(keys.len(), piece.cache.tokens);
                if piece.is_last {
                    let sum: f32 = keys.iter().sum();
                    let start = scores.len();
                    scores.resize(start + 10, 0.0);
                    scores[start + sum as usize % 10] = 1.0;
                }
            }
            Ok(scores)
        }
    }

    fn digits(tokens: &[u32]) -> String {
        tokens
            .iter()
            .map(|token| char::from(b'0' + *token as u8))
            .collect()
    }

    fn written(prompts: &[&[u32]], how: &Generation, ends: &[u32]) -> Vec<String> {
        let writing = Writing {
            network: &Sums,
            how,
            ends,
            text: &digits,
        };
        let written = writing.write(prompts).unwrap();
        written
            .iter()
            .map(|tokens| digits(tokens.as_ref().unwrap()))
            .collect()
    }

    #[test]
    fn a_text_is_the_same_alone_and_beside_others_and_in_pieces() {
        let how = Generation {
            tokens_max: 6,
            ..Generation::default()
        };
        let long = vec![1; 3 * TOKENS_AT_ONCE + 1];
        let mut prompts: Vec<&[u32]> = vec![&[1, 2], &[4], &long];
        let expected = written(&prompts, &how, &[]);
        // 1 2, then their sum 3, then 6, 12, 24, …
        assert_eq!(expected, ["362486", "486248", "986248"].map(String::from));
        for _ in 0..TEXTS_AT_ONCE {
            prompts.push(&[4]);
        }
        prompts.rotate_left(2);
        let many = written(&prompts, &how, &[]);
        assert_eq!(many[0], expected[2]);
        let last = many.len() - 2;
        assert_eq!([&many[last], &many[last + 1]], [&expected[0], &expected[1]]);
        assert!(many[1..last].iter().all(|text| *text == expected[1]));
    }

    #[test]
    fn a_text_ends_at_a_token_a_text_and_a_number() {
        let default = Generation::default();
        assert_eq!(written(&[&[1, 2]], &default, &[8]), ["3624"]);
        let stop = Generation {
            stop: vec!["248".into(), "9".into()],
            ..default.clone()
        };
        let found = written(&[&[1, 2]], &stop, &[]);
        assert_eq!(found, ["36248"]);
        assert_eq!(before_stop(&found[0], &stop.stop), "36");
        assert_eq!(before_stop("abc", &stop.stop), "abc");
        assert_eq!(written(&[&[1, 2]], &default, &[])[0].len(), 128);
    }

    #[test]
    fn drawn_tokens_depend_on_the_seed_and_the_prompt_alone() {
        let warm = Generation {
            temperature: 3.0,
            tokens_max: 20,
            seed: 5,
            ..Generation::default()
        };
        let together = written(&[&[1, 2], &[3], &[1, 2]], &warm, &[]);
        assert_eq!(together[0], together[2]);
        assert_ne!(together[0], together[1]);
        assert_eq!(written(&[&[3]], &warm, &[]), together[1..2]);
        let other = Generation { seed: 6, ..warm };
        assert_ne!(written(&[&[3]], &other, &[]), together[1..2]);
    }
}
