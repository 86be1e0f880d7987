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

    /// From the top, so that what is asked of a sub-query is asked of it as its user wrote it.
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

/// The filter over its rows with columns for what is sought, which no column of a sub-query has the name of.
fn filtered(filter: Filter, names: &mut usize) -> Result<LogicalPlan> {
    let columns = filter.input.schema().columns();
    let columns: Vec<Expr> = columns.into_iter().map(Expr::Column).collect();
    let schema = Arc::clone(filter.input.schema());
    let mut rows = Rows {
        schema: &schema,
        sought: Vec::new(),
        names,
    };
    let condition = exact(filter.predicate, &mut rows, Wanted::TrueAlone)?;
    let sought = rows.sought;
    if sought.is_empty() {
        return Ok(LogicalPlan::Filter(Filter::try_new(
            condition,
            filter.input,
        )?));
    }
    LogicalPlanBuilder::from(filter.input)
        .project(columns.iter().cloned().chain(sought))?
        .filter(condition)?
        .project(columns)?
        .build()
}

/// The rows of a filter, and what is sought for each of them.
struct Rows<'a> {
    schema: &'a DFSchema,
    sought: Vec<Expr>,
    /// Names given so far, in the whole statement.
    names: &'a mut usize,
}

impl Rows<'_> {
    /// What is sought as a column, and as a sub-query sees it.
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
    let decides_alone = matches!(
        (wanted, of.negated),
        (Wanted::TrueAlone | Wanted::True, false) | (Wanted::False, true)
    );
    let is_scalar = match rows_of(query) {
        RowCount::One => true,
        RowCount::OneOrNone => decides_alone,
        RowCount::Any => false,
    };
    if refers_outside && is_scalar {
        let operator = match of.negated {
            true => Operator::NotEq,
            false => Operator::Eq,
        };
        let value = Expr::ScalarSubquery(of.subquery);
        return Ok(binary_expr(*of.expr, operator, value));
    }
    let sought_is_nullable = of.expr.nullable(rows.schema)?;
    let values_have_nulls = query.schema().field(0).is_nullable();
    if wanted == Wanted::TrueAlone {
        let is_of_columns = !of.expr.column_refs().is_empty() && !of.expr.contains_outer();
        let has_nulls = sought_is_nullable || values_have_nulls;
        let is_planned_well = is_of_columns && !(refers_outside && has_nulls);
        if !of.negated || is_planned_well {
            return Ok(Expr::InSubquery(of));
        }
    }
    let is_read_again = !decides_alone && (sought_is_nullable || values_have_nulls);
    if is_read_again && is_left_to_chance(query)? {
        return Err(sql_err(
            SqlState::Unsupported,
            "IN of a sub-query that is left to chance (random values, or a LIMIT) can stand by itself or beside AND only; \
             elsewhere the sub-query is read more than once; store its rows in a table first",
        ));
    }
    let values = Values::of(query)?;
    let (sought, field) = rows.column_for(*of.expr)?;
    let found = values.any(Some(
        col(VALUE).eq(Expr::OuterReferenceColumn(field, sought.clone())),
    ))?;
    if decides_alone {
        return Ok(if of.negated { !found } else { found });
    }
    let mut unknown = Vec::new();
    if values_have_nulls {
        unknown.push(values.any(Some(col(VALUE).is_null()))?);
    }
    if sought_is_nullable {
        unknown.push(Expr::Column(sought).is_null().and(values.any(None)?));
    }
    let unknown = unknown.into_iter();
    Ok(match (wanted, of.negated) {
        (Wanted::False, _) => unknown.fold(found, Expr::or),
        (Wanted::TrueAlone | Wanted::True, _) => unknown.fold(!found, |all, part| all.and(!part)),
        (Wanted::Value, negated) => match unknown.reduce(Expr::or) {
            Some(unknown) => when(found, lit(!negated))
                .when(unknown, lit(ScalarValue::Boolean(None)))
                .otherwise(lit(negated))?,
            None if negated => !found,
            None => found,
        },
    })
}

/// How many rows a query has, whatever it reads.
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
