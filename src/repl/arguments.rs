//! The named arguments of functions, for completion and help.

use crate::plan::nearest::NEAREST_ARGUMENTS;
use crate::plan::series::WINDOWS_ARGUMENTS;
use crate::predict::call_forms;
use crate::sql::{CallInputs, NEAREST, RECOMMEND, WINDOWS};
use crate::{predict, recommend};

/// The named arguments of a function in FROM, or of one that a model computes.
pub(super) fn named_arguments(function: &str) -> &'static [&'static str] {
    match function {
        "predict" => predict::ARGUMENTS,
        "confusion_matrix" | "roc_curve" | "pr_curve" | "calibration_curve" => &["target"],
        RECOMMEND => recommend::ARGUMENTS,
        WINDOWS => WINDOWS_ARGUMENTS,
        NEAREST => NEAREST_ARGUMENTS,
        other => of_expression(other),
    }
}

fn of_expression(function: &str) -> &'static [&'static str] {
    let forms = call_forms().into_iter();
    let mut inputs = forms
        .filter(|form| form.name == function)
        .map(|form| form.inputs);
    match inputs.next() {
        Some(CallInputs::One { named }) => named,
        Some(CallInputs::Features) | None => &[],
    }
}

/// What a named argument is.
#[rustfmt::skip]
pub(super) fn described(function: &str, name: &str) -> &'static str {
    match (function, name) {
        (RECOMMEND, "top_k") => "items of each user",
        (NEAREST, "top_k") => "items for each query",
        (_, "top_k") => "number of probabilities or tokens returned",
        (_, "batch_size") => "rows per prediction batch",
        (_, "max_batch_tokens") => "tokens per prediction batch of a model of texts",
        (_, "threshold") => "minimum probability at which the larger of two classes, or a label of a set, is predicted",
        (_, "on_error") => "'error', or 'null': a row that cannot be predicted gets NULL, and the cause in predict_error",
        (_, "on_null") => "'null', 'error' or 'impute': result of a row with a NULL feature",
        (_, "dedupe") => "'auto', 'on' or 'off': whether equal rows are computed once",
        (_, "truncate") => "whether the end of a text that is longer than the model takes is left out",
        (_, "prompt") => "name of the prompt of a model of texts that comes before each text",
        (_, "chunk") => "tokens of a part of a text, which has a row for each part",
        (_, "overlap") => "tokens that a part shares with the one before it",
        (_, "max_tokens") => "the most tokens that a model writes",
        (_, "temperature") => "0: the most probable token; above, tokens are drawn, the more evenly the higher it is",
        (_, "seed") => "what is drawn, with a temperature",
        (_, "stop") => "texts before which a written text ends",
        (_, "top_p") => "draws from the most probable tokens whose probabilities sum to it",
        (_, "chat") => "whether a prompt is put into the model's template for chats",
        (_, "device") => "'auto', 'cpu', 'cuda' or 'cuda:N': where the model runs",
        (_, "dtype") => "type in which the model computes",
        (_, "labels") => "classes of a model that was not trained on them",
        (_, "hypothesis") => "sentence of a class, whose name stands for {}",
        (_, "multi_label") => "whether each class may apply by itself",
        (_, "aggregation") => "how the tokens of a text become entities",
        (_, "target") => "label that the result is about, of several",
        (_, "exclude") => "pairs that are not recommended",
        (_, "items") => "items to choose from",
        (_, "order") => "column that orders the rows of a series",
        (_, "by") => "columns that name the series",
        (_, "columns") => "columns whose values become arrays",
        (_, "lags") => "values of an array",
        (_, "horizon") => "rows ahead that are the target",
        (_, "metric") => "'cosine', 'l2' or 'inner_product': the distance",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::RELATION_FUNCTIONS;

    #[test]
    fn every_named_argument_is_described() {
        let forms = call_forms().into_iter().map(|form| form.name);
        let mut count = 0;
        for function in RELATION_FUNCTIONS.iter().copied().chain(forms) {
            for name in named_arguments(function) {
                assert!(!described(function, name).is_empty(), "{function} {name}");
                count += 1;
            }
        }
        assert!(count > 40, "{count}");
        assert!(named_arguments("lower").is_empty());
    }
}
