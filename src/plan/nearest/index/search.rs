//! The near rows of queries, from the graphs of a data file.

use std::io;

use tokio_util::sync::CancellationToken;

use super::file::{GraphEntry, GraphFile, damaged};
use super::measure::{measured, prepared};
use super::spec::IndexSpec;
use super::walk::{Near, Space, Visited, descend, nearest};

/// The queries of a partition whose rows are compared with the nearest.
const SAMPLE: usize = 10;

/// The rows of a data file to read.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// For each row of the data file whether it is read.
    pub(super) rows: Vec<bool>,
    /// The distances that were computed.
    pub(super) measured: usize,
    /// Of the nearest vectors of the sampled queries, those that were found, and all.
    pub(super) recalled: usize,
    pub(super) expected: usize,
}

/// The near rows of queries; `None` if a query or the vectors of the file need an exact search, or if the statement has ended. An exact
/// search is needed too if walks reach fewer rows than the search takes: a graph may have nodes to which no links lead.
///
/// # Errors
/// If the file is damaged.
pub(super) fn near_rows<'a>(
    file: &GraphFile,
    spec: &IndexSpec,
    queries: impl ExactSizeIterator<Item = &'a [f32]>,
    stop: &CancellationToken,
) -> io::Result<Option<Found>> {
    let contents = &file.contents;
    let rows = usize::try_from(contents.rows).map_err(io::Error::other)?;
    let mut found = Found {
        rows: vec![false; rows],
        ..Found::default()
    };
    let step = queries.len().div_ceil(SAMPLE);
    let in_graphs = contents.graphs.iter().map(|graph| graph.rows as usize);
    let needed = in_graphs.sum::<usize>().min(spec.top_k);
    // The rows that the query with the fewest has found.
    let mut fewest = usize::MAX;
    for (number, query) in queries.enumerate() {
        let fits = contents.width == query.len() || contents.graphs.is_empty();
        let Some(query) = prepared(contents.metric, query).filter(|_| fits) else {
            return Ok(None);
        };
        if stop.is_cancelled() {
            return Ok(None);
        }
        let mut near = Vec::new();
        for graph in &contents.graphs {
            let (nodes, measured) = near_nodes(file, graph, &query, spec)?;
            found.measured += measured;
            near.extend(nodes.into_iter().map(|node| (node, graph)));
        }
        near.sort_by_key(|(node, _)| *node);
        near.truncate(spec.top_k);
        if spec.measures_recall && number % step == 0 {
            let distances = near.iter().map(|(node, _)| node.distance);
            let (recalled, expected) = recall(file, &query, distances, spec.top_k)?;
            found.recalled += recalled;
            found.expected += expected;
        }
        let mut rows = Vec::new();
        for (node, graph) in &near {
            file.add_rows(graph, node.node, &mut rows)?;
        }
        if rows.len() < needed {
            return Ok(None);
        }
        fewest = fewest.min(rows.len());
        for row in rows {
            let read = usize::try_from(row).ok();
            let read = read.and_then(|row| found.rows.get_mut(row));
            *read.ok_or_else(|| damaged("a node has a row that is none".into()))? = true;
        }
    }
    add_runs(&mut found.rows, &contents.odd_rows);
    // Rows without a distance come last, and other keys say which of them come first; a search of many queries leaves them out.
    if spec.query.is_some() && fewest < spec.top_k {
        add_runs(&mut found.rows, &contents.null_rows);
    }
    Ok(Some(found))
}

/// The nodes of a graph near a prepared query, the nearest first, and the number of distances that were computed.
fn near_nodes(
    file: &GraphFile,
    graph: &GraphEntry,
    query: &[f32],
    spec: &IndexSpec,
) -> io::Result<(Vec<Near>, usize)> {
    let mut space = file.seen_from(graph, query);
    let mut at = Near {
        distance: space.distance(graph.entry)?,
        node: graph.entry,
    };
    for level in (1..=graph.top).rev() {
        at = descend(&mut space, at, level)?;
    }
    let mut visited = Visited::new(graph.nodes as usize);
    let count = spec.ef_search.max(spec.top_k);
    let mut near = nearest(&mut space, &mut visited, at, 0, count)?;
    near.truncate(spec.top_k);
    Ok((near, space.measured))
}

/// Of the `top_k` nearest vectors of a file those that were found, and all: the k-th distance decides, as several may be equal.
fn recall(
    file: &GraphFile,
    query: &[f32],
    found: impl Iterator<Item = f64>,
    top_k: usize,
) -> io::Result<(usize, usize)> {
    let mut exact = Vec::new();
    for graph in &file.contents.graphs {
        file.each_vector(graph, |vector| {
            exact.push(measured(file.contents.metric, query, vector));
        })?;
    }
    exact.sort_unstable_by(f64::total_cmp);
    exact.truncate(top_k);
    let limit = exact.last().copied().unwrap_or(f64::NEG_INFINITY);
    Ok((
        found.filter(|distance| *distance <= limit).count(),
        exact.len(),
    ))
}

/// Marks the rows of runs.
fn add_runs(rows: &mut [bool], runs: &[(u64, u64)]) {
    for row in runs.iter().flat_map(|(first, count)| *first..first + count) {
        let row = usize::try_from(row).ok();
        if let Some(read) = row.and_then(|row| rows.get_mut(row)) {
            *read = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, ListArray};
    use datafusion::arrow::datatypes::Float32Type;
    use datafusion::arrow::record_batch::RecordBatch;
    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

    use super::super::super::spec::Metric;
    use super::super::write::{Expected, GraphOptions, Graphs, write_graphs};
    use super::*;
    use crate::error::{Result, SqlState, report};
    use crate::storage::Place;

    /// Vectors around 20 centres, of which some are equal.
    fn clustered(count: u32) -> Vec<Vec<f32>> {
        let number = |at: u32| {
            let bits = at.wrapping_mul(2_654_435_761) ^ (at >> 7).wrapping_mul(40_503);
            f64::from(bits >> 8) / f64::from(1u32 << 24) - 0.5
        };
        let vector = |row: u32| {
            let row = if row.is_multiple_of(50) { 0 } else { row };
            let centre = row % 20;
            let element = |at: u32| {
                let middle = number(centre * 31 + at + 1);
                (middle + 0.2 * number(row * 12 + at + 1_000)) as f32
            };
            (0..12).map(element).collect()
        };
        (0..count).map(vector).collect()
    }

    async fn written(
        vectors: Vec<Option<Vec<f32>>>,
        options: GraphOptions,
        memory: usize,
    ) -> Result<(tempfile::TempDir, Place, Graphs)> {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::Local(directory.path().join("graphs"));
        let count = vectors.len() as u64;
        let lists = vectors
            .into_iter()
            .map(|vector| Some(vector?.into_iter().map(Some).collect()));
        let lists: Vec<Option<Vec<Option<f32>>>> = lists.collect();
        let column = ListArray::from_iter_primitive::<Float32Type, _, _>(lists);
        let batch = RecordBatch::try_from_iter([("v", Arc::new(column) as ArrayRef)]).unwrap();
        let rows = (0..batch.num_rows()).step_by(700).map(|first| {
            let rows = batch.slice(first, 700.min(batch.num_rows() - first));
            Ok(rows)
        });
        let rows: Vec<Result<RecordBatch>> = rows.collect();
        let rows = RecordBatchStreamAdapter::new(batch.schema(), futures::stream::iter(rows));
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(memory));
        let expected = Expected {
            rows: count,
            width: 0,
        };
        let graphs = write_graphs(Box::pin(rows), &place, options, expected, &pool).await?;
        assert_eq!(pool.reserved(), 0);
        Ok((directory, place, graphs))
    }

    fn options(metric: Metric) -> GraphOptions {
        GraphOptions {
            metric,
            m: 8,
            ef_construction: 60,
            threads: 2,
        }
    }

    fn spec(metric: Metric, top_k: usize) -> IndexSpec {
        IndexSpec {
            index: "near".into(),
            metric,
            top_k,
            ef_search: 64,
            graphs: vec![],
            query: Some(vec![]),
            measures_recall: true,
            unused: None,
        }
    }

    #[tokio::test]
    async fn nearly_all_of_the_nearest_of_clustered_vectors_are_found() {
        let vectors = clustered(2_000);
        for metric in [Metric::Cosine, Metric::L2] {
            let column = vectors.iter().cloned().map(Some).collect();
            let (_directory, place, graphs) =
                written(column, options(metric), 1 << 30).await.unwrap();
            let file = GraphFile::open(&place, graphs.bytes, graphs.hash).unwrap();
            assert_eq!((graphs.width, file.contents.rows), (12, 2_000));
            let (mut right, mut all, mut measured, mut recalled) = (0, 0, 0, 0);
            for query in vectors.iter().step_by(97) {
                let spec = spec(metric, 10);
                let stop = CancellationToken::new();
                let found = near_rows(&file, &spec, [query.as_slice()].into_iter(), &stop);
                let found = found.unwrap().unwrap();
                // The expected rows do not come from the graph: all distances, as SQL computes them.
                let distance = |row: usize| metric.distance(query, &vectors[row]).unwrap();
                let mut exact: Vec<f64> = (0..vectors.len()).map(distance).collect();
                exact.sort_by(f64::total_cmp);
                let limit = exact[9] + 1e-9;
                let rows = found.rows.iter().enumerate().filter(|(_, read)| **read);
                right += rows
                    .filter(|(row, _)| distance(*row) <= limit)
                    .count()
                    .min(10);
                all += 10;
                measured += found.measured;
                assert_eq!(found.expected, 10);
                recalled += found.recalled;
            }
            assert!(right * 100 >= all * 95, "{metric:?}: {right} of {all}");
            assert!(
                recalled * 100 >= all * 95,
                "{metric:?}: {recalled} of {all}"
            );
            // A search that measures all would find all.
            let queries = all / 10;
            assert!(measured < queries * 1_200, "{metric:?}: {measured}");
        }
    }

    #[tokio::test]
    async fn what_was_found_is_compared_with_the_nearest_only_if_asked() {
        let vectors = clustered(100);
        let column = vectors.iter().cloned().map(Some).collect();
        let (_directory, place, graphs) =
            written(column, options(Metric::L2), 1 << 30).await.unwrap();
        let file = GraphFile::open(&place, graphs.bytes, graphs.hash).unwrap();
        for (measures_recall, expected) in [(true, 30), (false, 0)] {
            let spec = IndexSpec {
                measures_recall,
                ..spec(Metric::L2, 3)
            };
            let stop = CancellationToken::new();
            let queries = vectors.iter().map(Vec::as_slice);
            let found = near_rows(&file, &spec, queries, &stop);
            // 10 of the 100 queries are a sample, each with 3 nearest vectors.
            assert_eq!(found.unwrap().unwrap().expected, expected);
        }
    }

    #[tokio::test]
    async fn a_graph_has_the_same_bytes_for_any_number_of_threads() {
        let vectors = || clustered(700).into_iter().map(Some).collect();
        let mut all = Vec::new();
        for threads in [1, 3] {
            let options = GraphOptions {
                threads,
                ..options(Metric::L2)
            };
            let (_directory, place, graphs) = written(vectors(), options, 1 << 30).await.unwrap();
            all.push((place.read().unwrap(), graphs));
        }
        assert!(all[0] == all[1]);
    }

    #[tokio::test]
    async fn rows_without_a_place_in_a_graph_are_read_where_they_may_be_needed() {
        let vectors = vec![
            Some(vec![1.0, 0.0]),
            None,
            Some(vec![f32::NAN, 0.0]),
            Some(vec![0.9, 0.1]),
            Some(vec![0.0, 0.0]),
            Some(vec![1.0, 0.0]),
            None,
        ];
        let (_directory, place, graphs) = written(vectors, options(Metric::Cosine), 1 << 30)
            .await
            .unwrap();
        let file = GraphFile::open(&place, graphs.bytes, graphs.hash).unwrap();
        let read = |spec: &IndexSpec, query: [f32; 2]| {
            let queries = [query.as_slice()];
            let stop = CancellationToken::new();
            let found = near_rows(&file, spec, queries.into_iter(), &stop);
            let found = found.unwrap()?;
            let rows = found.rows.iter().enumerate();
            let rows = rows.filter_map(|(row, read)| read.then_some(row));
            Some(rows.collect::<Vec<usize>>())
        };
        let east = [2.0, 0.0];
        // Equal vectors are found together.
        let one = read(&spec(Metric::Cosine, 1), east);
        assert_eq!(one, Some(vec![0, 2, 4, 5]));
        // All rows without a vector: which of them the search takes is up to its other keys.
        let four = read(&spec(Metric::Cosine, 4), east);
        assert_eq!(four, Some(vec![0, 1, 2, 3, 4, 5, 6]));
        let many = IndexSpec {
            query: None,
            ..spec(Metric::Cosine, 4)
        };
        assert_eq!(read(&many, east), Some(vec![0, 2, 3, 4, 5]));
        assert_eq!(read(&many, [f32::NAN, 1.0]), None);
    }

    #[tokio::test]
    async fn a_file_is_read_in_full_if_walks_reach_too_few_of_its_rows() {
        let vectors = clustered(1_000).into_iter().map(Some).collect();
        let few_links = GraphOptions {
            metric: Metric::Cosine,
            m: 2,
            ef_construction: 1,
            threads: 1,
        };
        let (_directory, place, graphs) = written(vectors, few_links, 1 << 30).await.unwrap();
        let file = GraphFile::open(&place, graphs.bytes, graphs.hash).unwrap();
        let query = clustered(1);
        let stop = CancellationToken::new();
        let found = |top_k: usize| {
            let queries = query.iter().map(Vec::as_slice);
            near_rows(&file, &spec(Metric::Cosine, top_k), queries, &stop).unwrap()
        };
        assert!(found(1_000).is_none());
        // More rows than the file has are not more than all.
        assert!(found(5_000).is_none());
        let one = found(1).unwrap();
        assert!(one.rows.contains(&true) && one.rows.contains(&false));
    }

    #[tokio::test]
    async fn vectors_of_two_lengths_and_too_little_memory_are_errors() {
        let vectors = vec![Some(vec![1.0]), Some(vec![1.0, 2.0])];
        let error = written(vectors, options(Metric::L2), 1 << 30).await;
        assert_eq!(report(&error.unwrap_err()).state, SqlState::Data);
        let vectors = clustered(100).into_iter().map(Some).collect();
        let error = written(vectors, options(Metric::L2), 1_000).await;
        assert_eq!(report(&error.unwrap_err()).state, SqlState::OutOfMemory);
    }

    #[tokio::test]
    async fn a_file_that_was_changed_is_told() {
        let vectors = clustered(50).into_iter().map(Some).collect();
        let (_directory, place, graphs) = written(vectors, options(Metric::L2), 1 << 30)
            .await
            .unwrap();
        let open = |graphs: Graphs| GraphFile::open(&place, graphs.bytes, graphs.hash);
        assert!(open(graphs).is_ok());
        let other = Graphs {
            hash: graphs.hash ^ 1,
            ..graphs
        };
        assert_eq!(open(other).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let mut content = place.read().unwrap();
        // Links that lead nowhere are found out.
        let links = 50 * (12 * 4 + 4 + 8);
        content[links..links + 50 * 18 * 4].fill(0xee);
        place.remove_file().unwrap();
        place.create(&content).unwrap();
        let file = open(graphs).unwrap();
        let query = clustered(1);
        let stop = CancellationToken::new();
        let queries = query.iter().map(Vec::as_slice);
        let found = near_rows(&file, &spec(Metric::L2, 3), queries, &stop);
        assert!(found.is_err());
        content.pop();
        place.remove_file().unwrap();
        place.create(&content).unwrap();
        assert!(open(graphs).is_err());
    }
}
