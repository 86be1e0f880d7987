//! [`placed`]: the operator of a call, put where it computes few rows.
//!
//! * A call without columns is computed for one row, which joins each row of the plan.
//! * A call above a join goes to the side whose columns it reads, where each row is computed once, however often the join repeats it.
//!   It stays above if the other side is known to have fewer rows: then the join is likely to leave rows out, and equal texts are
//!   computed once anyway. It also stays above if the model may refuse a row that the join leaves out.
//! * In a correlated sub-query the operator goes below the condition that refers to the query around it, because DataFusion moves that
//!   condition up, but over no operator of ours.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::{
    EmptyRelation, Expr, ExprSchemable, Extension, Filter, Join, LogicalPlan, LogicalPlanBuilder,
    Projection,
};

use super::call::PlannedCall;
use crate::error::{SqlState, sql_err};
use crate::predict::joins::{
    Keeps, Side, has_fewer_rows, is_query, is_semi_or_anti, keeps, keeps_each_row, may_fail,
    may_refuse, sides, with_side,
};
use crate::predict::node::PredictNode;

/// `plan` with the value of the call as a column of this name.
pub(super) fn placed(plan: LogicalPlan, call: &PlannedCall, name: &str) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Filter(filter) if goes_below(&filter, call) => {
            let input = placed(Arc::unwrap_or_clone(filter.input), call, name)?;
            let filter = Filter::try_new(filter.predicate, Arc::new(input))?;
            Ok(LogicalPlan::Filter(filter))
        }
        plan if is_constant(call) => beside(plan, call, name),
        LogicalPlan::Join(join) => match side(&join, call) {
            Some(side) => in_side(&join, side, call, name),
            None => above(LogicalPlan::Join(join), call, name),
        },
        plan => above(plan, call, name),
    }
}

/// Refuses a plan over which DataFusion could not move the conditions of a correlated sub-query.
fn check_is_closed(plan: &LogicalPlan, call: &PlannedCall) -> Result<()> {
    if !refers_outside(plan) {
        return Ok(());
    }
    let message = format!(
        "a sub-query can compute {0} only above the condition that refers to the query around it; compute {0} in the \
         innermost query, or in a WITH query",
        call.function
    );
    Err(sql_err(SqlState::Unsupported, message))
}

/// Whether a plan refers to columns of a query around it. The sub-query of a LATERAL join refers to the join itself.
fn refers_outside(plan: &LogicalPlan) -> bool {
    let inputs = plan.inputs().into_iter();
    plan.contains_outer_reference()
        || inputs
            .filter(|input| !matches!(input, LogicalPlan::Subquery(_)))
            .any(refers_outside)
}

/// Whether a call above a filter is computed below it. The filter may leave a row out that the model would refuse.
fn goes_below(filter: &Filter, call: &PlannedCall) -> bool {
    let stays = is_constant(call) || refuses(call, filter.input.schema());
    filter.predicate.contains_outer() || (!stays && goes_to_side(&filter.input, call))
}

fn goes_to_side(plan: &LogicalPlan, call: &PlannedCall) -> bool {
    match plan {
        LogicalPlan::Filter(filter) => goes_to_side(&filter.input, call),
        LogicalPlan::Join(join) => side(join, call).is_some(),
        _ => false,
    }
}

/// Whether the call has one value for all rows of a plan.
fn is_constant(call: &PlannedCall) -> bool {
    let reads = |expr: &Expr| matches!(expr, Expr::Column(_)) || is_query(expr);
    // The closure never fails.
    let is_constant = |feature: &Expr| !feature.exists(|expr| Ok(reads(expr))).unwrap_or(true);
    call.features.iter().all(is_constant)
}

/// The operator over a plan with the columns that the call reads.
fn above(plan: LogicalPlan, call: &PlannedCall, name: &str) -> Result<LogicalPlan> {
    check_is_closed(&plan, call)?;
    let ports = call.model.manifest.signature.inputs.iter();
    let schema: &DFSchema = plan.schema();
    let mut columns = Vec::with_capacity(call.features.len());
    let mut computed = Vec::new();
    for (port, feature) in ports.zip(&call.features) {
        match feature {
            Expr::Column(column) => columns.push(column.clone()),
            feature => {
                let input = format!("{name}_input_{}", columns.len() + 1);
                let feature = match feature.get_type(schema)? {
                    DataType::Null => feature.clone().cast_to(&port.data_type, schema)?,
                    _ => feature.clone(),
                };
                computed.push(feature.alias(&input));
                columns.push(Column::new_unqualified(input));
            }
        }
    }
    let plan = match computed.is_empty() {
        true => plan,
        false => {
            let own = plan.schema().columns().into_iter().map(Expr::Column);
            let exprs = own.chain(computed).collect();
            LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?)
        }
    };
    let node = PredictNode::of_columns(
        Arc::clone(&call.model),
        columns,
        plan,
        call.options.clone(),
        (call.output, name.to_owned()),
    )?;
    Ok(LogicalPlan::Extension(Extension {
        node: Arc::new(node),
    }))
}

/// The rows of a plan, each beside the one row of a call without columns.
fn beside(plan: LogicalPlan, call: &PlannedCall, name: &str) -> Result<LogicalPlan> {
    let has_one_row = |plan: &LogicalPlan| matches!(plan, LogicalPlan::EmptyRelation(empty) if empty.produce_one_row);
    if has_one_row(&plan) {
        return above(plan, call, name);
    }
    check_is_closed(&plan, call)?;
    let one = LogicalPlan::EmptyRelation(EmptyRelation {
        produce_one_row: true,
        schema: Arc::new(DFSchema::empty()),
    });
    let column = Expr::Column(Column::new_unqualified(name));
    let one = Projection::try_new(vec![column], Arc::new(above(one, call, name)?))?;
    // The first side of a cross join is collected, the rows of the second pass by.
    LogicalPlanBuilder::from(LogicalPlan::Projection(one))
        .cross_join(plan)?
        .build()
}

/// Whether a schema has all of these columns.
pub(super) fn has_columns(schema: &DFSchema, columns: &HashSet<&Column>) -> bool {
    columns.iter().all(|column| schema.has_column(column))
}

/// The side of the join on which the call is computed; `None` for above the join.
fn side(join: &Join, call: &PlannedCall) -> Option<Side> {
    let mut columns = HashSet::new();
    for feature in &call.features {
        feature.add_column_refs(&mut columns);
    }
    let (left, right) = (&join.left, &join.right);
    let is_of = [left, right].map(|side| has_columns(side.schema(), &columns));
    let (side, own, other) = match is_of {
        [true, false] => (Side::Left, left, right),
        [false, true] => (Side::Right, right, left),
        [true, true] | [false, false] => return None,
    };
    let keeps = keeps(join.join_type, side);
    // The model gives NULL for NULL, so a value that the join makes NULL is the value of a column that it makes NULL.
    let has_value = keeps == Keeps::All || (keeps == Keeps::OrNull && call.reads_columns_only());
    let computes_fewer = keeps_each_row(join.join_type, side)
        || !(is_semi_or_anti(join.join_type, side)
            || has_fewer_rows(other, own)
            || refuses(call, own.schema()));
    (has_value && computes_fewer).then_some(side)
}

/// Whether the model may refuse a value of the call over this schema, or a feature may have none.
fn refuses(call: &PlannedCall, schema: &DFSchema) -> bool {
    if call
        .features
        .iter()
        .any(|feature| may_fail(feature, schema))
    {
        return true;
    }
    let types = call.features.iter().map(|feature| feature.get_type(schema));
    match types.collect::<Result<Vec<_>>>() {
        Ok(types) => may_refuse(&call.model, &call.options, &types),
        Err(_) => true,
    }
}

fn in_side(join: &Join, side: Side, call: &PlannedCall, name: &str) -> Result<LogicalPlan> {
    let (own, _) = sides(join, side);
    let own = placed(own.as_ref().clone(), call, name)?;
    Ok(LogicalPlan::Join(with_side(join, side, own)?))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::record_batch::RecordBatch;
    use futures::TryStreamExt;

    use crate::engine::Engine;
    use crate::session::Session;

    /// A session with a model of texts, and tables of 20, 100 and 3 rows.
    async fn session() -> Session {
        let engine = Engine::builder().build().unwrap();
        let session = engine.session().unwrap();
        for sql in [
            "CREATE MODEL m FROM 'sql-tests/data/models/clip' OPTIONS (format = 'huggingface_text')",
            "CREATE TABLE notes AS SELECT value AS id, concat('note ', value) AS body FROM generate_series(1, 20)",
            "CREATE TABLE orders AS SELECT value AS id, value % 20 AS note FROM generate_series(1, 100)",
            "CREATE TABLE picks AS SELECT value AS id FROM generate_series(1, 3)",
        ] {
            let rows = session.sql(sql).await.unwrap();
            rows.try_collect::<Vec<RecordBatch>>().await.unwrap();
        }
        session
    }

    /// The operators of the optimized plan of a query, from the top.
    async fn plan(session: &Session, sql: &str) -> Vec<String> {
        let plan = session.plan_query(sql).await.unwrap();
        let plan = session.optimize(&plan).unwrap();
        let text = plan.display_indent().to_string();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    fn at(plan: &[String], operator: &str) -> usize {
        let found = plan.iter().position(|line| line.contains(operator));
        found.unwrap_or_else(|| panic!("no {operator} in {plan:#?}"))
    }

    fn models(plan: &[String]) -> usize {
        let lines = plan.iter();
        lines.filter(|line| line.starts_with("Predict:")).count()
    }

    #[tokio::test]
    async fn equal_calls_of_a_query_are_computed_once_and_a_constant_for_one_row() {
        let session = session().await;
        let sql = "SELECT id, embed(m, body) AS v FROM notes WHERE l2_distance(embed(m, body), embed(m, 'x')) < 1 \
                   ORDER BY l2_distance(embed(m, body), embed(m, 'x'))";
        let plan = plan(&session, sql).await;
        assert_eq!(models(&plan), 2, "{plan:#?}");
        at(&plan, "EmptyRelation");
    }

    #[tokio::test]
    async fn conditions_without_calls_go_below_the_model() {
        let session = session().await;
        let sql = "SELECT id FROM notes WHERE embed(m, body) IS NOT NULL AND id < 5";
        let plan = plan(&session, sql).await;
        assert!(
            at(&plan, "Predict:") < at(&plan, "Filter: notes.id <"),
            "{plan:#?}"
        );
    }

    #[tokio::test]
    async fn a_call_goes_below_a_join_that_repeats_rows_and_stays_above_one_that_leaves_rows_out() {
        let session = session().await;
        let of =
            |other: &str| format!("SELECT embed(m, n.body) FROM notes n JOIN {other} ON n.id = o.");
        let repeats = plan(&session, &format!("{}note", of("orders o"))).await;
        assert!(
            at(&repeats, "Join:") < at(&repeats, "Predict:"),
            "{repeats:#?}"
        );
        let leaves_out = plan(&session, &format!("{}id", of("picks o"))).await;
        assert!(
            at(&leaves_out, "Predict:") < at(&leaves_out, "Join:"),
            "{leaves_out:#?}"
        );
        // In the condition of a join, each call is computed on its own side.
        let sql = "SELECT n.id FROM notes n JOIN orders o ON l2_distance(embed(m, n.body), embed(m, CAST(o.note AS VARCHAR))) < 1";
        let on = plan(&session, sql).await;
        assert!(
            models(&on) == 2 && at(&on, "Join:") < at(&on, "Predict:"),
            "{on:#?}"
        );
    }

    #[tokio::test]
    async fn a_call_that_may_refuse_a_row_stays_above_what_leaves_rows_out() {
        let session = session().await;
        let of = |join: &str, then: &str| {
            format!(
                "SELECT embed(m, n.body, truncate => false) FROM notes n {join} orders o ON n.id = o.note {then}"
            )
        };
        for (join, then) in [("JOIN", ""), ("LEFT JOIN", "WHERE o.id IS NULL")] {
            let plan = plan(&session, &of(join, then)).await;
            assert!(at(&plan, "Predict:") < at(&plan, "Join:"), "{plan:#?}");
        }
        // Note 20 has no order, so nothing is divided by 0.
        let of_feature = |feature: &str| {
            format!("SELECT embed(m, {feature}) FROM notes n JOIN orders o ON n.id = o.note")
        };
        let divided = of_feature("CAST(10 / (n.id - 20) AS VARCHAR)");
        let divided = plan(&session, &divided).await;
        assert!(
            at(&divided, "Predict:") < at(&divided, "Join:"),
            "{divided:#?}"
        );
        let sound = plan(&session, &of_feature("concat(n.body, '!')")).await;
        assert!(at(&sound, "Join:") < at(&sound, "Predict:"), "{sound:#?}");
        // This join leaves no row out.
        let left = plan(&session, &of("LEFT JOIN", "")).await;
        assert!(at(&left, "Join:") < at(&left, "Predict:"), "{left:#?}");
    }

    #[tokio::test]
    async fn a_call_that_nobody_reads_is_not_computed() {
        let session = session().await;
        let sql = "SELECT max(id) FROM (SELECT id, embed(m, body) AS v, embed(m, concat(body, '!')) AS w FROM notes)";
        let plan = plan(&session, sql).await;
        let computes =
            |line: &&String| line.starts_with("Predict:") && !line.contains("outputs=[]");
        assert_eq!(plan.iter().filter(computes).count(), 0, "{plan:#?}");
    }
}
