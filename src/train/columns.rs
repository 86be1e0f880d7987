//! Selection of features, targets and split column among the columns of a training query.

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{DFSchema, DataFusionError};
use vatic_ml::data::columns::{Column, Columns, FeatureKind};
use vatic_ml::data::targets::TargetKind;
use vatic_ml::data::types::{canonical_type, type_name};
use vatic_ml::model::network::ModelType;
use vatic_ml::model::options::{DataSplit, TrainOptions};
use vatic_ml::train::losses::check_weights;

use super::base::{BaseModel, Bound};
use crate::error::{Result, SqlState, ml_err, sql_err, with_cause};
use crate::sql::TrainModel;

/// The label column if the statement has no TARGET.
const DEFAULT_TARGET: &str = "label";

/// The features and the targets of the query, and the column indices of features, targets and split column, in this order. Those
/// of a training with a base model have the order, the names and the types of the base.
pub(crate) fn training_columns(
    statement: &TrainModel,
    options: &TrainOptions,
    model_type: &dyn ModelType,
    schema: &DFSchema,
    base: Option<&BaseModel>,
) -> Result<(Columns, Vec<usize>)> {
    check_names(schema)?;
    let targets = target_positions(statement, schema)?;
    let split = match &options.data_split {
        DataSplit::Column { name } => Some(split_position(schema, name)?),
        DataSplit::Hash { .. } | DataSplit::None => None,
    };
    let features: Vec<usize> = (0..schema.fields().len())
        .filter(|index| !targets.contains(index) && Some(*index) != split)
        .collect();
    let column = |index: &usize| {
        let field = schema.field(*index);
        Column {
            name: field.name().clone(),
            data_type: canonical_type(field.data_type()),
        }
    };
    let Bound {
        features,
        targets,
        columns,
    } = match base.filter(|base| !base.is_text()) {
        Some(base) => base.bind(schema, &features, &targets)?,
        None => Bound {
            columns: Columns {
                features: features.iter().map(column).collect(),
                targets: targets.iter().map(column).collect(),
            },
            features,
            targets,
        },
    };
    if features.is_empty() {
        return Err(no_features(&columns.targets));
    }
    let mut has_image = false;
    for Column { name, data_type } in &columns.features {
        let kind = FeatureKind::of(name, data_type).map_err(ml_err)?;
        if kind == FeatureKind::Image && !model_type.takes_images() {
            return Err(no_image(name, data_type, model_type));
        }
        has_image |= kind == FeatureKind::Image;
    }
    if !has_image {
        refuse_image_options(statement)?;
    }
    let predictor = model_type.predictor(options);
    let kinds = predictor.kinds(&columns.targets).map_err(ml_err)?;
    check_weights(&columns.targets, &kinds, options).map_err(ml_err)?;
    check_outputs(&columns.targets, &kinds)?;
    model_type
        .check_columns(&columns, options)
        .map_err(ml_err)?;
    let indices = features.into_iter().chain(targets).chain(split);
    Ok((columns, indices.collect()))
}

/// The columns that TARGET names.
fn target_positions(statement: &TrainModel, schema: &DFSchema) -> Result<Vec<usize>> {
    let names: Vec<&str> = match statement.targets.as_slice() {
        [] => vec![DEFAULT_TARGET],
        names => names.iter().map(String::as_str).collect(),
    };
    let mut positions = Vec::with_capacity(names.len());
    for target in names {
        let label = position(schema, target).ok_or_else(|| {
            let names = schema.fields().iter().map(|field| field.name().as_str());
            let hint = if statement.targets.is_empty() {
                "; name the label with TARGET"
            } else {
                ""
            };
            let what = format!("the training query has no column \"{target}\" for the label{hint}");
            sql_err(SqlState::MissingColumn, with_cause(what, target, names))
        })?;
        if positions.contains(&label) {
            let message = format!("TARGET names column \"{target}\" twice; keep one of them");
            return Err(sql_err(SqlState::DuplicateName, message));
        }
        positions.push(label);
    }
    Ok(positions)
}

/// The error for a query of which all columns are targets.
fn no_features(targets: &[Column]) -> DataFusionError {
    let names: Vec<String> = targets
        .iter()
        .map(|target| format!("\"{}\"", target.name))
        .collect();
    let labels = match names.len() {
        1 => "label",
        _ => "labels",
    };
    let message = format!(
        "the training query has no columns besides the {labels} {}",
        names.join(", ")
    );
    sql_err(SqlState::MissingColumn, message)
}

/// Refuses targets for which a model would have two outputs of one name.
fn check_outputs(targets: &[Column], kinds: &[TargetKind]) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    for (Column { name, .. }, kind) in targets.iter().zip(kinds) {
        let probabilities = match kind {
            TargetKind::Class | TargetKind::Set => Some(format!("{name}_probs")),
            TargetKind::Number | TargetKind::Vector => None,
        };
        for output in std::iter::once(name.clone()).chain(probabilities) {
            if !seen.insert(output.to_lowercase()) {
                let message = format!(
                    "the model would have two outputs \"predicted_{output}\"; rename a label in the query"
                );
                return Err(sql_err(SqlState::DuplicateName, message));
            }
        }
    }
    Ok(())
}

/// The options that only images need.
const IMAGE_OPTIONS: [&str; 4] = ["image_resize", "image_filter", "image_mean", "image_std"];

/// Refuses options of images in a training without images.
fn refuse_image_options(statement: &TrainModel) -> Result<()> {
    let mut given = statement.options.iter().map(|(name, _)| name.as_str());
    let Some(name) = given.find(|name| IMAGE_OPTIONS.contains(name)) else {
        return Ok(());
    };
    let message = format!(
        "option \"{name}\" has no effect on this training: it needs a column of images, and the query has none; leave it out"
    );
    Err(sql_err(SqlState::InvalidParameter, message))
}

/// The error for images that the model type does not take.
fn no_image(name: &str, data_type: &DataType, model_type: &dyn ModelType) -> DataFusionError {
    let message = format!(
        "column \"{name}\" is {}, which cannot be a feature of a {} model; for images use model type sequential, \
         cnn_classifier or cnn_regressor, else leave it out",
        type_name(data_type),
        model_type.name()
    );
    sql_err(SqlState::Unsupported, message)
}

/// Refuses columns whose names differ only in case: features are matched by name, without regard to case.
fn check_names(schema: &DFSchema) -> Result<()> {
    let mut seen = std::collections::HashMap::new();
    for field in schema.fields() {
        if let Some(other) = seen.insert(field.name().to_lowercase(), field.name()) {
            let message = format!(
                "the training query has columns \"{other}\" and \"{}\", but feature names must differ in more than case; rename one",
                field.name()
            );
            return Err(sql_err(SqlState::DuplicateName, message));
        }
    }
    Ok(())
}

fn position(schema: &DFSchema, name: &str) -> Option<usize> {
    let fields = schema.fields();
    let exact = fields.iter().position(|field| field.name() == name);
    exact.or_else(|| {
        fields
            .iter()
            .position(|field| field.name().eq_ignore_ascii_case(name))
    })
}

fn split_position(schema: &DFSchema, name: &str) -> Result<usize> {
    let index = position(schema, name).ok_or_else(|| {
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let what = format!("the training query has no column \"{name}\" for data_split_col");
        sql_err(SqlState::MissingColumn, with_cause(what, name, names))
    })?;
    match schema.field(index).data_type() {
        DataType::Boolean => Ok(index),
        other => {
            let message = format!(
                "data_split_col \"{name}\" is {}; expected a boolean",
                type_name(other)
            );
            Err(sql_err(SqlState::TypeMismatch, message))
        }
    }
}

pub(super) fn route_columns(
    columns: &Columns,
    options: &TrainOptions,
    indices: &[usize],
    schema: &DFSchema,
) -> Vec<(usize, Field)> {
    let known = columns.features.iter().chain(&columns.targets);
    let known = known.map(|column| {
        let pixels = options.pixels_type(&column.data_type);
        let data_type = pixels.unwrap_or_else(|| column.data_type.clone());
        (column.name.clone(), data_type)
    });
    let split = columns.features.len() + columns.targets.len();
    let split = indices.get(split).map(|&index| {
        let field = schema.field(index);
        (field.name().clone(), field.data_type().clone())
    });
    let columns = known.chain(split).zip(indices);
    columns
        .map(|((name, data_type), &index)| (index, Field::new(name, data_type, true)))
        .collect()
}
