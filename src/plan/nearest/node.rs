//! [`NearestNode`]: the logical node that finds the nearest items for each query.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::{Column, DFSchema, DFSchemaRef};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, UserDefinedLogicalNodeCore};

use super::spec::{DISTANCE, Metric, Spec, fields_beside, is_vector};
use crate::error::{Result, SqlState, sql_err};
use crate::plan::chance::without_new_columns;
use crate::plan::logical_nodes::equal_by_key;

#[derive(Debug, Clone)]
pub(crate) struct NearestNode {
    queries: LogicalPlan,
    items: LogicalPlan,
    pub(super) spec: Spec,
    schema: DFSchemaRef,
}

impl NearestNode {
    pub(super) fn try_new(
        queries: LogicalPlan,
        items: LogicalPlan,
        top_k: usize,
        metric: Metric,
    ) -> Result<Self> {
        let spec = Spec {
            top_k,
            metric,
            query_vector: vector_column("queries", queries.schema())?,
            item_vector: vector_column("items", items.schema())?,
        };
        Self::with_spec(queries, items, spec)
    }

    fn with_spec(queries: LogicalPlan, items: LogicalPlan, spec: Spec) -> Result<Self> {
        let mut fields = fields_of("queries", queries.schema(), spec.query_vector)?;
        fields.extend(fields_of("items", items.schema(), spec.item_vector)?);
        fields.push(Arc::new(Field::new(DISTANCE, DataType::Float64, false)));
        let mut names = HashSet::new();
        if let Some(twice) = fields.iter().find(|field| !names.insert(field.name())) {
            let message = format!(
                "nearest would have two columns \"{0}\"; its columns are those of the queries, those of the items and \"{DISTANCE}\": \
                 rename one of them, SELECT \"{0}\" AS …",
                twice.name()
            );
            return Err(sql_err(SqlState::DuplicateName, message));
        }
        let schema = Arc::new(DFSchema::try_from(Schema::new(fields))?);
        Ok(Self {
            queries,
            items,
            spec,
            schema,
        })
    }

    pub(crate) fn items(&self) -> &LogicalPlan {
        &self.items
    }

    /// The same search over other items of the same columns.
    pub(crate) fn with_items(&self, items: LogicalPlan) -> Result<Self> {
        Self::with_spec(self.queries.clone(), items, self.spec)
    }

    /// The column of the items that has the vectors.
    pub(crate) fn item_vector(&self) -> Column {
        Column::from(self.items.schema().qualified_field(self.spec.item_vector))
    }

    pub(crate) fn queries(&self) -> &LogicalPlan {
        &self.queries
    }

    /// The vectors of the queries, as the only column.
    pub(crate) fn query_vectors(&self) -> Result<LogicalPlan> {
        let schema = self.queries.schema();
        let vector = Column::from(schema.qualified_field(self.spec.query_vector));
        let vectors = vec![Expr::Column(vector)];
        let vectors = Projection::try_new(vectors, Arc::new(self.queries.clone()))?;
        Ok(LogicalPlan::Projection(vectors))
    }

    pub(crate) fn top_k(&self) -> usize {
        self.spec.top_k
    }

    pub(crate) fn metric(&self) -> Metric {
        self.spec.metric
    }

    fn key(&self) -> (&LogicalPlan, &LogicalPlan, Spec) {
        (&self.queries, &self.items, self.spec)
    }
}

/// The only column of vectors of an input.
fn vector_column(input: &str, schema: &DFSchema) -> Result<usize> {
    let fields = schema.fields().iter().enumerate();
    let vectors: Vec<(usize, &FieldRef)> = fields
        .filter(|(_, field)| is_vector(field.data_type()))
        .collect();
    match vectors.as_slice() {
        [(column, _)] => Ok(*column),
        [] => Err(sql_err(
            SqlState::TypeMismatch,
            format!("the {input} of nearest have no column of vectors, which are lists of numbers"),
        )),
        several => {
            let names = several
                .iter()
                .map(|(_, field)| format!("\"{}\"", field.name()));
            let names = names.collect::<Vec<_>>().join(" or ");
            let message =
                format!("the vectors of the {input} of nearest may be {names}; select one of them");
            Err(sql_err(SqlState::InvalidParameter, message))
        }
    }
}

/// The fields of an input but that of its vectors, of which there is one at least.
fn fields_of(input: &str, schema: &DFSchema, vector: usize) -> Result<Vec<FieldRef>> {
    let others = fields_beside(schema.as_arrow(), vector);
    match others.is_empty() {
        false => Ok(others),
        true => {
            let message = format!(
                "the {input} of nearest need a column beside the vector that says which row it is, such as an id"
            );
            Err(sql_err(SqlState::MissingColumn, message))
        }
    }
}

impl UserDefinedLogicalNodeCore for NearestNode {
    fn name(&self) -> &str {
        "Nearest"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.queries, &self.items]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nearest: {}", self.spec)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Ok([queries, items]) = <[LogicalPlan; 2]>::try_from(inputs) else {
            return Err(sql_err(SqlState::Internal, "nearest has two inputs"));
        };
        let queries = without_new_columns(queries, self.queries.schema())?;
        let items = without_new_columns(items, self.items.schema())?;
        Self::with_spec(queries, items, self.spec)
    }

    /// All columns: those of the items decide between equal distances.
    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let all = |input: &LogicalPlan| (0..input.schema().fields().len()).collect();
        Some(vec![all(&self.queries), all(&self.items)])
    }
}

equal_by_key!(NearestNode);
