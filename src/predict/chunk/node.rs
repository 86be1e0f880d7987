//! [`ChunkNode`]: logical node that gives a row for each part of a text. Its columns are those of the input, then those of the part.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use serde::{Deserialize, Serialize};

use crate::error::{SqlState, sql_err};
use crate::model::ResolvedModel;
use crate::predict::options::PredictOptions;

/// The number of the part in its text, from 1.
const NUMBER: &str = "chunk";
/// The place of its first character in the text, from 1.
const START: &str = "chunk_start";
/// The part itself.
pub(in crate::predict) const TEXT: &str = "chunk_text";

/// The size of the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(in crate::predict) struct ChunkSize {
    /// The tokens of a part.
    pub(in crate::predict) tokens: usize,
    /// The tokens that a part shares with the one before it.
    pub(in crate::predict) overlap: usize,
}

/// Gives a row for each part of a text.
#[derive(Debug, Clone)]
pub(in crate::predict) struct ChunkNode {
    pub(in crate::predict) model: Arc<ResolvedModel>,
    pub(in crate::predict) input: LogicalPlan,
    /// The text.
    column: Column,
    pub(in crate::predict) size: ChunkSize,
    pub(in crate::predict) options: PredictOptions,
    schema: DFSchemaRef,
}

/// The fields of the columns of a part.
pub(super) fn part_fields() -> [FieldRef; 3] {
    [
        (NUMBER, DataType::Int64),
        (START, DataType::Int64),
        (TEXT, DataType::Utf8),
    ]
    .map(|(name, data_type)| Arc::new(Field::new(name, data_type, true)))
}

/// A field of the input, whose texts and bytes are shared by the parts instead of copied for each.
pub(super) fn shared_field(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        _ => return Arc::clone(field),
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

impl ChunkNode {
    pub(in crate::predict) fn try_new(
        model: Arc<ResolvedModel>,
        input: LogicalPlan,
        column: Column,
        size: ChunkSize,
        options: PredictOptions,
    ) -> Result<Self> {
        let own = input.schema().iter();
        let mut fields: Vec<_> = own
            .map(|(qualifier, field)| (qualifier.cloned(), shared_field(field)))
            .collect();
        for field in part_fields() {
            if input
                .schema()
                .has_column_with_unqualified_name(field.name())
            {
                let message = format!(
                    "the input of predict has a column \"{name}\", which chunk => {} would add; rename it in the query: SELECT {name} AS another_name",
                    size.tokens,
                    name = field.name(),
                );
                return Err(sql_err(SqlState::DuplicateName, message));
            }
            fields.push((None, field));
        }
        let metadata = input.schema().metadata().clone();
        let schema = Arc::new(DFSchema::new_with_metadata(fields, metadata)?);
        Ok(Self {
            model,
            input,
            column,
            size,
            options,
            schema,
        })
    }

    /// The input column of the text.
    pub(in crate::predict) fn text(&self) -> Result<usize> {
        self.input.schema().index_of_column(&self.column)
    }

    fn key(&self) -> (&str, &LogicalPlan, &Column, ChunkSize, &PredictOptions) {
        (
            &self.model.sha256,
            &self.input,
            &self.column,
            self.size,
            &self.options,
        )
    }
}

impl UserDefinedLogicalNodeCore for ChunkNode {
    fn name(&self) -> &str {
        "Chunk"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    /// A filter on input columns may move below the node.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        let fields = part_fields();
        fields.iter().map(|field| field.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ChunkSize { tokens, overlap } = self.size;
        write!(
            f,
            "Chunk: {}, model={}, tokens={tokens}, overlap={overlap}",
            self.column.flat_name(),
            self.model.label()
        )
    }

    fn with_exprs_and_inputs(
        &self,
        _exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        Self::try_new(
            Arc::clone(&self.model),
            inputs.swap_remove(0),
            self.column.clone(),
            self.size,
            self.options.clone(),
        )
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.input.schema().fields().len();
        let read = output_columns.iter().copied();
        let mut needed: Vec<usize> = read.filter(|column| *column < width).collect();
        needed.push(self.text().ok()?);
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}

impl PartialEq for ChunkNode {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for ChunkNode {}

impl PartialOrd for ChunkNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl Hash for ChunkNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Schema;
    use datafusion::logical_expr::EmptyRelation;

    use super::*;
    use crate::error::report;
    use crate::model::example_model;

    fn node(columns: &[&str]) -> Result<ChunkNode> {
        let field = |name: &&str| Field::new(*name, DataType::Utf8, true);
        let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
        let input = LogicalPlan::EmptyRelation(EmptyRelation {
            produce_one_row: false,
            schema: Arc::new(DFSchema::try_from(schema)?),
        });
        let model = Arc::new(example_model(&[("text", DataType::Utf8)]));
        let size = ChunkSize {
            tokens: 8,
            overlap: 2,
        };
        let options = PredictOptions::default();
        ChunkNode::try_new(model, input, Column::from_name("text"), size, options)
    }

    #[test]
    fn the_parts_follow_the_columns_of_the_input() {
        let node = node(&["id", "text", "other"]).unwrap();
        let names = node
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().as_str());
        let expected = ["id", "text", "other", "chunk", "chunk_start", "chunk_text"];
        assert_eq!(names.collect::<Vec<_>>(), expected);
        assert_eq!(*node.schema().field(1).data_type(), DataType::Utf8View);
        // The text is needed, and what is read above.
        assert_eq!(
            node.necessary_children_exprs(&[0, 5]),
            Some(vec![vec![0, 1]])
        );
    }

    #[test]
    fn an_input_with_a_column_of_a_part_is_refused() {
        let error = node(&["text", "chunk"]).unwrap_err();
        assert_eq!(report(&error).state, SqlState::DuplicateName);
    }
}
