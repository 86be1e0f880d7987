//! The walk through a graph towards a target: the same in memory, while the graph is built, and in its file, when it is searched.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::io;

/// A node with its distance from the target; equal distances are in the order of the nodes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Near {
    pub(super) distance: f64,
    pub(super) node: u32,
}

impl Ord for Near {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_distance = self.distance.total_cmp(&other.distance);
        by_distance.then_with(|| self.node.cmp(&other.node))
    }
}

impl PartialOrd for Near {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Near {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Near {}

/// A graph, seen from a target.
pub(super) trait Space {
    /// Replaces `found` by the neighbours of a node on a level.
    fn neighbours(&mut self, node: u32, level: usize, found: &mut Vec<u32>) -> io::Result<()>;

    /// The distance of a node from the target.
    fn distance(&mut self, node: u32) -> io::Result<f64>;
}

/// The nodes that a walk has seen.
#[derive(Debug)]
pub(super) struct Visited {
    walk: u64,
    /// The last walk that has seen each node.
    seen: Vec<u64>,
}

impl Visited {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            walk: 0,
            seen: vec![0; nodes],
        }
    }

    fn begin(&mut self) {
        self.walk += 1;
    }

    /// Whether this walk sees a node for the first time; a node that is none was seen.
    fn is_new(&mut self, node: u32) -> bool {
        match self.seen.get_mut(node as usize) {
            Some(seen) if *seen != self.walk => {
                *seen = self.walk;
                true
            }
            _ => false,
        }
    }
}

/// The node where a walk on one level ends that always goes to the nearest neighbour.
pub(super) fn descend(space: &mut impl Space, start: Near, level: usize) -> io::Result<Near> {
    let (mut at, mut next) = (start, Vec::new());
    loop {
        let before = at;
        space.neighbours(at.node, level, &mut next)?;
        for node in &next {
            let distance = space.distance(*node)?;
            at = at.min(Near {
                distance,
                node: *node,
            });
        }
        if at == before {
            return Ok(at);
        }
    }
}

/// Up to `count` nodes of a level near the target, the nearest first. The walk goes on from the nearest node that it has not left
/// yet, until that is farther than all that it keeps.
pub(super) fn nearest(
    space: &mut impl Space,
    visited: &mut Visited,
    start: Near,
    level: usize,
    count: usize,
) -> io::Result<Vec<Near>> {
    visited.begin();
    visited.is_new(start.node);
    let mut open = BinaryHeap::from([Reverse(start)]);
    let mut best = BinaryHeap::from([start]);
    let mut next = Vec::new();
    while let Some(Reverse(at)) = open.pop() {
        let is_farther = best.peek().is_some_and(|farthest| at > *farthest);
        if best.len() >= count && is_farther {
            break;
        }
        space.neighbours(at.node, level, &mut next)?;
        for node in &next {
            if !visited.is_new(*node) {
                continue;
            }
            let distance = space.distance(*node)?;
            let found = Near {
                distance,
                node: *node,
            };
            let is_nearer = best.peek().is_some_and(|farthest| found < *farthest);
            if best.len() < count || is_nearer {
                open.push(Reverse(found));
                best.push(found);
                if best.len() > count {
                    best.pop();
                }
            }
        }
    }
    Ok(best.into_sorted_vec())
}
