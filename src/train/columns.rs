//! Selection of features, label and split column among the columns of a training query.

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::DFSchema;
use vatic_ml::data::columns::{Column, Columns, FeatureKind};
use vatic_ml::data::types::{canonical_type, type_name};
use vatic_ml::model::network::ModelType;
use vatic_ml::model::options::{DataSplit, TrainOptions};
use vatic_ml::train::losses::check_weights;

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
    for &index in &features {
        let Column { name, data_type } = column(index);
        FeatureKind::of(&name, &data_type).map_err(ml_err)?;
    }
    let columns = Columns {
        features: features.iter().map(|&index| column(index)).collect(),
        targets: vec![column(label)],
    };
    let targets = &columns.targets;
    let kinds = model_type.predictor(options).kinds(targets);
    check_weights(targets, &kinds.map_err(ml_err)?, options).map_err(ml_err)?;
    model_type
        .check_columns(&columns, options)
        .map_err(ml_err)?;
    Ok((
        columns,
        features.into_iter().chain([label]).chain(split).collect(),
    ))
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
    indices: &[usize],
    schema: &DFSchema,
) -> Vec<(usize, Field)> {
    let known = columns.features.iter().chain(&columns.targets);
    let known = known.map(|column| (column.name.clone(), column.data_type.clone()));
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
