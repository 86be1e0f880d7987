//! [`DistancesOnce`]: the analyzer rule that makes the distance of an ORDER BY a column below the sort.
//!
//! ```text
//! Sort: cosine_distance(t.v, [1, 0])       Projection: t.id, t.v
//!   Projection: t.id, t.v                    Sort: __distance_1
//!     TableScan: t                     ─▶      Projection: t.id, t.v, cosine_distance(t.v, [1, 0]) AS __distance_1
//!                                                Projection: t.id, t.v
//!                                                  TableScan: t
//! ```
//! DataFusion's sort with a limit (TopK) keeps k rows and at most one batch in each partition, but computes its key twice for each
//! row: once to compare, once for the filter that it makes of the k-th row. It would also carry the vectors to the end of the
//! sort; if the query does not select them, DataFusion's optimizer now drops them below it.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Sort, SortExpr};
use datafusion::optimizer::AnalyzerRule;

use crate::error::Result;

/// The functions of two vectors, which read each element of a vector.
const DISTANCES: &[&str] = &[
    "cosine_similarity",
    "cosine_distance",
    "l2_distance",
    "inner_product",
    "negative_inner_product",
    "array_distance",
];

/// Runs when calls of models are columns. A second run leaves the plan unchanged.
#[derive(Debug)]
pub(crate) struct DistancesOnce;

impl AnalyzerRule for DistancesOnce {
    fn name(&self) -> &str {
        "compute_distances_once"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let changed = plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Sort(sort) if sort.expr.iter().any(|key| has_distance(&key.expr)) => {
                Ok(Transformed::yes(by_columns(sort)?))
            }
            plan => Ok(Transformed::no(plan)),
        })?;
        Ok(changed.data)
    }
}

/// Whether an expression computes a distance. A column of a query around it stays where DataFusion looks for it.
fn has_distance(expr: &Expr) -> bool {
    let is_distance = |expr: &Expr| match expr {
        Expr::ScalarFunction(function) => Ok(DISTANCES.contains(&function.name())),
        _ => Ok(false),
    };
    !expr.contains_outer() && expr.exists(is_distance).unwrap_or(false)
}

/// The sort by columns instead of distances.
fn by_columns(sort: Sort) -> Result<LogicalPlan> {
    let columns: Vec<Expr> = sort
        .input
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect();
    let mut below = columns.clone();
    let mut names = 0;
    let mut by_column = |key: SortExpr| {
        if !has_distance(&key.expr) {
            return key;
        }
        let name = unused_name(&mut names, sort.input.schema());
        let column = Expr::Column(Column::new_unqualified(name.clone()));
        below.push(key.expr.clone().alias(name));
        key.with_expr(column)
    };
    let keys = sort.expr.into_iter().map(&mut by_column).collect();
    let below = Projection::try_new(below, sort.input)?;
    let sorted = LogicalPlan::Sort(Sort {
        expr: keys,
        input: Arc::new(LogicalPlan::Projection(below)),
        fetch: sort.fetch,
    });
    Ok(LogicalPlan::Projection(Projection::try_new(
        columns,
        Arc::new(sorted),
    )?))
}

fn unused_name(names: &mut usize, schema: &DFSchema) -> String {
    loop {
        *names += 1;
        let name = format!("__distance_{names}");
        if !schema.has_column_with_unqualified_name(&name) {
            return name;
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::physical_plan::displayable;

    use crate::Engine;

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
        let expected = "SortExec: TopK(fetch=3), expr=[__distance_1@1 ASC NULLS LAST]";
        assert!(top(&plan).starts_with(expected), "{plan}");
        assert_eq!(plan.matches("cosine_distance(").count(), 1, "{plan}");
    }

    #[tokio::test]
    async fn only_keys_with_distances_become_columns() {
        let near = "ORDER BY v, 1 - l2_distance(v, v) DESC, id";
        let plan = plan(&format!("SELECT * FROM items {near} LIMIT 3")).await;
        let keys = "v@1 ASC NULLS LAST, __distance_1@2 DESC, id@0 ASC NULLS LAST";
        assert!(top(&plan).contains(keys), "{plan}");
    }
}
