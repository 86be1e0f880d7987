//! Selection of features, label and split column among the columns of a training query.

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{DFSchema, DataFusionError};
use vatic_ml::data::columns::{Column, Columns, FeatureKind};
use vatic_ml::data::labels::check_label_type;
use vatic_ml::data::types::{canonical_type, type_name};
use vatic_ml::model::network::ModelType;
use vatic_ml::model::options::{DataSplit, TrainOptions};

use crate::error::{Result, SqlState, ml_err, sql_err, with_cause};
use crate::sql::TrainModel;

/// The label column if the statement has no TARGET.
const DEFAULT_TARGET: &str = "label";

/// The features and the label of the query, and the column indices of features, label and split column, in this order.
pub(crate) fn training_columns(
    statement: &TrainModel,
    options: &TrainOptions,
    model_type: &dyn ModelType,
    schema: &DFSchema,
) -> Result<(Columns, Vec<usize>)> {
    check_names(schema)?;
    let target = statement.target.as_deref().unwrap_or(DEFAULT_TARGET);
    let label = position(schema, target).ok_or_else(|| {
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let hint = if statement.target.is_none() {
            "; name the label with TARGET"
        } else {
            ""
        };
        let what = format!("the training query has no column \"{target}\" for the label{hint}");
        sql_err(SqlState::MissingColumn, with_cause(what, target, names))
    })?;
    let split = match &options.data_split {
        DataSplit::Column { name } => Some(split_position(schema, name)?),
        DataSplit::Hash { .. } | DataSplit::None => None,
    };
    let features: Vec<usize> = (0..schema.fields().len())
        .filter(|&index| index != label && Some(index) != split)
        .collect();
    if features.is_empty() {
        let message = format!("the training query has no columns besides the label \"{target}\"");
        return Err(sql_err(SqlState::MissingColumn, message));
    }
    let column = |index: usize| {
        let field = schema.field(index);
        Column {
            name: field.name().clone(),
            data_type: canonical_type(field.data_type()),
        }
    };
    let mut has_image = false;
    for &index in &features {
        let Column { name, data_type } = column(index);
        let kind = FeatureKind::of(&name, &data_type).map_err(ml_err)?;
        if kind == FeatureKind::Image && !model_type.takes_images() {
            return Err(no_image(&name, &data_type, model_type));
        }
        has_image |= kind == FeatureKind::Image;
    }
    if !has_image {
        refuse_image_options(statement)?;
    }
    let columns = Columns {
        features: features.iter().map(|&index| column(index)).collect(),
        target: column(label),
    };
    let (task, other_task) = (model_type.task(options), model_type.other_task(options));
    check_label_type(&columns.target, task, other_task).map_err(ml_err)?;
    model_type
        .check_columns(&columns, options)
        .map_err(ml_err)?;
    Ok((
        columns,
        features.into_iter().chain([label]).chain(split).collect(),
    ))
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
    let known = columns.features.iter().chain([&columns.target]);
    let known = known.map(|column| {
        let pixels = options.pixels_type(&column.data_type);
        let data_type = pixels.unwrap_or_else(|| column.data_type.clone());
        (column.name.clone(), data_type)
    });
    let split = indices.get(columns.features.len() + 1).map(|&index| {
        let field = schema.field(index);
        (field.name().clone(), field.data_type().clone())
    });
    let columns = known.chain(split).zip(indices);
    columns
        .map(|((name, data_type), &index)| (index, Field::new(name, data_type, true)))
        .collect()
}
