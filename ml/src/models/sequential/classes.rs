//! Errors of the layers of a classifier, whose sizes may depend on the number of classes.
//!
//! Before the rows are read, that number is not known: a network is refused only if it fails with every number. The error is
//! then that of two numbers, with `classes` where they differ. A network that some number fits waits for the rows.

use super::text::invalid;
use crate::data::labels::CLASSES_MAX;
use crate::{Error, Result};

/// Two numbers of outputs without a common factor, so that a size tells by what it multiplies them.
const SAMPLES: [usize; 2] = [7, 11];
/// The most outputs of several targets that are tried.
const TRIED_MAX: usize = 4 * CLASSES_MAX;

/// Refuses a network that fails with every number of outputs that so many targets may have. `error` is its error with so many outputs.
pub(super) fn check(targets: Option<usize>, error: impl Fn(usize) -> Option<Error>) -> Result<()> {
    let [Some(first), Some(second)] = SAMPLES.map(&error) else {
        return Ok(());
    };
    let fits = |outputs: usize| error(outputs).is_none();
    let fits_some = match targets {
        // Two classes have one output.
        Some(1) => fits(1) || (3..=CLASSES_MAX).any(fits),
        Some(targets) => (targets..=TRIED_MAX).any(fits),
        None => (1..=TRIED_MAX).any(fits),
    };
    if fits_some {
        return Ok(());
    }
    let joined = joined(&first.to_string(), &second.to_string());
    let message = joined.unwrap_or_else(|| format!("with {} classes, {first}", SAMPLES[0]));
    Err(invalid(message))
}

/// The error of a network of so many outputs, with the number of classes if it matters. `error_with` is the error with another
/// number of outputs.
pub(super) fn explained(
    error: Error,
    outputs: usize,
    error_with: impl Fn(usize) -> Option<Error>,
) -> Error {
    let message = error.to_string();
    let differs = |error: Error| error.to_string() != message;
    let matters = SAMPLES
        .iter()
        .any(|&other| error_with(other).is_none_or(differs));
    match (matters, outputs) {
        (false, _) => error,
        (true, 1) => invalid(format!(
            "{message}; the label has two classes, so classes is 1"
        )),
        (true, _) => invalid(format!("{message}; classes is {outputs}")),
    }
}

/// The text of two errors, with `classes` where their numbers differ; `None` if they differ in more.
fn joined(first: &str, second: &str) -> Option<String> {
    let (first, second) = (pieces(first), pieces(second));
    if first.len() != second.len() {
        return None;
    }
    let pairs = first.iter().zip(&second);
    pairs
        .map(|(first, second)| match first == second {
            true => Some((*first).to_owned()),
            false => size(first.parse().ok()?, second.parse().ok()?),
        })
        .collect()
}

/// Whole numbers and the text between them.
fn pieces(mut text: &str) -> Vec<&str> {
    let mut pieces = vec![];
    while let Some(first) = text.chars().next() {
        let is_other = |next: char| next.is_ascii_digit() != first.is_ascii_digit();
        let (piece, rest) = text.split_at(text.find(is_other).unwrap_or(text.len()));
        pieces.push(piece);
        text = rest;
    }
    pieces
}

/// A size that is a multiple of the number of classes.
fn size(first: usize, second: usize) -> Option<String> {
    let factor = first / SAMPLES[0];
    let is_multiple = SAMPLES.map(|outputs| factor * outputs) == [first, second];
    is_multiple.then(|| match factor {
        1 => "classes".to_owned(),
        _ => format!("{factor} * classes"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(error: impl Fn(usize) -> Option<String>) -> String {
        of_targets(Some(1), error)
    }

    fn of_targets(targets: Option<usize>, error: impl Fn(usize) -> Option<String>) -> String {
        let result = check(targets, |outputs| error(outputs).map(invalid));
        result.map_or_else(|error| error.to_string(), |()| "fits".into())
    }

    #[test]
    fn what_fails_with_every_number_of_classes_says_classes() {
        let needs = |outputs: usize| format!("[{outputs}, {}, 4] of [10]", 64 * outputs);
        assert_eq!(
            checked(|outputs| Some(needs(outputs))),
            "[classes, 64 * classes, 4] of [10]"
        );
        assert_eq!(checked(|_| Some("4 of [10]".into())), "4 of [10]");
        // No size is a multiple of the number of classes.
        assert_eq!(
            checked(|outputs| Some(format!("[{}]", outputs - 1))),
            "with 7 classes, [6]"
        );
        assert_eq!(
            checked(|outputs| Some("x".repeat(outputs))),
            "with 7 classes, xxxxxxx"
        );
    }

    #[test]
    fn what_fits_some_number_of_classes_waits_for_the_rows() {
        for fitting in [1, 3, 7, 11, 1_000] {
            let error = |outputs: usize| (outputs != fitting).then(|| format!("[{outputs}]"));
            assert_eq!(checked(error), "fits", "{fitting}");
        }
        // Two classes have one output, and more than 1,000 classes are refused.
        for fitting in [2, 1_001] {
            let error = |outputs: usize| (outputs != fitting).then(|| format!("[{outputs}]"));
            assert_eq!(checked(error), "[classes]", "{fitting}");
        }
    }

    #[test]
    fn several_targets_may_have_two_outputs_or_more_than_a_thousand() {
        for (targets, fitting) in [
            (Some(2), 2),
            (Some(2), 1_200),
            (None, 2),
            (None, 1_200),
            (None, 1),
        ] {
            let error = |outputs: usize| (outputs != fitting).then(|| format!("[{outputs}]"));
            assert_eq!(of_targets(targets, error), "fits", "{targets:?} {fitting}");
        }
        // Each target has an output.
        let error = |outputs: usize| (outputs != 2).then(|| format!("[{outputs}]"));
        assert_eq!(of_targets(Some(3), error), "[classes]");
    }

    #[test]
    fn an_error_names_the_number_of_classes_where_it_matters() {
        let error_with = |outputs: usize| Some(invalid(format!("[{outputs}]")));
        let explain =
            |outputs: usize| explained(invalid(format!("[{outputs}]")), outputs, error_with);
        assert_eq!(explain(3).to_string(), "[3]; classes is 3");
        assert_eq!(
            explain(1).to_string(),
            "[1]; the label has two classes, so classes is 1"
        );
        let same = explained(invalid("[64]"), 3, |_| Some(invalid("[64]")));
        assert_eq!(same.to_string(), "[64]");
    }
}
