//! [`Graph`]: a hierarchical navigable small world in memory, to which vectors are added one by one (Malkov and Yashunin, 2018,
//! arXiv:1603.09320: their algorithms 1, 2, 4 and 5).
//!
//! Each node is on the lowest level, one of `m` of them also on the next, and so on. On each level a node has links to near nodes:
//! up to `m`, on the lowest level up to 2 `m`. Of the near nodes those come first that are nearer to the node than to each other,
//! so that links lead out of a cluster.

use std::io;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::super::spec::Metric;
use super::measure::measured;
use super::walk::{Near, Space, Visited, descend, nearest};

/// The seed of the levels. A graph depends on nothing but its vectors, their rows and its options.
const SEED: u64 = 60;
/// The highest level.
const TOP: usize = 15;
/// The memory of a node beside its vector and its links: its row, its place among equal vectors, and the last walk that saw it.
const NODE_BYTES: usize = 96;

/// What a graph is made by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) metric: Metric,
    /// The numbers of a vector.
    pub(super) width: usize,
    /// The links of a node on each level but the lowest.
    pub(super) m: usize,
    /// The nodes that are looked at for the links of a new one.
    pub(super) ef_construction: usize,
}

impl Shape {
    /// The links of a node on a level.
    pub(super) fn room(&self, level: usize) -> usize {
        match level {
            0 => 2 * self.m,
            _ => self.m,
        }
    }

    /// The memory of a graph with these nodes, in bytes, while it is built and written.
    pub(super) fn bytes(&self, nodes: usize) -> usize {
        let numbers = self.width + 1 + self.room(0) + (2 + self.m).div_ceil(self.m - 1);
        let kept = numbers * size_of::<u32>() + size_of::<Vec<u32>>();
        nodes * (kept + NODE_BYTES)
    }
}

/// The vectors and the links between them.
#[derive(Debug)]
pub(super) struct Nodes {
    pub(super) shape: Shape,
    /// The vectors beside each other, prepared.
    pub(super) vectors: Vec<f32>,
    /// For each node the number of its links on the lowest level, and room for them.
    pub(super) base: Vec<u32>,
    /// For each node and each level above the lowest the number of its links, and room for them.
    pub(super) upper: Vec<Vec<u32>>,
}

impl Nodes {
    pub(super) fn count(&self) -> usize {
        self.upper.len()
    }

    fn push(&mut self, vector: &[f32], level: usize) -> u32 {
        let node = self.count() as u32;
        self.vectors.extend_from_slice(vector);
        let base = self.base.len() + 1 + self.shape.room(0);
        self.base.resize(base, 0);
        self.upper.push(vec![0; level * (1 + self.shape.m)]);
        node
    }

    fn vector(&self, node: u32) -> &[f32] {
        let (node, width) = (node as usize, self.shape.width);
        &self.vectors[node * width..(node + 1) * width]
    }

    fn between(&self, left: u32, right: u32) -> f64 {
        measured(self.shape.metric, self.vector(left), self.vector(right))
    }

    /// The number of links of a node on a level, and room for them.
    fn links(&self, node: u32, level: usize) -> &[u32] {
        let size = 1 + self.shape.room(level);
        match level {
            0 => &self.base[node as usize * size..][..size],
            _ => &self.upper[node as usize][(level - 1) * size..][..size],
        }
    }

    fn neighbours(&self, node: u32, level: usize) -> &[u32] {
        let links = self.links(node, level);
        &links[1..][..links[0] as usize]
    }

    fn set(&mut self, node: u32, level: usize, neighbours: &[u32]) {
        let size = 1 + self.shape.room(level);
        let links = match level {
            0 => &mut self.base[node as usize * size..][..size],
            _ => &mut self.upper[node as usize][(level - 1) * size..][..size],
        };
        links[0] = neighbours.len() as u32;
        links[1..][..neighbours.len()].copy_from_slice(neighbours);
    }

    /// Up to `count` of the nodes found, the nearest first: those that are nearer to the target than to one before, and then others.
    fn chosen(&self, found: &[Near], count: usize) -> Vec<u32> {
        let (mut chosen, mut others) = (Vec::with_capacity(count), Vec::new());
        for near in found {
            if chosen.len() == count {
                return chosen;
            }
            let mut before = chosen.iter();
            match before.all(|other| self.between(near.node, *other) >= near.distance) {
                true => chosen.push(near.node),
                false => others.push(near.node),
            }
        }
        others.truncate(count - chosen.len());
        chosen.append(&mut others);
        chosen
    }

    /// Adds a link from a node; if there is no room, the links are chosen again.
    fn link(&mut self, from: u32, to: u32, level: usize) {
        let mut neighbours = self.neighbours(from, level).to_vec();
        neighbours.push(to);
        let room = self.shape.room(level);
        if neighbours.len() > room {
            let near = neighbours.iter().map(|node| Near {
                distance: self.between(from, *node),
                node: *node,
            });
            let mut near: Vec<Near> = near.collect();
            near.sort_unstable();
            neighbours = self.chosen(&near, room);
        }
        self.set(from, level, &neighbours);
    }
}

/// A graph that grows.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) nodes: Nodes,
    /// The node where walks begin, which is on the highest level.
    pub(super) entry: u32,
    pub(super) top: usize,
    visited: Visited,
}

impl Graph {
    /// A graph for up to `capacity` nodes.
    pub(super) fn new(shape: Shape, capacity: usize) -> Self {
        Self {
            nodes: Nodes {
                shape,
                vectors: Vec::with_capacity(capacity * shape.width),
                base: Vec::with_capacity(capacity * (1 + shape.room(0))),
                upper: Vec::with_capacity(capacity),
            },
            entry: 0,
            top: 0,
            visited: Visited::new(capacity),
        }
    }

    /// Adds the prepared vector of a row.
    pub(super) fn insert(&mut self, row: u64, vector: &[f32]) -> io::Result<()> {
        let shape = self.nodes.shape;
        let level = level_of(row, shape.m);
        let node = self.nodes.push(vector, level);
        if node == 0 {
            self.top = level;
            return Ok(());
        }
        let mut space = Target {
            nodes: &self.nodes,
            vector,
        };
        let mut at = Near {
            distance: space.distance(self.entry)?,
            node: self.entry,
        };
        for above in (level + 1..=self.top).rev() {
            at = descend(&mut space, at, above)?;
        }
        let mut chosen = Vec::new();
        for on in (0..=level.min(self.top)).rev() {
            let visited = &mut self.visited;
            let found = nearest(&mut space, visited, at, on, shape.ef_construction)?;
            at = found.first().copied().unwrap_or(at);
            chosen.push((on, self.nodes.chosen(&found, shape.m)));
        }
        for (on, neighbours) in chosen {
            self.nodes.set(node, on, &neighbours);
            for neighbour in neighbours {
                self.nodes.link(neighbour, node, on);
            }
        }
        if level > self.top {
            (self.entry, self.top) = (node, level);
        }
        Ok(())
    }
}

/// A graph in memory, seen from a vector.
struct Target<'a> {
    nodes: &'a Nodes,
    vector: &'a [f32],
}

impl Space for Target<'_> {
    fn neighbours(&mut self, node: u32, level: usize, found: &mut Vec<u32>) -> io::Result<()> {
        found.clear();
        found.extend_from_slice(self.nodes.neighbours(node, level));
        Ok(())
    }

    fn distance(&mut self, node: u32) -> io::Result<f64> {
        let metric = self.nodes.shape.metric;
        Ok(measured(metric, self.vector, self.nodes.vector(node)))
    }
}

/// The level of the node of a row, which is on all levels below too: a level has 1 / `m` of the nodes of the level below.
fn level_of(row: u64, m: usize) -> usize {
    let bits = xxh3_64_with_seed(&row.to_le_bytes(), SEED) >> 11;
    // More than 0, and 1 at most.
    let drawn = (bits + 1) as f64 / (1u64 << 53) as f64;
    let level = -drawn.ln() / (m as f64).ln();
    (level as usize).min(TOP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_has_its_share_of_the_one_below() {
        let mut on = [0usize; 4];
        for row in 0..100_000 {
            let level = level_of(row, 10);
            on.iter_mut().take(level + 1).for_each(|count| *count += 1);
        }
        assert_eq!(on[0], 100_000);
        assert!((9_500..10_500).contains(&on[1]), "{on:?}");
        assert!((850..1_150).contains(&on[2]), "{on:?}");
        assert!((60..150).contains(&on[3]), "{on:?}");
    }

    #[test]
    fn no_node_has_more_links_than_room() {
        let shape = Shape {
            metric: Metric::InnerProduct,
            width: 2,
            m: 2,
            ef_construction: 8,
        };
        let mut graph = Graph::new(shape, 300);
        for row in 0..300u64 {
            let at = row as f32;
            graph.insert(row, &[at.sin(), at.cos()]).unwrap();
        }
        for node in 0..300 {
            let levels = graph.nodes.upper[node as usize].len() / (1 + shape.m);
            for level in 0..=levels {
                let neighbours = graph.nodes.neighbours(node, level);
                assert!(neighbours.len() <= shape.room(level));
                assert!(neighbours.iter().all(|other| *other != node));
            }
        }
    }
}
