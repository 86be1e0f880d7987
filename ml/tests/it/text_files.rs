//! Models of texts whose files are missing, damaged, or do not fit together: each is refused by a sentence that names the file.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::directories::{Copied, open};
use super::texts::{MODELS, vectors};

fn copied(model: &str) -> Copied {
    Copied::of(&Path::new(MODELS).join(model))
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
            "hidden_size",
            json!(-12),
            "hidden_size is -12; expected a whole number from 1 to 65536",
        ),
        (
            "bert",
            "config.json",
            "hidden_size",
            json!(1_000_000_000),
            "hidden_size is 1000000000; expected a whole number from 1 to 65536",
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
        let message = copied(model)
            .with(file, |values| values[name] = value)
            .message();
        assert!(message.contains(expected), "{model}, {name}: {message}");
    }
}

#[test]
fn files_that_are_missing_or_damaged_are_named() {
    let message = copied("electra").without("vocab.txt").message();
    assert!(
        message.contains("tokenizer.json: the directory has no such file, and no vocab.txt; load")
    );
    let message = copied("camembert")
        .without("sentencepiece.bpe.model")
        .message();
    assert!(
        message.contains("and none of spiece.model, spm.model"),
        "{message}"
    );
    let message = copied("dense").without("1_Pooling/config.json").message();
    assert!(message.starts_with("1_Pooling/config.json: the directory has no such file"));
    let pickled = copied("dense");
    let weights = pickled.path("2_Dense/model.safetensors");
    fs::rename(&weights, pickled.path("2_Dense/pytorch_model.bin")).unwrap();
    let message = pickled.message();
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
        (
            "bert",
            "tokenizer.json",
            b"{\"version\": \"1.0\", \"model\": {\"type\": \"Word",
            "tokenizer.json: ",
        ),
        ("minilm", "config.json", b"", "config.json: "),
        (
            "minilm",
            "config.json",
            b"[]",
            "config.json: not a JSON object",
        ),
        ("minilm", "modules.json", b"{}", "modules.json: "),
    ] {
        let directory = copied(model);
        fs::write(directory.path(file), content).unwrap();
        let message = directory.message();
        assert!(message.contains(expected), "{model}, {file}: {message}");
    }
}

#[test]
fn a_model_that_is_open_needs_its_files_no_more() {
    let copy = copied("minilm");
    let model = open(copy.directory()).unwrap();
    let texts = ["the cat", "a dog"];
    let before = vectors(model.as_ref(), &texts);
    for part in 1..=2 {
        let file = format!("model-0000{part}-of-00002.safetensors");
        let file = fs::File::options().write(true).open(copy.path(&file));
        file.unwrap().set_len(0).unwrap();
    }
    assert_eq!(vectors(model.as_ref(), &texts), before);
    drop(copy);
    assert_eq!(vectors(model.as_ref(), &texts), before);
}

#[test]
fn tokenizers_that_do_not_fit_are_refused() {
    let more = copied("bert").with("tokenizer.json", |tokenizer| {
        tokenizer["model"]["vocab"]["zzz"] = json!(5_000);
    });
    let expected = "tokenizer.json: has a token with the number 5000, the model has";
    assert!(more.message().contains(expected));
    let endless = copied("bert").with("tokenizer.json", |tokenizer| {
        tokenizer["pre_tokenizer"] = json!({
            "type": "Split", "pattern": {"Regex": "(a+)+(?!c)b"}, "behavior": "Isolated", "invert": false
        });
    });
    assert!(
        endless
            .message()
            .contains("the regular expression \"(a+)+(?!c)b\" takes too long")
    );
    let drawn = copied("modernbert").with("tokenizer.json", |tokenizer| {
        tokenizer["model"]["dropout"] = json!(0.5);
    });
    assert!(drawn.message().contains("dropout draws tokens"));
}

#[test]
fn parts_of_other_kinds_are_refused_by_their_names() {
    let with_module = |at: usize, kind: &str| {
        copied("minilm").with("modules.json", |modules| modules[at]["type"] = json!(kind))
    };
    let lstm = with_module(1, "sentence_transformers.models.LSTM").message();
    assert!(lstm.contains("the module sentence_transformers.models.LSTM is not supported"));
    let own = with_module(0, "custom_st.Transformer").message();
    assert!(own.contains("the module custom_st.Transformer is not supported"));
    // Without pooling, the head of the architecture counts.
    let unpooled = copied("minilm").with("modules.json", |modules| {
        modules.as_array_mut().unwrap().truncate(1);
    });
    let unpooled = unpooled.with("config.json", |config| {
        config["architectures"] = json!(["BertForPreTraining"]);
    });
    let message = unpooled.message();
    let expected = "the architecture BertForPreTraining is only opened as an encoder";
    assert!(message.contains(expected), "{message}");
}
