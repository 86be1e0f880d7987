//! Entities: the parts of a text that a model names, from the probabilities of the labels of its tokens; and the column of them.
//!
//! ```text
//! tokens ─ words, but for `none` and `simple` ─ the most probable label of each ─ neighbours of one label together ─ without O
//! ```
//! The rules are those of the pipeline `token-classification` of transformers. A label `B-x` begins an entity `x`, `I-x` goes on with it;
//! a label without such a beginning goes on with its neighbour. `O` is no entity.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, ListArray, StringArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};

use crate::Result;
use crate::model::arguments::Aggregation;

/// The label of what is no entity.
const OUTSIDE: &str = "O";

/// A token of a text, without those that begin and end the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// Its first byte in the text, and the byte after its last one.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Whether it goes on with the word of the token before.
    pub(super) is_subword: bool,
}

/// A part of a text with its label.
#[derive(Debug, Clone, PartialEq)]
struct Entity<'a> {
    label: &'a str,
    score: f64,
    start: usize,
    end: usize,
}

/// The entities of a text with these tokens; `probabilities` `[tokens, labels]` are those of `labels`.
fn entities<'a>(
    tokens: &[Span],
    probabilities: &[f32],
    labels: &'a [String],
    aggregation: Aggregation,
) -> Vec<Entity<'a>> {
    let rows: Vec<&[f32]> = probabilities.chunks_exact(labels.len().max(1)).collect();
    let of_tokens = |range: Range<usize>| {
        let (label, score) = match aggregation {
            Aggregation::None | Aggregation::Simple | Aggregation::First => {
                most_probable(rows[range.start])
            }
            Aggregation::Average => most_probable(&means(&rows[range.clone()])),
            Aggregation::Max => {
                let of_each = rows[range.clone()].iter().map(|row| most_probable(row));
                // The first of equals.
                let best = |best: (usize, f32), next: (usize, f32)| match next.1 > best.1 {
                    true => next,
                    false => best,
                };
                of_each.reduce(best).unwrap_or((0, 0.0))
            }
        };
        Entity {
            label: &labels[label],
            score: f64::from(score),
            start: tokens[range.start].start,
            end: tokens[range.end - 1].end,
        }
    };
    let units: Vec<Entity<'a>> = match aggregation {
        Aggregation::None | Aggregation::Simple => (0..tokens.len())
            .map(|token| of_tokens(token..token + 1))
            .collect(),
        Aggregation::First | Aggregation::Average | Aggregation::Max => {
            words(tokens).into_iter().map(of_tokens).collect()
        }
    };
    let mut found = match aggregation {
        Aggregation::None => units,
        _ => grouped(&units),
    };
    found.retain(|entity| entity.label != OUTSIDE);
    found
}

/// The position of the greatest probability, the first of equals, and the probability.
fn most_probable(probabilities: &[f32]) -> (usize, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    for (label, &probability) in probabilities.iter().enumerate() {
        if probability > best.1 {
            best = (label, probability);
        }
    }
    best
}

/// The mean of each label over some tokens.
fn means(rows: &[&[f32]]) -> Vec<f32> {
    let labels = rows.first().map_or(0, |row| row.len());
    let sum = |label: usize| rows.iter().map(|row| f64::from(row[label])).sum::<f64>();
    let means = (0..labels).map(|label| (sum(label) / rows.len() as f64) as f32);
    means.collect()
}

/// The tokens of each word.
fn words(tokens: &[Span]) -> Vec<Range<usize>> {
    let mut words: Vec<Range<usize>> = vec![];
    for (token, span) in tokens.iter().enumerate() {
        match words.last_mut() {
            Some(word) if span.is_subword => word.end = token + 1,
            _ => words.push(token..token + 1),
        }
    }
    words
}

/// Whether a label begins an entity, and the label without its beginning.
fn tag(label: &str) -> (bool, &str) {
    match (label.strip_prefix("B-"), label.strip_prefix("I-")) {
        (Some(tag), _) => (true, tag),
        (None, Some(tag)) => (false, tag),
        (None, None) => (false, label),
    }
}

/// Neighbours with the same label as one entity, whose score is the mean of theirs.
fn grouped<'a>(units: &[Entity<'a>]) -> Vec<Entity<'a>> {
    let goes_on = |before: &Entity<'_>, unit: &Entity<'_>| {
        let (begins, of_unit) = tag(unit.label);
        !begins && tag(before.label).1 == of_unit
    };
    let groups = units.chunk_by(goes_on);
    let one = |group: &[Entity<'a>]| {
        let first = &group[0];
        let sum: f64 = group.iter().map(|unit| unit.score).sum();
        Entity {
            label: first
                .label
                .split_once('-')
                .map_or(first.label, |(_, tag)| tag),
            score: sum / group.len() as f64,
            start: first.start,
            end: group[group.len() - 1].end,
        }
    };
    groups.map(one).collect()
}

fn fields() -> Fields {
    let field = |name: &str, data_type: DataType| Field::new(name, data_type, false);
    Fields::from(vec![
        field("label", DataType::Utf8),
        field("score", DataType::Float64),
        field("text", DataType::Utf8),
        field("start", DataType::Int64),
        field("end", DataType::Int64),
    ])
}

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Struct(fields()), true))
}

/// The type of a column of entities: a list of structs.
pub(super) fn entities_type() -> DataType {
    DataType::List(item())
}

/// Rows of entities that become a column.
#[derive(Debug, Default)]
pub(super) struct EntityColumn {
    labels: Vec<String>,
    scores: Vec<f64>,
    texts: Vec<String>,
    starts: Vec<i64>,
    ends: Vec<i64>,
    lengths: Vec<usize>,
}

impl EntityColumn {
    /// Adds a row: the entities of a text. Characters count from 1, as in SQL's `substr`.
    pub(super) fn add(
        &mut self,
        text: &str,
        tokens: &[Span],
        probabilities: &[f32],
        (labels, aggregation): (&[String], Aggregation),
    ) {
        let found = entities(tokens, probabilities, labels, aggregation);
        self.lengths.push(found.len());
        let mut characters = Characters::of(text);
        for entity in found {
            let start = text.floor_char_boundary(entity.start);
            let end = text.ceil_char_boundary(entity.end).max(start);
            self.labels.push(entity.label.to_owned());
            self.scores.push(entity.score);
            self.texts.push(text[start..end].to_owned());
            self.starts.push(characters.before(start) + 1);
            self.ends.push(characters.before(end));
        }
    }

    /// Adds a row without entities.
    pub(super) fn add_none(&mut self) {
        self.lengths.push(0);
    }

    pub(super) fn finish(self, valid: Option<&NullBuffer>) -> Result<ArrayRef> {
        let entries = StructArray::try_new(
            fields(),
            vec![
                Arc::new(StringArray::from(self.labels)),
                Arc::new(Float64Array::from(self.scores)),
                Arc::new(StringArray::from(self.texts)),
                Arc::new(Int64Array::from(self.starts)),
                Arc::new(Int64Array::from(self.ends)),
            ],
            None,
        )?;
        let offsets = OffsetBuffer::from_lengths(self.lengths);
        let lists = ListArray::try_new(item(), offsets, Arc::new(entries), valid.cloned());
        Ok(Arc::new(lists?))
    }
}

/// The characters of a text, counted once if the questions ascend.
struct Characters<'a> {
    text: &'a str,
    byte: usize,
    count: usize,
}

impl<'a> Characters<'a> {
    fn of(text: &'a str) -> Self {
        Self {
            text,
            byte: 0,
            count: 0,
        }
    }

    /// The characters before this byte, which begins one.
    fn before(&mut self, byte: usize) -> i64 {
        if byte < self.byte {
            (self.byte, self.count) = (0, 0);
        }
        self.count += self.text[self.byte..byte].chars().count();
        self.byte = byte;
        self.count as i64
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Float64Type, Int64Type};

    use super::*;

    const LABELS: [&str; 5] = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"];

    /// Tokens whose most probable labels are these, with these probabilities; a token that begins with # goes on with its word.
    fn check(
        tokens: &[(&str, usize, f32)],
        aggregation: Aggregation,
        expected: &[(&str, f64, &str, i64, i64)],
    ) {
        let labels = LABELS.map(str::to_owned);
        let (mut text, mut spans, mut probabilities) = (String::new(), vec![], vec![]);
        for (token, label, probability) in tokens {
            let word = token.trim_start_matches('#');
            let is_subword = word != *token;
            if !is_subword && !text.is_empty() {
                text.push(' ');
            }
            let start = text.len();
            text.push_str(word);
            spans.push(Span {
                start,
                end: text.len(),
                is_subword,
            });
            let rest = (1.0 - probability) / 4.0;
            probabilities.extend((0..5).map(|at| if at == *label { *probability } else { rest }));
        }
        let mut column = EntityColumn::default();
        column.add(&text, &spans, &probabilities, (&labels, aggregation));
        column.add_none();
        let valid = NullBuffer::from(vec![true, false]);
        let column = column.finish(Some(&valid)).unwrap();
        assert_eq!(column.data_type(), &entities_type());
        assert!(column.is_null(1));
        let row = column.as_list::<i32>().value(0);
        let row = row.as_struct();
        let text = |at: usize| row.column(at).as_string::<i32>();
        let number = |at: usize| row.column(at).as_primitive::<Int64Type>();
        let scores = row.column(1).as_primitive::<Float64Type>();
        let found: Vec<_> = (0..row.len())
            .map(|at| {
                let score = (scores.value(at) * 1e4).round() / 1e4;
                let [label, part] = [0, 2].map(|field| text(field).value(at));
                (label, score, part, number(3).value(at), number(4).value(at))
            })
            .collect();
        assert_eq!(found, expected, "{aggregation:?}");
    }

    // The expected values are those of the functions `aggregate` and `group_entities` of transformers 5.24 for the same tokens; its
    // `start` is one less, because it counts characters from 0.
    #[test]
    fn tokens_become_entities_as_in_transformers() {
        let tokens = [
            ("Zoë", 1, 0.9),
            ("Mü", 2, 0.8),
            ("##ller", 3, 0.6),
            ("in", 0, 0.7),
            ("Ber", 3, 0.5),
            ("##lin", 4, 0.9),
            ("Paris", 3, 0.8),
        ];
        check(
            &tokens,
            Aggregation::None,
            &[
                ("B-PER", 0.9, "Zoë", 1, 3),
                ("I-PER", 0.8, "Mü", 5, 6),
                ("B-LOC", 0.6, "ller", 7, 10),
                ("B-LOC", 0.5, "Ber", 15, 17),
                ("I-LOC", 0.9, "lin", 18, 20),
                ("B-LOC", 0.8, "Paris", 22, 26),
            ],
        );
        check(
            &tokens,
            Aggregation::Simple,
            &[
                ("PER", 0.85, "Zoë Mü", 1, 6),
                ("LOC", 0.6, "ller", 7, 10),
                ("LOC", 0.7, "Berlin", 15, 20),
                ("LOC", 0.8, "Paris", 22, 26),
            ],
        );
        check(
            &tokens,
            Aggregation::First,
            &[
                ("PER", 0.85, "Zoë Müller", 1, 10),
                ("LOC", 0.5, "Berlin", 15, 20),
                ("LOC", 0.8, "Paris", 22, 26),
            ],
        );
        check(
            &tokens,
            Aggregation::Max,
            &[
                ("PER", 0.85, "Zoë Müller", 1, 10),
                ("LOC", 0.9, "Berlin", 15, 20),
                ("LOC", 0.8, "Paris", 22, 26),
            ],
        );
        check(
            &tokens,
            Aggregation::Average,
            &[
                ("PER", 0.675, "Zoë Müller", 1, 10),
                ("LOC", 0.5125, "Berlin", 15, 20),
                ("LOC", 0.8, "Paris", 22, 26),
            ],
        );
    }

    #[test]
    fn labels_without_beginnings_go_on_with_their_neighbours() {
        assert_eq!(tag("B-LOC"), (true, "LOC"));
        assert_eq!(tag("I-LOC"), (false, "LOC"));
        assert_eq!(tag("LOC"), (false, "LOC"));
        check(&[], Aggregation::Simple, &[]);
        check(&[("a", 0, 0.9)], Aggregation::None, &[]);
    }
}
