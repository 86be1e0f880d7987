//! [`WIDE_ROWS`]: the optimizer rule for scans of arrays, and of binary values such as files of images. A batch of 8,192 images of 28 x 28 pixels has 25 MB; its buffers are
//! written and read again from memory at each copy. With batches that fit into the cache of a core, a scan of lists reads two to
//! three times as many rows a second. What counts are the arrays that are read: with `cosine_distance(v, …)` in a scan, no
//! array is left in its batches. Operators that want larger batches gather them themselves.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::Statistics;
use datafusion::common::config::ConfigOptions;
use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::DataSource;
use datafusion::physical_expr::projection::ProjectionExprs;

use super::rule::ScanRule;

/// Bytes of a batch of arrays that a scan reads, which are copied once more on their way.
const SCAN_BYTES: usize = 1 << 20;
/// Bytes of a batch of arrays that an operator makes.
const BATCH_BYTES: usize = 4 << 20;
/// The least rows of a batch, however large they are.
const ROWS_MIN: usize = 64;
/// The assumed elements of a list, whose type does not tell its length.
const LIST_ELEMENTS: usize = 256;
/// The assumed elements of a list of bytes, which are the pixels of an image: 224 x 224 in three colours. A batch of 8,192 such
/// images has a gigabyte, and a list cannot hold one of larger images.
const PIXELS: usize = 3 * 224 * 224;

pub(crate) const WIDE_ROWS: ScanRule = ScanRule {
    name: "WideRows",
    other: smaller_batches,
};

fn smaller_batches(config: &FileScanConfig, options: &ConfigOptions) -> Option<FileScanConfig> {
    let schema = config.projected_schema().ok()?;
    let statistics = config.partition_statistics(None).ok();
    let bytes_of = |column: usize, data_type: &DataType| match data_type {
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            let statistics = statistics.as_ref();
            statistics.map_or(0, |statistics| mean_bytes(statistics, column))
        }
        other => list_bytes(other),
    };
    let fields = schema.fields().iter().enumerate();
    let bytes = fields
        .map(|(column, field)| bytes_of(column, field.data_type()))
        .fold(0, usize::saturating_add);
    let rows = rows_in(SCAN_BYTES, bytes.max(read_list_bytes(config)))?;
    let known = config
        .batch_size
        .unwrap_or(options.execution.batch_size.into());
    let smaller = || FileScanConfigBuilder::from(config.clone()).with_batch_size(Some(rows));
    (rows < known).then(|| smaller().build())
}

/// The bytes of the lists in a row of the files, of which the expressions of a scan may leave none in its batches.
fn read_list_bytes(config: &FileScanConfig) -> usize {
    let source = &config.file_source;
    let fields = source.table_schema().table_schema().fields();
    let columns = source.projection().map(ProjectionExprs::column_indices);
    let columns = columns.unwrap_or_default().into_iter();
    columns
        .filter_map(|column| fields.get(column))
        .map(|field| list_bytes(field.data_type()))
        .fold(0, usize::saturating_add)
}

/// The most rows of a batch that an operator makes, whose arrays have so many bytes in a row; `None` if there are no arrays.
pub(crate) fn rows_of_arrays(bytes: usize) -> Option<usize> {
    rows_in(BATCH_BYTES, bytes)
}

fn rows_in(batch_bytes: usize, bytes: usize) -> Option<usize> {
    let rows = batch_bytes.checked_div(bytes)?;
    Some(rows.max(ROWS_MIN))
}

/// The mean bytes of a value of a column, as far as the files tell; else 0.
fn mean_bytes(statistics: &Statistics, column: usize) -> usize {
    let of_column = statistics.column_statistics.get(column);
    let bytes = of_column.and_then(|of_column| of_column.byte_size.get_value());
    match (bytes, statistics.num_rows.get_value()) {
        (Some(bytes), Some(rows)) => bytes / (*rows).max(1),
        _ => 0,
    }
}

/// The bytes of a list, also in a struct; 0 for other types.
fn list_bytes(data_type: &DataType) -> usize {
    let (element, length) = match data_type {
        DataType::List(element) | DataType::LargeList(element) => {
            let is_image = *element.data_type() == DataType::UInt8;
            (element, if is_image { PIXELS } else { LIST_ELEMENTS })
        }
        DataType::FixedSizeList(element, length) => (element, *length as usize),
        DataType::FixedSizeBinary(bytes) => return *bytes as usize,
        DataType::Struct(fields) => {
            let bytes = fields.iter().map(|field| list_bytes(field.data_type()));
            return bytes.fold(0, usize::saturating_add);
        }
        _ => return 0,
    };
    let element = element.data_type();
    let of_element = element.primitive_width().unwrap_or(size_of::<u64>());
    length.saturating_mul(of_element.max(list_bytes(element)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::common::stats::Precision;

    use super::*;

    #[test]
    fn binary_values_count_with_the_size_that_files_tell() {
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("bytes", DataType::BinaryView, false),
        ]);
        let mut statistics = Statistics::new_unknown(&schema);
        assert_eq!(mean_bytes(&statistics, 1), 0);
        statistics.num_rows = Precision::Inexact(500);
        statistics.column_statistics[1].byte_size = Precision::Inexact(20_000_000);
        assert_eq!(mean_bytes(&statistics, 0), 0);
        assert_eq!(mean_bytes(&statistics, 1), 40_000);
        assert_eq!(rows_of_arrays(40_000), Some(104));
        assert_eq!(rows_in(SCAN_BYTES, 10_000), Some(104));
        assert_eq!(rows_in(SCAN_BYTES, 40_000), Some(ROWS_MIN));
        // Files without rows, and columns that the statistics lack.
        statistics.num_rows = Precision::Exact(0);
        assert_eq!(mean_bytes(&statistics, 1), 20_000_000);
        assert_eq!(mean_bytes(&statistics, 2), 0);
        assert_eq!(list_bytes(&DataType::FixedSizeBinary(784)), 784);
    }

    #[test]
    fn lists_count_with_their_elements() {
        let pixels = |length| {
            let element = Arc::new(Field::new("item", DataType::Float32, true));
            DataType::FixedSizeList(element, length)
        };
        let list = |element| DataType::List(Arc::new(Field::new("item", element, true)));
        assert_eq!(list_bytes(&DataType::Utf8), 0);
        assert_eq!(list_bytes(&pixels(784)), 3_136);
        assert_eq!(list_bytes(&list(DataType::Float32)), 1_024);
        assert_eq!(list_bytes(&list(pixels(28))), 256 * 112);
        let image = [
            Field::new("height", DataType::Int32, false),
            Field::new("pixels", list(DataType::UInt8), false),
        ];
        let image = DataType::Struct(image.into_iter().collect());
        assert_eq!(list_bytes(&image), 150_528);
    }
}
