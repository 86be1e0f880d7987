//! [`ComputedKeys`]: the analyzer rule that computes compound keys of orders, and distances, in a projection below the operator
//! that sorts.
//!
//! DataFusion 55 derives the bounds of a key from those of its parts, and the bounds of most functions have no type. The derivation
//! fails for an expression over such a function. The order then counts as unknown, and the final check refuses the plan although
//! it sorts. A column has known bounds.
//!
//! A sort with a limit (TopK) computes its key twice for each row: once to compare the row, and once for the filter that TopK makes
//! of the k-th row. A distance reads each element of its vectors, so it is computed once. TopK would also carry the vectors to its
//! end; if the query does not select them, DataFusion's optimizer drops them below the sort.
//!
//! ```text
//! Sort: length(t.name) < 2          Projection: t.name
//!   TableScan: t             ─▶       Sort: __key_1
//!                                       Projection: t.name, length(t.name) < 2 AS __key_1
//!                                         TableScan: t
//! ```
//! The same holds for the orders and partitions of windows, and for the orders within aggregates.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, SortExpr};
use datafusion::optimizer::AnalyzerRule;

use crate::plan::names::unused_name;

/// The functions of two vectors, which read each element of a vector.
const DISTANCES: &[&str] = &[
    "cosine_similarity",
    "cosine_distance",
    "l2_distance",
    "inner_product",
    "negative_inner_product",
    "array_distance",
];

/// Runs after the rules that determine types, compute random values, and make calls of models columns. A second run leaves the
/// plan unchanged.
#[derive(Debug)]
pub(crate) struct ComputedKeys;

impl AnalyzerRule for ComputedKeys {
    fn name(&self) -> &str {
        "computed_keys"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_down_with_subqueries(with_keys_below)?.data)
    }
}

/// The same node over a projection that computes its keys.
fn with_keys_below(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let is_sort = matches!(node, LogicalPlan::Sort(_));
    if !is_sort && !matches!(node, LogicalPlan::Window(_) | LogicalPlan::Aggregate(_)) {
        return Ok(Transformed::no(node));
    }
    let names = NamePreserver::new(&node);
    let input = node.inputs()[0];
    let mut keys = Keys::new(input.schema());
    let exprs = node.expressions().into_iter().map(|expr| match is_sort {
        true => keys.column_for(expr),
        false => {
            let name = names.save(&expr);
            Ok(name.restore(keys.in_functions(expr)?))
        }
    });
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    if keys.found.is_empty() {
        return Ok(Transformed::no(node));
    }
    let computed = node.with_new_exprs(exprs, vec![keys.below(input)?])?;
    // An aggregate has no columns of its input.
    if matches!(computed, LogicalPlan::Aggregate(_)) {
        return Ok(Transformed::yes(computed));
    }
    let columns = node.schema().columns().into_iter().map(Expr::Column);
    let kept = Projection::try_new(columns.collect(), Arc::new(computed))?;
    Ok(Transformed::yes(LogicalPlan::Projection(kept)))
}

/// Whether a projection below the sort computes the key: a function below its root may make its bounds unknown, and a distance is
/// computed once. A column of a query around it stays where DataFusion looks for it.
fn is_computed_below(expr: &Expr) -> Result<bool> {
    if expr.contains_outer() {
        return Ok(false);
    }
    let mut root = expr;
    while let Expr::Alias(alias) = root {
        root = &alias.expr;
    }
    let mut is_root = true;
    root.exists(|part| {
        let is_below = !std::mem::take(&mut is_root);
        Ok(match part {
            Expr::ScalarFunction(function) => is_below || DISTANCES.contains(&function.name()),
            _ => false,
        })
    })
}

/// The keys of one node that are columns of the projection below it.
struct Keys<'a> {
    schema: &'a DFSchema,
    found: Vec<(Expr, String)>,
    /// The number of the last name.
    names: usize,
}

impl<'a> Keys<'a> {
    fn new(schema: &'a DFSchema) -> Self {
        Self {
            schema,
            found: Vec::new(),
            names: 0,
        }
    }

    /// The key, or the column of the projection that computes it.
    fn column_for(&mut self, key: Expr) -> Result<Expr> {
        if !is_computed_below(&key)? {
            return Ok(key);
        }
        let known = self.found.iter().find(|(known, _)| *known == key);
        let name = match known {
            Some((_, name)) => name.clone(),
            None => {
                let name = unused_name("key", &mut self.names, self.schema);
                self.found.push((key, name.clone()));
                name
            }
        };
        Ok(Expr::Column(Column::new_unqualified(name)))
    }

    fn columns_for(&mut self, orders: Vec<SortExpr>) -> Result<Vec<SortExpr>> {
        let orders = orders.into_iter().map(|order| {
            let key = self.column_for(order.expr.clone())?;
            Ok(order.with_expr(key))
        });
        orders.collect()
    }

    /// The expression with columns in the orders and partitions of its windows and aggregates.
    fn in_functions(&mut self, expr: Expr) -> Result<Expr> {
        let replaced = expr.transform_down(|expr| {
            let expr = match expr {
                Expr::WindowFunction(mut window) => {
                    let params = &mut window.params;
                    let parts = std::mem::take(&mut params.partition_by).into_iter();
                    let parts = parts.map(|key| self.column_for(key));
                    params.partition_by = parts.collect::<Result<Vec<_>>>()?;
                    params.order_by = self.columns_for(std::mem::take(&mut params.order_by))?;
                    Expr::WindowFunction(window)
                }
                Expr::AggregateFunction(mut aggregate) => {
                    let params = &mut aggregate.params;
                    params.order_by = self.columns_for(std::mem::take(&mut params.order_by))?;
                    Expr::AggregateFunction(aggregate)
                }
                other => return Ok(Transformed::no(other)),
            };
            Ok(Transformed::new(expr, true, TreeNodeRecursion::Jump))
        })?;
        Ok(replaced.data)
    }

    /// `input` with the keys as its last columns.
    fn below(self, input: &LogicalPlan) -> Result<LogicalPlan> {
        let columns = input.schema().columns().into_iter().map(Expr::Column);
        let keys = self.found.into_iter().map(|(key, name)| key.alias(name));
        let projection =
            Projection::try_new(columns.chain(keys).collect(), Arc::new(input.clone()))?;
        Ok(LogicalPlan::Projection(projection))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::DataType;
    use datafusion::logical_expr::TypeSignature;
    use datafusion::physical_plan::displayable;

    use super::DISTANCES;
    use crate::Engine;

    #[test]
    fn each_function_of_two_vectors_is_a_distance() {
        let vector = DataType::new_list(DataType::Float64, true);
        let two = [vector.clone(), vector];
        for function in vatic_udfs::vector::scalar_functions() {
            let takes_two = function.signature().type_signature == TypeSignature::Any(2)
                && function.return_type(&two).is_ok();
            let name = function.name();
            assert_eq!(takes_two, DISTANCES.contains(&name), "{name}");
        }
    }

    /// The physical plan of a query over `items(id, v)`.
    async fn plan(query: &str) -> String {
        let engine = Engine::builder().build().unwrap();
        let session = engine.session().unwrap();
        let items = "(SELECT value AS id, [value * 1.0, 2.0] AS v FROM generate_series(1, 9))";
        let query = query.replace("items", items);
        let plan = session.plan_query(&query).await.unwrap();
        let plan = session.physical_plan(&plan).await.unwrap();
        displayable(plan.as_ref()).indent(false).to_string()
    }

    /// The operator that keeps the k rows of each partition.
    fn top(plan: &str) -> &str {
        let found = plan.lines().find(|line| line.contains("SortExec: TopK"));
        found.unwrap_or_else(|| panic!("{plan}")).trim()
    }

    #[tokio::test]
    async fn the_distance_of_an_order_is_a_column_below_its_sort() {
        let near = "ORDER BY cosine_distance(v, [1.0, 0.0])";
        let plan = plan(&format!("SELECT id FROM items {near} LIMIT 3")).await;
        let expected = "SortExec: TopK(fetch=3), expr=[__key_1@1 ASC NULLS LAST]";
        assert!(top(&plan).starts_with(expected), "{plan}");
        assert_eq!(plan.matches("cosine_distance(").count(), 1, "{plan}");
    }

    #[tokio::test]
    async fn only_keys_with_distances_become_columns() {
        let near = "ORDER BY v, 1 - l2_distance(v, v) DESC, id";
        let plan = plan(&format!("SELECT * FROM items {near} LIMIT 3")).await;
        let keys = "v@1 ASC NULLS LAST, __key_1@2 DESC, id@0 ASC NULLS LAST";
        assert!(top(&plan).contains(keys), "{plan}");
    }
}
