//! [`ModelsByJoins`]: optimizer rule that moves a model below or above a join, to where it computes fewer rows.
//!
//! ```text
//! Predict: features=[n.x]                  Projection: n.id, n.x, o.note, predicted_y
//!   Inner Join: n.id = o.note                Inner Join: n.id = o.note
//!     TableScan: n (20 rows)         ─▶        Predict: features=[n.x]
//!     TableScan: o (100 rows)                    TableScan: n
//!                                              TableScan: o
//! ```
//! Below a join, a model may get rows that the join would have left out. If it may refuse one of them, it stays above. Above a join, it
//! gets no rows that it would not have got.
//!
//! | join | the model goes |
//! |---|---|
//! | inner, on keys | to the side of its features if that side has fewer rows than the other; from its side to above the join if the other side has fewer |
//! | cross join | to the side of its features if the other side has more than one row |
//! | left, right | to the side of its features if the join keeps each row of that side |
//! | semi, anti | from the side that stays to above the join |
//!
//! Without known numbers of rows, a model over an inner join stays where it is.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::logical_expr::{
    Expr, Extension, Join, LogicalPlan, Projection, UserDefinedLogicalNodeCore,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::chain::{Chain, in_terms_of, projected, under_name};
use super::refusals::may_refuse;
use super::sides::{
    Side, has_fewer_rows, is_semi_or_anti, keeps_each_row, rows_of, sides, with_side,
};
use crate::error::Result;
use crate::plan::names::unused_name;
use crate::predict::node::{PredictNode, predict_of};

/// Runs after the rules that move filters: a filter between a model and a join keeps the model where it is.
#[derive(Debug, Default)]
pub(crate) struct ModelsByJoins;

impl OptimizerRule for ModelsByJoins {
    fn name(&self) -> &str {
        "models_by_joins"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let moved = match &plan {
            LogicalPlan::Extension(_) => match predict_of(&plan) {
                Some(predict) => below(predict),
                None => Ok(None),
            },
            LogicalPlan::Join(join) => above(join),
            _ => Ok(None),
        };
        Ok(match moved {
            Ok(Some(moved)) => Transformed::yes(moved),
            Ok(None) => Transformed::no(plan),
            Err(problem) => {
                // The plan is right as it is.
                tracing::debug!(%problem, "a model stays where it is");
                Transformed::no(plan)
            }
        })
    }
}

fn is_join(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Join(_))
}

fn is_predict(plan: &LogicalPlan) -> bool {
    predict_of(plan).is_some()
}

fn node(predict: PredictNode) -> LogicalPlan {
    LogicalPlan::Extension(Extension {
        node: Arc::new(predict),
    })
}

/// Whether a join has a column with the name of one that the model appends.
fn has_name_of_output(predict: &PredictNode, join: &Join) -> bool {
    let appended = predict.appended.fields(&predict.model);
    let mut names = appended.iter().map(|field| field.name());
    names.any(|name| {
        let mut schemas = [&join.left, &join.right]
            .into_iter()
            .map(|side| side.schema());
        schemas.any(|schema| schema.has_column_with_unqualified_name(name))
    })
}

/// The plan of a model over a join, with the model below the join; `None` if it stays.
fn below(predict: &PredictNode) -> Result<Option<LogicalPlan>> {
    if predict.appended.is_empty() {
        return Ok(None);
    }
    let Some(Chain { end, exprs }) = Chain::of(&predict.input, is_join)? else {
        return Ok(None);
    };
    let LogicalPlan::Join(join) = end else {
        return Ok(None);
    };
    let features = predict
        .features
        .iter()
        .map(|feature| match &exprs[*feature] {
            Expr::Column(column) => Some(column.clone()),
            _ => None,
        });
    let Some(features) = features.collect::<Option<Vec<Column>>>() else {
        return Ok(None);
    };
    let Some(side) = side_of(join, &features) else {
        return Ok(None);
    };
    let input = predict.input.schema();
    let types = predict.features.iter();
    let types: Vec<DataType> = types
        .map(|feature| input.field(*feature).data_type().clone())
        .collect();
    let refuses = may_refuse(&predict.model, &predict.options, &types);
    if !goes_below(join, side, refuses) || has_name_of_output(predict, join) {
        return Ok(None);
    }
    let (own, _) = sides(join, side);
    let own = predict.moved(features, own.as_ref().clone())?;
    let join = with_side(join, side, node(own))?;
    let appended = predict.appended.fields(&predict.model);
    let outputs = appended
        .iter()
        .map(|field| Expr::Column(Column::new_unqualified(field.name())));
    let columns = exprs.into_iter().chain(outputs);
    let plan = projected(columns, predict.schema(), LogicalPlan::Join(join))?;
    Ok(Some(plan))
}

/// The side of a join that has these columns of its result.
fn side_of(join: &Join, columns: &[Column]) -> Option<Side> {
    if !matches!(
        join.join_type,
        JoinType::Inner | JoinType::Left | JoinType::Right
    ) {
        return None;
    }
    let left = join.left.schema().fields().len();
    let side_of = |column: &Column| {
        let at = join.schema.maybe_index_of_column(column)?;
        let (side, schema, at) = match at < left {
            true => (Side::Left, join.left.schema(), at),
            false => (Side::Right, join.right.schema(), at - left),
        };
        (schema.maybe_index_of_column(column) == Some(at)).then_some(side)
    };
    let mut sides = columns.iter().map(side_of);
    let first = sides.next()??;
    sides.all(|side| side == Some(first)).then_some(first)
}

/// Whether a model is computed for fewer rows, and refuses none that the join leaves out, below the join.
fn goes_below(join: &Join, side: Side, refuses: bool) -> bool {
    if keeps_each_row(join.join_type, side) {
        return true;
    }
    if refuses || join.join_type != JoinType::Inner {
        return false;
    }
    let (own, other) = sides(join, side);
    match join.on.is_empty() && join.filter.is_none() {
        true => rows_of(other).is_some_and(|rows| rows.is_count && rows.most > 1),
        false => has_fewer_rows(own, other),
    }
}

/// The plan of a join over a model, with the model above the join; `None` if it stays.
fn above(join: &Join) -> Result<Option<LogicalPlan>> {
    for side in [Side::Left, Side::Right] {
        let (own, other) = sides(join, side);
        let is_inner = join.join_type == JoinType::Inner && !join.on.is_empty();
        let leaves_rows_out =
            is_semi_or_anti(join.join_type, side) || (is_inner && has_fewer_rows(other, own));
        if !leaves_rows_out {
            continue;
        }
        if let Some(chain) = Chain::of(own, is_predict)?
            && let Some(plan) = lifted(join, side, chain)?
        {
            return Ok(Some(plan));
        }
    }
    Ok(None)
}

/// The plan of a join over a chain that ends in a model, with the model above the join; `None` if the join needs its outputs.
fn lifted(join: &Join, side: Side, chain: Chain<'_>) -> Result<Option<LogicalPlan>> {
    let Some(predict) = predict_of(chain.end) else {
        return Ok(None);
    };
    // With `on_null => 'error'`, the statement must fail for a NULL in a row that the join leaves out.
    if predict.appended.is_empty() || predict.options.error_on_null {
        return Ok(None);
    }
    let inputs = predict.input.schema().columns();
    let all = predict.schema().columns();
    let outputs: HashSet<&Column> = all[inputs.len()..].iter().collect();
    let reads_outputs = |expr: &Expr| {
        let mut columns = expr.column_refs().into_iter();
        columns.any(|column| outputs.contains(column))
    };
    let (own, _) = sides(join, side);
    let schema = own.schema();
    let of_join = join.on.iter().flat_map(|(left, right)| [left, right]);
    let mut of_join = of_join.chain(&join.filter).flat_map(Expr::column_refs);
    let needs_outputs = of_join.any(|column| {
        let at = schema.maybe_index_of_column(column);
        at.is_some_and(|at| reads_outputs(&chain.exprs[at]))
    });
    if needs_outputs {
        return Ok(None);
    }

    // The side without the model: its columns, and those that the model and its outputs need besides.
    let names = schema.columns();
    let columns = chain.exprs.iter().zip(&names);
    let (computed, kept): (Vec<_>, Vec<_>) = columns.partition(|(expr, _)| reads_outputs(expr));
    let mut carried = HashMap::new();
    for (expr, name) in &kept {
        if let Expr::Column(column) = expr {
            carried.entry(column).or_insert_with(|| (*name).clone());
        }
    }
    let mut below: Vec<Expr> = kept
        .iter()
        .map(|(expr, name)| under_name((*expr).clone(), name))
        .collect();
    let features = predict.features.iter().map(|feature| &inputs[*feature]);
    let of_computed = computed.iter().flat_map(|(expr, _)| expr.column_refs());
    let needed = of_computed.filter(|column| !outputs.contains(column));
    let mut taken = DFSchema::clone(join.left.schema());
    taken.merge(join.right.schema());
    let mut number = 0;
    for column in features.clone().chain(needed) {
        carried.entry(column).or_insert_with(|| {
            let name = unused_name("input", &mut number, &taken);
            below.push(Expr::Column(column.clone()).alias(&name));
            Column::new_unqualified(name)
        });
    }
    let features: Vec<Column> = features.map(|column| carried[column].clone()).collect();
    let below = Projection::try_new(below, Arc::new(predict.input.clone()))?;
    let without = with_side(join, side, LogicalPlan::Projection(below))?;
    if has_name_of_output(predict, &without) {
        return Ok(None);
    }
    let lifted = predict.moved(features, LogicalPlan::Join(without))?;

    // The columns of the join, some of which are computed of the outputs.
    let values = all.iter().map(|column| {
        let carried = carried.get(column).unwrap_or(column);
        Expr::Column(carried.clone())
    });
    let values: Vec<Expr> = values.collect();
    let columns = join.schema.columns().into_iter().map(|column| {
        let of_outputs = computed.iter().find(|(_, name)| **name == column);
        match of_outputs {
            Some((expr, _)) => in_terms_of((*expr).clone(), predict.schema(), &values),
            None => Ok(Expr::Column(column)),
        }
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(Some(projected(columns, &join.schema, node(lifted))?))
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

    /// Checks whether the model is below the join in the optimized plan of a query.
    async fn check(session: &Session, sql: &str, is_below: bool) {
        let plan = session.plan_query(sql).await.unwrap();
        let plan = session.optimize(&plan).unwrap();
        let plan = plan.display_indent().to_string();
        let at = |operator: &str| {
            let found = plan.lines().position(|line| line.contains(operator));
            found.unwrap_or_else(|| panic!("no {operator} in {plan}"))
        };
        assert_eq!(at("Predict:") > at("Join:"), is_below, "{sql}\n{plan}");
    }

    #[tokio::test]
    async fn a_model_over_a_join_goes_to_the_side_with_fewer_rows() {
        let session = session().await;
        let over = |join: &str, more: &str| {
            format!(
                "SELECT oid, embedding FROM predict(m, (SELECT o.id AS oid, n.body {join}){more})"
            )
        };
        let repeats = "FROM notes n JOIN orders o ON n.id = o.note";
        check(&session, &over(repeats, ""), true).await;
        let swapped = "FROM orders o JOIN notes n ON n.id = o.note";
        check(&session, &over(swapped, ""), true).await;
        // Where the join leaves rows out, a row that the model refuses may be among them.
        check(&session, &over(repeats, ", truncate => false"), false).await;
        let to_null = ", truncate => false, on_error => 'null'";
        check(&session, &over(repeats, to_null), true).await;
        let leaves_out = "FROM notes n JOIN picks o ON n.id = o.id";
        check(&session, &over(leaves_out, ""), false).await;
        let unknown =
            "FROM notes n JOIN (SELECT value AS id FROM generate_series(1, 99)) o ON n.id = o.id";
        check(&session, &over(unknown, ""), false).await;
        let limited = "FROM notes n JOIN orders o ON n.id = o.note LIMIT 5";
        check(&session, &over(limited, ""), false).await;
        check(&session, &over("FROM notes n CROSS JOIN picks o", ""), true).await;
    }

    #[tokio::test]
    async fn a_model_over_an_outer_join_goes_to_the_side_whose_rows_all_stay() {
        let session = session().await;
        let over = |join: &str, feature: &str| {
            let strict = "truncate => false";
            format!(
                "SELECT oid, embedding FROM predict(m, (SELECT o.id AS oid, {feature} AS body {join}), {strict})"
            )
        };
        let left = "FROM notes n LEFT JOIN picks o ON n.id = o.id";
        check(&session, &over(left, "n.body"), true).await;
        let right = "FROM picks o RIGHT JOIN notes n ON n.id = o.id";
        check(&session, &over(right, "n.body"), true).await;
        let other = "FROM picks o LEFT JOIN notes n ON n.id = o.id";
        check(&session, &over(other, "n.body"), false).await;
        check(&session, &over(left, "concat(n.body, o.id)"), false).await;
    }

    #[tokio::test]
    async fn a_model_below_a_join_that_leaves_rows_out_goes_above_it() {
        let session = session().await;
        let all = "predict(m, notes)";
        for condition in [
            "id IN (SELECT id FROM picks)",
            "NOT EXISTS (SELECT 1 FROM picks WHERE picks.id = predict.id)",
            "EXISTS (SELECT 1 FROM picks WHERE picks.id = predict.id)",
        ] {
            let sql = format!("SELECT id, embedding FROM {all} WHERE {condition}");
            check(&session, &sql, false).await;
        }
        let from = format!("SELECT p.embedding, o.id FROM {all} AS p JOIN");
        check(&session, &format!("{from} picks o ON p.id = o.id"), false).await;
        check(&session, &format!("{from} orders o ON p.id = o.note"), true).await;
        // The join needs the output.
        let sql = format!("{from} picks o ON p.id = o.id AND p.embedding IS NOT NULL");
        let computed = format!("SELECT o.id FROM {all} AS p JOIN picks o ON p.embedding[1] = o.id");
        for sql in [sql, computed] {
            check(&session, &sql, true).await;
        }
        // With `on_null => 'error'` a row that the join leaves out counts.
        let strict = "SELECT id, embedding FROM predict(m, notes, on_null => 'error') WHERE id IN (SELECT id FROM picks)";
        check(&session, strict, true).await;
    }
}
