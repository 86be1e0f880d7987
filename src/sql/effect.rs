//! [`Effect`]: what a statement is for, decided by its text.

use datafusion::logical_expr::{LogicalPlan, Statement as PlanStatement};
use datafusion::sql::parser::Statement as DFStatement;
use datafusion::sql::sqlparser::ast::{SetExpr, Statement as SqlStatement};

use super::statement::{GrantStatement, ModelStatement, Statement};

/// What a statement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Its rows.
    Rows,
    /// A model. The row about it comes once it is made, which happens once, however often the row is fetched.
    Model,
    /// What it changes. Its rows, if it has any, hold a count.
    Change,
}

impl Effect {
    /// What a prepared statement was for, which its EXECUTE does not say.
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
    /// What the statement is for. EXECUTE counts as rows; [`Effect::of_prepared`] corrects this once the prepared plan is known.
    pub(crate) fn effect(&self) -> Effect {
        match self {
            Self::DataFusion(statement) => effect(statement),
            Self::Train(_) | Self::Import(_) => Effect::Model,
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

/// What a statement of DataFusion's is for.
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

/// Whether planning a statement of DataFusion's would already do something.
pub(crate) fn acts_when_planned(statement: &DFStatement) -> bool {
    match statement {
        DFStatement::CreateExternalTable(_) => true,
        DFStatement::Statement(inner) => matches!(
            inner.as_ref(),
            SqlStatement::CreateView(_)
                | SqlStatement::Prepare { .. }
                | SqlStatement::Deallocate { .. }
        ),
        DFStatement::CopyTo(_) | DFStatement::Explain(_) | DFStatement::Reset(_) => false,
    }
}
