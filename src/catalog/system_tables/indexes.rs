//! `ml.indexes`: the indexes of vectors that the session may read.

use datafusion::arrow::record_batch::RecordBatch;

use super::columns::{integers, strings};
use crate::catalog::indexes::ListedIndex;
use crate::error::Result;

pub(super) fn indexes(indexes: &[ListedIndex]) -> Result<RecordBatch> {
    let each = || indexes.iter();
    let parameter =
        |of: fn(&ListedIndex) -> usize| integers(each().map(|listed| of(listed) as u64));
    Ok(RecordBatch::try_from_iter([
        (
            "table_schema",
            strings(each().map(|listed| listed.schema.clone())),
        ),
        (
            "table_name",
            strings(each().map(|listed| listed.table.clone())),
        ),
        (
            "index_name",
            strings(each().map(|listed| listed.index.name.clone())),
        ),
        (
            "column_name",
            strings(each().map(|listed| listed.index.column.clone())),
        ),
        (
            "metric",
            strings(each().map(|listed| listed.index.metric.name().to_owned())),
        ),
        ("m", parameter(|listed| listed.index.m)),
        (
            "ef_construction",
            parameter(|listed| listed.index.ef_construction),
        ),
        ("rows", integers(each().map(|listed| listed.rows))),
        (
            "indexed_rows",
            integers(each().map(|listed| listed.indexed_rows)),
        ),
        ("bytes", integers(each().map(|listed| listed.bytes))),
    ])?)
}
