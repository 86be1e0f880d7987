//! [`Family`]: architectures that one file opens; [`Source`]: what it opens them from.

use std::sync::Arc;

use candle_core::Device;

use super::config::Config;
use crate::artifact::Files;
use crate::model::Model;
use crate::{Error, Result};

/// Opens a model.
pub(crate) type Open = fn(&Source<'_>) -> Result<Arc<dyn Model>>;

/// Architectures that one file opens.
#[derive(Debug)]
pub struct Family {
    /// What Hugging Face calls the family: `model_type` in `config.json`.
    pub model_type: &'static str,
    /// The architectures of Hugging Face: `architectures` in `config.json`.
    pub architectures: &'static [&'static str],
    /// The architectures of timm: `architecture` in `config.json`.
    pub timm: &'static [&'static str],
    /// Opens a model of images, or the tower of images of a model that has a tower of texts, too.
    pub(super) open: Open,
    /// Opens the tower of texts.
    pub(super) open_texts: Option<Open>,
}

/// What a family opens a model from.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    /// The files of the directory.
    pub(super) root: &'a Files,
    /// Those of the network: of the directory, or of one of its folders.
    pub(super) files: &'a Files,
    /// The content of `config.json`.
    pub(super) config: Config,
    pub(super) architecture: String,
    pub(super) origin: Origin,
    /// The device of the weights and of the work.
    pub(super) device: &'a Device,
}

/// The library that wrote a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    HuggingFace,
    Timm,
}

impl Source<'_> {
    /// Refuses arguments of a model of timm, except those that its weights or the code of its family show.
    ///
    /// # Errors
    /// [`Error::Unsupported`] with the first of the others.
    pub(super) fn check_arguments(&self, known: &[&str]) -> Result<()> {
        /// What every model has, and what has no effect but in training.
        const COMMON: [&str; 6] = [
            "num_classes",
            "in_chans",
            "img_size",
            "global_pool",
            "drop_rate",
            "drop_path_rate",
        ];
        let Some(arguments) = self.config.section("model_args")? else {
            return Ok(());
        };
        let is_known = |name: &&str| COMMON.contains(name) || known.contains(name);
        match arguments.names().find(|name| !is_known(name)) {
            None => Ok(()),
            Some(name) => Err(Error::Unsupported(format!(
                "{}: the argument {name} of {} in model_args is not supported",
                self.config.file(),
                self.architecture
            ))),
        }
    }

    /// How a model of timm pools features: one of `known`, the first of which is meant if nothing says it.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another way, in the arguments or beside them.
    pub(super) fn pooling(&self, known: &[&'static str]) -> Result<&'static str> {
        let field = "global_pool";
        let arguments = self.config.section_or_empty("model_args")?;
        let given = [arguments.text(field)?, self.config.text(field)?];
        let mut pooling = None;
        for way in given.into_iter().flatten() {
            let Some(found) = known.iter().copied().find(|of| *of == way) else {
                return Err(Error::Unsupported(format!(
                    "{}: {field} \"{way}\" of {} is not supported; {} is",
                    self.config.file(),
                    self.architecture,
                    known.join(" or ")
                )));
            };
            pooling = pooling.or(Some(found));
        }
        Ok(pooling.unwrap_or(known[0]))
    }
}
