//! [`RecommendNode`]: logical node of `recommend`. Its columns are those of the users, those of the items, `rank` and `score`.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use vatic_ml::model::recommender::Sides;

use crate::error::{Result, SqlState, sql_err};
use crate::model::ResolvedModel;
use crate::plan::chance::without_new_columns;
use crate::plan::features::bind_inputs;
use crate::plan::logical_nodes::equal_by_key;

/// The columns behind those of users and items.
const RANK: &str = "rank";
const SCORE: &str = "score";

/// The best items of each user.
#[derive(Debug, Clone)]
pub(crate) struct RecommendNode {
    pub(super) model: Arc<ResolvedModel>,
    pub(super) users: LogicalPlan,
    pub(super) items: Option<LogicalPlan>,
    pub(super) top_k: usize,
    /// The column of the candidates that the last column of the users lists, if items are excluded.
    pub(super) excluded_by: Option<usize>,
    /// The columns of the users that the model reads.
    pub(super) user_columns: Vec<usize>,
    /// The columns of the items that the model reads; empty if the model lists the items.
    pub(super) item_columns: Vec<usize>,
    schema: DFSchemaRef,
}

/// The columns of users and items of a model that recommends.
pub(super) fn sides(model: &ResolvedModel) -> Result<&Sides> {
    model.manifest.sides.as_ref().ok_or_else(|| {
        let message = format!(
            "model \"{}\" is a {}, which recommends nothing; recommend takes models of type matrix_factorization and two_tower",
            model.label(),
            model.manifest.model_type()
        );
        sql_err(SqlState::InvalidParameter, message)
    })
}

/// The users and the items among the inputs of the node or of its operator.
pub(super) fn users_and_items<T>(inputs: impl IntoIterator<Item = T>) -> Result<(T, Option<T>)> {
    let mut inputs = inputs.into_iter();
    match (inputs.next(), inputs.next(), inputs.next()) {
        (Some(users), items, None) => Ok((users, items)),
        _ => {
            let message = "recommend has an input of users, and may have one of items";
            Err(sql_err(SqlState::Internal, message))
        }
    }
}

/// How many columns of the users are in the result: all, without the last one if it lists excluded items.
pub(super) fn shown(columns: usize, excluded_by: Option<usize>) -> usize {
    columns - usize::from(excluded_by.is_some())
}

/// The columns of the items among which to choose: those of the query with this schema, or the only column of a model that lists its
/// items.
pub(super) fn candidate_fields(
    model: &ResolvedModel,
    items: Option<&Schema>,
) -> Result<Vec<Field>> {
    let nullable = |field: &FieldRef| field.as_ref().clone().with_nullable(true);
    match items {
        Some(items) => Ok(items.fields().iter().map(nullable).collect()),
        None => {
            let ports = &model.manifest.signature.inputs;
            let of_items = sides(model)?.items.iter().map(|at| &ports[*at]);
            let fields = of_items.map(|port| Field::new(&port.name, port.data_type.clone(), true));
            Ok(fields.collect())
        }
    }
}

/// The fields behind those of the users.
pub(super) fn added_fields(candidates: Vec<Field>) -> Vec<FieldRef> {
    let own = [
        Field::new(RANK, DataType::Int64, true),
        Field::new(SCORE, DataType::Float64, true),
    ];
    candidates.into_iter().chain(own).map(Arc::new).collect()
}

impl RecommendNode {
    pub(super) fn try_new(
        model: Arc<ResolvedModel>,
        users: LogicalPlan,
        items: Option<LogicalPlan>,
        top_k: usize,
        excluded_by: Option<usize>,
    ) -> Result<Self> {
        let sides = sides(&model)?;
        let user_columns = bind_inputs(&model, &sides.users, users.schema())?;
        let item_columns = match &items {
            Some(items) => bind_inputs(&model, &sides.items, items.schema())?,
            None => vec![],
        };
        let shown = shown(users.schema().fields().len(), excluded_by);
        let of_users = users.schema().iter().take(shown);
        let mut fields: Vec<_> = of_users
            .map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field)))
            .collect();
        let candidates = items.as_ref().map(|items| items.schema().as_arrow());
        for field in added_fields(candidate_fields(&model, candidates)?) {
            if fields.iter().any(|(_, known)| known.name() == field.name()) {
                let name = field.name();
                let message = format!(
                    "the result of recommend would have two columns \"{name}\"; rename the one of the users or of the items: SELECT {name} \
                     AS another_name"
                );
                return Err(sql_err(SqlState::DuplicateName, message));
            }
            fields.push((None, field));
        }
        let schema = Arc::new(DFSchema::new_with_metadata(fields, Default::default())?);
        Ok(Self {
            model,
            users,
            items,
            top_k,
            excluded_by,
            user_columns,
            item_columns,
            schema,
        })
    }

    /// The model and its arguments, as EXPLAIN shows them.
    pub(super) fn describe(&self) -> String {
        let of = match &self.items {
            Some(_) => "items of a query",
            None => "items of the training",
        };
        let excluded = match self.excluded_by {
            Some(_) => ", with excluded items",
            None => "",
        };
        format!(
            "model={} ({}), top_k={}, {of}{excluded}",
            self.model.label(),
            &self.model.sha256[..12],
            self.top_k
        )
    }

    fn key(
        &self,
    ) -> (
        &str,
        &LogicalPlan,
        Option<&LogicalPlan>,
        usize,
        Option<usize>,
    ) {
        (
            &self.model.sha256,
            &self.users,
            self.items.as_ref(),
            self.top_k,
            self.excluded_by,
        )
    }
}

impl UserDefinedLogicalNodeCore for RecommendNode {
    fn name(&self) -> &str {
        "Recommend"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        std::iter::once(&self.users).chain(&self.items).collect()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    /// A filter on columns of the users may move below the node, if there is no second input that it would move to as well.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let kept = match self.items {
            Some(_) => 0,
            None => shown(self.users.schema().fields().len(), self.excluded_by),
        };
        let fields = self.schema.fields().iter().skip(kept);
        fields.map(|field| field.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recommend: {}", self.describe())
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        // The places of columns have a meaning, so an optimizer rule may add none.
        let (users, items) = users_and_items(inputs)?;
        let users = without_new_columns(users, self.users.schema())?;
        let items = items.zip(self.items.as_ref());
        let items = items.map(|(items, known)| without_new_columns(items, known.schema()));
        Self::try_new(
            Arc::clone(&self.model),
            users,
            items.transpose()?,
            self.top_k,
            self.excluded_by,
        )
    }
}

equal_by_key!(RecommendNode);
