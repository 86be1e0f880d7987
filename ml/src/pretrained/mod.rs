//! Models that were trained elsewhere, in directories as Hugging Face and timm write them.
//!
//! ```text
//! config.json ─ family ─▶ layers with their tensors of model.safetensors ─▶ Model
//! preprocessor_config.json, pretrained_cfg ─▶ Preprocess
//! ```
//! `config.json` names the architecture; [`families`] lists the architectures of each family. The numbers of a description are
//! checked against limits, and each tensor against the shape that the description asks for, so that neither fills the memory.
//! Nothing in the files is executed: weights in a pickle are refused.
//!
//! * `config` JSON with limits; `weights` tensors by name; `loader` the loaders of both
//! * `family` what a family is, `families` the list of all
//! * `preprocess` images → numbers, as `image_processor` (Hugging Face) or `timm_transform` reads it from the files
//! * `image_model` a network of images as a model; `classes` its classes
//! * `texts` texts → tokens, and encoders of them, a folder
//! * `generation` models that write text, a folder
//! * `text_model` a network of texts as a model; `vectors` the output of both
//! * `text_rows` the texts of a batch, for models that take one column of them
//! * `layers` layers with their tensors; `builder` takes them from weights, batch normalisation as a part of the convolution before
//!   it; `row_numbers` the numbers of a row in its layers; `transformer` a layer of a transformer
//! * `resnet`, `mobilenet`, `efficientnet` (both of blocks of `inverted_residual`), `convnext`, `vit` families of images, a file each
//! * `clip`, `siglip` families of images and texts; `towers` what both share
//!
//! To add a family, write a file with a `Family`, append it to the list, and compare its outputs with the library that made it:
//! `tests/it/fixtures/vision.py` makes small models of random weights with their outputs.

mod builder;
mod classes;
mod clip;
mod config;
mod convnext;
mod efficientnet;
pub mod families;
mod family;
mod generation;
mod image_model;
mod image_processor;
mod inverted_residual;
mod layers;
mod loader;
mod mobilenet;
mod preprocess;
mod resnet;
mod row_numbers;
mod siglip;
mod text_model;
mod text_rows;
mod texts;
mod timm_transform;
mod towers;
mod transformer;
mod vectors;
mod vit;
mod weights;

pub(crate) use generation::open_gguf;
pub use loader::{
    HUGGING_FACE, HUGGING_FACE_PAIR, HUGGING_FACE_TEXT, PretrainedLoader, TextPairLoader,
    TextTowerLoader,
};
pub use texts::tasks::ports_for;
