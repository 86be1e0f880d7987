//! [`SCAN_EQUALITIES`]: the optimizer rule that hides equalities in the filter of a file scan. The scan declares that the two
//! sides of an equality are the same, and DataFusion replaces one by the other everywhere. With `nvl(a, '0') = '0'` each '0'
//! of the query becomes `nvl(a, '0')`, and a window ordered by a CASE with '0' is refused, as its rows seem to be in another
//! order (apache/datafusion#20194, fixed for filters but not for scans). The rule turns the filter into `nvl(a, '0') IN ('0')`.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::config::ConfigOptions;
use datafusion::datasource::physical_plan::{
    FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal, in_list};
use datafusion::physical_expr::{PhysicalExpr, conjunction, split_conjunction};

use super::rule::ScanRule;

/// Must run after each rule that pushes conditions to scans, and before the rules that read orders.
pub(crate) const SCAN_EQUALITIES: ScanRule = ScanRule {
    name: "ScanEqualities",
    other: without_equal_expressions,
};

fn without_equal_expressions(
    config: &FileScanConfig,
    _options: &ConfigOptions,
) -> Option<FileScanConfig> {
    let source = config.file_source.downcast_ref::<ParquetSource>()?;
    let predicate = source.filter()?;
    let schema = source.table_schema().table_schema();
    let parts: Vec<_> = split_conjunction(&predicate)
        .into_iter()
        .map(|part| (part, as_in_list(part, schema)))
        .collect();
    if parts.iter().all(|(_, other)| other.is_none()) {
        return None;
    }
    let parts = parts
        .into_iter()
        .map(|(part, other)| other.unwrap_or_else(|| Arc::clone(part)));
    let source = source.with_predicate(conjunction(parts));
    let builder = FileScanConfigBuilder::from(config.clone()).with_source(Arc::new(source));
    Some(builder.build())
}

/// Rewrites an equality of a literal and an expression that is not a column into an IN list.
fn as_in_list(part: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Option<Arc<dyn PhysicalExpr>> {
    let equality = part.downcast_ref::<BinaryExpr>()?;
    if *equality.op() != Operator::Eq {
        return None;
    }
    let is_literal = |side: &Arc<dyn PhysicalExpr>| side.downcast_ref::<Literal>().is_some();
    let (value, other) = match (is_literal(equality.left()), is_literal(equality.right())) {
        (true, false) => (equality.left(), equality.right()),
        (false, true) => (equality.right(), equality.left()),
        _ => return None,
    };
    if other.downcast_ref::<Column>().is_some() {
        return None;
    }
    in_list(Arc::clone(other), vec![Arc::clone(value)], &false, schema).ok()
}
