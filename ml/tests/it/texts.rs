//! Models of texts in the files of Hugging Face and sentence-transformers: their vectors against those of the libraries
//! (`fixtures/texts.py`, `fixtures/minilm.py`), and files that are not opened.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, LargeStringArray, StringArray, StringViewArray};
use arrow::datatypes::{DataType, Float32Type};
use candle_core::Device;
use serde::Deserialize;
use serde_json::{Value, json};
use vatic_ml::artifact::{Files, Loader, describe_file};
use vatic_ml::data::signature::PortKind;
use vatic_ml::model::compute::LoadOptions;
use vatic_ml::model::{Batching, Model, Outputs, Wanted};
use vatic_ml::pretrained::PretrainedLoader;
use vatic_ml::{Error, Result};

use crate::batch_of;

/// Relative to the package, where cargo runs tests.
const MODELS: &str = "../sql-tests/data/text_models";
/// The environment variable with the directory of all-MiniLM-L6-v2.
const MINILM: &str = "VATIC_MINILM";

#[derive(Deserialize)]
struct Fixture {
    texts: Vec<String>,
    /// The vectors of each text, by the name of the directory and of a prompt.
    models: BTreeMap<String, Vec<Vec<f64>>>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/texts.json")).unwrap()
}

/// The files of a directory, whose names begin with that of a folder.
fn names(directory: &Path, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(directory.join(folder)).unwrap();
    let files = entries
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_file());
    let names = files.map(|entry| entry.file_name().into_string().unwrap());
    names
        .map(|name| match folder {
            "" => name,
            folder => format!("{folder}/{name}"),
        })
        .collect()
}

fn files(directory: &Path) -> Result<Files> {
    let of = |names: Vec<String>| {
        let described = names
            .iter()
            .map(|name| describe_file(directory, name).unwrap());
        Files::new(directory, described.collect())
    };
    let mut all = names(directory, "");
    let files = of(all.clone());
    assert!(PretrainedLoader.takes(&files));
    for folder in PretrainedLoader.folders(&files)? {
        if directory.join(&folder).is_dir() {
            all.extend(names(directory, &folder));
        }
    }
    Ok(of(all))
}

fn open(directory: &Path) -> Result<Arc<dyn Model>> {
    PretrainedLoader.load(&files(directory)?, &LoadOptions::on(&Device::Cpu))
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

fn embeddings(outputs: &Outputs) -> Vec<Vec<f64>> {
    let vectors = outputs.columns[0].as_fixed_size_list();
    let rows = (0..vectors.len()).map(|row| vectors.value(row));
    rows.map(|row| {
        let values = row.as_primitive::<Float32Type>().values();
        values.iter().map(|value| f64::from(*value)).collect()
    })
    .collect()
}

fn vectors(model: &dyn Model, texts: &[impl AsRef<str>]) -> Vec<Vec<f64>> {
    embeddings(&run(model, StringArray::from_iter_values(texts)))
}

fn check_close(what: &str, found: &[f64], expected: &[f64], allowed: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let error = (found - expected).abs();
        assert!(
            error <= allowed * expected.abs().max(1.0),
            "{what}: {found}, expected {expected}"
        );
    }
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

/// A copy of a model whose files may be changed.
struct Copied(tempfile::TempDir);

impl Copied {
    fn of(model: &str) -> Self {
        let copy = tempfile::tempdir().unwrap();
        copy_directory(&Path::new(MODELS).join(model), copy.path());
        Self(copy)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// Changes the values of a JSON file.
    fn with(self, file: &str, change: impl FnOnce(&mut Value)) -> Self {
        let text = fs::read_to_string(self.path(file)).unwrap_or("{}".into());
        let mut value: Value = serde_json::from_str(&text).unwrap();
        change(&mut value);
        fs::write(self.path(file), value.to_string()).unwrap();
        self
    }

    fn without(self, file: &str) -> Self {
        fs::remove_file(self.path(file)).unwrap();
        self
    }

    fn message(&self) -> String {
        open(self.0.path()).unwrap_err().to_string()
    }
}

fn copy_directory(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => {
                fs::create_dir(&to).unwrap();
                copy_directory(&path, &to);
            }
            false => {
                fs::copy(&path, to).unwrap();
            }
        }
    }
}

#[test]
fn descriptions_that_do_not_fit_are_refused() {
    for (model, file, name, value, expected) in [
        (
            "bert",
            "config.json",
            "num_hidden_layers",
            json!(1_000_000_000),
            "num_hidden_layers is 1000000000; expected a whole number from 1 to 1000",
        ),
        (
            "bert",
            "config.json",
            "num_hidden_layers",
            json!(3),
            "model.safetensors: tensor \"encoder.layer.2.",
        ),
        (
            "bert",
            "config.json",
            "num_hidden_layers",
            json!(1),
            "tensor \"encoder.layer.1.attention.output.LayerNorm.bias\" is not expected; BertModel has no such tensor",
        ),
        (
            "bert",
            "config.json",
            "num_attention_heads",
            json!(0),
            "num_attention_heads is 0; expected a whole number from 1 to 12",
        ),
        (
            "bert",
            "config.json",
            "num_attention_heads",
            json!(5),
            "num_attention_heads is 5, which does not divide the width 12",
        ),
        (
            "bert",
            "config.json",
            "intermediate_size",
            json!(24),
            "expected F32, F16 or BF16 of shape [24, 12]",
        ),
        (
            "bert",
            "config.json",
            "vocab_size",
            json!(100),
            "of shape [100, 12]",
        ),
        (
            "bert",
            "config.json",
            "hidden_act",
            json!("mish"),
            "hidden_act is \"mish\", which is not supported",
        ),
        (
            "bert",
            "config.json",
            "position_embedding_type",
            json!("relative_key"),
            "position_embedding_type is \"relative_key\"",
        ),
        (
            "bert",
            "config.json",
            "is_decoder",
            json!(true),
            "is_decoder is true",
        ),
        (
            "bert",
            "config.json",
            "architectures",
            json!(["GPT2Model"]),
            "the architecture GPT2Model is not supported; this build opens",
        ),
        (
            "roberta",
            "config.json",
            "pad_token_id",
            json!(40),
            "max_position_embeddings has no position for a token",
        ),
        (
            "modernbert",
            "config.json",
            "layer_types",
            json!(["full_attention"]),
            "layer_types has 1 entries, the model has 3 layers",
        ),
        (
            "modernbert",
            "config.json",
            "num_attention_heads",
            json!(4),
            "its 4 heads of 3 have no pairs to rotate",
        ),
        (
            "nomic",
            "config.json",
            "prenorm",
            json!(true),
            "prenorm is true",
        ),
        (
            "nomic",
            "config.json",
            "moe_every_n_layers",
            json!(2),
            "moe_every_n_layers 2 is not supported",
        ),
        (
            "nomic",
            "config.json",
            "activation_function",
            json!("gelu"),
            "activation_function \"gelu\" is not supported",
        ),
        (
            "deberta_v3",
            "config.json",
            "pos_att_type",
            json!("p2c|c2p|p2p"),
            "pos_att_type \"p2p\" is not supported",
        ),
        (
            "deberta_v3",
            "config.json",
            "position_buckets",
            json!(64),
            "position_buckets is 64, which does not fit 16 relative positions",
        ),
        (
            "minilm",
            "1_Pooling/config.json",
            "word_embedding_dimension",
            json!(384),
            "1_Pooling/config.json: word_embedding_dimension is not the width of the model's vectors, 12",
        ),
        (
            "dense",
            "2_Dense/config.json",
            "activation_function",
            json!("custom.Activation"),
            "2_Dense/config.json: activation_function \"custom.Activation\" is not supported",
        ),
        (
            "dense",
            "2_Dense/config.json",
            "out_features",
            json!(6),
            "2_Dense/model.safetensors: tensor \"linear.weight\" is F32 of shape [5, 24]",
        ),
        (
            "minilm",
            "sentence_bert_config.json",
            "max_seq_length",
            json!(1),
            "vocab.txt: adds 2 tokens to each text, the model takes 1",
        ),
        (
            "xlm_roberta",
            "config_sentence_transformers.json",
            "default_prompt_name",
            json!("document"),
            "default_prompt_name is \"document\", which is none of the prompts",
        ),
    ] {
        let message = Copied::of(model)
            .with(file, |values| values[name] = value)
            .message();
        assert!(message.contains(expected), "{model}, {name}: {message}");
    }
}

#[test]
fn files_that_are_missing_or_damaged_are_named() {
    let message = Copied::of("electra").without("vocab.txt").message();
    assert!(
        message.contains("tokenizer.json: the directory has no such file, and no vocab.txt; load")
    );
    let message = Copied::of("camembert")
        .without("sentencepiece.bpe.model")
        .message();
    assert!(
        message.contains("and none of spiece.model, spm.model"),
        "{message}"
    );
    let message = Copied::of("dense")
        .without("1_Pooling/config.json")
        .message();
    assert!(message.starts_with("1_Pooling/config.json: the directory has no such file"));
    let copied = Copied::of("dense");
    let weights = copied.path("2_Dense/model.safetensors");
    fs::rename(&weights, copied.path("2_Dense/pytorch_model.bin")).unwrap();
    let message = copied.message();
    assert!(message.starts_with("2_Dense: the weights are in pytorch_model.bin, a pickle"));
    for (model, file, content, expected) in [
        (
            "camembert",
            "sentencepiece.bpe.model",
            &b"\xff\xff"[..],
            "sentencepiece.bpe.model: ",
        ),
        ("camembert", "sentencepiece.bpe.model", b"", "has no pieces"),
        ("electra", "vocab.txt", b"\xff", "vocab.txt: invalid utf-8"),
        (
            "electra",
            "vocab.txt",
            b"a\nb\n",
            "vocab.txt: has no token \"[UNK]\"",
        ),
        ("roberta", "merges.txt", b"a b c\n", "vocab.json: "),
        (
            "roberta",
            "vocab.json",
            b"{\"<s>\": -1}",
            "vocab.json: has no token \"<s>\"",
        ),
        ("bert", "tokenizer.json", b"{}", "tokenizer.json: "),
        ("minilm", "modules.json", b"{}", "modules.json: "),
    ] {
        let copied = Copied::of(model);
        fs::write(copied.path(file), content).unwrap();
        // A damaged list of modules has no folders, either.
        let result = files(copied.0.path()).and_then(|_| open(copied.0.path()));
        let message = result.unwrap_err().to_string();
        assert!(message.contains(expected), "{model}, {file}: {message}");
    }
}

#[test]
fn tokenizers_that_do_not_fit_are_refused() {
    let more = Copied::of("bert").with("tokenizer.json", |tokenizer| {
        tokenizer["model"]["vocab"]["zzz"] = json!(5_000);
    });
    let expected = "tokenizer.json: has a token with the number 5000, the model has";
    assert!(more.message().contains(expected));
    let endless = Copied::of("bert").with("tokenizer.json", |tokenizer| {
        tokenizer["pre_tokenizer"] = json!({
            "type": "Split", "pattern": {"Regex": "(a+)+(?!c)b"}, "behavior": "Isolated", "invert": false
        });
    });
    assert!(
        endless
            .message()
            .contains("the regular expression \"(a+)+(?!c)b\" takes too long")
    );
    let drawn = Copied::of("modernbert").with("tokenizer.json", |tokenizer| {
        tokenizer["model"]["dropout"] = json!(0.5);
    });
    assert!(drawn.message().contains("dropout draws tokens"));
}

#[test]
fn parts_of_other_kinds_are_refused_by_their_names() {
    let with_module = |at: usize, kind: &str| {
        Copied::of("minilm").with("modules.json", |modules| modules[at]["type"] = json!(kind))
    };
    let lstm = with_module(1, "sentence_transformers.models.LSTM").message();
    assert!(lstm.contains("the module sentence_transformers.models.LSTM is not supported"));
    let own = with_module(0, "custom_st.Transformer").message();
    assert!(own.contains("the module custom_st.Transformer is not supported"));
    // Without pooling, the head of the architecture counts.
    let copied = Copied::of("minilm").with("modules.json", |modules| {
        modules.as_array_mut().unwrap().truncate(1);
    });
    let copied = copied.with("config.json", |config| {
        config["architectures"] = json!(["BertForPreTraining"]);
    });
    let message = copied.message();
    let expected = "the architecture BertForPreTraining is only opened as an encoder";
    assert!(message.contains(expected), "{message}");
}

#[derive(Deserialize)]
struct Minilm {
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
#[expect(clippy::print_stdout, reason = "a test says why it is skipped")]
fn all_minilm_l6_v2_has_the_vectors_of_sentence_transformers() {
    let Some(directory) = std::env::var_os(MINILM) else {
        println!("skipped: {MINILM} names no directory with all-MiniLM-L6-v2");
        return;
    };
    let Minilm { cases, elements } =
        serde_json::from_str(include_str!("fixtures/minilm.json")).unwrap();
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
