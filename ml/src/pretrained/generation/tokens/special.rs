//! [`Special`]: tokens that are found in a text before it is divided into others, such as those that begin a turn of a chat.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Tokens by their texts.
#[derive(Debug, Default)]
pub(super) struct Special {
    tokens: HashMap<Arc<str>, u32>,
    /// The lengths of the texts that begin with each byte, the longest first.
    lengths: Vec<Vec<usize>>,
}

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A text between tokens, which is not empty.
    Text(Range<usize>),
    /// A token, at this place.
    Token(u32, Range<usize>),
}

impl Special {
    /// These tokens, whose texts are not empty.
    pub(super) fn new(tokens: impl IntoIterator<Item = (Arc<str>, u32)>) -> Self {
        let tokens: HashMap<Arc<str>, u32> = tokens.into_iter().collect();
        let mut lengths = vec![vec![]; 256];
        for text in tokens.keys() {
            if let Some(first) = text.as_bytes().first() {
                lengths[usize::from(*first)].push(text.len());
            }
        }
        for lengths in &mut lengths {
            lengths.sort_unstable_by(|left, right| right.cmp(left));
            lengths.dedup();
        }
        Self { tokens, lengths }
    }

    /// The parts of a text: the tokens from the first on, of those that begin at one place the longest, and what is between.
    pub(super) fn parts(&self, text: &str) -> Vec<Part> {
        let mut parts = vec![];
        let (mut start, mut at) = (0, 0);
        while at < text.len() {
            let Some((token, length)) = self.at(text, at) else {
                at += 1;
                continue;
            };
            if start < at {
                parts.push(Part::Text(start..at));
            }
            parts.push(Part::Token(token, at..at + length));
            at += length;
            start = at;
        }
        if start < text.len() {
            parts.push(Part::Text(start..text.len()));
        }
        parts
    }

    /// The token that begins at a byte of a text, and its length.
    fn at(&self, text: &str, at: usize) -> Option<(u32, usize)> {
        let first = usize::from(text.as_bytes()[at]);
        let lengths = self.lengths.get(first)?.iter();
        let mut found = lengths.filter_map(|length| {
            let token = self.tokens.get(text.get(at..at + length)?)?;
            Some((*token, *length))
        });
        found.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_longest_tokens_are_found() {
        let tokens = [("<a>", 1), ("<a><b>", 2), ("é", 3)];
        let special = Special::new(tokens.map(|(text, token)| (Arc::from(text), token)));
        assert_eq!(
            special.parts("x<a><a><b>é y"),
            [
                Part::Text(0..1),
                Part::Token(1, 1..4),
                Part::Token(2, 4..10),
                Part::Token(3, 10..12),
                Part::Text(12..14),
            ]
        );
        assert_eq!(special.parts("è<"), [Part::Text(0..3)]);
        assert!(special.parts("").is_empty());
        assert_eq!(Special::default().parts("<a>"), [Part::Text(0..3)]);
    }
}
