//! The schema `examples`: small data sets inside the program, so that a first training needs no file. Everybody may read them.
//!
//! A table is decoded when it is first opened, and then kept. A plan for executors holds its rows, at most half a megabyte.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::csv::ReaderBuilder;
use datafusion::arrow::csv::reader::Format;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{MemTable, SchemaProvider, TableProvider};
use datafusion::logical_expr::TableType;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::error::Result;

/// All data sets, by name. `sql-tests/README.md` and `examples/README.md` say where they come from.
static DATA_SETS: [DataSet; 7] = [
    DataSet::new(
        "breast_cancer",
        File::Csv(include_bytes!("../../sql-tests/data/breast_cancer.csv")),
    ),
    DataSet::new(
        "digits",
        File::Parquet(include_bytes!("../../sql-tests/data/digits.parquet")),
    ),
    DataSet::new(
        "films",
        File::Csv(include_bytes!("../../examples/data/films/films.csv")),
    ),
    DataSet::new(
        "iris",
        File::Csv(include_bytes!("../../sql-tests/data/iris.csv")),
    ),
    DataSet::new(
        "penguins",
        File::Csv(include_bytes!("../../sql-tests/data/penguins.csv")),
    ),
    DataSet::new(
        "ratings",
        File::Csv(include_bytes!("../../examples/data/films/ratings.csv")),
    ),
    DataSet::new(
        "viewers",
        File::Csv(include_bytes!("../../examples/data/films/viewers.csv")),
    ),
];

#[derive(Debug)]
struct DataSet {
    name: &'static str,
    file: File,
    rows: OnceLock<RecordBatch>,
}

#[derive(Debug)]
enum File {
    /// With a header.
    Csv(&'static [u8]),
    Parquet(&'static [u8]),
}

/// The names of the data sets.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    DATA_SETS.iter().map(|set| set.name)
}

fn named(name: &str) -> Option<&'static DataSet> {
    DATA_SETS.iter().find(|set| set.name == name)
}

impl DataSet {
    const fn new(name: &'static str, file: File) -> Self {
        Self {
            name,
            file,
            rows: OnceLock::new(),
        }
    }

    fn rows(&self) -> Result<RecordBatch> {
        if let Some(rows) = self.rows.get() {
            return Ok(rows.clone());
        }
        let rows = self.file.read()?;
        Ok(self.rows.get_or_init(|| rows).clone())
    }
}

impl File {
    fn read(&self) -> Result<RecordBatch> {
        let (schema, batches) = match *self {
            Self::Csv(bytes) => {
                let format = Format::default().with_header(true);
                let (schema, _) = format.infer_schema(bytes, None)?;
                let reader = ReaderBuilder::new(Arc::new(schema.clone())).with_format(format);
                let batches = reader
                    .build(bytes)?
                    .collect::<Result<Vec<_>, ArrowError>>()?;
                (schema, batches)
            }
            Self::Parquet(bytes) => {
                let bytes = Bytes::from_static(bytes);
                let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
                // Without what the writer noted about itself.
                let schema = Schema::new(reader.schema().fields().clone());
                let batches = reader.build()?.collect::<Result<Vec<_>, ArrowError>>()?;
                (schema, batches)
            }
        };
        Ok(concat_batches(&Arc::new(schema), &batches)?)
    }
}

/// The schema of the data sets.
#[derive(Debug)]
pub(super) struct ExampleSchema;

#[async_trait]
impl SchemaProvider for ExampleSchema {
    fn table_names(&self) -> Vec<String> {
        names().map(str::to_owned).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(set) = named(name) else {
            return Ok(None);
        };
        let rows = set.rows()?;
        let table = MemTable::try_new(rows.schema(), vec![vec![rows]])?;
        Ok(Some(Arc::new(table)))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        Ok(named(name).map(|_| TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        named(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_data_set_is_read_whole() {
        let found = DATA_SETS.each_ref().map(|set| {
            let rows = set.rows().unwrap();
            (set.name, rows.num_rows(), rows.num_columns())
        });
        // The lines of the files without their headers, and what pyarrow says of digits.parquet.
        let expected = [
            ("breast_cancer", 569, 32),
            ("digits", 1797, 3),
            ("films", 80, 4),
            ("iris", 150, 6),
            ("penguins", 344, 9),
            ("ratings", 6581, 3),
            ("viewers", 300, 2),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_data_sets_are_a_small_part_of_the_program() {
        let bytes = DATA_SETS.iter().map(|set| match set.file {
            File::Csv(bytes) | File::Parquet(bytes) => bytes.len(),
        });
        assert!(bytes.sum::<usize>() < 1_000_000);
    }
}
