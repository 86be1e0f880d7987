//! [`GraphFile`]: the graphs of a data file as a file, which is read where a walk goes and never as a whole.
//!
//! ```text
//! for each graph:
//!   vectors   nodes × width × f32, prepared
//!   ends      nodes × u32: where the rows of a node end in the list of rows
//!   rows      rows × u64: the places in the data file; equal vectors are one node
//!   lowest    nodes × (2 + 2 m) × u32: the place of the upper links or NONE, the number of links, the links
//!   upper     for each level from 1 to the level of the node: (1 + m) × u32, the number of links and the links
//! contents    JSON
//! length      u64, of the contents
//! ```
//! All numbers have their least significant byte first. The catalog keeps the length of the file and the hash of its contents. A
//! damaged node can mislead a walk, never add a row that is not in the data file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::super::spec::Metric;
use super::measure::measured;
use super::walk::Space;
use crate::storage::Place;

/// The layout of the file.
pub(super) const VERSION: u32 = 1;
/// A node that is only on the lowest level.
pub(super) const NONE: u32 = u32::MAX;
/// The bytes of the length at the end.
const LENGTH: u64 = size_of::<u64>() as u64;
/// The vectors that are read at once by a reader of all of them.
const VECTORS: usize = 1_024;

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Contents {
    pub(super) version: u32,
    pub(super) metric: Metric,
    pub(super) m: usize,
    /// The numbers of a vector; 0 if no row has a vector.
    pub(super) width: usize,
    /// The rows of the data file.
    pub(super) rows: u64,
    pub(super) graphs: Vec<GraphEntry>,
    /// Rows without a vector, as runs: the first and their number.
    pub(super) null_rows: Vec<(u64, u64)>,
    /// Rows whose vectors have no place in a graph, as runs.
    pub(super) odd_rows: Vec<(u64, u64)>,
}

/// One graph of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct GraphEntry {
    /// The place of its first byte.
    pub(super) at: u64,
    pub(super) nodes: u32,
    pub(super) rows: u32,
    /// The node where walks begin, and its level.
    pub(super) entry: u32,
    pub(super) top: usize,
}

/// A file of graphs that is open.
#[derive(Debug)]
pub(super) struct GraphFile {
    source: Source,
    pub(super) contents: Contents,
}

#[derive(Debug)]
enum Source {
    File(File),
    /// The whole file, from a store.
    Bytes(Vec<u8>),
}

impl Source {
    fn length(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.len()),
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
        }
    }

    fn read(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut read = vec![0; length];
        match self {
            Self::File(file) => file.read_exact_at(&mut read, at)?,
            Self::Bytes(bytes) => {
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                let end = at.saturating_add(length);
                let found = bytes.get(at..end).ok_or(io::ErrorKind::UnexpectedEof)?;
                read.copy_from_slice(found);
            }
        }
        Ok(read)
    }

    fn words(&self, at: u64, count: usize) -> io::Result<Vec<u32>> {
        let bytes = self.read(at, count * size_of::<u32>())?;
        let (words, _rest) = bytes.as_chunks::<4>();
        Ok(words.iter().map(|word| u32::from_le_bytes(*word)).collect())
    }

    fn floats(&self, at: u64, count: usize) -> io::Result<Vec<f32>> {
        let words = self.words(at, count)?.into_iter();
        Ok(words.map(f32::from_bits).collect())
    }
}

impl GraphFile {
    /// Opens a file; one of a store is read into memory.
    ///
    /// # Errors
    /// If it is missing, or not the file that was written: its length and the hash of its contents are given.
    pub(super) fn open(place: &Place, bytes: u64, hash: u64) -> io::Result<Self> {
        let source = match place {
            Place::Local(path) => Source::File(File::open(path)?),
            Place::Remote(_) => Source::Bytes(place.read()?),
        };
        let found = source.length()?;
        if found != bytes || bytes < LENGTH {
            return Err(damaged(format!("it has {found} bytes, not {bytes}")));
        }
        let end = source.read(bytes - LENGTH, LENGTH as usize)?;
        let (length, _rest) = end.as_chunks::<8>();
        let length = length.first().map_or(0, |word| u64::from_le_bytes(*word));
        let start = (bytes - LENGTH).checked_sub(length);
        let start = start.ok_or_else(|| damaged("its contents are longer than it".into()))?;
        let json = source.read(start, length as usize)?;
        if xxh3_64(&json) != hash {
            return Err(damaged(
                "its contents are not those that were written".into(),
            ));
        }
        let contents: Contents =
            serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
        if contents.version != VERSION || contents.m < 2 {
            let version = contents.version;
            return Err(damaged(format!("it has layout {version}, not {VERSION}")));
        }
        Ok(Self { source, contents })
    }

    /// A graph, seen from a prepared vector.
    pub(super) fn seen_from<'a>(&'a self, graph: &'a GraphEntry, vector: &'a [f32]) -> Seen<'a> {
        Seen {
            file: self,
            graph,
            vector,
            measured: 0,
        }
    }

    /// Calls `visit` with the vector of each node of a graph.
    pub(super) fn each_vector(
        &self,
        graph: &GraphEntry,
        mut visit: impl FnMut(&[f32]),
    ) -> io::Result<()> {
        let (nodes, width) = (graph.nodes as usize, self.contents.width);
        for first in (0..nodes).step_by(VECTORS) {
            let count = VECTORS.min(nodes - first);
            let at = graph.at + (first * width * size_of::<f32>()) as u64;
            let vectors = self.source.floats(at, count * width)?;
            vectors.chunks_exact(width).for_each(&mut visit);
        }
        Ok(())
    }

    /// Adds the rows of a node.
    pub(super) fn add_rows(
        &self,
        graph: &GraphEntry,
        node: u32,
        rows: &mut Vec<u64>,
    ) -> io::Result<()> {
        let places = self.places(graph);
        let first = node.saturating_sub(1);
        let at = places.ends + u64::from(first) * size_of::<u32>() as u64;
        let (start, end) = match self.source.words(at, (node - first + 1) as usize)?[..] {
            [start, end] => (start, end),
            [end] => (0, end),
            _ => return Err(damaged("a node has no rows".into())),
        };
        if start > end || end > graph.rows {
            return Err(damaged("a node has rows of others".into()));
        }
        let at = places.rows + u64::from(start) * size_of::<u64>() as u64;
        let bytes = (end - start) as usize * size_of::<u64>();
        let bytes = self.source.read(at, bytes)?;
        let (words, _rest) = bytes.as_chunks::<8>();
        rows.extend(words.iter().map(|word| u64::from_le_bytes(*word)));
        Ok(())
    }

    fn places(&self, graph: &GraphEntry) -> Places {
        let word = size_of::<u32>() as u64;
        let nodes = u64::from(graph.nodes);
        let ends = graph.at + nodes * self.contents.width as u64 * word;
        let rows = ends + nodes * word;
        let lowest = rows + u64::from(graph.rows) * size_of::<u64>() as u64;
        let record = (2 + 2 * self.contents.m) as u64 * word;
        Places {
            ends,
            rows,
            lowest,
            record,
            upper: lowest + nodes * record,
        }
    }
}

/// Where the parts of a graph begin.
struct Places {
    ends: u64,
    rows: u64,
    lowest: u64,
    /// The bytes of a node among the lowest links.
    record: u64,
    upper: u64,
}

/// A graph of a file, seen from a vector.
pub(super) struct Seen<'a> {
    file: &'a GraphFile,
    graph: &'a GraphEntry,
    vector: &'a [f32],
    /// The distances that were computed.
    pub(super) measured: usize,
}

impl Space for Seen<'_> {
    fn neighbours(&mut self, node: u32, level: usize, found: &mut Vec<u32>) -> io::Result<()> {
        let (source, m) = (&self.file.source, self.file.contents.m);
        let places = self.file.places(self.graph);
        let at = places.lowest + u64::from(node) * places.record;
        let (links, room) = match level {
            0 => {
                let mut record = source.words(at, 2 + 2 * m)?;
                (record.split_off(1), 2 * m)
            }
            _ => {
                let upper = source.words(at, 1)?.first().copied().unwrap_or(NONE);
                if upper == NONE {
                    return Err(damaged("a node is not on its level".into()));
                }
                let words = u64::from(upper) + ((level - 1) * (1 + m)) as u64;
                let at = places.upper + words * size_of::<u32>() as u64;
                (source.words(at, 1 + m)?, m)
            }
        };
        let count = links.first().map_or(0, |count| *count as usize);
        if count > room {
            return Err(damaged("a node has too many links".into()));
        }
        found.clear();
        found.extend_from_slice(&links[1..=count]);
        Ok(())
    }

    fn distance(&mut self, node: u32) -> io::Result<f64> {
        if node >= self.graph.nodes {
            return Err(damaged("a link leads to no node".into()));
        }
        let width = self.file.contents.width;
        let at = self.graph.at + u64::from(node) * (width * size_of::<f32>()) as u64;
        let vector = self.file.source.floats(at, width)?;
        self.measured += 1;
        let metric = self.file.contents.metric;
        Ok(measured(metric, self.vector, &vector))
    }
}

pub(super) fn damaged(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
