//! [`write_graphs`]: builds the graphs of one data file and writes them.
//!
//! A graph has the vectors of [`GRAPH_ROWS`] rows that follow each other and is built by one thread; several graphs are built at
//! once, and written in their order. So the file has the same bytes for any number of threads.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::Float32Type;
use datafusion::common::runtime::SpawnedTask;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use futures::StreamExt;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use vatic_udfs::vector::VectorsOf;
use xxhash_rust::xxh3::xxh3_64;

use super::super::spec::Metric;
use super::file::{Contents, GraphEntry, NONE, VERSION};
use super::graph::{Graph, Shape};
use super::measure::prepared;
use crate::error::{Result, SqlState, io_err, sql_err};
use crate::storage::{NewFile, Place};

/// The rows of a graph: more make a search quicker, fewer let more threads build.
const GRAPH_ROWS: usize = 65_536;
/// The bytes that are written at once.
const BUFFER_BYTES: usize = 64 << 10;

/// How the graphs of an index are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GraphOptions {
    pub(crate) metric: Metric,
    pub(crate) m: usize,
    pub(crate) ef_construction: usize,
    /// Graphs that are built at once.
    pub(crate) threads: usize,
}

/// What is known of the vectors before they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    /// The rows of the data file.
    pub(crate) rows: u64,
    /// The numbers of a vector; 0 if they are not known.
    pub(crate) width: usize,
}

/// A file of graphs that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Graphs {
    pub(crate) bytes: u64,
    pub(crate) hash: u64,
    /// The numbers of a vector; 0 if no row has a vector.
    pub(crate) width: usize,
}

/// Writes the graphs of the vectors in the only column of `rows`, which are all rows of a data file in its order.
///
/// # Errors
/// If vectors have different lengths, if the data file has other rows than expected, or if there is not the memory for a graph; the file
/// is then incomplete.
pub(crate) async fn write_graphs(
    mut rows: SendableRecordBatchStream,
    place: &Place,
    options: GraphOptions,
    expected: Expected,
    pool: &Arc<dyn MemoryPool>,
) -> Result<Graphs> {
    let failed = |error: std::io::Error| io_err(place, &error);
    let (file, output) = NewFile::create(place).await.map_err(failed)?;
    let mut output = Output { output, bytes: 0 };
    let mut collected = Collected::new(options, expected, pool);
    let stop = CancellationToken::new();
    // A statement that ends sooner drops this future, and the threads see the token.
    let _stops = stop.clone().drop_guard();
    let mut building = VecDeque::new();
    let mut graphs = Vec::new();
    while let Some(batch) = rows.next().await.transpose()? {
        for part in collected.add(batch.column(0))? {
            building.push_back(start(part, &stop));
            if building.len() >= options.threads.max(1) {
                let built = next(&mut building).await?;
                graphs.extend(output.graph(built).await.map_err(failed)?);
            }
        }
    }
    collected.check_rows(collected.rows == collected.file_rows)?;
    building.extend(collected.part.take().map(|part| start(part, &stop)));
    while !building.is_empty() {
        let built = next(&mut building).await?;
        graphs.extend(output.graph(built).await.map_err(failed)?);
    }
    let contents = collected.contents(graphs);
    let json = serde_json::to_vec(&contents).map_err(|error| {
        let message = format!("the contents of an index cannot be written: {error}");
        sql_err(SqlState::Internal, message)
    })?;
    output.end(&json).await.map_err(failed)?;
    file.finish().await.map_err(failed)?;
    Ok(Graphs {
        bytes: output.bytes,
        hash: xxh3_64(&json),
        width: contents.width,
    })
}

/// The vectors of a graph that is not built yet.
struct Part {
    shape: Shape,
    vectors: Vec<f32>,
    rows: Vec<u64>,
    /// The memory of the graph too.
    memory: MemoryReservation,
}

/// What was read of the data file so far.
struct Collected {
    options: GraphOptions,
    memory: MemoryReservation,
    /// The rows of the data file.
    file_rows: u64,
    /// The numbers of a vector, once they are known.
    width: usize,
    rows: u64,
    part: Option<Part>,
    null_rows: Vec<(u64, u64)>,
    odd_rows: Vec<(u64, u64)>,
}

impl Collected {
    fn new(options: GraphOptions, expected: Expected, pool: &Arc<dyn MemoryPool>) -> Self {
        Self {
            options,
            memory: MemoryConsumer::new("building an index").register(pool),
            file_rows: expected.rows,
            width: expected.width,
            rows: 0,
            part: None,
            null_rows: Vec::new(),
            odd_rows: Vec::new(),
        }
    }

    /// Adds the vectors of a batch, and returns the graphs that are full.
    fn add(&mut self, column: &ArrayRef) -> Result<Vec<Part>> {
        let vectors = VectorsOf::<Float32Type>::new(column)?;
        let mut full = Vec::new();
        for row in 0..column.len() {
            let number = self.rows;
            self.rows += 1;
            self.check_rows(self.rows <= self.file_rows)?;
            let Some(vector) = vectors.row(row) else {
                add_to_runs(&mut self.null_rows, number);
                continue;
            };
            self.check_width(vector.len())?;
            let Some(vector) = prepared(self.options.metric, vector) else {
                add_to_runs(&mut self.odd_rows, number);
                continue;
            };
            let mut part = match self.part.take() {
                Some(part) => part,
                None => self.new_part(number)?,
            };
            part.vectors.extend_from_slice(&vector);
            part.rows.push(number);
            match part.rows.len() == GRAPH_ROWS {
                true => full.push(part),
                false => self.part = Some(part),
            }
        }
        Ok(full)
    }

    fn check_rows(&self, is_right: bool) -> Result<()> {
        if is_right {
            return Ok(());
        }
        let (found, expected) = (self.rows, self.file_rows);
        let message = format!("a file of the table has {found} rows, {expected} were written");
        Err(sql_err(SqlState::Io, message))
    }

    fn check_width(&mut self, found: usize) -> Result<()> {
        let problem = match (self.width, found) {
            (_, 0) => "an index takes vectors with numbers, found an empty one".to_owned(),
            (0, found) => {
                self.width = found;
                return Ok(());
            }
            (expected, found) if expected != found => {
                format!("an index takes vectors of one length, found {expected} and {found}")
            }
            _ => return Ok(()),
        };
        Err(sql_err(SqlState::Data, problem))
    }

    /// A graph for the vectors from a row on. Its memory, and that of the vectors until they are in it, is reserved.
    fn new_part(&self, first: u64) -> Result<Part> {
        let shape = Shape {
            metric: self.options.metric,
            width: self.width,
            m: self.options.m,
            ef_construction: self.options.ef_construction,
        };
        let memory = self.memory.new_empty();
        let collected = self.width * size_of::<f32>() + size_of::<u64>();
        let rest = usize::try_from(self.file_rows - first).unwrap_or(usize::MAX);
        let rows = rest.min(GRAPH_ROWS);
        memory.try_grow(shape.bytes(rows) + collected * rows)?;
        Ok(Part {
            shape,
            vectors: Vec::with_capacity(rows * shape.width),
            rows: Vec::with_capacity(rows),
            memory,
        })
    }

    fn contents(self, graphs: Vec<GraphEntry>) -> Contents {
        Contents {
            version: VERSION,
            metric: self.options.metric,
            m: self.options.m,
            width: self.width,
            rows: self.rows,
            graphs,
            null_rows: self.null_rows,
            odd_rows: self.odd_rows,
        }
    }
}

fn add_to_runs(runs: &mut Vec<(u64, u64)>, row: u64) {
    match runs.last_mut() {
        Some((first, count)) if *first + *count == row => *count += 1,
        _ => runs.push((row, 1)),
    }
}

/// A graph with the rows of its nodes.
struct Built {
    graph: Graph,
    rows: Vec<Vec<u64>>,
    _memory: MemoryReservation,
}

type Building = SpawnedTask<std::io::Result<Option<Built>>>;

fn start(part: Part, stop: &CancellationToken) -> Building {
    let stop = stop.clone();
    SpawnedTask::spawn_blocking(move || build(part, &stop))
}

async fn next(building: &mut VecDeque<Building>) -> Result<Option<Built>> {
    let Some(task) = building.pop_front() else {
        return Ok(None);
    };
    let built = task.join().await.map_err(|error| {
        let message = format!("the building of an index ended: {error}");
        sql_err(SqlState::Internal, message)
    })?;
    built.map_err(|error| sql_err(SqlState::Internal, error.to_string()))
}

/// Builds a graph in which equal vectors are one node; `None` if the statement ended.
fn build(part: Part, stop: &CancellationToken) -> std::io::Result<Option<Built>> {
    let mut graph = Graph::new(part.shape, part.rows.len());
    let mut rows: Vec<Vec<u64>> = Vec::with_capacity(part.rows.len());
    let mut known: HashMap<u64, u32> = HashMap::with_capacity(part.rows.len());
    let width = part.shape.width;
    for (row, vector) in part.rows.iter().zip(part.vectors.chunks_exact(width)) {
        if stop.is_cancelled() {
            return Ok(None);
        }
        let bits: &[u8] = bytemuck::cast_slice(vector);
        let next = graph.nodes.count() as u32;
        let node = *known.entry(xxh3_64(bits)).or_insert(next);
        // Vectors of one hash that differ are nodes of their own, of which the first is known.
        let is_known = node < next && {
            let of_node = &graph.nodes.vectors[node as usize * width..][..width];
            bytemuck::cast_slice::<f32, u8>(of_node) == bits
        };
        match is_known {
            true => rows[node as usize].push(*row),
            false => {
                graph.insert(*row, vector)?;
                rows.push(vec![*row]);
            }
        }
    }
    Ok(Some(Built {
        graph,
        rows,
        _memory: part.memory,
    }))
}

/// The file that is written.
struct Output {
    output: Box<dyn AsyncWrite + Send + Unpin>,
    bytes: u64,
}

impl Output {
    async fn bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.output.write_all(bytes).await?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    async fn words(&mut self, words: impl Iterator<Item = u32>) -> std::io::Result<()> {
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        for word in words {
            buffer.extend_from_slice(&word.to_le_bytes());
            if buffer.len() >= BUFFER_BYTES {
                self.bytes(&buffer).await?;
                buffer.clear();
            }
        }
        self.bytes(&buffer).await
    }

    /// Writes a graph and returns its entry.
    async fn graph(&mut self, built: Option<Built>) -> std::io::Result<Option<GraphEntry>> {
        let Some(built) = built else {
            return Ok(None);
        };
        let (graph, nodes) = (&built.graph, &built.graph.nodes);
        let rows = built.rows.iter().flatten();
        let entry = GraphEntry {
            at: self.bytes,
            nodes: nodes.count() as u32,
            rows: rows.clone().count() as u32,
            entry: graph.entry,
            top: graph.top,
        };
        self.words(nodes.vectors.iter().map(|number| number.to_bits()))
            .await?;
        let mut end = 0;
        let ends = built.rows.iter().map(|rows| {
            end += rows.len() as u32;
            end
        });
        self.words(ends).await?;
        // The lower half of a row's place, and the upper one.
        self.words(rows.flat_map(|row| [*row as u32, (*row >> 32) as u32]))
            .await?;
        let mut upper = 0;
        let record = 1 + nodes.shape.room(0);
        let lowest = nodes.base.chunks_exact(record).zip(&nodes.upper);
        let lowest = lowest.flat_map(|(links, above)| {
            let at = if above.is_empty() { NONE } else { upper };
            upper += above.len() as u32;
            std::iter::once(at).chain(links.iter().copied())
        });
        self.words(lowest).await?;
        self.words(nodes.upper.iter().flatten().copied()).await?;
        Ok(Some(entry))
    }

    async fn end(&mut self, json: &[u8]) -> std::io::Result<()> {
        self.bytes(json).await?;
        self.bytes(&(json.len() as u64).to_le_bytes()).await?;
        self.output.shutdown().await
    }
}
