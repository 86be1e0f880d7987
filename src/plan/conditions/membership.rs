//! [`Membership`]: the analyzer rule for `x IN (query)` in SQL's three-valued logic. The condition is true if a value of the
//! query equals `x`; otherwise unknown if a value is NULL, or if `x` is NULL and there are values; otherwise false.
//!
//! DataFusion computes unknown only for a `NOT IN` that stands alone, with columns on its left side and an uncorrelated
//! query. In other places DataFusion treats unknown as false, or fails. There the rule rewrites the condition into
//!
//! ```text
//! match   = EXISTS (SELECT value FROM (query) WHERE value = x)
//! unknown = there is a value that is NULL OR x IS NULL AND there is a value
//! ```
//! and combines both so that a condition that must be true, or must be false, computes only the parts that it needs.

use std::sync::Arc;

use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, Operator,
    binary_expr, col, exists, lit, scalar_subquery, when,
};
use datafusion::optimizer::AnalyzerRule;

use super::computed::filter_computed;
use crate::error::{SqlState, sql_err};
use crate::plan::chance::is_nondeterministic;

/// The name of the column that holds the values of a query.
const VALUE: &str = "__in_value";

#[derive(Debug)]
pub(super) struct Membership;

impl AnalyzerRule for Membership {
    fn name(&self) -> &str {
        "membership"
    }

    /// Runs from the top, so that each sub-query is examined as the user wrote it.
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let mut names = 0;
        let plan = plan.transform_down_with_subqueries(|node| rewritten(node, &mut names))?;
        Ok(plan.data)
    }
}

fn rewritten(node: LogicalPlan, names: &mut usize) -> Result<Transformed<LogicalPlan>> {
    match node {
        LogicalPlan::Filter(filter) if has_membership(&filter.predicate) => {
            Ok(Transformed::yes(filtered(filter, names)?))
        }
        node => Ok(Transformed::no(node)),
    }
}

/// The filter with exact memberships. The left side of IN becomes a column with a name that no sub-query uses.
fn filtered(filter: Filter, names: &mut usize) -> Result<LogicalPlan> {
    let schema = Arc::clone(filter.input.schema());
    let mut rows = Rows {
        schema: &schema,
        sought: Vec::new(),
        names,
    };
    let condition = exact(filter.predicate, &mut rows, Wanted::TrueAlone)?;
    filter_computed(filter.input, rows.sought, condition)
}

/// The input rows of a filter, and the left sides of IN to compute for each row.
struct Rows<'a> {
    schema: &'a DFSchema,
    sought: Vec<Expr>,
    /// The number of names given so far in the whole statement.
    names: &'a mut usize,
}

impl Rows<'_> {
    /// The left side of IN as a column, and the field that a sub-query sees.
    fn column_for(&mut self, sought: Expr) -> Result<(Column, FieldRef)> {
        *self.names += 1;
        let name = format!("__in_{}", self.names);
        let (_, field) = sought.to_field(self.schema)?;
        let field = field.as_ref().clone().with_name(&name);
        self.sought.push(sought.alias(&name));
        Ok((Column::new_unqualified(name), Arc::new(field)))
    }
}

fn has_membership(expr: &Expr) -> bool {
    let found = expr.exists(|expr| Ok(matches!(expr, Expr::InSubquery(_))));
    found.expect("nothing in here fails")
}

/// The answer of a condition that matters to the caller; all other answers count as the same.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wanted {
    /// Whether the condition is true; it stands alone, or is one of several that all must be true.
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
fn exact(expr: Expr, rows: &mut Rows<'_>, wanted: Wanted) -> Result<Expr> {
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

fn membership(of: InSubquery, rows: &mut Rows<'_>, wanted: Wanted) -> Result<Expr> {
    let query = of.subquery.subquery.as_ref();
    let refers_outside = !query.all_out_ref_exprs().is_empty();
    // The caller needs to know only whether a value equals the left side; unknown counts as unequal.
    let is_found_enough = matches!(
        (wanted, of.negated),
        (Wanted::TrueAlone | Wanted::True, false) | (Wanted::False, true)
    );
    let is_scalar = match rows_of(query) {
        RowCount::One => true,
        RowCount::OneOrNone => is_found_enough,
        RowCount::Any => false,
    };
    if refers_outside && is_scalar {
        return Ok(compared(of));
    }
    let sought_is_nullable = of.expr.nullable(rows.schema)?;
    let values_have_nulls = query.schema().field(0).is_nullable();
    let has_nulls = sought_is_nullable || values_have_nulls;
    if wanted == Wanted::TrueAlone {
        let is_of_columns = !of.expr.column_refs().is_empty() && !of.expr.contains_outer();
        let is_planned_well = is_of_columns && !(refers_outside && has_nulls);
        if !of.negated || is_planned_well {
            return Ok(Expr::InSubquery(of));
        }
    }
    if has_nulls && !is_found_enough {
        check_is_read_again(query)?;
    }
    let values = Values::of(query)?;
    let (sought, field) = rows.column_for(*of.expr)?;
    let is_equal = col(VALUE).eq(Expr::OuterReferenceColumn(field, sought.clone()));
    let found = values.any(Some(is_equal))?;
    let mut unknown = Vec::new();
    if values_have_nulls && !is_found_enough {
        unknown.push(values.any(Some(col(VALUE).is_null()))?);
    }
    if sought_is_nullable && !is_found_enough {
        unknown.push(Expr::Column(sought).is_null().and(values.any(None)?));
    }
    put_together(wanted, of.negated, found, unknown)
}

/// `x IN (query)` as a comparison, for a query of one row.
fn compared(of: InSubquery) -> Expr {
    let operator = match of.negated {
        true => Operator::NotEq,
        false => Operator::Eq,
    };
    binary_expr(*of.expr, operator, Expr::ScalarSubquery(of.subquery))
}

/// Refuses a query that may return different rows each time it is read.
fn check_is_read_again(query: &LogicalPlan) -> Result<()> {
    match is_nondeterministic(query)? {
        false => Ok(()),
        true => Err(sql_err(
            SqlState::Unsupported,
            "IN with a sub-query of random values or with a LIMIT can stand by itself or beside AND only; elsewhere the \
             sub-query is read more than once; store its rows in a table first",
        )),
    }
}

fn put_together(wanted: Wanted, negated: bool, found: Expr, unknown: Vec<Expr>) -> Result<Expr> {
    let unknown = unknown.into_iter();
    Ok(match (wanted, negated) {
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

/// The number of rows of a query with an aggregate at its top, whatever its input. Other queries are `Any`.
enum RowCount {
    One,
    OneOrNone,
    Any,
}

fn rows_of(query: &LogicalPlan) -> RowCount {
    match query {
        LogicalPlan::Projection(projection) => rows_of(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => rows_of(&alias.input),
        LogicalPlan::Filter(filter) => match rows_of(&filter.input) {
            RowCount::One | RowCount::OneOrNone => RowCount::OneOrNone,
            RowCount::Any => RowCount::Any,
        },
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => RowCount::One,
        _ => RowCount::Any,
    }
}

/// The values of a query, in column [`VALUE`].
struct Values {
    query: LogicalPlan,
    refers_outside: bool,
}

impl Values {
    fn of(query: &LogicalPlan) -> Result<Self> {
        let value = Expr::Column(Column::from(query.schema().qualified_field(0)));
        let query = LogicalPlanBuilder::from(query.clone())
            .project([value.alias(VALUE)])?
            .build()?;
        Ok(Self {
            refers_outside: !query.all_out_ref_exprs().is_empty(),
            query,
        })
    }

    /// Whether the condition holds for any value.
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
        // EXISTS would join every row with a result that is the same for all rows.
        let found = query
            .limit(0, Some(1))?
            .aggregate(Vec::<Expr>::new(), [count(lit(1_i64))])?
            .build()?;
        Ok(scalar_subquery(Arc::new(found)).gt(lit(0_i64)))
    }
}
