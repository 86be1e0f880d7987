//! [`BaseModel`]: the model of the option `base_model`, from whose weights a training starts.
//!
//! What the options do not say about the network comes from the base, and what they say must agree with it. Columns are
//! found by name. `vatic_ml::train::base` does the rest on the ranks.

use std::fmt::Debug;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, DataFusionError};
use vatic_ml::data::columns::{Column, Columns};
use vatic_ml::data::types::{is_image, is_lossless, type_name};
use vatic_ml::device::DeviceName;
use vatic_ml::model::Model;
use vatic_ml::model::network::ModelType;
use vatic_ml::model::options::{BaseModel as BaseVersion, Feedback, TrainOptions};
use vatic_ml::model::trained::ModelConfig;
use vatic_ml::train::base::base_config;

use super::option_values::text;
use crate::error::{Result, SqlState, ml_err, sql_err};
use crate::model::runtime::{LoadedModel, ModelRuntime};
use crate::model::{ModelRef, ResolvedModel};
use crate::plan::features::cast_advice;
use crate::sql::OptionValue;

/// The name of the option.
pub(super) const BASE_MODEL: &str = "base_model";

/// The model that the options of a statement name as the base, if they name one.
pub(crate) fn base_reference(options: &[(String, OptionValue)]) -> Result<Option<ModelRef>> {
    let given = options.iter().find(|(name, _)| name == BASE_MODEL);
    let reference = given.map(|(name, value)| Ok(ModelRef::parse(text(name, value)?)?));
    reference.transpose()
}

/// The options with the version that `base_model` means now, as statements store them.
pub(crate) fn with_version(
    options: &[(String, OptionValue)],
    base: &BaseModel,
) -> Vec<(String, OptionValue)> {
    let pinned = |(name, value): &(String, OptionValue)| {
        let value = match name == BASE_MODEL {
            true => OptionValue::Text(base.label()),
            false => value.clone(),
        };
        (name.clone(), value)
    };
    options.iter().map(pinned).collect()
}

/// A version on the host, from which a training starts.
#[derive(Debug)]
pub(crate) struct BaseModel {
    pub(crate) version: ResolvedModel,
    loaded: Arc<LoadedModel>,
}

impl BaseModel {
    /// Loads the version, or takes it from the cache.
    ///
    /// # Errors
    /// If TRAIN did not make the model.
    pub(crate) async fn load(
        runtime: &Arc<ModelRuntime>,
        version: ResolvedModel,
        cache_bytes: usize,
    ) -> Result<Self> {
        let loading = runtime.load(&version, DeviceName::Cpu, None, cache_bytes);
        let (loaded, _) = loading.await?;
        let base = Self { version, loaded };
        if !base.is_text() {
            base.config()?;
        }
        Ok(base)
    }

    /// Whether it is an encoder of texts, on which networks are put.
    pub(super) fn is_text(&self) -> bool {
        self.loaded.text_base().is_some()
    }

    /// `name@version`
    pub(crate) fn label(&self) -> String {
        self.version.label()
    }

    /// The model, which counts as used as long as this base lives.
    pub(super) fn model(&self) -> Arc<dyn Model> {
        self.loaded.shared()
    }

    fn config(&self) -> Result<&ModelConfig> {
        base_config(&**self.loaded, &self.label()).map_err(ml_err)
    }

    /// The options of a training before the statement's own: those of the network are those of the base.
    pub(super) fn inherited(&self) -> Result<TrainOptions> {
        let base_model = Some(BaseVersion {
            model: self.label(),
            sha256: self.version.sha256.clone(),
        });
        if self.is_text() {
            return Ok(TrainOptions {
                base_model,
                ..TrainOptions::default()
            });
        }
        let base = &self.config()?.options;
        Ok(TrainOptions {
            model_type: base.model_type.clone(),
            hidden_units: base.hidden_units.clone(),
            layers: base.layers.clone(),
            input_shape: base.input_shape.clone(),
            image: base.image.clone(),
            augment: base.augment.clone(),
            activation: base.activation,
            dropout: base.dropout,
            loss: base.loss,
            label_smoothing: base.label_smoothing,
            focal_gamma: base.focal_gamma,
            huber_delta: base.huber_delta,
            quantile: base.quantile,
            hash_buckets: base.hash_buckets,
            user_cols: base.user_cols.clone(),
            item_cols: base.item_cols.clone(),
            num_factors: base.num_factors,
            feedback: base.feedback,
            wals_alpha: base.wals_alpha,
            base_model,
            ..TrainOptions::default()
        })
    }

    /// Refuses a model type that does not start from such a base.
    pub(super) fn check_type(&self, model_type: &dyn ModelType) -> Result<()> {
        let (label, name) = (self.label(), model_type.name());
        let message = match (self.is_text(), model_type.takes_texts()) {
            (true, true) | (false, false) => return Ok(()),
            (true, false) => format!(
                "base model \"{label}\" encodes texts, and model type {name} takes none; use text_classifier or text_regressor"
            ),
            (false, true) => format!(
                "base model \"{label}\" encodes no texts; model type {name} needs an encoder of texts, such as CREATE MODEL … FROM opens"
            ),
        };
        Err(sql_err(SqlState::InvalidParameter, message))
    }

    /// Refuses options that would make another network than that of the base.
    pub(super) fn check(&self, options: &TrainOptions) -> Result<()> {
        if self.is_text() {
            return Ok(());
        }
        let base = &self.config()?.options;
        let (user_columns, item_columns) = match base.model_type.as_str() {
            "two_tower" => ("user_cols", "item_cols"),
            _ => ("user_col", "item_col"),
        };
        let differing = [
            of("model_type", &options.model_type, &base.model_type),
            of("hidden_units", &options.hidden_units, &base.hidden_units),
            of("layers", &options.layers, &base.layers),
            of("input_shape", &options.input_shape, &base.input_shape),
            of(
                "activation",
                &options.activation.name(),
                &base.activation.name(),
            ),
            of(
                "image_resize",
                &options.image.resize.name(),
                &base.image.resize.name(),
            ),
            of(
                "image_filter",
                &options.image.filter.to_string(),
                &base.image.filter.to_string(),
            ),
            of("image_mean", &options.image.mean, &base.image.mean),
            of("image_std", &options.image.std, &base.image.std),
            of(user_columns, &options.user_columns(), &base.user_columns()),
            of(item_columns, &options.item_columns(), &base.item_columns()),
            of("num_factors", &options.factors(), &base.factors()),
            of(
                "feedback_type",
                &feedback_name(options),
                &feedback_name(base),
            ),
        ];
        let Some((name, ours, theirs)) = differing.into_iter().flatten().next() else {
            return Ok(());
        };
        let message = format!(
            "{name} = {ours} differs from that of base model \"{}\", which is {theirs}; leave {name} out",
            self.label()
        );
        Err(sql_err(SqlState::InvalidParameter, message))
    }

    /// The columns of the query that are the features and the targets of the base, in its order, with its names and types.
    pub(super) fn bind(
        &self,
        schema: &DFSchema,
        features: &[usize],
        targets: &[usize],
    ) -> Result<Bound> {
        let known = &self.config()?.columns;
        let features = self.find(schema, features, &known.features, "column")?;
        let targets = self.find(schema, targets, &known.targets, "label")?;
        Ok(Bound {
            features,
            targets,
            columns: known.clone(),
        })
    }

    /// The positions of these columns of the base among those of the query.
    fn find(
        &self,
        schema: &DFSchema,
        found: &[usize],
        known: &[Column],
        what: &str,
    ) -> Result<Vec<usize>> {
        let name = |position: usize| schema.field(position).name().as_str();
        let is =
            |position: usize, column: &Column| name(position).eq_ignore_ascii_case(&column.name);
        let strange = |position: &&usize| !known.iter().any(|column| is(**position, column));
        let strange: Vec<&str> = found.iter().filter(strange).map(|at| name(*at)).collect();
        let position = |column: &Column| found.iter().copied().find(|at| is(*at, column));
        let missing = known.iter().filter(|column| position(column).is_none());
        let missing: Vec<&str> = missing.map(|column| column.name.as_str()).collect();
        if !missing.is_empty() || !strange.is_empty() {
            return Err(self.other_columns(what, &missing, &strange));
        }
        let misfits = known.iter().filter_map(|column| {
            let data_type = schema.field(position(column)?).data_type();
            let fits = is_lossless(data_type, &column.data_type)
                || (is_image(data_type) && is_image(&column.data_type));
            (!fits).then(|| self.misfit(what, column, data_type))
        });
        let misfits: Vec<String> = misfits.collect();
        match misfits.is_empty() {
            true => Ok(known.iter().filter_map(position).collect()),
            false => Err(sql_err(SqlState::TypeMismatch, misfits.join("; "))),
        }
    }

    fn misfit(&self, what: &str, column: &Column, found: &DataType) -> String {
        let Column { name, data_type } = column;
        format!(
            "{what} \"{name}\" is {}, base model \"{}\" has {}; use {}",
            type_name(found),
            self.label(),
            type_name(data_type),
            cast_advice(name, found, data_type)
        )
    }

    fn other_columns(&self, what: &str, missing: &[&str], strange: &[&str]) -> DataFusionError {
        let quoted = |names: &[&str]| {
            let names = names.iter().map(|name| format!("\"{name}\""));
            names.collect::<Vec<_>>().join(", ")
        };
        let label = self.label();
        let problem = match (missing, strange) {
            (missing, []) => format!("lacks {}", quoted(missing)),
            ([], strange) => format!("has {} besides", quoted(strange)),
            (missing, strange) => {
                format!(
                    "lacks {} and has {} instead",
                    quoted(missing),
                    quoted(strange)
                )
            }
        };
        let message = format!(
            "base model \"{label}\" needs the same {what}s as in its training, and this training {problem}"
        );
        sql_err(SqlState::MissingColumn, message)
    }
}

/// The columns of a query that a training with a base takes.
pub(super) struct Bound {
    /// The position of each feature in the query.
    pub(super) features: Vec<usize>,
    /// The position of each target in the query.
    pub(super) targets: Vec<usize>,
    pub(super) columns: Columns,
}

fn feedback_name(options: &TrainOptions) -> &'static str {
    options.feedback.unwrap_or(Feedback::Explicit).name()
}

/// The name of an option and both values, if they differ.
fn of<T: PartialEq + Debug>(
    name: &'static str,
    ours: &T,
    theirs: &T,
) -> Option<(&'static str, String, String)> {
    (ours != theirs).then(|| (name, format!("{ours:?}"), format!("{theirs:?}")))
}
