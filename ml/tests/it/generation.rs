//! Models that write text: calls with arguments, and rows without a text. The unit tests of `pretrained/generation` compare scores
//! and tokens with transformers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use candle_core::Device;
use serde::Deserialize;
use vatic_ml::artifact::{Files, Loader, describe_file};
use vatic_ml::data::signature::PortKind;
use vatic_ml::formats::GgufLoader;
use vatic_ml::model::compute::{ComputeType, LoadOptions};
use vatic_ml::model::generation::Generation;
use vatic_ml::model::tokens::chunks;
use vatic_ml::model::{Model, Outputs, Wanted};
use vatic_ml::stop::Stop;
use vatic_ml::{Error, Result};

use super::directories;
use crate::batch_of;

/// Relative to the package, where cargo runs tests.
pub(super) const WRITERS: &str = "../sql-tests/data/writers";
/// The texts of these models in the fixture have so many tokens.
const WRITTEN: usize = 16;

#[derive(Deserialize)]
pub(super) struct Expected {
    pub(super) prompt: String,
    chat: Option<String>,
    pub(super) text: String,
}

/// What transformers writes after each prompt, without an end.
pub(super) fn expected(name: &str) -> Vec<Expected> {
    let fixture = include_str!("fixtures/generation.json");
    let mut all: BTreeMap<String, Vec<Expected>> = serde_json::from_str(fixture).unwrap();
    all.remove(name).unwrap()
}

fn open(name: &str) -> Arc<dyn Model> {
    directories::open(&Path::new(WRITERS).join(name)).unwrap()
}

pub(super) fn of_gguf(path: &Path) -> Result<Arc<dyn Model>> {
    let (directory, name) = (path.parent().unwrap(), path.file_name().unwrap());
    let known = describe_file(directory, name.to_str().unwrap()).unwrap();
    let files = Files::new(directory, vec![known]);
    assert!(GgufLoader.takes(&files));
    GgufLoader.load(&files, &LoadOptions::on(&Device::Cpu))
}

fn batch(prompts: &[Option<&str>]) -> RecordBatch {
    let column = StringArray::from(prompts.to_vec());
    batch_of(vec![("question", Arc::new(column) as ArrayRef)])
}

/// The output of a call.
pub(super) fn run(model: &dyn Model, how: Generation, prompts: &[Option<&str>]) -> Outputs {
    let wanted = Wanted {
        outputs: vec![0],
        generation: how,
        ..Wanted::default()
    };
    let model = model.for_call(&wanted).unwrap().unwrap();
    let inputs = model.encode(&batch(prompts)).unwrap();
    model.run(inputs, &wanted).unwrap()
}

fn texts(outputs: &Outputs) -> Vec<Option<String>> {
    let texts = outputs.columns[0].as_string::<i32>().iter();
    texts.map(|text| text.map(str::to_owned)).collect()
}

/// The texts of a call for these prompts.
pub(super) fn written(model: &dyn Model, how: Generation, prompts: &[&str]) -> Vec<String> {
    let prompts: Vec<Option<&str>> = prompts.iter().map(|prompt| Some(*prompt)).collect();
    let outputs = run(model, how, &prompts);
    assert!(outputs.report.failures.is_empty(), "{:?}", outputs.report);
    texts(&outputs).into_iter().map(Option::unwrap).collect()
}

pub(super) fn greedy() -> Generation {
    Generation {
        tokens_max: WRITTEN,
        chat: Some(false),
        ..Generation::default()
    }
}

#[test]
fn a_model_tells_its_ports_and_its_memory() {
    let model = open("llama");
    let signature = model.signature();
    assert_eq!(signature.inputs[0].kind, PortKind::Text);
    assert_eq!(signature.generated(), Some(0));
    assert_eq!(signature.outputs[0].name, "generated");
    assert!(model.bytes() > 10_000 && model.working_bytes(9) > model.working_bytes(1));
    let long = "the ".repeat(50);
    assert_eq!(model.encoding_bytes(&batch(&[Some(long.as_str())])), 0);
    assert_eq!(model.compute_type(), ComputeType::F32);
    let facts = |model: &dyn Model| {
        let facts = model.facts().into_iter();
        facts.map(|(_, value)| value).collect::<Vec<_>>()
    };
    assert_eq!(facts(&*model), ["LlamaForCausalLM", "false", "64"]);
    assert_eq!(facts(&*open("qwen2")), ["Qwen2ForCausalLM", "true", "64"]);
    let gguf = of_gguf(&Path::new(WRITERS).join("phi3.gguf"));
    assert_eq!(facts(&*gguf.unwrap()), ["phi3", "false", "64"]);
}

#[test]
fn rows_without_a_prompt_have_no_text_and_the_others_the_same() {
    let model = open("gemma2");
    let expected = expected("gemma2");
    // The model takes fewer than 64 tokens.
    let long = "x".repeat(100);
    let prompts = [
        Some(expected[0].prompt.as_str()),
        None,
        Some(long.as_str()),
        Some(expected[2].prompt.as_str()),
    ];
    let outputs = run(&*model, greedy(), &prompts);
    let found = texts(&outputs);
    let begins = |found: &Option<String>, of: &Expected| {
        of.text.starts_with(found.as_ref().unwrap().as_str())
    };
    assert!(begins(&found[0], &expected[0]) && begins(&found[3], &expected[2]));
    assert!(found[0].as_ref().unwrap().len() > 3);
    assert_eq!((&found[1], &found[2]), (&None, &None));
    assert_eq!(outputs.report.null_rows(), 1);
    assert_eq!(outputs.report.null_column.as_deref(), Some("question"));
    let [(2, cause)] = outputs.report.failures.as_slice() else {
        panic!("{:?}", outputs.report.failures)
    };
    assert!(
        cause.contains("column \"question\" holds no prompt: it has 102 tokens"),
        "{cause}"
    );
    assert!(cause.contains("takes fewer than 64"), "{cause}");
    // Too long to divide it.
    let longer = "x".repeat(1 << 20);
    let outputs = run(&*model, greedy(), &[Some(longer.as_str())]);
    assert!(
        outputs.report.failures[0]
            .1
            .contains("it has too many tokens")
    );
    let nothing = run(&*model, greedy(), &[]);
    assert!(nothing.columns[0].is_empty());
}

#[test]
fn texts_are_the_same_in_any_batch_and_by_seed() {
    let model = open("qwen3");
    let warm = |seed| Generation {
        temperature: 1.5,
        seed,
        ..greedy()
    };
    let prompts = ["the cat", "a hat on the mat", "sat", "the cat"];
    for how in [greedy(), warm(7)] {
        let together = written(&*model, how.clone(), &prompts);
        assert_eq!(together[0], together[3]);
        for (prompt, together) in prompts.iter().zip(&together) {
            assert_eq!(
                written(&*model, how.clone(), &[*prompt]),
                std::slice::from_ref(together)
            );
        }
    }
    let of_seed = |seed| written(&*model, warm(seed), &prompts[..3]);
    assert_ne!(of_seed(7), of_seed(8));
    let one = Generation {
        top_k: Some(1),
        ..warm(7)
    };
    assert_eq!(
        written(&*model, one, &prompts[..1]),
        written(&*model, greedy(), &prompts[..1])
    );
}

#[test]
fn texts_end_at_a_text_and_after_a_number_of_tokens() {
    let model = open("mistral");
    let prompts = ["the cat sat"];
    let whole = &written(&*model, greedy(), &prompts)[0];
    let stop = whole[2..4].to_owned();
    let stopped = Generation {
        stop: vec!["no such text".into(), stop.clone()],
        ..greedy()
    };
    let before = whole.find(&stop).unwrap();
    assert_eq!(written(&*model, stopped, &prompts)[0], whole[..before]);
    let short = Generation {
        tokens_max: 1,
        ..greedy()
    };
    let first = &written(&*model, short, &prompts)[0];
    assert!(whole.starts_with(first.as_str()) && first.len() < whole.len());
    // The model has 64 tokens for the prompt and the text.
    let long = Generation {
        tokens_max: 60_000,
        ..greedy()
    };
    let long = written(&*model, long, &prompts);
    assert!(long[0].starts_with(whole.as_str()));
}

#[test]
fn prompts_go_through_the_template_of_a_model_unless_a_call_says_otherwise() {
    let model = open("qwen2");
    let chats = expected("qwen2");
    let chats: Vec<_> = chats.iter().filter(|of| of.chat.is_some()).collect();
    assert_eq!(chats.len(), 2);
    for of in chats {
        let chat = of.chat.as_deref().unwrap();
        for how in [Some(true), None] {
            let how = Generation {
                chat: how,
                ..greedy()
            };
            let found = written(&*model, how, &[chat]);
            assert!(of.text.starts_with(&found[0]), "{}: {}", of.text, found[0]);
            assert!(found[0].len() > 3, "{}", found[0]);
        }
        // As text without a template, the rendered chat has the same tokens.
        let raw = written(&*model, greedy(), &[of.prompt.as_str()]);
        let templated = Generation {
            chat: None,
            ..greedy()
        };
        assert_eq!(raw, written(&*model, templated, &[chat]));
    }
    let wanted = Wanted {
        generation: Generation {
            chat: Some(true),
            ..greedy()
        },
        ..Wanted::default()
    };
    let error = open("llama").for_call(&wanted).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)));
    assert!(error.to_string().contains("it has no template of a chat"));
    let named = Wanted {
        prompt: Some("query".into()),
        ..Wanted::default()
    };
    let error = open("llama").for_call(&named).unwrap_err().to_string();
    assert!(error.contains("none of the name \"query\""), "{error}");
}

#[test]
fn texts_have_tokens_and_parts() {
    let (model, gguf) = (
        open("gemma3"),
        of_gguf(&Path::new(WRITERS).join("gemma3.gguf")),
    );
    for model in [model, gguf.unwrap()] {
        let tokens = model.tokens().unwrap();
        // With a token that begins the text, and those that may be written.
        assert_eq!(tokens.count("the cat").unwrap().tokens, 3 + 128);
        assert!(!tokens.count("the cat").unwrap().is_cut);
        let text = "the cat sat on the mat";
        let parts = chunks(tokens, text, 2, 0).unwrap();
        let parts: Vec<&str> = parts.into_iter().map(|part| text[part].trim()).collect();
        assert_eq!(parts, ["the cat", "sat on", "the mat"]);
    }
}

#[test]
fn a_call_that_is_asked_to_stop_ends() {
    let model = open("t5");
    let inputs = model.encode(&batch(&[Some("the cat")])).unwrap();
    let stop = Stop::default();
    stop.ask();
    let stopped = stop.watch(|| model.forward(&inputs));
    assert!(matches!(stopped, Err(Error::Cancelled)));
}
