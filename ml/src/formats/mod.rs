//! The formats of models that this build opens.
//!
//! * `onnx` files in ONNX, if the build has the feature of this name
//! * `gguf` files in GGUF, which have a model with its tokenizer

mod gguf;
mod onnx;

use std::sync::Arc;

use crate::artifact::{Loader, TrainedLoader};
use crate::models::ModelTypes;
use crate::pretrained::{PretrainedLoader, TextTowerLoader};

pub use gguf::{GGUF, GgufLoader};
pub use onnx::{ONNX, OnnxLoader};

/// A loader for each format, for models of these types. The first loader that takes the files of a model opens it.
pub fn loaders(model_types: Arc<ModelTypes>) -> Vec<Arc<dyn Loader>> {
    vec![
        Arc::new(TrainedLoader::new(model_types)),
        Arc::new(OnnxLoader),
        Arc::new(PretrainedLoader),
        Arc::new(TextTowerLoader),
        Arc::new(GgufLoader),
    ]
}
