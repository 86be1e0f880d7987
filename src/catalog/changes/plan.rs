//! [`with_changes`]: plans of UPDATE, DELETE and TRUNCATE that return the places of the changed rows and their new values.
//!
//! DataFusion hands only conditions on columns to a table, so sub-queries of WHERE would be lost. Here the statement's input is a query like
//! any other, which the optimizer rules see and executors may compute.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DataFusionError};
use datafusion::datasource::{TableProvider, provider_as_source, source_as_provider};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{
    DmlStatement, EmptyRelation, Expr, Filter, Limit, LogicalPlan, LogicalPlanBuilder, Projection,
    SubqueryAlias, TableSource, WriteOp,
};

use super::super::managed::ManagedTable;
use super::change::Change;
use super::table::ChangedTable;
use crate::error::{Result, SqlState, sql_err};

/// The plan whose UPDATE, DELETE or TRUNCATE, at any depth, returns the places of the changed rows.
///
/// # Errors
/// If the table is not a managed one, or if the statement changes more than one table.
pub(crate) fn with_changes(plan: LogicalPlan) -> Result<LogicalPlan> {
    if !has_dml(&plan)? {
        return Ok(plan);
    }
    let changed = plan.transform_down(|node| match node {
        LogicalPlan::Dml(dml) => {
            let dml = match dml.op {
                WriteOp::Delete => deletion(&dml)?,
                WriteOp::Update => update(&dml)?,
                WriteOp::Truncate => cleared(&dml, managed(&dml)?)?,
                _ => return Ok(Transformed::no(LogicalPlan::Dml(dml))),
            };
            let plan = LogicalPlan::Dml(dml);
            Ok(Transformed::new(plan, true, TreeNodeRecursion::Jump))
        }
        node => Ok(Transformed::no(node)),
    })?;
    Ok(changed.data)
}

/// The plan for DataFusion's physical planner, which plans the input of an insertion only; `None` if the plan changes no rows.
pub(crate) fn as_insertions(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    if !has_dml(plan)? {
        return Ok(None);
    }
    let planned = plan.clone().transform_down(|node| match node {
        LogicalPlan::Dml(mut dml) if is_changed(&dml) => {
            dml.op = WriteOp::Insert(InsertOp::Append);
            let plan = LogicalPlan::Dml(dml);
            Ok(Transformed::new(plan, true, TreeNodeRecursion::Jump))
        }
        node => Ok(Transformed::no(node)),
    })?;
    Ok(planned.transformed.then_some(planned.data))
}

fn has_dml(plan: &LogicalPlan) -> Result<bool> {
    plan.exists(|node| Ok(matches!(node, LogicalPlan::Dml(_))))
}

fn is_changed(dml: &DmlStatement) -> bool {
    let is_change = matches!(
        dml.op,
        WriteOp::Delete | WriteOp::Update | WriteOp::Truncate
    );
    let table = source_as_provider(&dml.target);
    is_change && table.is_ok_and(|table| table.downcast_ref::<ChangedTable>().is_some())
}

/// The table of a statement, in the state that the statement reads.
fn managed(dml: &DmlStatement) -> Result<ManagedTable> {
    let provider = source_as_provider(&dml.target)?;
    match provider.downcast_ref::<ManagedTable>() {
        Some(table) => Ok(table.clone()),
        None => {
            let message = format!(
                "\"{}\" is not a managed table; its rows cannot be changed",
                dml.table_name.table()
            );
            Err(sql_err(SqlState::Unsupported, message))
        }
    }
}

fn deletion(dml: &DmlStatement) -> Result<DmlStatement> {
    let table = managed(dml)?;
    if let LogicalPlan::TableScan(scan) = dml.input.as_ref()
        && scan.filters.is_empty()
        && scan.fetch.is_none()
    {
        return cleared(dml, table);
    }
    let target = source(table, Change::Delete);
    let rows = over(&dml.input, &target)?;
    let columns = places(&rows);
    changed(dml, target, rows, columns)
}

fn update(dml: &DmlStatement) -> Result<DmlStatement> {
    let table = managed(dml)?;
    let LogicalPlan::Projection(values) = dml.input.as_ref() else {
        return Err(other_plan());
    };
    let (mut assigned, mut new) = (Vec::new(), Vec::new());
    let schema = table.schema();
    for (at, (value, field)) in values.expr.iter().zip(schema.fields()).enumerate() {
        if !is_column(value, field.name()) {
            assigned.push(at);
            new.push(value.clone());
        }
    }
    let target = source(table, Change::Update(assigned));
    let rows = over(&values.input, &target)?;
    let mut columns = places(&rows);
    columns.append(&mut new);
    changed(dml, target, rows, columns)
}

/// Whether DataFusion's value of a column is the column itself.
fn is_column(value: &Expr, name: &str) -> bool {
    let inner = match value {
        Expr::Alias(alias) => alias.expr.as_ref(),
        other => other,
    };
    matches!(inner, Expr::Column(column) if column.name == name)
}

/// A statement that removes all rows, which nobody needs to read.
fn cleared(dml: &DmlStatement, table: ManagedTable) -> Result<DmlStatement> {
    let nothing = LogicalPlan::EmptyRelation(EmptyRelation {
        produce_one_row: false,
        schema: Arc::new(DFSchema::empty()),
    });
    let target = source(table, Change::Clear);
    Ok(statement(dml, target, nothing))
}

fn source(table: ManagedTable, change: Change) -> Arc<dyn TableSource> {
    provider_as_source(Arc::new(ChangedTable::new(table, change)))
}

fn changed(
    dml: &DmlStatement,
    target: Arc<dyn TableSource>,
    rows: LogicalPlan,
    columns: Vec<Expr>,
) -> Result<DmlStatement> {
    let projection = Projection::try_new(columns, Arc::new(rows))?;
    Ok(statement(dml, target, LogicalPlan::Projection(projection)))
}

fn statement(dml: &DmlStatement, target: Arc<dyn TableSource>, input: LogicalPlan) -> DmlStatement {
    let (name, op) = (dml.table_name.clone(), dml.op.clone());
    DmlStatement::new(name, target, op, Arc::new(input))
}

/// The rows of a plan with their places, which are the last two columns.
fn over(plan: &LogicalPlan, target: &Arc<dyn TableSource>) -> Result<LogicalPlan> {
    Ok(match plan {
        LogicalPlan::TableScan(scan) if scan.filters.is_empty() && scan.fetch.is_none() => {
            let name = scan.table_name.clone();
            LogicalPlanBuilder::scan(name, Arc::clone(target), None)?.build()?
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let input = Arc::new(over(&alias.input, target)?);
            LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(input, alias.alias.clone())?)
        }
        LogicalPlan::Filter(filter) => {
            let input = Arc::new(over(&filter.input, target)?);
            LogicalPlan::Filter(Filter::try_new(filter.predicate.clone(), input)?)
        }
        LogicalPlan::Limit(limit) => LogicalPlan::Limit(Limit {
            skip: limit.skip.clone(),
            fetch: limit.fetch.clone(),
            input: Arc::new(over(&limit.input, target)?),
        }),
        _ => return Err(other_plan()),
    })
}

fn places(rows: &LogicalPlan) -> Vec<Expr> {
    let mut columns: Vec<Column> = rows.schema().columns();
    let places = columns.split_off(columns.len().saturating_sub(2));
    places.into_iter().map(Expr::Column).collect()
}

fn other_plan() -> DataFusionError {
    let message = "UPDATE and DELETE change the rows of one table; write other tables and samples as sub-queries of WHERE";
    sql_err(SqlState::Unsupported, message)
}
