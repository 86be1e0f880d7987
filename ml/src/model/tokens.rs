//! [`Tokens`]: texts in tokens, as a model counts them; [`chunks`]: the parts of a long text.

use std::fmt::Debug;
use std::iter;
use std::ops::Range;

/// The texts of a model that counts tokens. Many threads call it at once.
pub trait Tokens: Debug + Send + Sync {
    /// The most tokens of a text, without those that the model adds to each text.
    fn tokens_max(&self) -> usize;

    /// Counts the tokens of a text.
    ///
    /// # Errors
    /// Why the model does not take the text.
    fn count(&self, text: &str) -> Result<TokenCount, String>;

    /// The place of each token in the text, ascending, in bytes, without the tokens that the model adds. Nothing is cut off.
    ///
    /// # Errors
    /// Why the text has no tokens.
    fn places(&self, text: &str) -> Result<Vec<Range<usize>>, String>;
}

/// The tokens of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenCount {
    /// The tokens that the model computes, with those that it adds.
    pub tokens: usize,
    /// Whether the text is longer than the model takes, so that its end is left out.
    pub is_cut: bool,
}

/// A text up to this length is divided into tokens at once; a longer one in pieces that end at white space if there is any.
const PIECE_BYTES: usize = 1 << 16;

/// The parts of a text, in bytes: each has `size` tokens, the last one possibly fewer, and begins with the last `overlap` tokens of
/// the part before it. A text without tokens has one part. `overlap` is less than `size`.
///
/// # Errors
/// Why the text has no tokens.
pub fn chunks(
    tokens: &dyn Tokens,
    text: &str,
    size: usize,
    overlap: usize,
) -> Result<Vec<Range<usize>>, String> {
    let mut places = Vec::new();
    for piece in pieces(text) {
        let found = tokens.places(&text[piece.clone()])?;
        let moved = found.into_iter().map(|place| {
            let start = text.floor_char_boundary(piece.start + place.start);
            start..text.ceil_char_boundary(piece.start + place.end)
        });
        places.extend(moved);
    }
    if places.is_empty() {
        return Ok(iter::once(0..text.len()).collect());
    }
    let step = size.saturating_sub(overlap).max(1);
    let mut parts = Vec::new();
    let mut first = 0;
    loop {
        let end = places.len().min(first + size.max(1));
        parts.push(places[first].start..places[end - 1].end);
        if end == places.len() {
            return Ok(parts);
        }
        first += step;
    }
}

/// The pieces in which a text is divided into tokens.
fn pieces(text: &str) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let mut start = 0;
    while text.len() - start > PIECE_BYTES {
        let longest = text.floor_char_boundary(start + PIECE_BYTES);
        let piece = &text[start..longest];
        let space = piece.rfind(char::is_whitespace).filter(|space| *space > 0);
        let end = space.map_or(longest, |space| start + space);
        pieces.push(start..end);
        start = end;
    }
    pieces.push(start..text.len());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token for each word.
    #[derive(Debug)]
    struct Words;

    impl Tokens for Words {
        fn tokens_max(&self) -> usize {
            4
        }

        fn count(&self, text: &str) -> Result<TokenCount, String> {
            let words = text.split_whitespace().count();
            Ok(TokenCount {
                tokens: words.min(self.tokens_max()),
                is_cut: words > self.tokens_max(),
            })
        }

        fn places(&self, text: &str) -> Result<Vec<Range<usize>>, String> {
            let of = |word: &str| word.as_ptr().addr() - text.as_ptr().addr();
            let places = text
                .split_whitespace()
                .map(|word| of(word)..of(word) + word.len());
            Ok(places.collect())
        }
    }

    fn parts(text: &str, size: usize, overlap: usize) -> Vec<&str> {
        let ranges = chunks(&Words, text, size, overlap).unwrap();
        ranges.into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn chunks_have_so_many_tokens_and_begin_with_the_end_of_the_chunk_before() {
        let text = " one two  three fóur five ";
        assert_eq!(parts(text, 2, 0), ["one two", "three fóur", "five"]);
        assert_eq!(parts(text, 3, 1), ["one two  three", "three fóur five"]);
        assert_eq!(
            parts(text, 3, 2),
            ["one two  three", "two  three fóur", "three fóur five"]
        );
        assert_eq!(parts(text, 9, 8), ["one two  three fóur five"]);
        assert_eq!(parts(text, 1, 0).len(), 5);
    }

    #[test]
    fn a_text_without_tokens_is_one_chunk() {
        assert_eq!(parts("", 3, 1), [""]);
        assert_eq!(parts("  ", 3, 1), ["  "]);
    }

    #[test]
    fn a_text_in_pieces_has_the_chunks_of_the_whole() {
        let word = "wörd ";
        let text = word.repeat(3 * PIECE_BYTES / word.len());
        let words = text.split_whitespace().count();
        assert!(pieces(&text).len() > 2);
        assert_eq!(parts(&text, 1, 0).len(), words);
        assert!(
            parts(&text, 100, 0)
                .iter()
                .all(|part| part.starts_with('w'))
        );
        // Without white space a piece ends at a character.
        let dense = "ö".repeat(PIECE_BYTES);
        let ends: Vec<usize> = pieces(&dense).into_iter().map(|piece| piece.end).collect();
        assert!(ends.iter().all(|end| dense.is_char_boundary(*end)));
        assert_eq!(ends.last(), Some(&dense.len()));
    }
}
