//! The formats of models that this build opens.
//!
//! * `onnx` files in ONNX, on tract or on a library of onnxruntime, if the build has the feature of this name
//! * `gguf` files in GGUF, which have a model with its tokenizer

mod gguf;
mod onnx;

use std::path::PathBuf;
use std::sync::Arc;

use crate::artifact::{Loader, TrainedLoader};
use crate::models::ModelTypes;
use crate::pretrained::{PretrainedLoader, TextPairLoader, TextTowerLoader};

pub use gguf::{GGUF, GgufLoader};
pub use onnx::{ONNX, ONNXRUNTIME, OnnxLoader, OnnxRuntimeLoader};

/// A loader for each format, for models of these types. The first loader that takes the files of a model opens it. `onnxruntime` is the
/// path of the library for models that ask for it.
pub fn loaders(model_types: Arc<ModelTypes>, onnxruntime: Option<PathBuf>) -> Vec<Arc<dyn Loader>> {
    vec![
        Arc::new(TrainedLoader::new(model_types).with_texts(Arc::new(PretrainedLoader))),
        Arc::new(OnnxLoader),
        Arc::new(OnnxRuntimeLoader::new(onnxruntime)),
        Arc::new(PretrainedLoader),
        Arc::new(TextTowerLoader),
        Arc::new(TextPairLoader),
        Arc::new(GgufLoader),
    ]
}

/// Whether models of a format compute on the processor, whatever device they are asked for.
pub fn is_for_processor(format: &str) -> bool {
    [ONNX, ONNXRUNTIME].contains(&format)
}
