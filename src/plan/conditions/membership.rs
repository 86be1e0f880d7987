//! [`Membership`]: `x IN (query)` in SQL's logic of three values. It is true if a value of the query equals `x`; else unknown
//! if a value is NULL, or if `x` is NULL and there are values; else false.
//!
//! DataFusion knows the third value only for a `NOT IN` by itself, of columns and a query that does not refer to the
//! query around it. Elsewhere it takes unknown for false, or fails. There the condition becomes
//!
//! ```text
//! match   = EXISTS (SELECT value FROM (query) WHERE value = x)
//! unknown = there is a value that is NULL OR x IS NULL AND there is a value
//! ```
//! put together so that a condition that must be true, or must be false, asks no more than it has to.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ExprSchema, Result, ScalarValue};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, Operator,
    binary_expr, col, exists, lit, scalar_subquery, when,
};
use datafusion::optimizer::AnalyzerRule;

use crate::error::{SqlState, sql_err};
use crate::plan::chance::is_left_to_chance;

/// The column of a query's values.
const VALUE: &str = "__in_value";

#[derive(Debug)]
pub(super) struct Membership;

impl AnalyzerRule for Membership {
    fn name(&self) -> &str {
        "membership"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(rewritten)?.data)
    }
}

fn rewritten(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match node {
        LogicalPlan::Filter(filter) if has_membership(&filter.predicate) => {
            let condition = exact(filter.predicate, filter.input.schema(), Wanted::TrueAlone)?;
            let filter = Filter::try_new(condition, filter.input)?;
            Ok(Transformed::yes(LogicalPlan::Filter(filter)))
        }
        // What is left of a join's becomes a filter's if the join turns out to be an inner one.
        LogicalPlan::Join(mut join) if join.filter.as_ref().is_some_and(has_membership) => {
            let rows = join.left.schema().join(join.right.schema())?;
            let condition = join.filter.take();
            let condition = condition.map(|condition| exact(condition, &rows, Wanted::TrueAlone));
            join.filter = condition.transpose()?;
            Ok(Transformed::yes(LogicalPlan::Join(join)))
        }
        node => Ok(Transformed::no(node)),
    }
}

fn has_membership(expr: &Expr) -> bool {
    let found = expr.exists(|expr| Ok(matches!(expr, Expr::InSubquery(_))));
    found.expect("nothing in here fails")
}

/// What is asked of a condition. All other answers of it are as good as each other.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wanted {
    /// Whether it is true; it is a condition by itself, or one of several that all must be true.
    TrueAlone,
    True,
    False,
    Value,
}

impl Wanted {
    fn in_part(self) -> Self {
        match self {
            Self::TrueAlone => Self::True,
            other => other,
        }
    }

    fn negated(self) -> Self {
        match self {
            Self::TrueAlone | Self::True => Self::False,
            Self::False => Self::True,
            Self::Value => Self::Value,
        }
    }
}

/// The condition with exact memberships of these rows.
fn exact(expr: Expr, rows: &DFSchema, wanted: Wanted) -> Result<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if matches!(op, Operator::And | Operator::Or) =>
        {
            let wanted = match op {
                Operator::And => wanted,
                _ => wanted.in_part(),
            };
            let (left, right) = (exact(*left, rows, wanted)?, exact(*right, rows, wanted)?);
            Ok(binary_expr(left, op, right))
        }
        Expr::Not(inner) => match *inner {
            Expr::InSubquery(InSubquery {
                expr,
                subquery,
                negated,
            }) => membership(InSubquery::new(expr, subquery, !negated), rows, wanted),
            inner => Ok(Expr::Not(Box::new(exact(inner, rows, wanted.negated())?))),
        },
        Expr::InSubquery(membership_of) => membership(membership_of, rows, wanted),
        other => {
            let parts = other
                .map_children(|part| exact(part, rows, Wanted::Value).map(Transformed::yes))?;
            Ok(parts.data)
        }
    }
}

fn membership(of: InSubquery, rows: &DFSchema, wanted: Wanted) -> Result<Expr> {
    let query = of.subquery.subquery.as_ref();
    let refers_outside = !query.all_out_ref_exprs().is_empty();
    if refers_outside && has_one_row(query) {
        let operator = match of.negated {
            true => Operator::NotEq,
            false => Operator::Eq,
        };
        return Ok(binary_expr(
            *of.expr,
            operator,
            Expr::ScalarSubquery(of.subquery),
        ));
    }
    let is_known = is_known(&of, rows, wanted, refers_outside)?;
    if is_known {
        return Ok(Expr::InSubquery(of));
    }
    let values = Values::of(&of, rows)?;
    let found = values.equal()?;
    let unknown = values.nulls()?.into_iter().chain(values.any_for_null()?);
    Ok(match (wanted, of.negated) {
        (Wanted::TrueAlone | Wanted::True, false) => found,
        (Wanted::TrueAlone | Wanted::True, true) => {
            unknown.fold(!found, |all, part| all.and(!part))
        }
        (Wanted::False, false) => unknown.fold(found, Expr::or),
        (Wanted::False, true) => !found,
        (Wanted::Value, negated) => match unknown.reduce(Expr::or) {
            Some(unknown) => when(found, lit(!negated))
                .when(unknown, lit(ScalarValue::Boolean(None)))
                .otherwise(lit(negated))?,
            None if negated => !found,
            None => found,
        },
    })
}

/// Whether DataFusion plans this one well.
fn is_known(
    of: &InSubquery,
    rows: &DFSchema,
    wanted: Wanted,
    refers_outside: bool,
) -> Result<bool> {
    if wanted != Wanted::TrueAlone {
        return Ok(false);
    }
    let is_of_columns = !of.expr.column_refs().is_empty() && !of.expr.contains_outer();
    let has_nulls = of.expr.nullable(rows)? || of.subquery.subquery.schema().field(0).is_nullable();
    Ok(!of.negated || (is_of_columns && !(refers_outside && has_nulls)))
}

/// Whether a query has exactly one row, whatever it reads.
fn has_one_row(query: &LogicalPlan) -> bool {
    match query {
        LogicalPlan::Projection(projection) => has_one_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => has_one_row(&alias.input),
        LogicalPlan::Aggregate(Aggregate { group_expr, .. }) => group_expr.is_empty(),
        _ => false,
    }
}

/// The values of a query, in column [`VALUE`], and what is looked for in them.
struct Values<'a> {
    query: LogicalPlan,
    has_nulls: bool,
    refers_outside: bool,
    sought: &'a Expr,
    rows: &'a DFSchema,
}

impl<'a> Values<'a> {
    fn of(of: &'a InSubquery, rows: &'a DFSchema) -> Result<Self> {
        let query = of.subquery.subquery.as_ref();
        let has_nulls = query.schema().field(0).is_nullable();
        if (has_nulls || of.expr.nullable(rows)?) && is_left_to_chance(query)? {
            return Err(sql_err(
                SqlState::Unsupported,
                "IN of a sub-query that is left to chance (random values, or a LIMIT) can stand by itself or beside AND \
                 only; elsewhere the sub-query is read more than once; store its rows in a table first",
            ));
        }
        let value = Expr::Column(Column::from(query.schema().qualified_field(0)));
        let query = LogicalPlanBuilder::from(query.clone())
            .project([value.alias(VALUE)])?
            .build()?;
        Ok(Self {
            refers_outside: !query.all_out_ref_exprs().is_empty(),
            query,
            has_nulls,
            sought: &of.expr,
            rows,
        })
    }

    /// Whether a value equals what is sought.
    fn equal(&self) -> Result<Expr> {
        let sought = self.sought.clone().transform_up(|expr| {
            Ok(match expr {
                Expr::Column(column) => {
                    let field = self.rows.field_from_column(&column)?;
                    Transformed::yes(Expr::OuterReferenceColumn(Arc::clone(field), column))
                }
                other => Transformed::no(other),
            })
        })?;
        self.any(Some(col(VALUE).eq(sought.data)))
    }

    /// Whether a value is NULL, if one can be.
    fn nulls(&self) -> Result<Option<Expr>> {
        let nulls = self.has_nulls.then(|| self.any(Some(col(VALUE).is_null())));
        nulls.transpose()
    }

    /// Whether there are values and what is sought is NULL, if it can be.
    fn any_for_null(&self) -> Result<Option<Expr>> {
        if !self.sought.nullable(self.rows)? {
            return Ok(None);
        }
        let any = self.any(None)?;
        Ok(Some(self.sought.clone().is_null().and(any)))
    }

    /// Whether there is a value of which this holds.
    fn any(&self, condition: Option<Expr>) -> Result<Expr> {
        let mut query = LogicalPlanBuilder::from(self.query.clone());
        let is_for_each_row =
            self.refers_outside || condition.as_ref().is_some_and(Expr::contains_outer);
        if let Some(condition) = condition {
            query = query.filter(condition)?;
        }
        if is_for_each_row {
            return Ok(exists(Arc::new(query.build()?)));
        }
        // EXISTS would join each row with what is the same for all.
        let found = query
            .limit(0, Some(1))?
            .aggregate(Vec::<Expr>::new(), [count(lit(1_i64))])?
            .build()?;
        Ok(scalar_subquery(Arc::new(found)).gt(lit(0_i64)))
    }
}
