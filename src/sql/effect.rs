//! [`Effect`] and [`Handling`]: the effect of a statement and the way it runs, both determined from its text.

use datafusion::logical_expr::{LogicalPlan, Statement as PlanStatement};
use datafusion::sql::parser::{CreateExternalTable, Statement as DFStatement};
use datafusion::sql::sqlparser::ast::{
    CreateIndex, ObjectName, ObjectType, SetExpr, Statement as SqlStatement,
};

use super::statement::{GrantStatement, ModelStatement, Statement, folded};

/// The kind of effect of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Its rows.
    Rows,
    /// A model that is made, loaded, unloaded or exported. The rows come afterwards; the work is done once, however often the
    /// rows are fetched.
    Model,
    /// A change. The rows of the statement, if any, hold a count.
    Change,
}

impl Effect {
    /// The effect of a prepared statement, which the text of its EXECUTE does not show.
    pub(crate) fn of_prepared(plan: &LogicalPlan) -> Self {
        match plan {
            LogicalPlan::Ddl(_) | LogicalPlan::Dml(_) | LogicalPlan::Copy(_) => Self::Change,
            LogicalPlan::Statement(PlanStatement::Execute(_)) => Self::Rows,
            LogicalPlan::Statement(_) => Self::Change,
            _ => Self::Rows,
        }
    }
}

impl Statement {
    /// The effect of the statement. EXECUTE counts as rows until [`Effect::of_prepared`] corrects this with the prepared plan.
    pub(crate) fn effect(&self) -> Effect {
        match self {
            Self::DataFusion(statement) => effect(statement),
            Self::Train(_)
            | Self::Import(_)
            | Self::Load(_)
            | Self::Unload(_)
            | Self::Export(_) => Effect::Model,
            Self::ExplainTrain(_) => Effect::Rows,
            Self::Model(statement) => statement.effect(),
            Self::Grant(statement) => statement.effect(),
        }
    }
}

impl ModelStatement {
    fn effect(&self) -> Effect {
        match self {
            Self::Alter(..) | Self::Drop(_) => Effect::Change,
            Self::ShowModels { .. }
            | Self::ShowVersions(_)
            | Self::Describe(_)
            | Self::ShowCreate(_) => Effect::Rows,
        }
    }
}

impl GrantStatement {
    fn effect(&self) -> Effect {
        match self {
            Self::Grant(_) | Self::Revoke(_) => Effect::Change,
            Self::Show => Effect::Rows,
        }
    }
}

/// The effect of a statement of DataFusion.
fn effect(statement: &DFStatement) -> Effect {
    let inner = match statement {
        DFStatement::Statement(inner) => inner.as_ref(),
        DFStatement::Explain(_) => return Effect::Rows,
        DFStatement::CreateExternalTable(_) | DFStatement::CopyTo(_) | DFStatement::Reset(_) => {
            return Effect::Change;
        }
    };
    match inner {
        SqlStatement::Query(query) => match query.body.as_ref() {
            SetExpr::Select(select) if select.into.is_some() => Effect::Change,
            _ => Effect::Rows,
        },
        SqlStatement::Execute { .. }
        | SqlStatement::Explain { .. }
        | SqlStatement::ExplainTable { .. }
        | SqlStatement::ShowVariable { .. }
        | SqlStatement::ShowVariables { .. }
        | SqlStatement::ShowTables { .. }
        | SqlStatement::ShowColumns { .. }
        | SqlStatement::ShowCreate { .. }
        | SqlStatement::ShowFunctions { .. }
        | SqlStatement::ShowSchemas { .. }
        | SqlStatement::ShowDatabases { .. }
        | SqlStatement::ShowViews { .. } => Effect::Rows,
        _ => Effect::Change,
    }
}

/// How a statement of DataFusion runs.
#[derive(Debug)]
pub(crate) enum Handling {
    /// CREATE EXTERNAL TABLE: its text is stored.
    CreateExternalTable(Box<CreateExternalTable>),
    /// CREATE VIEW: its text is stored.
    CreateView,
    /// CREATE INDEX.
    CreateIndex(Box<CreateIndex>),
    /// DROP INDEX of these names, and whether they may be missing.
    DropIndex(Vec<ObjectName>, bool),
    /// PREPARE of this name.
    Prepare(String),
    /// EXECUTE of this name, whose statement is planned anew.
    Execute(String),
    /// DEALLOCATE of this name.
    Deallocate(String),
    /// By its plan.
    Plan,
}

impl Handling {
    /// How the statement runs.
    pub(crate) fn of(statement: &DFStatement) -> Self {
        let inner = match statement {
            DFStatement::Statement(inner) => inner.as_ref(),
            DFStatement::CreateExternalTable(table) => {
                return Self::CreateExternalTable(Box::new(table.clone()));
            }
            DFStatement::CopyTo(_) | DFStatement::Explain(_) | DFStatement::Reset(_) => {
                return Self::Plan;
            }
        };
        match inner {
            SqlStatement::CreateView(_) => Self::CreateView,
            SqlStatement::CreateIndex(index) => Self::CreateIndex(Box::new(index.clone())),
            // The planner refuses other clauses of DROP INDEX, as it refuses DROP INDEX.
            SqlStatement::Drop {
                object_type: ObjectType::Index,
                if_exists,
                names,
                cascade: false,
                restrict: _,
                purge: false,
                temporary: false,
                table: None,
            } => Self::DropIndex(names.clone(), *if_exists),
            SqlStatement::Prepare { name, .. } => Self::Prepare(folded(name)),
            SqlStatement::Execute {
                name: Some(name), ..
            } => {
                let parts = name.0.iter().filter_map(|part| part.as_ident());
                Self::Execute(parts.map(folded).collect())
            }
            SqlStatement::Deallocate { name, .. } => Self::Deallocate(folded(name)),
            _ => Self::Plan,
        }
    }

    /// Whether DataFusion acts already when it plans the statement, which a description must not do.
    pub(crate) fn acts_when_planned(&self) -> bool {
        match self {
            Self::CreateExternalTable(_)
            | Self::CreateView
            | Self::CreateIndex(_)
            | Self::DropIndex(..)
            | Self::Prepare(_)
            | Self::Deallocate(_) => true,
            Self::Execute(_) | Self::Plan => false,
        }
    }
}
