//! [`RecommendSpec`]: what the operator computes, as decided at planning.

use std::sync::Arc;

use datafusion::arrow::datatypes::Fields;
use vatic_ml::model::recommender::{Sides, Vectors};

use super::node::{shown, sides};
use crate::error::{Result, SqlState, sql_err};
use crate::model::ResolvedModel;

/// What to compute.
#[derive(Debug, Clone)]
pub(super) struct RecommendSpec {
    pub(super) model: Arc<ResolvedModel>,
    pub(super) top_k: usize,
    /// The column of the candidates that the last column of the users lists, if items are excluded.
    pub(super) excluded_by: Option<usize>,
    pub(super) user_columns: Vec<usize>,
    pub(super) item_columns: Vec<usize>,
    pub(super) description: String,
}

impl RecommendSpec {
    pub(super) fn sides(&self) -> Result<&Sides> {
        sides(&self.model)
    }

    /// How many columns of the users are in the result.
    pub(super) fn shown(&self, users: &Fields) -> usize {
        shown(users.len(), self.excluded_by)
    }

    /// Refuses rows that cannot be encoded.
    pub(super) fn check(&self, vectors: &Vectors, what: &str) -> Result<()> {
        match &vectors.failure {
            None => Ok(()),
            Some(cause) => {
                let label = self.model.label();
                let message = format!("model \"{label}\" cannot use {what}: {cause}");
                Err(sql_err(SqlState::InvalidParameter, message))
            }
        }
    }
}
