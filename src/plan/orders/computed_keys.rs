//! [`ComputedKeys`]: the analyzer rule that computes compound keys of orders in a projection below the operator that sorts.
//!
//! DataFusion 55 derives the bounds of a key from those of its parts, and the bounds of most functions have no type. The derivation
//! fails for an expression over such a function. The order then counts as unknown, and the final check refuses the plan although
//! it sorts. A column has known bounds.
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

/// Runs after the rules that determine types and compute random values. A second run leaves the plan unchanged.
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

/// The same node over a projection that computes its compound keys.
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

/// Whether an expression has a function below its root, so that its bounds may be unknown.
fn is_compound(expr: &Expr) -> Result<bool> {
    let mut root = expr;
    while let Expr::Alias(alias) = root {
        root = &alias.expr;
    }
    if expr.contains_outer() {
        return Ok(false);
    }
    let mut is_root = true;
    root.exists(|part| {
        let is_below = !std::mem::take(&mut is_root);
        Ok(is_below && matches!(part, Expr::ScalarFunction(_)))
    })
}

/// The compound keys of one node, each a column of the projection below it.
struct Keys<'a> {
    schema: &'a DFSchema,
    found: Vec<(Expr, String)>,
}

impl<'a> Keys<'a> {
    fn new(schema: &'a DFSchema) -> Self {
        let found = Vec::new();
        Self { schema, found }
    }

    /// The key, or the column that has it if it is compound.
    fn column_for(&mut self, key: Expr) -> Result<Expr> {
        if !is_compound(&key)? {
            return Ok(key);
        }
        let known = self.found.iter().find(|(known, _)| *known == key);
        let name = match known {
            Some((_, name)) => name.clone(),
            None => {
                let name = self.unused_name();
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

    fn unused_name(&self) -> String {
        let fields = self.schema.fields();
        let is_column = |name: &String| fields.iter().any(|field| field.name() == name);
        let is_key = |name: &String| self.found.iter().any(|(_, known)| known == name);
        let mut number = 1;
        loop {
            let name = format!("__key_{number}");
            if !is_key(&name) && !is_column(&name) {
                return name;
            }
            number += 1;
        }
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
