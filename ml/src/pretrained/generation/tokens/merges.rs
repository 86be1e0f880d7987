//! [`merged`]: how the characters of a text become pieces: of all pairs of neighbours, the one with the best score joins first.
//!
//! Sennrich et al., "Neural machine translation of rare words with subword units", 2016; Kudo and Richardson, "SentencePiece", 2018.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Range;

/// A part of the text, in a list of neighbours.
#[derive(Debug, Clone)]
struct Part {
    place: Range<usize>,
    before: Option<usize>,
    after: Option<usize>,
}

/// Two neighbours that may join.
#[derive(Debug, PartialEq)]
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    /// The length of both, with which a pair that has changed meanwhile is told.
    length: usize,
}

impl Eq for Pair {}

impl Ord for Pair {
    /// The greatest pair has the best score, and of several is the first.
    fn cmp(&self, other: &Self) -> Ordering {
        let by_score = self.score.total_cmp(&other.score);
        by_score.then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The pieces of a text: `score` gives the score of a piece, or `None` for a text that is none. A character that joins no other is
/// there by itself.
pub(super) fn merged(text: &str, score: impl Fn(&str) -> Option<f32>) -> Vec<Range<usize>> {
    let characters = text.char_indices();
    let places = characters.map(|(at, character)| at..at + character.len_utf8());
    let mut parts: Vec<Part> = places
        .enumerate()
        .map(|(number, place)| Part {
            place,
            before: number.checked_sub(1),
            after: Some(number + 1),
        })
        .collect();
    if let Some(last) = parts.last_mut() {
        last.after = None;
    }
    let pair = |parts: &[Part], left: usize, right: usize| {
        let place = parts[left].place.start..parts[right].place.end;
        let length = place.len();
        let score = score(&text[place])?;
        Some(Pair {
            score,
            left,
            right,
            length,
        })
    };
    let neighbours = 1..parts.len();
    let pairs = neighbours.filter_map(|right| pair(&parts, right - 1, right));
    let mut pairs: BinaryHeap<Pair> = pairs.collect();
    while let Some(best) = pairs.pop() {
        let (left, right) = (&parts[best.left].place, &parts[best.right].place);
        // A part that has joined another one is empty.
        let has_changed = left.is_empty() || right.is_empty();
        if has_changed || left.len() + right.len() != best.length {
            continue;
        }
        let (end, after) = (right.end, parts[best.right].after);
        parts[best.left].place.end = end;
        parts[best.left].after = after;
        parts[best.right].place = end..end;
        if let Some(after) = after {
            parts[after].before = Some(best.left);
            pairs.extend(pair(&parts, best.left, after));
        }
        if let Some(before) = parts[best.left].before {
            pairs.extend(pair(&parts, before, best.left));
        }
    }
    let places = parts.into_iter().map(|part| part.place);
    places.filter(|place| !place.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces<'a>(text: &'a str, known: &[(&str, f32)]) -> Vec<&'a str> {
        let score = |piece: &str| {
            let found = known.iter().find(|(known, _)| *known == piece);
            found.map(|(_, score)| *score)
        };
        let places = merged(text, score).into_iter();
        places.map(|place| &text[place]).collect()
    }

    #[test]
    fn the_best_pair_joins_first_and_of_equal_ones_the_first() {
        let known = [("ab", -2.0), ("bc", -1.0), ("abc", -3.0), ("cc", -2.0)];
        assert_eq!(pieces("abc", &known), ["abc"]);
        assert_eq!(pieces("abcc", &known), ["abc", "c"]);
        assert_eq!(pieces("ccc", &known), ["cc", "c"]);
        assert_eq!(pieces("xüx", &known), ["x", "ü", "x"]);
        assert_eq!(pieces("", &known), [""; 0]);
        let words = [("ab", -1.0), ("abab", -2.0)];
        assert_eq!(pieces("ababab", &words), ["abab", "ab"]);
    }
}
