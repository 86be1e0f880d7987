//! [`FLOAT_STATISTICS`]: the minimum and maximum of floats in Parquet leave out NaN, but DataFusion trusts them: a column of 1
//! and NaN would be read as all 1, and `max` would not be NaN. The rule turns the bounds into estimates.
//!
//! [`FLOAT_PREDICATES`]: a reader skips rows by the same bounds, also rows with NaN, which is above all numbers in SQL. The
//! rule removes conditions on floats from the reader; the filter above the scan still has them all.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::Statistics;
use datafusion::common::config::ConfigOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::physical_expr::expressions::{Column, DynamicFilterTracking};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, conjunction, split_conjunction};

use super::rule::ScanRule;

/// Must run before the rules that answer from statistics.
pub(crate) const FLOAT_STATISTICS: ScanRule = ScanRule {
    name: "FloatStatistics",
    other: loosened,
};
/// Must run after the rules that push conditions to readers.
pub(crate) const FLOAT_PREDICATES: ScanRule = ScanRule {
    name: "FloatPredicates",
    other: without_float_predicates,
};

/// The scan without skipping by the bounds of floats; `None` if it has no conditions on floats.
fn without_float_predicates(
    config: &FileScanConfig,
    _options: &ConfigOptions,
) -> Option<FileScanConfig> {
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
        // There is no filter above the scan, except for dynamic filters. With a dynamic filter in its predicate, the reader
        // checks the bounds of all conditions again and again, whatever the options say.
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

/// The scan with inexact bounds of floats; `None` if it has no floats.
fn loosened(config: &FileScanConfig, _options: &ConfigOptions) -> Option<FileScanConfig> {
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
