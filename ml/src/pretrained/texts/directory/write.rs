//! [`directory_of`]: the files of an encoder with layers behind it.
//!
//! transformers has heads of its own for classes, with names and functions for each family. Where the layers of a training are exactly such
//! a head, the directory is a model with it. Else it is one of sentence-transformers, whose modules may be any layers (decision 0061).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::sentence::{Vectors, pretty};
use super::weights::{Stored, encoder_tensors, file_of};
use crate::artifact::{
    CONFIG_FILE, DESCRIPTION_FILE, Files, HEAD_FILE, TextDirectory, TextHead, WEIGHTS_FILE, corrupt,
};
use crate::model::options::TextPooling;
use crate::pretrained::config::JSON_BYTES_MAX;
use crate::pretrained::family::Source;
use crate::pretrained::texts::families::text_family;
use crate::pretrained::texts::modules::{MODULES_FILE, Modules, SentenceHead};
use crate::pretrained::texts::parts::{SENTENCE_FILES, TextParts};
use crate::pretrained::texts::pooling::Pooling;
use crate::pretrained::texts::prompts;
use crate::pretrained::texts::tasks::sequence_head::SequenceHead;
use crate::pretrained::texts::tensors::{Tensors, Wanted};
use crate::pretrained::weights::PICKLES;
use crate::{Error, Result};

/// The settings of a tokenizer.
const TOKENIZER_FILE: &str = "tokenizer_config.json";
/// Files that are written anew.
const ANEW: [&str; 4] = [CONFIG_FILE, MODULES_FILE, DESCRIPTION_FILE, HEAD_FILE];
/// Beside those of [`PICKLES`], the ends of the names of files with weights or their list, which are those of the encoder as it was.
const WEIGHTS_ENDS: [&str; 7] = [
    ".safetensors",
    ".index.json",
    ".h5",
    ".msgpack",
    ".ot",
    ".onnx",
    ".gguf",
];

/// The directory of an encoder with layers behind it.
///
/// # Errors
/// [`Error::Corrupt`] and [`Error::Unsupported`] for files that are no encoder of texts.
pub(in crate::pretrained) fn directory_of(
    source: &Source<'_>,
    head: &TextHead,
) -> Result<TextDirectory> {
    let architecture = source.architecture.as_str();
    let unknown = || Error::Unsupported(format!("{architecture} is no encoder of texts"));
    let family = text_family(architecture).ok_or_else(unknown)?;
    let parts = TextParts::take(source, family)?;
    let width = parts.encoder.width();
    let modules = Modules::read(source.root)?.filter(Modules::has_pooling);
    let own = SentenceHead::of_modules(modules.as_ref(), source.root, (width, source.device))?;
    let includes_prompt = own.pooling().includes_prompt();
    let fits = is_first(head.pooling, &own) && !has_prompt(source.root)?;
    let encoder = (&source.config, &parts.spec);
    let sequence = SequenceHead::of(family, encoder, &head.layers).filter(|_| fits);
    let mut files = copied(source)?;
    let (config, of_encoder) = match &sequence {
        Some(sequence) => {
            let tokens = parts.limits.tokens;
            limit_tokens(&mut files, tokens)?;
            let weights = with_head(parts, sequence, head)?;
            files.insert(WEIGHTS_FILE.to_owned(), weights);
            let vectors = Vectors::pooled(TextPooling::Cls, width, includes_prompt)?;
            let config = config(source, head, sequence.architecture)?;
            (config, vectors.alone_without_folders())
        }
        None => {
            if !SENTENCE_FILES.iter().any(|name| files.contains_key(*name)) {
                let limit = json!({"max_seq_length": parts.limits.tokens, "do_lower_case": false});
                files.insert(SENTENCE_FILES[0].to_owned(), pretty(&limit)?);
            }
            files.insert(WEIGHTS_FILE.to_owned(), without_head(parts, head)?);
            // What makes the vectors of texts that the training learnt from.
            let vectors = match (head.pooling, &modules) {
                (None, Some(_)) => Vectors::of_encoder(source)?,
                (pooling, _) => {
                    let pooling = pooling.unwrap_or(TextPooling::Mean);
                    Vectors::pooled(pooling, width, includes_prompt)?
                }
            };
            let of_encoder = vectors.alone();
            files.extend(vectors.with_layers(&head.layers)?);
            // The first architecture of a family is the encoder.
            let config = config(source, head, family.architectures[0])?;
            (config, of_encoder)
        }
    };
    files.insert(CONFIG_FILE.to_owned(), config);
    Ok(TextDirectory {
        files: files.into_iter().collect(),
        of_encoder,
    })
}

/// Whether the vector of a text is that of its first token.
fn is_first(pooling: Option<TextPooling>, own: &SentenceHead) -> bool {
    match pooling {
        Some(TextPooling::Cls) => true,
        Some(TextPooling::Mean) => false,
        None => own.is_pooling() && *own.pooling() == Pooling::first(),
    }
}

/// Whether something is put before each text.
fn has_prompt(files: &Files) -> Result<bool> {
    let prompts = prompts::read(files)?;
    let mut prompts = prompts.iter();
    Ok(prompts.any(|prompt| prompt.is_default && !prompt.text.is_empty()))
}

/// The files of an encoder but its weights and those that are written anew, without the folder that older models have for them.
fn copied(source: &Source<'_>) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut places: BTreeMap<&str, &Files> = BTreeMap::new();
    for files in [source.root, source.files] {
        let names = files.known().iter().map(|file| file.name.as_str());
        places.extend(names.map(|name| (name, files)));
    }
    places.retain(|name, _| {
        let lower = name.to_ascii_lowercase();
        let has_weights = WEIGHTS_ENDS
            .iter()
            .chain(&PICKLES)
            .any(|end| lower.ends_with(end));
        !name.contains('/') && !has_weights && !ANEW.contains(name)
    });
    let copied = places.into_iter();
    copied
        .map(|(name, files)| Ok((name.to_owned(), files.read(name, u64::MAX)?)))
        .collect()
}

/// The description of the encoder, with the names of the outputs. Weights are written in single precision, whatever they were.
fn config(source: &Source<'_>, head: &TextHead, architecture: &str) -> Result<Vec<u8>> {
    let mut fields = object(
        CONFIG_FILE,
        &source.files.read(CONFIG_FILE, JSON_BYTES_MAX)?,
    )?;
    let outputs = head.outputs.iter().enumerate();
    let names = outputs
        .clone()
        .map(|(id, name)| (id.to_string(), json!(name)));
    let ids = outputs.map(|(id, name)| (name.clone(), json!(id)));
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    set("id2label", Value::Object(names.collect()));
    set("label2id", Value::Object(ids.collect()));
    set("architectures", json!([architecture]));
    set("dtype", json!("float32"));
    fields.remove("torch_dtype");
    fields.remove("num_labels");
    match head.problem {
        Some(problem) => fields.insert("problem_type".to_owned(), json!(problem)),
        None => fields.remove("problem_type"),
    };
    pretty(&Value::Object(fields))
}

fn object(file: &str, content: &[u8]) -> Result<Map<String, Value>> {
    serde_json::from_slice(content).map_err(|error| corrupt(file, error))
}

/// Says in the settings of the tokenizer how many tokens a text has at most; else transformers would not cut long texts.
fn limit_tokens(files: &mut BTreeMap<String, Vec<u8>>, tokens: usize) -> Result<()> {
    let name = "model_max_length";
    let mut fields = match files.get(TOKENIZER_FILE) {
        Some(content) => object(TOKENIZER_FILE, content)?,
        None => Map::new(),
    };
    let known = fields.get(name).and_then(Value::as_f64);
    if known.is_none_or(|known| known > tokens as f64) {
        fields.insert(name.to_owned(), json!(tokens));
        let content = pretty(&Value::Object(fields))?;
        files.insert(TOKENIZER_FILE.to_owned(), content);
    }
    Ok(())
}

/// The weights of an encoder with a head that transformers knows.
fn with_head(parts: TextParts<'_>, sequence: &SequenceHead, head: &TextHead) -> Result<Vec<u8>> {
    let mut tensors = encoder_tensors(&parts.tensors.into_taken(), &head.encoder)?;
    for tensor in &mut tensors {
        let own = tensor.name.strip_prefix(parts.base).unwrap_or(&tensor.name);
        tensor.name = format!("{}{own}", sequence.base);
    }
    for (name, layer) in sequence.layers.iter().zip(&head.layers) {
        tensors.extend(Stored::linear(name, &layer.weights, &layer.biases));
    }
    file_of(&tensors)
}

/// The weights of an encoder. The layer behind the first token that some families have stays, though nothing reads it; otherwise
/// transformers would say that it draws one.
fn without_head(parts: TextParts<'_>, head: &TextHead) -> Result<Vec<u8>> {
    let (mut tensors, base) = (parts.tensors, parts.base);
    for end in ["weight", "bias"] {
        let name = format!("{base}pooler.dense.{end}");
        if tensors.has(&name) {
            let shape = tensors.shape(&name)?.to_vec();
            tensors.take(&Wanted::stored(name, &shape))?;
        }
    }
    file_of(&encoder_tensors(&tensors.into_taken(), &head.encoder)?)
}
