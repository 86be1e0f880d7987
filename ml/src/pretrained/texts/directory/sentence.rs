//! The modules of sentence-transformers: an encoder, what makes a vector of a text, and a module for each layer behind it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::weights::{Stored, file_of};
use crate::artifact::{CONFIG_FILE, HeadLayer, WEIGHTS_FILE, corrupt};
use crate::model::options::TextPooling;
use crate::nn::Activation;
use crate::pretrained::config::JSON_BYTES_MAX;
use crate::pretrained::family::Source;
use crate::pretrained::texts::modules::MODULES_FILE;
use crate::{Error, Result};

/// The folder of a pooling that is not the encoder's own.
const POOLING_FOLDER: &str = "1_Pooling";

/// The parts up to the vector of a text.
pub(super) struct Vectors {
    /// The list of the modules, the transformer first.
    modules: Vec<Value>,
    /// The files in their folders.
    files: BTreeMap<String, Vec<u8>>,
    /// Those of the files that describe pooling.
    pooling: Map<String, Value>,
}

impl Vectors {
    /// The modules of the encoder's own directory, whose transformer is no longer in a folder.
    ///
    /// # Errors
    /// Those of [`Files::read`](crate::artifact::Files::read).
    pub(super) fn of_encoder(source: &Source<'_>) -> Result<Self> {
        let root = source.root;
        let content = root.read(MODULES_FILE, JSON_BYTES_MAX)?;
        let mut modules: Vec<Map<String, Value>> =
            serde_json::from_slice(&content).map_err(|error| corrupt(MODULES_FILE, error))?;
        if let Some(transformer) = modules.first_mut() {
            transformer.insert("path".to_owned(), json!(""));
        }
        let folders: Vec<&str> = modules.iter().map(path).collect();
        let names = root.known().iter().map(|file| file.name.as_str());
        let inside = names.filter(|name| {
            let folder = name.split_once('/').map(|(folder, _)| folder);
            folder.is_some_and(|folder| folders.contains(&folder))
        });
        let files = inside.map(|name| Ok((name.to_owned(), root.read(name, u64::MAX)?)));
        Ok(Self {
            files: files.collect::<Result<_>>()?,
            modules: modules.into_iter().map(Value::Object).collect(),
            pooling: Map::new(),
        })
    }

    /// An encoder with vectors of tokens of this width, and pooling.
    pub(super) fn pooled(
        pooling: TextPooling,
        width: usize,
        includes_prompt: bool,
    ) -> Result<Self> {
        let description = json!({
            "word_embedding_dimension": width,
            "pooling_mode_cls_token": pooling == TextPooling::Cls,
            "pooling_mode_mean_tokens": pooling == TextPooling::Mean,
            "pooling_mode_max_tokens": false,
            "pooling_mode_mean_sqrt_len_tokens": false,
            "include_prompt": includes_prompt,
        });
        let name = format!("{POOLING_FOLDER}/{CONFIG_FILE}");
        Ok(Self {
            modules: vec![
                module(0, "", "Transformer"),
                module(1, POOLING_FOLDER, "Pooling"),
            ],
            files: BTreeMap::from([(name.clone(), pretty(&description)?)]),
            pooling: Map::from_iter([(name, description)]),
        })
    }

    /// The files in JSON with which a directory with all of these modules is that of the encoder alone.
    pub(super) fn alone(&self) -> Map<String, Value> {
        let modules = Value::Array(self.modules.clone());
        Map::from_iter([(MODULES_FILE.to_owned(), modules)])
    }

    /// The same for a directory without the folders of the modules.
    pub(super) fn alone_without_folders(&self) -> Map<String, Value> {
        let mut files = self.alone();
        files.extend(self.pooling.clone());
        files
    }

    /// The list and the files of these modules with layers behind them.
    ///
    /// # Errors
    /// [`Error::Internal`].
    pub(super) fn with_layers(self, layers: &[HeadLayer]) -> Result<BTreeMap<String, Vec<u8>>> {
        let Self {
            mut modules,
            mut files,
            ..
        } = self;
        for layer in layers {
            let folder = free_folder(&modules);
            let description = json!({
                "in_features": layer.inputs(),
                "out_features": layer.outputs(),
                "bias": true,
                "activation_function": function(layer.activation),
            });
            let tensors = Stored::linear("linear", &layer.weights, &layer.biases);
            files.insert(format!("{folder}/{CONFIG_FILE}"), pretty(&description)?);
            files.insert(format!("{folder}/{WEIGHTS_FILE}"), file_of(&tensors)?);
            modules.push(module(modules.len(), &folder, "Dense"));
        }
        files.insert(MODULES_FILE.to_owned(), pretty(&Value::Array(modules))?);
        Ok(files)
    }
}

/// An entry of the list.
fn module(at: usize, path: &str, kind: &str) -> Value {
    json!({
        "idx": at,
        "name": at.to_string(),
        "path": path,
        "type": format!("sentence_transformers.models.{kind}"),
    })
}

/// The folder of a module, empty if it has none.
fn path(module: &Map<String, Value>) -> &str {
    module.get("path").and_then(Value::as_str).unwrap_or("")
}

/// A folder for a layer behind these modules.
fn free_folder(modules: &[Value]) -> String {
    let mut number = modules.len();
    loop {
        let folder = format!("{number}_Dense");
        let mut taken = modules.iter().filter_map(Value::as_object).map(path);
        if !taken.any(|path| path == folder) {
            return folder;
        }
        number += 1;
    }
}

/// The class of PyTorch of a function.
fn function(activation: Option<Activation>) -> &'static str {
    match activation {
        None => "torch.nn.modules.linear.Identity",
        Some(Activation::Relu) => "torch.nn.modules.activation.ReLU",
        Some(Activation::Gelu) => "torch.nn.modules.activation.GELU",
        Some(Activation::Silu) => "torch.nn.modules.activation.SiLU",
        Some(Activation::Tanh) => "torch.nn.modules.activation.Tanh",
        Some(Activation::Sigmoid) => "torch.nn.modules.activation.Sigmoid",
        Some(Activation::LeakyRelu) => "torch.nn.modules.activation.LeakyReLU",
    }
}

/// The content of a file in JSON.
///
/// # Errors
/// [`Error::Internal`].
pub(super) fn pretty(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(value).map_err(|error| Error::Internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_a_layer_is_its_own() {
        let modules = [
            module(0, "", "Transformer"),
            module(1, "1_Pooling", "Pooling"),
        ];
        assert_eq!(free_folder(&modules), "2_Dense");
        let modules = [module(0, "", "Transformer"), module(1, "2_Dense", "Dense")];
        assert_eq!(free_folder(&modules), "3_Dense");
    }
}
