//! [`FLOAT_STATISTICS`]: what Parquet says of the least and greatest of floats leaves NaN out, and DataFusion takes it at
//! its word: a column of 1 and NaN would be read as all 1, and `max` would not be NaN. Here the bounds become estimates.
//!
//! [`FLOAT_PREDICATES`]: a reader skips rows by the same bounds, NaN among them, which in SQL is above all numbers. Here it
//! gets no condition about floats; the filter above it has them all.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::Statistics;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::physical_expr::expressions::{Column, DynamicFilterTracking};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, conjunction, split_conjunction};

use super::rule::ScanRule;

/// Must come before the rules that answer from statistics.
pub(crate) const FLOAT_STATISTICS: ScanRule = ScanRule {
    name: "FloatStatistics",
    other: loosened,
};
/// Must come after the rules that hand conditions to readers.
pub(crate) const FLOAT_PREDICATES: ScanRule = ScanRule {
    name: "FloatPredicates",
    other: without_float_predicates,
};

/// The same scan without skipping rows by the bounds of floats, if it did.
fn without_float_predicates(config: &FileScanConfig) -> Option<FileScanConfig> {
    let source = config.file_source.downcast_ref::<ParquetSource>()?;
    let predicate = source.filter()?;
    let schema = source.table_schema().table_schema();
    let is_float = |column: &Column| {
        let field = schema.field_with_name(column.name());
        field.is_ok_and(|field| has_nan(field.data_type()))
    };
    let (mut floats, mut others): (Vec<_>, Vec<_>) = split_conjunction(&predicate)
        .into_iter()
        .map(Arc::clone)
        .partition(|part| collect_columns(part).iter().any(is_float));
    if floats.is_empty() {
        return None;
    }
    let mut options = source.table_parquet_options().clone();
    if options.global.pushdown_filters {
        // There is no filter above it, but for conditions that become narrower while the query runs. With one of those the
        // reader looks at the bounds for all of them again and again, whatever the options say.
        let lasts = |part: &Arc<dyn PhysicalExpr>| {
            !DynamicFilterTracking::classify(part).contains_dynamic_filter()
        };
        floats.retain(lasts);
        if !floats.is_empty() {
            others.retain(lasts);
            options.global.pruning = false;
            options.global.enable_page_index = false;
        }
        others.extend(floats);
    }
    let source = source
        .with_predicate(conjunction(others))
        .with_table_parquet_options(options);
    let builder = FileScanConfigBuilder::from(config.clone()).with_source(Arc::new(source));
    Some(builder.build())
}

fn has_nan(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => values.is_floating(),
        other => other.is_floating(),
    }
}

/// The same scan with estimates, if it has floats.
fn loosened(config: &FileScanConfig) -> Option<FileScanConfig> {
    let schema = config.file_source.table_schema().table_schema();
    if !schema
        .fields()
        .iter()
        .any(|field| has_nan(field.data_type()))
    {
        return None;
    }
    let loosen = |statistics: &Statistics| without_float_bounds(statistics, schema);
    let file = |file: &PartitionedFile| {
        let mut file = file.clone();
        file.statistics = file.statistics.map(|found| Arc::new(loosen(&found)));
        file
    };
    let groups = config.file_groups.iter().map(|group| {
        let files = FileGroup::new(group.files().iter().map(file).collect());
        match group.file_statistics(None) {
            Some(found) => files.with_statistics(Arc::new(loosen(found))),
            None => files,
        }
    });
    let builder = FileScanConfigBuilder::from(config.clone())
        .with_statistics(loosen(&config.statistics()))
        .with_file_groups(groups.collect());
    Some(builder.build())
}

fn without_float_bounds(statistics: &Statistics, schema: &Schema) -> Statistics {
    let mut statistics = statistics.clone();
    let columns = statistics.column_statistics.iter_mut();
    for (column, field) in columns.zip(schema.fields()) {
        if has_nan(field.data_type()) {
            column.min_value = std::mem::take(&mut column.min_value).to_inexact();
            column.max_value = std::mem::take(&mut column.max_value).to_inexact();
        }
    }
    statistics
}
