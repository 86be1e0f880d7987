//! Models that write text whose files are missing, damaged, or do not fit together: in directories of Hugging Face, and in GGUF.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use vatic_ml::model::Model;
use vatic_ml::model::generation::Generation;
use vatic_ml::{Error, Result};

use super::directories::{Copied, open};
use super::generation::{WRITERS, expected, greedy, of_gguf, run, written};

fn copied(model: &str) -> Copied {
    Copied::of(&Path::new(WRITERS).join(model))
}

/// transformers 5.24 writes the same texts with both descriptions.
#[test]
fn a_matrix_of_scores_counts_though_a_description_ties_it() {
    let copy = copied("mistral").with("config.json", |config| {
        config["tie_word_embeddings"] = json!(true);
    });
    let model = open(copy.directory()).unwrap();
    for of in expected("mistral") {
        let found = written(&*model, greedy(), &[of.prompt.as_str()]);
        assert!(of.text.starts_with(&found[0]), "{}: {}", of.text, found[0]);
        assert!(!found[0].is_empty());
    }
}

#[test]
fn descriptions_that_do_not_fit_are_refused() {
    for (model, name, value, expected) in [
        (
            "gemma",
            "num_hidden_layers",
            json!(1_000_000_000),
            "num_hidden_layers is 1000000000; expected a whole number from 1 to 1000",
        ),
        (
            "gemma",
            "num_hidden_layers",
            json!(4),
            "tensor \"model.layers.3.input_layernorm.weight\" is missing",
        ),
        (
            "gemma",
            "num_hidden_layers",
            json!(2),
            "tensor \"model.layers.2.input_layernorm.weight\" is not expected",
        ),
        (
            "gemma",
            "vocab_size",
            json!(1_000_000),
            "tensor \"model.embed_tokens.weight\" is BF16 of shape",
        ),
        (
            "qwen3",
            "rope_parameters",
            json!({"rope_type": "dynamic", "factor": 2.0}),
            "of the type \"dynamic\" are not supported",
        ),
        (
            "t5",
            "num_decoder_layers",
            json!(9),
            "tensor \"decoder.block.2.layer.1.layer_norm.weight\" is missing",
        ),
        (
            "t5",
            "feed_forward_proj",
            json!("gated-gelu"),
            "DenseReluDense.wi_0.weight\" is missing",
        ),
    ] {
        let copy = copied(model).with("config.json", |config| config[name] = value);
        let error = copy.message();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn tokenizers_and_templates_that_do_not_fit_are_refused() {
    let copy = copied("qwen2").without("tokenizer.json");
    assert!(
        copy.message()
            .contains("tokenizer.json: the directory has no such file")
    );
    let copy = copied("qwen2").with("tokenizer_config.json", |config| {
        config["chat_template"] = json!("{% for %}");
    });
    let error = copy.message();
    assert!(
        error.starts_with("tokenizer_config.json: the template of a chat: syntax error"),
        "{error}"
    );
    let copy = copied("qwen2").with("tokenizer_config.json", |config| {
        config["chat_template"] = json!([{"name": "tools", "template": ""}]);
    });
    assert!(
        copy.message()
            .contains("chat_template has no template \"default\"")
    );
    let copy = copied("qwen2");
    fs::write(
        copy.path("chat_template.jinja"),
        "{{ raise_exception('closed') }}",
    )
    .unwrap();
    let model = open(copy.directory()).unwrap();
    let outputs = run(&*model, Generation::default(), &[Some("the cat")]);
    let (_, cause) = &outputs.report.failures[0];
    assert!(
        cause.contains("the template of the chat refuses it") && cause.contains("closed"),
        "{cause}"
    );
    // A token that the model does not know is a failure of its row.
    let copy = copied("gemma").with("tokenizer.json", |tokenizer| {
        tokenizer["model"]["vocab"]["z"] = json!(5_000);
    });
    let model = open(copy.directory()).unwrap();
    let outputs = run(&*model, greedy(), &[Some("zz"), Some("a")]);
    assert!(
        outputs.report.failures[0]
            .1
            .contains("its token 5000 is none of the")
    );
    assert_eq!(outputs.report.failures.len(), 1);
}

/// Opens a file in GGUF with this content.
fn open_content(content: &[u8]) -> Result<Arc<dyn Model>> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.gguf");
    fs::write(&path, content).unwrap();
    of_gguf(&path)
}

fn message(content: &[u8]) -> String {
    open_content(content).unwrap_err().to_string()
}

#[test]
fn files_in_gguf_that_are_cut_off_are_refused() {
    let content = fs::read(Path::new(WRITERS).join("gemma3.gguf")).unwrap();
    assert!(open_content(&content).is_ok());
    // Behind the last tensor are up to 32 bytes without meaning.
    let lengths = (0..content.len() - 32).step_by(61);
    for length in lengths {
        let error = open_content(&content[..length]).unwrap_err();
        assert!(matches!(error, Error::Corrupt(_)), "{length}: {error}");
    }
    assert_eq!(
        message(b""),
        "m.gguf: it ends after 0 bytes, in the middle of its header"
    );
    assert_eq!(
        message(b"{\"a\": 1}"),
        "m.gguf: it does not begin as a file in GGUF does"
    );
    let found = message(&content[..content.len() - 64]);
    assert!(found.contains("is not in the file, which has"), "{found}");
}

#[test]
fn files_in_gguf_with_other_bytes_are_opened_or_refused() {
    let content = fs::read(Path::new(WRITERS).join("phi3.gguf")).unwrap();
    // The header, and the first tensors.
    let positions = (0..content.len().min(6_000)).step_by(7);
    for position in positions {
        for byte in [0, 1, 0x7F, 0xFF] {
            let mut changed = content.clone();
            changed[position] = byte;
            // Whatever comes of it, it is no panic.
            drop(open_content(&changed));
        }
    }
}

#[test]
fn what_a_file_in_gguf_promises_is_checked() {
    let content = fs::read(Path::new(WRITERS).join("phi3.gguf")).unwrap();
    let mut many = content.clone();
    many[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    let found = message(&many);
    assert!(
        found.starts_with("m.gguf: it promises 18446744073709551615 tensors; at most"),
        "{found}"
    );
    let mut old = content.clone();
    old[4] = 1;
    assert!(message(&old).contains("version 1 of GGUF is not supported; versions 2 and 3 are"));
    let replaced = |from: &str, to: &str| {
        let at = content
            .windows(from.len())
            .position(|bytes| bytes == from.as_bytes());
        let mut changed = content.clone();
        changed[at.unwrap()..][..to.len()].copy_from_slice(to.as_bytes());
        message(&changed)
    };
    let found = replaced("phi3.block_count", "phi3.block_Count");
    assert_eq!(
        found,
        "m.gguf: phi3.block_count is missing; expected a whole number from 1 to 1000"
    );
    let found = replaced("blk.1.attn_output", "blk.1.attn_OUTPUT");
    assert!(
        found.contains("tensor \"blk.1.attn_output.weight\" is missing"),
        "{found}"
    );
    let found = replaced("blk.2.attn_norm", "blk.1.attn_norm");
    assert!(
        found.contains("tensor \"blk.1.attn_norm.weight\" is there twice"),
        "{found}"
    );
}
