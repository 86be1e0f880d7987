//! [`build`]: builds the graphs of a table's files.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::catalog::TableProvider;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::{StreamExt, TryStreamExt};

use super::super::files::{ManagedFile, Written};
use super::super::managed::ManagedTable;
use super::super::tables::Catalog;
use super::state::{FILE, IndexedFile};
use crate::error::{Result, SqlState, sql_err};
use crate::plan::nearest::index::{Expected, GraphOptions, Graphs, write_graphs};

/// The graphs that a statement builds.
pub(crate) struct Building<'a> {
    pub(crate) at: &'a (String, String),
    pub(crate) schema: &'a Schema,
    /// The files of the table.
    pub(crate) files: &'a [ManagedFile],
    /// The column of the vectors.
    pub(crate) column: usize,
    pub(crate) options: GraphOptions,
}

/// Builds the graphs of each file that has rows, several at once. The graphs are deleted on drop unless they are kept.
///
/// # Errors
/// If vectors have different lengths, or if there is not the memory for a graph.
pub(crate) async fn build(
    catalog: &Arc<Catalog>,
    building: &Building<'_>,
    state: &SessionState,
    context: &Arc<TaskContext>,
) -> Result<Vec<(IndexedFile, Written)>> {
    let files: Vec<ManagedFile> = building
        .files
        .iter()
        .filter(|file| file.rows > 0)
        .cloned()
        .collect();
    let threads = building.options.threads.max(1);
    let options = GraphOptions {
        // The graphs of one file share the threads that other files do not take.
        threads: threads.div_ceil(files.len().max(1)),
        ..building.options
    };
    let mut table = OpenTable {
        catalog,
        building,
        options,
        state,
        context,
        width: 0,
    };
    let mut built = Vec::with_capacity(files.len());
    let mut files = files.into_iter();
    // The first file says how many numbers the vectors of all files have.
    while table.width == 0
        && let Some(file) = files.next()
    {
        let (graphs, indexed, written) = table.graphs_of(file).await?;
        table.width = graphs.width;
        built.push((indexed, written));
    }
    let others: Vec<_> = futures::stream::iter(files)
        .map(|file| table.graphs_of(file))
        .buffered(threads)
        .try_collect()
        .await?;
    let others = others.into_iter();
    built.extend(others.map(|(_, indexed, written)| (indexed, written)));
    Ok(built)
}

/// The table while its graphs are built.
struct OpenTable<'a> {
    catalog: &'a Arc<Catalog>,
    building: &'a Building<'a>,
    options: GraphOptions,
    state: &'a SessionState,
    context: &'a Arc<TaskContext>,
    /// The numbers of a vector; 0 if no vector was read.
    width: usize,
}

impl OpenTable<'_> {
    /// Builds the graphs of one file.
    async fn graphs_of(&self, file: ManagedFile) -> Result<(Graphs, IndexedFile, Written)> {
        let data = self.catalog.data();
        let (name, directory) = data.create_blob()?;
        let written = Written {
            files: vec![],
            directory: directory.clone(),
            is_kept: false.into(),
        };
        let expected = Expected {
            rows: file.rows,
            width: self.width,
        };
        let of = file.directory.clone();
        let scan = self.scan(file).await?;
        let rows = scan.execute(0, Arc::clone(self.context))?;
        let pool: &Arc<dyn MemoryPool> = self.context.memory_pool();
        let place = directory.join(FILE);
        let graphs = write_graphs(rows, &place, self.options, expected, pool).await?;
        let indexed = IndexedFile {
            of,
            directory: name,
            bytes: graphs.bytes,
            hash: graphs.hash,
        };
        Ok((graphs, indexed, written))
    }

    /// The scan of the vectors of one file, in its order.
    async fn scan(&self, file: ManagedFile) -> Result<Arc<dyn ExecutionPlan>> {
        let at = self.building.at.clone();
        let list = self.catalog.files(at.clone(), None);
        let schema = Arc::new(self.building.schema.clone());
        let data = Arc::clone(self.catalog.data());
        let table = ManagedTable::new(data, at, schema, vec![file], list);
        let column = vec![self.building.column];
        let scan = table.scan(self.state, Some(&column), &[], None).await?;
        match scan.output_partitioning().partition_count() {
            1 => Ok(scan),
            count => {
                let message = format!("a file is read in {count} parts, so its rows have no order");
                Err(sql_err(SqlState::Internal, message))
            }
        }
    }
}
