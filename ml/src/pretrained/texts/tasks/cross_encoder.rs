//! What makes a classifier a model of two texts: a cross-encoder of sentence-transformers, or a model of natural language inference.

use serde_json::Value;

use crate::artifact::Files;
use crate::nn::sigmoid;
use crate::pretrained::config::{Config, JSON_BYTES_MAX};
use crate::{Error, Result};

/// The description that sentence-transformers adds.
const SENTENCE_TRANSFORMERS_FILE: &str = "config_sentence_transformers.json";

/// What becomes of the only output of a model of two texts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum ScoreFunction {
    #[default]
    Sigmoid,
    Identity,
}

impl ScoreFunction {
    pub(super) fn of(self, x: f64) -> f64 {
        match self {
            Self::Sigmoid => sigmoid(x),
            Self::Identity => x,
        }
    }
}

/// How a cross-encoder of sentence-transformers scores a pair, if the files are one. Its versions have written the function into three
/// places; without one it is the sigmoid.
///
/// # Errors
/// [`Error::Unsupported`] for a prompt before each text, and for another function of the only one of `outputs`.
pub(super) fn cross_encoder(
    files: &Files,
    config: &Config,
    outputs: usize,
) -> Result<Option<ScoreFunction>> {
    let beside = match files.has(SENTENCE_TRANSFORMERS_FILE) {
        false => None,
        true => {
            let content = files.read(SENTENCE_TRANSFORMERS_FILE, JSON_BYTES_MAX)?;
            let beside = Config::parse(SENTENCE_TRANSFORMERS_FILE, &content)?;
            let is_cross_encoder = beside.text("model_type")? == Some("CrossEncoder");
            is_cross_encoder.then_some(beside)
        }
    };
    if let Some(beside) = &beside
        && let Some(prompt) = beside.text("default_prompt_name")?
    {
        return Err(Error::Unsupported(format!(
            "{SENTENCE_TRANSFORMERS_FILE}: default_prompt_name \"{prompt}\" is not supported; write the prompt into the texts, and \
             remove the name"
        )));
    }
    let within = config.section("sentence_transformers")?;
    let older = "sbert_ce_default_activation_function";
    let places = [
        (beside.as_ref(), "activation_fn"),
        (within.as_ref(), "activation_fn"),
        (config.get(older).map(|_| config), older),
    ];
    let mut is_one = beside.is_some();
    let mut function = None;
    for (config, field) in places {
        let Some(config) = config else { continue };
        let Some(name) = config.text(field)? else {
            continue;
        };
        is_one = true;
        function = function.or(Some((config, field, name)));
    }
    let known = match function {
        None => Some(ScoreFunction::Sigmoid),
        Some((_, _, name)) => match name.rsplit('.').next() {
            Some("Sigmoid") => Some(ScoreFunction::Sigmoid),
            Some("Identity") => Some(ScoreFunction::Identity),
            _ => None,
        },
    };
    match (known, function) {
        (Some(known), _) => Ok(is_one.then_some(known)),
        (None, Some((config, field, name))) if outputs == 1 => Err(Error::Unsupported(format!(
            "{}: {field} \"{name}\" is not supported; this build knows Sigmoid and Identity",
            config.file()
        ))),
        // The outputs of several classes become probabilities in any case.
        (None, _) => Ok(Some(ScoreFunction::Identity)),
    }
}

/// Whether the classes are those of natural language inference: whether the second text follows from the first.
pub(super) fn is_inference(config: &Config) -> bool {
    let labels = config.get("id2label").and_then(Value::as_object);
    let mut labels = labels.into_iter().flat_map(|labels| labels.values());
    labels.any(|label| label.as_str().is_some_and(is_entailment))
}

/// Whether a class says that a text follows from another.
pub(super) fn is_entailment(label: &str) -> bool {
    label.to_lowercase().starts_with("entail")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::write_file;

    const SIGMOID: &str = r#""torch.nn.modules.activation.Sigmoid""#;
    const IDENTITY: &str = r#""torch.nn.modules.linear.Identity""#;

    fn read(config: &str, beside: Option<&str>, outputs: usize) -> Result<Option<ScoreFunction>> {
        let directory = tempfile::tempdir().unwrap();
        let known = beside.map(|text| {
            write_file(
                directory.path(),
                SENTENCE_TRANSFORMERS_FILE,
                text.as_bytes(),
            )
            .unwrap()
        });
        let files = Files::new(directory.path(), known.into_iter().collect());
        let config = Config::parse("config.json", config.as_bytes()).unwrap();
        cross_encoder(&files, &config, outputs)
    }

    #[test]
    fn each_version_s_description_is_read() {
        let beside = |rest: &str| format!(r#"{{"model_type": "CrossEncoder"{rest}}}"#);
        let (sigmoid, identity) = (Some(ScoreFunction::Sigmoid), Some(ScoreFunction::Identity));
        for (config, beside, expected) in [
            ("{}".to_owned(), None, None),
            (
                "{}".to_owned(),
                Some(r#"{"model_type": "SentenceTransformer"}"#.to_owned()),
                None,
            ),
            ("{}".to_owned(), Some(beside("")), sigmoid),
            (
                "{}".to_owned(),
                Some(beside(&format!(r#", "activation_fn": {IDENTITY}"#))),
                identity,
            ),
            (
                format!(
                    r#"{{"sentence_transformers": {{"activation_fn": {SIGMOID}, "version": "4.0.1"}}}}"#
                ),
                None,
                sigmoid,
            ),
            (
                format!(r#"{{"sbert_ce_default_activation_function": {IDENTITY}}}"#),
                None,
                identity,
            ),
        ] {
            let found = read(&config, beside.as_deref(), 1).unwrap();
            assert_eq!(found, expected, "{config} {beside:?}");
        }
    }

    #[test]
    fn what_would_change_the_score_is_refused() {
        let prompt = r#"{"model_type": "CrossEncoder", "default_prompt_name": "web"}"#;
        let error = read("{}", Some(prompt), 1).unwrap_err().to_string();
        assert!(error.contains("default_prompt_name \"web\""), "{error}");
        let other = r#"{"sentence_transformers": {"activation_fn": "my.Tanh"}}"#;
        let error = read(other, None, 1).unwrap_err().to_string();
        let expected = "config.json: activation_fn \"my.Tanh\" is not supported; this build knows Sigmoid and Identity";
        assert_eq!(error, expected);
        assert_eq!(read(other, None, 3).unwrap(), Some(ScoreFunction::Identity));
    }

    #[test]
    fn natural_language_inference_has_a_class_entailment() {
        let is = |labels: &str| {
            let config = format!(r#"{{"id2label": {labels}}}"#);
            is_inference(&Config::parse("config.json", config.as_bytes()).unwrap())
        };
        assert!(is(
            r#"{"0": "contradiction", "1": "ENTAILMENT", "2": "neutral"}"#
        ));
        assert!(is(r#"{"0": "entailment", "1": "not_entailment"}"#));
        assert!(!is(r#"{"0": "not_entailment", "1": "LABEL_1"}"#));
        assert!(!is("3"));
    }
}
