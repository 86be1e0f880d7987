//! Models of texts in the files of Hugging Face and sentence-transformers: their vectors against those of the libraries (`fixtures/texts.py`,
//! `fixtures/minilm.py`).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, LargeStringArray, StringArray, StringViewArray};
use arrow::datatypes::DataType;
use serde::Deserialize;
use serde_json::json;
use vatic_ml::data::signature::PortKind;
use vatic_ml::model::{Batching, Model, Outputs, Wanted};
use vatic_ml::{Error, Result};

use super::directories::{Copied, check_close, embeddings, open};
use crate::batch_of;

/// Relative to the package, where cargo runs tests.
pub(super) const MODELS: &str = "../sql-tests/data/text_models";
/// The environment variables with the directories of all-MiniLM-L6-v2 and of all-mpnet-base-v2.
const MINILM: &str = "VATIC_MINILM";
const MPNET: &str = "VATIC_MPNET";

#[derive(Deserialize)]
struct Fixture {
    texts: Vec<String>,
    /// The vectors of each text, by the name of the directory and of a prompt.
    models: BTreeMap<String, Vec<Vec<f64>>>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/texts.json")).unwrap()
}

/// The model, for the prompt of this name.
fn for_prompt(model: Arc<dyn Model>, prompt: Option<&str>) -> Result<Arc<dyn Model>> {
    let wanted = Wanted {
        prompt: prompt.map(str::to_owned),
        ..Wanted::default()
    };
    Ok(model.for_call(&wanted)?.unwrap_or(model))
}

fn run(model: &dyn Model, texts: impl Array + 'static) -> Outputs {
    let batch = batch_of(vec![("body", Arc::new(texts) as ArrayRef)]);
    let wanted = Wanted {
        outputs: vec![0],
        ..Wanted::default()
    };
    model.run(model.encode(&batch).unwrap(), &wanted).unwrap()
}

pub(super) fn vectors(model: &dyn Model, texts: &[impl AsRef<str>]) -> Vec<Vec<f64>> {
    embeddings(&run(model, StringArray::from_iter_values(texts)))
}

#[test]
fn vectors_are_those_of_the_libraries() {
    let Fixture { texts, models } = fixture();
    for (name, expected) in &models {
        let (directory, prompt) = match name.split_once(' ') {
            None => (name.as_str(), None),
            Some((directory, "none")) => (directory, Some("")),
            Some((directory, prompt)) => (directory, Some(prompt)),
        };
        let model = open(&Path::new(MODELS).join(directory)).unwrap();
        let model = for_prompt(model, prompt).unwrap();
        let found = vectors(model.as_ref(), &texts);
        assert_eq!(found.len(), expected.len());
        for ((text, found), expected) in texts.iter().zip(&found).zip(expected) {
            let shown: String = text.chars().take(20).collect();
            check_close(&format!("{name}, {shown:?}"), found, expected, 1e-5);
        }
        // A text by itself has the vector that it has among others, in any order.
        let reversed: Vec<&String> = texts.iter().rev().collect();
        let reversed = vectors(model.as_ref(), &reversed);
        for (at, expected) in found.iter().enumerate() {
            check_close(
                name,
                &vectors(model.as_ref(), &texts[at..=at])[0],
                expected,
                1e-6,
            );
            check_close(name, &reversed[texts.len() - 1 - at], expected, 1e-6);
        }
    }
}

/// The numbers are those of sentence-transformers 6.2 for the same directory, the first four of each vector.
#[test]
fn a_prompt_does_not_count_in_pooling_without_it() {
    let texts = [
        "the cat".to_owned(),
        "small birds sing ".repeat(20),
        String::new(),
    ];
    let cases = [
        (
            "pooling_mode_mean_tokens",
            [
                [-0.1520073, -0.0029329, -0.5853017, 0.193067],
                [-0.2218294, 0.0390527, -0.51196, 0.3083572],
                [-0.1333611, -0.060549, -0.4235439, 0.196907],
            ],
            [-0.1496055, -0.0783174, -0.4097463, 0.1704544],
        ),
        (
            "pooling_mode_weightedmean_tokens",
            [
                [-0.1498493, -0.0087166, -0.5942329, 0.1918513],
                [-0.2212802, 0.0374086, -0.5149499, 0.3197598],
                [-0.1333611, -0.060549, -0.4235439, 0.196907],
            ],
            [-0.1404588, -0.0668543, -0.4082803, 0.1821415],
        ),
    ];
    for (mode, expected, without) in cases {
        let copied = Copied::of(&Path::new(MODELS).join("minilm"))
            .with("1_Pooling/config.json", |pooling| {
                *pooling = json!({mode: true, "include_prompt": false});
            })
            .with("config_sentence_transformers.json", |prompts| {
                *prompts = json!({"prompts": {"query": "a dog "}, "default_prompt_name": "query"});
            });
        let model = open(copied.directory()).unwrap();
        for (found, expected) in vectors(model.as_ref(), &texts).iter().zip(&expected) {
            check_close(mode, &found[..4], expected, 1e-5);
        }
        // A call that names the prompt, and one that leaves it out.
        let named = for_prompt(Arc::clone(&model), Some("query")).unwrap();
        check_close(
            mode,
            &vectors(named.as_ref(), &texts)[0][..4],
            &expected[0],
            1e-5,
        );
        let plain = for_prompt(model, Some("")).unwrap();
        check_close(
            mode,
            &vectors(plain.as_ref(), &texts)[0][..4],
            &without,
            1e-5,
        );
    }
}

#[test]
fn rows_without_text_have_no_vector_and_the_others_the_same() {
    let Fixture { texts, models } = fixture();
    let model = open(&Path::new(MODELS).join("minilm")).unwrap();
    let first = Some(texts[0].as_str());
    let rows = StringViewArray::from_iter([None, first, None]);
    let outputs = run(model.as_ref(), rows);
    assert_eq!(outputs.report.null_rows(), 2);
    assert_eq!(outputs.report.null_column.as_deref(), Some("body"));
    let column = &outputs.columns[0];
    let nulls: Vec<bool> = (0..3).map(|row| column.is_null(row)).collect();
    assert_eq!(nulls, [true, false, true]);
    check_close(
        "minilm",
        &embeddings(&outputs)[1],
        &models["minilm"][0],
        1e-5,
    );
    let none = run(
        model.as_ref(),
        LargeStringArray::from(vec![None::<&str>; 2]),
    );
    assert_eq!(none.columns[0].null_count(), 2);
    assert_eq!(
        run(model.as_ref(), StringArray::new_null(0)).columns[0].len(),
        0
    );
}

#[test]
fn a_long_text_is_its_beginning() {
    let model = open(&Path::new(MODELS).join("modernbert")).unwrap();
    let long = "the cat and a dog ".repeat(60_000);
    let found = vectors(model.as_ref(), &[long.as_str(), &long[..2_000]]);
    check_close("a megabyte", &found[0], &found[1], 1e-6);
    let tokens = model.tokens().unwrap();
    let (all, short) = (tokens.count(&long).unwrap(), tokens.count("a cat").unwrap());
    assert_eq!((all.tokens, all.is_cut), (40, true));
    assert!(short.tokens < 10 && !short.is_cut);
    assert_eq!(tokens.tokens_max(), 38);
    let places = tokens.places("a cat").unwrap();
    assert_eq!(places.last().map(|place| place.end), Some(5));
}

#[test]
fn a_model_tells_its_ports_its_prompts_and_its_memory() {
    let model = open(&Path::new(MODELS).join("xlm_roberta")).unwrap();
    let signature = model.signature();
    assert_eq!(signature.inputs[0].name, "text");
    assert_eq!(signature.inputs[0].kind, PortKind::Text);
    assert_eq!(signature.inputs[0].data_type, DataType::Utf8);
    assert_eq!(signature.outputs[0].kind, PortKind::Vector { width: 12 });
    assert!(matches!(model.batching(), Batching::Tokens { input, .. } if input == "text"));
    let prompts = model.prompts();
    let shown: Vec<(&str, &str, bool)> = prompts
        .iter()
        .map(|prompt| {
            (
                prompt.name.as_str(),
                prompt.text.as_str(),
                prompt.is_default,
            )
        })
        .collect();
    let expected = [("query", "query: ", true), ("passage", "passage: ", false)];
    assert_eq!(shown, expected);
    let error = for_prompt(Arc::clone(&model), Some("document")).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)));
    let expected = "it has no prompt \"document\"; its prompts are query, passage";
    assert_eq!(error.to_string(), expected);
    let fact = |name: &str| {
        let facts = model.facts().into_iter();
        facts
            .filter(|(fact, _)| fact == name)
            .map(|(_, value)| value)
            .collect::<String>()
    };
    assert_eq!(fact("architecture"), "XLMRobertaModel");
    assert_eq!(
        (fact("pooling").as_str(), fact("tokens_max").as_str()),
        ("mean", "32")
    );
    // The weights are f16 in the file.
    let file = fs::metadata(Path::new(MODELS).join("xlm_roberta/model.safetensors")).unwrap();
    assert!(model.bytes() > file.len() as usize && model.bytes() < 3 * file.len() as usize);
    assert!(model.working_bytes(1) > 32 * 12 * 4);
    assert!(model.working_bytes(100) > model.working_bytes(1));
    let batch = batch_of(vec![(
        "text",
        Arc::new(StringArray::from(vec!["a".repeat(1_000)])) as ArrayRef,
    )]);
    assert!(model.encoding_bytes(&batch) > 1_000);
    let plain = open(&Path::new(MODELS).join("bert")).unwrap();
    let pooling = (
        "pooling".to_owned(),
        "mean, since no modules.json says anything else".to_owned(),
    );
    assert!(plain.facts().contains(&pooling));
    assert!(
        for_prompt(plain, Some("query"))
            .unwrap_err()
            .to_string()
            .ends_with("it has none")
    );
}

#[derive(Deserialize)]
struct Real {
    cases: Vec<Case>,
    /// The elements of the vectors that are compared.
    elements: Vec<usize>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    /// How often the text stands one after the other.
    times: usize,
    vector: Vec<f64>,
}

#[test]
fn all_minilm_l6_v2_has_the_vectors_of_sentence_transformers() {
    check_real(MINILM, include_str!("fixtures/minilm.json"));
}

#[test]
fn all_mpnet_base_v2_has_the_vectors_of_sentence_transformers() {
    check_real(MPNET, include_str!("fixtures/mpnet.json"));
}

/// Compares the encoder in the directory of a variable with a fixture, if there is one.
#[expect(clippy::print_stdout, reason = "a test says why it is skipped")]
fn check_real(variable: &str, fixture: &str) {
    let Some(directory) = std::env::var_os(variable) else {
        println!("skipped: {variable} names no directory with the encoder");
        return;
    };
    let Real { cases, elements } = serde_json::from_str(fixture).unwrap();
    let model = open(Path::new(&directory)).unwrap();
    let texts: Vec<String> = cases
        .iter()
        .map(|case| case.text.repeat(case.times))
        .collect();
    let found = vectors(model.as_ref(), &texts);
    for (case, found) in cases.iter().zip(&found) {
        let length: f64 = found.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-5);
        let of_case: Vec<f64> = elements.iter().map(|at| found[*at]).collect();
        let shown: String = case.text.chars().take(30).collect();
        check_close(&shown, &of_case, &case.vector, 1e-5);
    }
}
