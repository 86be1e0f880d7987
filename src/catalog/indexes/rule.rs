//! [`UseIndexes`]: the optimizer rule that lets searches for the nearest vectors read the rows that an index finds, if
//! `vatic.vector_index` is on.
//!
//! ```text
//! Sort: distance, fetch=10                        Sort: distance, fetch=10
//!   Projection: l2_distance(t.v, […]) AS distance   Projection: l2_distance(t.v, […]) AS distance
//!     TableScan: t                            ─▶      VectorIndex: index=near
//!                                                       TableScan: t
//! ```
//! The same holds for the items of `nearest`. With a filter between both, the search stays exact, and the plan says so.

use std::sync::Arc;

use datafusion::arrow::datatypes::Float32Type;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Distinct, Expr, Extension, LogicalPlan, Sort, TableScan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use vatic_udfs::vector::VectorsOf;

use super::super::files::ManagedFile;
use super::super::managed::ManagedTable;
use super::state::{FILE, VectorIndex};
use crate::config::VaticOptions;
use crate::error::Result;
use crate::plan::chance::{depends_on_order, is_nondeterministic};
use crate::plan::nearest::index::{GraphPlace, IndexNode, IndexSpec, Unused};
use crate::plan::nearest::{Metric, NearestNode};

/// More rows than these are read without an index.
const TOP_K_MAX: usize = 10_000;

/// Runs after DataFusion's rules, when filters, limits and columns are where they stay.
#[derive(Debug)]
pub(crate) struct UseIndexes;

impl OptimizerRule for UseIndexes {
    fn name(&self) -> &str {
        "use_indexes"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let options = VaticOptions::of(&config.options());
        if !options.vector_index {
            return Ok(Transformed::no(plan));
        }
        let changed = match &plan {
            LogicalPlan::Sort(sort) => sorted(sort, options)?,
            LogicalPlan::Extension(extension) => nearest(extension, options)?,
            _ => None,
        };
        Ok(match changed {
            Some(changed) => Transformed::yes(changed),
            None => Transformed::no(plan),
        })
    }
}

/// A sort by the distance from a constant, over the rows that an index finds.
fn sorted(sort: &Sort, options: VaticOptions) -> Result<Option<LogicalPlan>> {
    let (Some(top_k), Some(order)) = (sort.fetch, sort.expr.first()) else {
        return Ok(None);
    };
    // Rows without a distance are not in the graphs, and must come last.
    if !order.asc || order.nulls_first {
        return Ok(None);
    }
    let search = Search {
        top_k,
        metric: None,
        options,
    };
    let Some(spec) = indexed(&sort.input, order.expr.clone(), &search)? else {
        return Ok(None);
    };
    let input = with_index(&sort.input, &spec, None)?;
    let sort = Sort {
        expr: sort.expr.clone(),
        input: Arc::new(input),
        fetch: sort.fetch,
    };
    Ok(Some(LogicalPlan::Sort(sort)))
}

/// `nearest`, over the items that an index finds.
fn nearest(extension: &Extension, options: VaticOptions) -> Result<Option<LogicalPlan>> {
    let Some(node) = extension.node.as_any().downcast_ref::<NearestNode>() else {
        return Ok(None);
    };
    let search = Search {
        top_k: node.top_k(),
        metric: Some(node.metric()),
        options,
    };
    let vector = Expr::Column(node.item_vector());
    let Some(mut spec) = indexed(node.items(), vector, &search)? else {
        return Ok(None);
    };
    if spec.unused.is_none() && may_change(node.queries())? {
        spec.unused = Some(Unused::ChangingQueries);
    }
    let items = with_index(node.items(), &spec, Some(node))?;
    let node = Arc::new(node.with_items(items)?);
    Ok(Some(LogicalPlan::Extension(Extension { node })))
}

/// Whether a plan may return other rows when it is read again. The order in which partitions end decides what comes first.
fn may_change(plan: &LogicalPlan) -> Result<bool> {
    if is_nondeterministic(plan)? {
        return Ok(true);
    }
    let mut reads_order = false;
    plan.apply_with_subqueries(|node| {
        reads_order |= match node {
            LogicalPlan::Window(_) | LogicalPlan::Distinct(Distinct::On(_)) => true,
            LogicalPlan::Sort(sort) => sort.fetch.is_some(),
            LogicalPlan::Aggregate(aggregate) => {
                let mut exprs = aggregate.aggr_expr.iter();
                exprs.any(|expr| {
                    expr.exists(|expr| Ok(takes_rows_as_they_come(expr)))
                        .unwrap_or(true)
                })
            }
            _ => false,
        };
        Ok(match reads_order {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(reads_order)
}

/// Whether an expression is an aggregate whose value depends on the order of its rows.
fn takes_rows_as_they_come(expr: &Expr) -> bool {
    match expr {
        Expr::AggregateFunction(aggregate) => depends_on_order(aggregate.func.name()),
        _ => false,
    }
}

/// What is searched.
struct Search {
    top_k: usize,
    /// The metric of `nearest`; `None` if the key is a distance from a constant.
    metric: Option<Metric>,
    options: VaticOptions,
}

/// `items` with the index above their scan; above all of them if it is not used.
fn with_index(
    items: &LogicalPlan,
    spec: &IndexSpec,
    nearest: Option<&NearestNode>,
) -> Result<LogicalPlan> {
    let over = |items: LogicalPlan| -> Result<LogicalPlan> {
        let queries = match (nearest, spec.unused) {
            (Some(nearest), None) => Some(nearest.query_vectors()?),
            _ => None,
        };
        let node = Arc::new(IndexNode::new(items, queries, spec.clone()));
        Ok(LogicalPlan::Extension(Extension { node }))
    };
    if spec.unused.is_some() {
        return over(items.clone());
    }
    let replaced = items.clone().transform_down(|plan| match plan {
        LogicalPlan::TableScan(_) => {
            Ok(Transformed::new(over(plan)?, true, TreeNodeRecursion::Jump))
        }
        plan => Ok(Transformed::no(plan)),
    })?;
    Ok(replaced.data)
}

/// The index for a key, which projections and aliases below may rename, down to the scan of a table.
fn indexed(plan: &LogicalPlan, key: Expr, search: &Search) -> Result<Option<IndexSpec>> {
    match plan {
        LogicalPlan::Projection(projection) => {
            let below = |column: &Column| {
                let at = projection.schema.maybe_index_of_column(column)?;
                let expr = projection.expr.get(at)?;
                Some(expr.clone().unalias())
            };
            match with_columns(key, below)? {
                Some(key) => indexed(&projection.input, key, search),
                None => Ok(None),
            }
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let columns = alias.input.schema().columns();
            let below = |column: &Column| {
                let at = alias.schema.maybe_index_of_column(column)?;
                columns.get(at).cloned().map(Expr::Column)
            };
            match with_columns(key, below)? {
                Some(key) => indexed(&alias.input, key, search),
                None => Ok(None),
            }
        }
        LogicalPlan::Filter(filter) => {
            let found = indexed(&filter.input, key, search)?;
            Ok(found.map(|spec| IndexSpec {
                unused: Some(Unused::Filter),
                ..spec
            }))
        }
        LogicalPlan::TableScan(scan) => of_scan(scan, &key, search),
        _ => Ok(None),
    }
}

/// The expression with other columns; `None` if one is not known.
fn with_columns(key: Expr, other: impl Fn(&Column) -> Option<Expr>) -> Result<Option<Expr>> {
    let mut is_known = true;
    let replaced = key.transform_up(|expr| {
        let Expr::Column(column) = &expr else {
            return Ok(Transformed::no(expr));
        };
        Ok(match other(column) {
            Some(other) => Transformed::yes(other),
            None => {
                is_known = false;
                Transformed::no(expr)
            }
        })
    })?;
    Ok(is_known.then_some(replaced.data))
}

/// The index of a table for a key of its columns.
fn of_scan(scan: &TableScan, key: &Expr, search: &Search) -> Result<Option<IndexSpec>> {
    let wanted = match search.metric {
        Some(metric) => match key {
            Expr::Column(column) => Some((metric, column, None)),
            _ => None,
        },
        None => distance_of(key)?,
    };
    let Some((metric, column, query)) = wanted else {
        return Ok(None);
    };
    let provider = source_as_provider(&scan.source)?;
    let Some(table) = provider.downcast_ref::<ManagedTable>() else {
        return Ok(None);
    };
    let fits = |index: &&VectorIndex| index.metric == metric && index.column == column.name;
    let Some(index) = table.indexes().iter().find(fits) else {
        return Ok(None);
    };
    if search.top_k == 0 || search.top_k > TOP_K_MAX || scan.fetch.is_some() {
        return Ok(None);
    }
    Ok(Some(IndexSpec {
        index: index.name.clone(),
        metric,
        top_k: search.top_k,
        ef_search: search.options.ef_search,
        graphs: graphs(table, index),
        query,
        measures_recall: search.options.is_analyzed,
        unused: (!scan.filters.is_empty()).then_some(Unused::Filter),
    }))
}

/// The metric, the column and the bits of the constant, if there is one.
type Distance<'a> = (Metric, &'a Column, Option<Vec<u32>>);

/// The metric, the column and the bits of the constant of a distance from a constant; `None` for any other expression, and for a
/// constant from which no row has a distance.
fn distance_of(key: &Expr) -> Result<Option<Distance<'_>>> {
    let Expr::ScalarFunction(function) = key else {
        return Ok(None);
    };
    let metric = match function.name() {
        "cosine_distance" => Metric::Cosine,
        "l2_distance" => Metric::L2,
        "negative_inner_product" => Metric::InnerProduct,
        _ => return Ok(None),
    };
    let (column, constant) = match function.args.as_slice() {
        [Expr::Column(column), Expr::Literal(constant, _)]
        | [Expr::Literal(constant, _), Expr::Column(column)] => (column, constant),
        _ => return Ok(None),
    };
    let vector = finite_vector(constant)?;
    Ok(vector.map(|bits| (metric, column, Some(bits))))
}

/// The bits of the numbers of a constant, all of them finite.
fn finite_vector(constant: &ScalarValue) -> Result<Option<Vec<u32>>> {
    if !matches!(
        constant,
        ScalarValue::List(_) | ScalarValue::LargeList(_) | ScalarValue::FixedSizeList(_)
    ) {
        return Ok(None);
    }
    let vectors = VectorsOf::<Float32Type>::new(&constant.to_array()?)?;
    let vector = vectors.row(0).filter(|vector| !vector.is_empty());
    let vector = vector.filter(|vector| vector.iter().all(|number| number.is_finite()));
    Ok(vector.map(|vector| vector.iter().map(|number| number.to_bits()).collect()))
}

/// Where the graphs of the table's files are.
fn graphs(table: &ManagedTable, index: &VectorIndex) -> Vec<GraphPlace> {
    let blobs = table.blobs();
    let place = |file: &ManagedFile| {
        let mut graphs = index.graphs.iter();
        let graphs = graphs.find(|graphs| graphs.of == file.directory)?;
        Some(GraphPlace {
            of: file.directory.clone(),
            rows: file.rows,
            at: blobs.join(&graphs.directory).join(FILE).to_string(),
            bytes: graphs.bytes,
            hash: graphs.hash,
        })
    };
    table.files().iter().filter_map(place).collect()
}
