//! [`FileRelations`]: the planner from the names that stand for files to scans.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::LogicalPlanBuilder;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::sql::sqlparser::ast::TableFactor;

use crate::error::Result;
use crate::sql::file_index;

/// An opened file of a statement.
#[derive(Debug, Clone)]
pub(super) struct FileTable {
    /// The name of the relation, unless the statement gives another.
    pub(super) name: String,
    pub(super) table: Arc<dyn TableProvider>,
}

/// The opened files of a statement, in the order in which they were taken out of it.
#[derive(Debug)]
pub(crate) struct FileRelations {
    pub(super) files: Vec<FileTable>,
}

impl FileRelations {
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }
}

impl RelationPlanner for FileRelations {
    fn plan_relation(
        &self,
        factor: TableFactor,
        _context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        // A sample is planned around the relation without it.
        let found = match &factor {
            TableFactor::Table {
                name,
                args: None,
                sample: None,
                alias,
                ..
            } => file_index(name)
                .and_then(|index| self.files.get(index))
                .map(|file| (file, alias.clone())),
            _ => None,
        };
        let Some((file, alias)) = found else {
            return Ok(RelationPlanning::Original(Box::new(factor)));
        };
        let source = provider_as_source(Arc::clone(&file.table));
        let name = TableReference::bare(file.name.as_str());
        let plan = LogicalPlanBuilder::scan(name, source, None)?.build()?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(
            plan, alias,
        ))))
    }
}
