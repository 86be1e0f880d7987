//! [`VectorFile`]: the batches of a file whose vectors are read here, beside columns that the usual reader reads.

use std::pin::Pin;
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::common::runtime::SpawnedTask;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{
    ParquetAccessPlan, ParquetRowSelection, RowGroupAccessPlanFilter,
};
use datafusion::parquet::arrow::arrow_reader::{ArrowReaderMetadata, RowSelection, RowSelector};
use datafusion::parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::parquet::schema::types::SchemaDescriptor;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use super::column::{VectorColumn, is_of_lists, is_plain, is_vector};
use super::scan::Scan;
use crate::error::{Result, SqlState, sql_err};

/// The least rows of a row group in the mean. Each row group is opened by itself here, while the usual source opens a file once: 20,000
/// row groups of 10 rows took 18.6 s of processor time and 403 MB here, and 10.2 s and 224 MB there.
const GROUP_ROWS_MIN: i64 = 256;

type Batches = BoxStream<'static, Result<RecordBatch>>;

/// A column of the scan in a file.
struct ReadColumn {
    /// Its place among the columns of the file.
    root: usize,
    /// The leaf with the numbers of vectors.
    leaf: Option<usize>,
}

/// A file of which some columns are vectors.
pub(super) struct VectorFile {
    scan: Arc<Scan>,
    file: PartitionedFile,
    metadata: ArrowReaderMetadata,
    /// In the order of the scan.
    columns: Vec<ReadColumn>,
    /// The places of all columns in the file, in their order.
    roots: Vec<usize>,
    /// The places of those without vectors.
    others: Vec<usize>,
}

impl VectorFile {
    /// Opens a file; `None` if it has other columns than the scan or small row groups, or if only some of its rows are read. A file that
    /// cannot be read gives `None` too: the usual source says why.
    pub(super) async fn open(scan: &Arc<Scan>, file: &PartitionedFile) -> Option<Self> {
        let has_chosen_rows = file.extensions.get::<ParquetAccessPlan>().is_some()
            || file.extensions.get::<ParquetRowSelection>().is_some();
        if has_chosen_rows {
            return None;
        }
        let metadata = scan.metadata(file).await.ok()?;
        if has_small_groups(metadata.metadata()) {
            return None;
        }
        let fields = scan.schema.fields().iter();
        let columns = fields.map(|field| column(field, &metadata));
        let columns: Vec<ReadColumn> = columns.collect::<Option<_>>()?;
        if columns.iter().all(|column| column.leaf.is_none()) {
            return None;
        }
        let mut roots: Vec<usize> = columns.iter().map(|column| column.root).collect();
        roots.sort_unstable();
        let others = columns.iter().filter(|column| column.leaf.is_none());
        let mut others: Vec<usize> = others.map(|column| column.root).collect();
        others.sort_unstable();
        Some(Self {
            scan: Arc::clone(scan),
            file: file.clone(),
            metadata,
            columns,
            roots,
            others,
        })
    }

    /// The rows of the part of the file that is scanned.
    pub(super) fn batches(self) -> Batches {
        let all = self.metadata.metadata().row_groups();
        let mut groups = RowGroupAccessPlanFilter::new(ParquetAccessPlan::new_all(all.len()));
        if let Some(range) = &self.file.range {
            groups.prune_by_range(all, range);
        }
        let groups = groups.build().row_group_indexes();
        let file = Arc::new(self);
        let of_group = move |group| Arc::clone(&file).group(group);
        let batches = futures::stream::iter(groups).then(of_group);
        batches.try_flatten().boxed()
    }

    async fn group(self: Arc<Self>, group: usize) -> Result<Batches> {
        if !self.is_plain(group) {
            return self.usual(group, 0);
        }
        // The bytes of the other columns come first: the vectors are opened only if the file is the listed one even then, so all
        // columns are of one file, also where another one takes its place meanwhile. An error is given with the batches.
        let mut others = self.read(group, &self.others, 0)?.peekable();
        Pin::new(&mut others).peek().await;
        let Some(vectors) = self.vectors(group).await else {
            return self.usual(group, 0);
        };
        let others = others.boxed();
        let reading = Reading::Here(Group {
            file: self,
            group,
            vectors,
            others,
            rows: 0,
        });
        Ok(futures::stream::try_unfold(reading, Reading::next).boxed())
    }

    /// Whether the numbers of all vectors of a row group are as they are in memory.
    fn is_plain(&self, group: usize) -> bool {
        let metadata = self.metadata.metadata().row_group(group);
        let mut leaves = self.columns.iter().filter_map(|column| column.leaf);
        leaves.all(|leaf| is_plain(metadata.column(leaf)))
    }

    fn rows(&self, group: usize) -> usize {
        self.metadata.metadata().row_group(group).num_rows() as usize
    }

    /// The columns of vectors of a row group; `None` if one cannot be opened, or if the file is another one than when it was listed.
    async fn vectors(&self, group: usize) -> Option<Vec<VectorColumn>> {
        let metadata = self.metadata.metadata().row_group(group);
        let rows = self.rows(group);
        let mut vectors = Vec::new();
        for (column, field) in self.columns.iter().zip(self.scan.schema.fields()) {
            let Some(leaf) = column.leaf else {
                continue;
            };
            let leaf = metadata.column(leaf);
            let (start, length) = leaf.byte_range();
            let bytes = self.scan.chunk(&self.file, start..start + length).await;
            let column = VectorColumn::try_new(field.data_type(), leaf, rows, bytes.ok()?);
            vectors.push(column.ok()?);
        }
        Some(vectors)
    }

    /// All columns of a row group by the usual reader, from a row on.
    fn usual(self: Arc<Self>, group: usize, skipped: usize) -> Result<Batches> {
        let batches = self.read(group, &self.roots, skipped)?;
        let in_order = move |batch: Result<RecordBatch>| {
            let batch = batch?;
            let columns = self.columns.iter().map(|column| {
                let place = place(&self.roots, column.root);
                Arc::clone(batch.column(place))
            });
            self.batch(columns.collect())
        };
        Ok(batches.map(in_order).boxed())
    }

    /// Columns of a row group by the usual reader, in the order of the file.
    fn read(&self, group: usize, roots: &[usize], skipped: usize) -> Result<Batches> {
        let reader = self.scan.reader(&self.file)?;
        let columns = ProjectionMask::roots(self.metadata.parquet_schema(), roots.iter().copied());
        let mut builder =
            ParquetRecordBatchStreamBuilder::new_with_metadata(reader, self.metadata.clone())
                .with_projection(columns)
                .with_row_groups(vec![group])
                .with_batch_size(self.scan.batch_rows);
        if skipped > 0 {
            let rest = RowSelector::select(self.rows(group).saturating_sub(skipped));
            let selected = RowSelection::from(vec![RowSelector::skip(skipped), rest]);
            builder = builder.with_row_selection(selected);
        }
        Ok(builder.build()?.map_err(DataFusionError::from).boxed())
    }

    fn batch(&self, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
        Ok(RecordBatch::try_new(
            Arc::clone(&self.scan.schema),
            columns,
        )?)
    }
}

/// Whether the usual source reads the row groups of a file sooner, because they have few rows.
fn has_small_groups(metadata: &ParquetMetaData) -> bool {
    let groups = metadata.num_row_groups() as i64;
    metadata.file_metadata().num_rows() < groups.saturating_mul(GROUP_ROWS_MIN)
}

/// A column of the scan in a file; `None` if the file has none of this type.
fn column(wanted: &FieldRef, metadata: &ArrowReaderMetadata) -> Option<ReadColumn> {
    let (root, found) = metadata.schema().column_with_name(wanted.name())?;
    let file = metadata.parquet_schema();
    let is_same = found.data_type() == wanted.data_type()
        && (wanted.is_nullable() || !found.is_nullable())
        && file.root_schema().get_fields().get(root)?.name() == wanted.name();
    let leaf = leaf(file, root, wanted.data_type());
    is_same.then_some(ReadColumn { root, leaf })
}

/// The leaf of a file that has the numbers of vectors.
fn leaf(file: &SchemaDescriptor, root: usize, data_type: &DataType) -> Option<usize> {
    let is_below = |leaf: &usize| file.get_column_root_idx(*leaf) == root;
    let leaf = (0..file.num_columns()).find(is_below)?;
    let has_vectors = is_vector(data_type) && is_of_lists(&file.column(leaf));
    has_vectors.then_some(leaf)
}

/// The place of a column of the file in a batch of some columns.
fn place(roots: &[usize], root: usize) -> usize {
    roots.partition_point(|other| *other < root)
}

/// The rest of a row group.
enum Reading {
    Here(Group),
    Usual(Batches),
}

impl Reading {
    async fn next(mut self) -> Result<Option<(RecordBatch, Self)>> {
        loop {
            match self {
                Self::Here(mut group) => {
                    let Some(others) = group.others.next().await.transpose()? else {
                        return Ok(None);
                    };
                    if let Some(batch) = group.add_vectors(&others).await? {
                        return Ok(Some((batch, Self::Here(group))));
                    }
                    self = Self::Usual(group.file.usual(group.group, group.rows)?);
                }
                Self::Usual(mut batches) => {
                    let batch = batches.next().await.transpose()?;
                    return Ok(batch.map(|batch| (batch, Self::Usual(batches))));
                }
            }
        }
    }
}

/// A row group whose vectors are read here.
struct Group {
    file: Arc<VectorFile>,
    group: usize,
    vectors: Vec<VectorColumn>,
    /// The other columns.
    others: Batches,
    /// The rows so far.
    rows: usize,
}

impl Group {
    /// The next rows of all columns; `None` if the usual reader must read these.
    ///
    /// # Errors
    /// If a column has more vectors than the row group has rows.
    async fn add_vectors(&mut self, others: &RecordBatch) -> Result<Option<RecordBatch>> {
        let rows = others.num_rows();
        let mut vectors = std::mem::take(&mut self.vectors);
        let read = move || {
            let found = vectors.iter_mut().map(|column| column.next(rows));
            let found: Option<Vec<ArrayRef>> = found.collect();
            (vectors, found)
        };
        let ended = |error| sql_err(SqlState::Internal, format!("a read ended: {error}"));
        let read = SpawnedTask::spawn_blocking(read).join().await;
        let (vectors, found) = read.map_err(ended)?;
        self.vectors = vectors;
        let batch = found.and_then(|found| self.batch(others, found));
        self.rows += batch.as_ref().map_or(0, RecordBatch::num_rows);
        let is_read = batch.is_some() && self.rows >= self.file.rows(self.group);
        if is_read && self.vectors.iter().any(VectorColumn::has_more) {
            // A level that begins a vector too many moves all later vectors to other rows.
            let place = &self.file.file.object_meta.location;
            let message = format!(
                "{place} is damaged: a column of vectors has more of them than its row group has rows; restore the file or write it again"
            );
            return Err(sql_err(SqlState::Data, message));
        }
        Ok(batch)
    }

    /// A batch of columns of vectors and others.
    fn batch(&self, others: &RecordBatch, vectors: Vec<ArrayRef>) -> Option<RecordBatch> {
        let mut vectors = vectors.into_iter();
        let of_column = |column: &ReadColumn| match column.leaf {
            Some(_) => vectors.next(),
            None => {
                let place = place(&self.file.others, column.root);
                Some(Arc::clone(others.column(place)))
            }
        };
        let columns = self.file.columns.iter().map(of_column);
        self.file.batch(columns.collect::<Option<_>>()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;

    use datafusion::arrow::array::{Array, Int64Array, ListArray};
    use datafusion::arrow::buffer::OffsetBuffer;
    use datafusion::arrow::compute::concat_batches;
    use datafusion::arrow::datatypes::{Field, Float32Type, Schema, SchemaRef};
    use datafusion::datasource::physical_plan::parquet::DefaultParquetFileReaderFactory;
    use datafusion::execution::object_store::ObjectStoreUrl;
    use datafusion::execution::runtime_env::RuntimeEnv;
    use datafusion::parquet::arrow::ArrowWriter;
    use datafusion::parquet::file::properties::WriterProperties;
    use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;

    use super::*;

    /// Vectors of two numbers.
    fn pairs(rows: usize) -> ListArray {
        let vectors = (0..rows).map(|row| Some([row as f32, 0.5].map(Some)));
        ListArray::from_iter_primitive::<Float32Type, _, _>(vectors)
    }

    /// Writes a file of one column, in row groups of so many rows.
    fn write(path: &Path, column: &ArrayRef, group_rows: usize, has_dictionary: bool) -> SchemaRef {
        let batch = RecordBatch::try_from_iter([("v", Arc::clone(column))]).unwrap();
        let properties = WriterProperties::builder().set_dictionary_enabled(has_dictionary);
        let file = File::create(path).unwrap();
        let mut writer =
            ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).unwrap();
        for start in (0..column.len()).step_by(group_rows) {
            let rows = group_rows.min(column.len() - start);
            writer.write(&batch.slice(start, rows)).unwrap();
            writer.flush().unwrap();
        }
        writer.close().unwrap();
        batch.schema()
    }

    /// A file as a scan of these columns lists it, and the scan.
    fn listed(path: &Path, schema: &SchemaRef) -> (Arc<Scan>, PartitionedFile) {
        let local = ObjectStoreUrl::local_filesystem();
        let store = RuntimeEnv::default().object_store(local).unwrap();
        let scan = Scan {
            readers: Arc::new(DefaultParquetFileReaderFactory::new(store)),
            local: None,
            partition: 0,
            batch_rows: 100,
            metadata_bytes: None,
            metrics: ExecutionPlanMetricsSet::new(),
            table: Arc::clone(schema),
            schema: Arc::clone(schema),
        };
        let bytes = std::fs::metadata(path).unwrap().len();
        let file = PartitionedFile::new(path.to_str().unwrap(), bytes);
        (Arc::new(scan), file)
    }

    async fn is_opened(path: &Path, schema: &SchemaRef) -> bool {
        let (scan, file) = listed(path, schema);
        VectorFile::open(&scan, &file).await.is_some()
    }

    #[tokio::test]
    async fn files_without_vectors_or_with_small_row_groups_are_left_to_the_usual_source() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let vectors: ArrayRef = Arc::new(pairs(512));
        let inner = pairs(512);
        let item = Field::new_list_field(inner.data_type().clone(), true);
        let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(2, 256));
        let nested: ArrayRef = Arc::new(ListArray::new(
            Arc::new(item),
            offsets,
            Arc::new(inner),
            None,
        ));
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..512));
        for (column, group_rows, expected) in [
            (&vectors, 512, true),
            (&vectors, 256, true),
            // The mean of three row groups is 170 rows.
            (&vectors, 255, false),
            (&nested, 256, false),
            (&numbers, 512, false),
        ] {
            let schema = write(file.path(), column, group_rows, false);
            let found = is_opened(file.path(), &schema).await;
            let kind = column.data_type();
            assert_eq!(found, expected, "{kind}, row groups of {group_rows} rows");
        }
    }

    #[tokio::test]
    async fn other_columns_chosen_rows_and_damaged_files_are_left_to_the_usual_source() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let vectors: ArrayRef = Arc::new(pairs(512));
        let schema = write(file.path(), &vectors, 512, false);
        let field = schema.field(0);
        let item = Arc::new(Field::new_list_field(DataType::Float32, true));
        for other in [
            field.clone().with_name("w"),
            field
                .clone()
                .with_data_type(DataType::FixedSizeList(item, 2)),
        ] {
            let schema = Arc::new(Schema::new(vec![other]));
            assert!(!is_opened(file.path(), &schema).await, "{schema:?}");
        }
        let (scan, listed) = listed(file.path(), &schema);
        let chosen = RowSelection::from(vec![RowSelector::skip(500), RowSelector::select(12)]);
        let listed = listed.with_extension(ParquetRowSelection::new(chosen));
        assert!(VectorFile::open(&scan, &listed).await.is_none());
        // A footer that names more bytes than the file has makes the decoder of parquet 59 panic, so this one names one byte.
        std::fs::write(file.path(), b"PAR1 not a file of Parquet \x01\0\0\0PAR1").unwrap();
        assert!(!is_opened(file.path(), &schema).await);
    }

    #[tokio::test]
    async fn numbers_in_a_dictionary_are_read_by_the_usual_reader() {
        let vectors: ArrayRef = Arc::new(pairs(700));
        for has_dictionary in [false, true] {
            let file = tempfile::NamedTempFile::new().unwrap();
            let schema = write(file.path(), &vectors, 350, has_dictionary);
            let (scan, listed) = listed(file.path(), &schema);
            let found = VectorFile::open(&scan, &listed).await.unwrap();
            assert_eq!(found.is_plain(0), !has_dictionary);
            let batches: Vec<RecordBatch> = found.batches().try_collect().await.unwrap();
            let batch = concat_batches(&schema, &batches).unwrap();
            assert_eq!(batch.column(0), &vectors);
        }
    }
}
