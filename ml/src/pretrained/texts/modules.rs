//! [`Modules`]: the parts of a model of sentence-transformers, as `modules.json` lists them. [`SentenceHead`]: those behind the
//! encoder.

use std::borrow::Cow;

use candle_core::{Device, Tensor};
use serde::Deserialize;

use super::layers::Dense;
use super::pooling::Pooling;
use super::tensors::FileTensors;
use crate::artifact::{Files, corrupt};
use crate::nn::{Pointwise, Sequences, pointwise};
use crate::pretrained::config::{Config, JSON_BYTES_MAX, WIDTH_MAX};
use crate::pretrained::vectors::of_length_one;
use crate::pretrained::weights::Weights;
use crate::{Error, Result};

/// The list of the parts of a model.
pub(crate) const MODULES_FILE: &str = "modules.json";
const MODULES_MAX: usize = 100;

/// A part of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Transformer,
    Pooling,
    Dense,
    Normalize,
    /// Has no effect but in training.
    Dropout,
}

/// The parts of a model, each with its folder.
#[derive(Debug)]
pub(crate) struct Modules {
    modules: Vec<(Kind, String)>,
}

/// An entry of the list.
#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

fn entries(files: &Files) -> Result<Vec<Entry>> {
    let content = files.read(MODULES_FILE, JSON_BYTES_MAX)?;
    let entries: Vec<Entry> =
        serde_json::from_slice(&content).map_err(|error| corrupt(MODULES_FILE, error))?;
    match entries.len() {
        1..=MODULES_MAX => Ok(entries),
        count => {
            let what = format!("lists {count} modules; a model has 1 to {MODULES_MAX}");
            Err(corrupt(MODULES_FILE, what))
        }
    }
}

/// The folders of the parts.
///
/// # Errors
/// [`Error::Corrupt`] for a file that is no list of parts, or names a folder in another one.
pub(crate) fn folders(files: &Files) -> Result<Vec<String>> {
    if !files.has(MODULES_FILE) {
        return Ok(vec![]);
    }
    let mut folders: Vec<String> = vec![];
    for Entry { path, .. } in entries(files)? {
        if path.contains('/') {
            let what = format!(
                "names the folder \"{}\"; the folder of a module is beside this file",
                path.escape_debug()
            );
            return Err(corrupt(MODULES_FILE, what));
        }
        if !path.is_empty() && !folders.contains(&path) {
            folders.push(path);
        }
    }
    Ok(folders)
}

/// The files of the encoder: those of a directory, or of the folder that older models have for it.
///
/// # Errors
/// [`Error::Corrupt`] for a file that is no list of parts.
pub(crate) fn encoder_files(files: &Files) -> Result<Cow<'_, Files>> {
    if !files.has(MODULES_FILE) {
        return Ok(Cow::Borrowed(files));
    }
    let entries = entries(files)?;
    Ok(match entries[0].path.as_str() {
        "" => Cow::Borrowed(files),
        folder => Cow::Owned(files.within(folder)),
    })
}

impl Modules {
    /// Reads the list, if there is one.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a file that is no list of parts; [`Error::Unsupported`] with the first part that this build does not
    /// know, or that is at another place than it knows.
    pub(crate) fn read(files: &Files) -> Result<Option<Self>> {
        if !files.has(MODULES_FILE) {
            return Ok(None);
        }
        let modules = entries(files)?.into_iter().map(|entry| {
            let name = entry.kind.rsplit('.').next().unwrap_or_default();
            let is_own = entry.kind.starts_with("sentence_transformers.");
            let kind = match name {
                "Transformer" => Kind::Transformer,
                "Pooling" => Kind::Pooling,
                "Dense" => Kind::Dense,
                "Normalize" => Kind::Normalize,
                "Dropout" => Kind::Dropout,
                _ => return Err(unsupported(&entry.kind)),
            };
            match is_own {
                true => Ok((kind, entry.path)),
                false => Err(unsupported(&entry.kind)),
            }
        });
        let modules = modules.collect::<Result<Vec<_>>>()?;
        let is_first = |(at, kind): (usize, Kind)| (at == 0) == (kind == Kind::Transformer);
        let kinds = modules.iter().map(|(kind, _)| *kind).enumerate();
        let mut kinds = kinds.filter(|(_, kind)| *kind != Kind::Dropout);
        if !kinds.all(is_first) {
            let what = "the transformer is not the first module, or not the only one";
            return Err(Error::Unsupported(format!("{MODULES_FILE}: {what}")));
        }
        Ok(Some(Self { modules }))
    }

    /// Whether the vectors of tokens become a vector of their text.
    pub(crate) fn has_pooling(&self) -> bool {
        self.modules.iter().any(|(kind, _)| *kind == Kind::Pooling)
    }

    /// Takes the parts behind an encoder with vectors of this width.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for parts that do not fit; [`Error::Unsupported`] for a part at another place than this build knows.
    pub(crate) fn head(
        &self,
        files: &Files,
        width: usize,
        device: &Device,
    ) -> Result<SentenceHead> {
        let mut head: Option<SentenceHead> = None;
        for (kind, path) in &self.modules {
            let wrong_place = || {
                let what = "pooling is not the second module";
                Error::Unsupported(format!("{MODULES_FILE}: {what}"))
            };
            match kind {
                Kind::Transformer | Kind::Dropout => {}
                Kind::Pooling if head.is_some() => return Err(wrong_place()),
                Kind::Pooling => {
                    let pooling = Pooling::of(&description(files, path)?, width)?;
                    head = Some(SentenceHead::of_pooling(pooling, width));
                }
                Kind::Dense => {
                    let head = head.as_mut().ok_or_else(wrong_place)?;
                    head.add_dense(files, path, device)?;
                }
                Kind::Normalize => {
                    check_input(files, path)?;
                    let head = head.as_mut().ok_or_else(wrong_place)?;
                    head.steps.push(Step::Normalize);
                }
            }
        }
        head.ok_or_else(|| corrupt(MODULES_FILE, "has no pooling"))
    }
}

fn unsupported(kind: &str) -> Error {
    Error::Unsupported(format!(
        "{MODULES_FILE}: the module {} is not supported; Transformer, Pooling, Dense, Normalize and Dropout of \
         sentence_transformers are",
        kind.escape_debug()
    ))
}

/// The description in the folder of a part.
fn description(files: &Files, folder: &str) -> Result<Config> {
    let name = format!("{folder}/config.json");
    match files.has(&name) {
        true => Config::parse(&name, &files.read(&name, JSON_BYTES_MAX)?),
        false => Err(corrupt(&name, "the directory has no such file")),
    }
}

/// Refuses a part that works on anything else than the vectors of texts.
fn check_input(files: &Files, folder: &str) -> Result<()> {
    if folder.is_empty() || !files.has(&format!("{folder}/config.json")) {
        return Ok(());
    }
    let config = description(files, folder)?;
    for name in ["module_input_name", "module_output_name"] {
        config.require_text(name, "sentence_embedding")?;
    }
    Ok(())
}

/// What makes a vector of the vectors of tokens.
#[derive(Debug, Clone)]
pub(crate) struct SentenceHead {
    pooling: Pooling,
    steps: Vec<Step>,
    width: usize,
    bytes: usize,
}

/// What happens to the vectors of texts.
#[derive(Debug, Clone)]
enum Step {
    Dense(Dense, Option<Pointwise>),
    /// They get length 1.
    Normalize,
}

impl SentenceHead {
    /// What modules have behind an encoder with vectors of this width; without modules, the mean of the vectors of tokens.
    ///
    /// # Errors
    /// Those of [`Modules::head`].
    pub(crate) fn of_modules(
        modules: Option<&Modules>,
        files: &Files,
        (width, device): (usize, &Device),
    ) -> Result<Self> {
        match modules {
            Some(modules) => modules.head(files, width, device),
            None => Ok(Self::of_pooling(Pooling::mean(), width)),
        }
    }

    /// Pooling of vectors of tokens of this width, and nothing behind it.
    pub(crate) fn of_pooling(pooling: Pooling, of_tokens: usize) -> Self {
        Self {
            width: pooling.width(of_tokens),
            pooling,
            steps: vec![],
            bytes: 0,
        }
    }

    /// The same for texts whose first tokens, of which there are so many, are left out of pooling. It shares the weights.
    pub(crate) fn skipping(&self, tokens: usize) -> Self {
        Self {
            pooling: self.pooling.clone().skipping(tokens),
            steps: self.steps.clone(),
            ..*self
        }
    }

    fn add_dense(&mut self, files: &Files, folder: &str, device: &Device) -> Result<()> {
        check_input(files, folder)?;
        let config = description(files, folder)?;
        config.require_flag("use_residual", false)?;
        if config.whole("in_features", None, 1..=WIDTH_MAX)? != self.width {
            let what = format!("is not the width of the vectors before it, {}", self.width);
            return Err(config.error("in_features", what));
        }
        let outputs = config.whole("out_features", None, 1..=WIDTH_MAX)?;
        let activation = activation(&config)?;
        let in_folder = |error: Error| match error {
            Error::Corrupt(what) => Error::Corrupt(format!("{folder}/{what}")),
            Error::Unsupported(what) => Error::Unsupported(format!("{folder}: {what}")),
            other => other,
        };
        let weights = Weights::read(&files.within(folder)).map_err(in_folder)?;
        let mut tensors = FileTensors::new(weights, device);
        let names = ["linear".to_owned()];
        let has_bias = config.flag("bias", true)?;
        let layer = Dense::take(&mut tensors, &names, [self.width, outputs], has_bias);
        let layer = layer.map_err(in_folder)?;
        tensors.finish("Dense", |_| false).map_err(in_folder)?;
        self.bytes += tensors.bytes();
        self.width = outputs;
        self.steps.push(Step::Dense(layer, activation));
        Ok(())
    }

    /// The numbers of a vector.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The memory of the weights, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How the vectors of tokens become one.
    pub(crate) fn pooling(&self) -> &Pooling {
        &self.pooling
    }

    /// Whether nothing is behind pooling.
    pub(crate) fn is_pooling(&self) -> bool {
        self.steps.is_empty()
    }

    /// The vectors `[texts, width]`, from those of tokens.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub(crate) fn forward(&self, hidden: &Tensor, sequences: &Sequences) -> Result<Tensor> {
        let mut x = self.pooling.forward(hidden, sequences)?;
        for step in &self.steps {
            x = match step {
                Step::Dense(layer, None) => layer.forward(&x)?,
                Step::Dense(layer, Some(activation)) => {
                    pointwise(*activation, &layer.forward(&x)?)?
                }
                Step::Normalize => of_length_one(&x)?,
            };
        }
        Ok(x)
    }
}

/// The activation of a layer, which a description names as PyTorch does.
fn activation(config: &Config) -> Result<Option<Pointwise>> {
    let name = "activation_function";
    let given = config
        .text(name)?
        .unwrap_or("torch.nn.modules.activation.Tanh");
    let function = match given.rsplit('.').next().unwrap_or_default() {
        _ if !given.starts_with("torch.nn.") => None,
        "Identity" => return Ok(None),
        "Tanh" => Some(Pointwise::Tanh),
        "ReLU" => Some(Pointwise::Relu),
        "ReLU6" => Some(Pointwise::Relu6),
        "GELU" => Some(Pointwise::Gelu),
        "SiLU" => Some(Pointwise::Silu),
        "Sigmoid" => Some(Pointwise::Sigmoid),
        _ => None,
    };
    let unknown = || {
        let file = config.file();
        Error::Unsupported(format!("{file}: {name} \"{given}\" is not supported"))
    };
    function.map(Some).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::write_file;

    fn read(content: &str) -> Result<Option<Modules>> {
        let directory = tempfile::tempdir().unwrap();
        let file = write_file(directory.path(), MODULES_FILE, content.as_bytes()).unwrap();
        Modules::read(&Files::new(directory.path(), vec![file]))
    }

    #[test]
    fn folders_are_beside_the_list() {
        let folders_of = |paths: [&str; 2]| {
            let directory = tempfile::tempdir().unwrap();
            let entries = paths.map(|path| serde_json::json!({"path": path, "type": "X"}));
            let content = serde_json::Value::from_iter(entries).to_string();
            let file = write_file(directory.path(), MODULES_FILE, content.as_bytes()).unwrap();
            folders(&Files::new(directory.path(), vec![file])).map_err(|error| error.to_string())
        };
        assert_eq!(folders_of(["", "1_Pooling"]), Ok(vec!["1_Pooling".into()]));
        let error = folders_of(["", "a/b"]).unwrap_err();
        assert!(error.contains("names the folder \"a/b\""), "{error}");
    }

    fn list(kinds: &[&str]) -> String {
        let entries = kinds.iter().enumerate().map(|(at, kind)| {
            serde_json::json!({"idx": at, "name": at.to_string(), "path": format!("{at}_X"), "type": kind})
        });
        serde_json::Value::from_iter(entries).to_string()
    }

    #[test]
    fn parts_are_known_by_their_classes() {
        let of = |names: &[&str]| {
            let names: Vec<String> = names
                .iter()
                .map(|name| format!("sentence_transformers.models.{name}"))
                .collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            read(&list(&names))
        };
        assert!(
            of(&["Transformer", "Pooling", "Normalize"])
                .unwrap()
                .unwrap()
                .has_pooling()
        );
        assert!(!of(&["Transformer"]).unwrap().unwrap().has_pooling());
        for (names, expected) in [
            (
                &["Transformer", "LSTM"][..],
                "sentence_transformers.models.LSTM is not supported",
            ),
            (
                &["Pooling", "Transformer"],
                "the transformer is not the first module",
            ),
        ] {
            let error = of(names).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let own = read(&list(&["custom.Transformer"]))
            .unwrap_err()
            .to_string();
        assert!(own.contains("the module custom.Transformer is not supported"));
        assert!(
            read("{}")
                .unwrap_err()
                .to_string()
                .starts_with("modules.json: ")
        );
        assert!(
            read("[]")
                .unwrap_err()
                .to_string()
                .contains("lists 0 modules")
        );
    }
}
