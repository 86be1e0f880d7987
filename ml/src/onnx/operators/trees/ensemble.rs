//! [`Ensemble`]: trees in one array, and the walk of many rows through them.
//!
//! Every comparison is made `feature <= threshold`: a strict one takes the next smaller threshold, one the other way round swaps its
//! children, and an equality becomes two comparisons. So a step of a walk is a load, a comparison and a choice, without a jump
//! that the processor could guess wrong. A leaf leads to itself: eight rows go down a tree side by side until none of them
//! moves, and their loads wait for memory at the same time. A block of rows goes through one tree after the other, so that
//! both stay in the caches.

use std::fmt::Debug;

use tract_onnx::tract_hir::internal::{Tensor, TractResult};

use super::super::tensors::{doubles, singles};
use super::nodes::{Compare, Node, Trees, Weight};

/// Rows that go down a tree side by side.
const LANES: usize = 8;
/// Rows of a block.
const BLOCK_ROWS: usize = 256;
/// The bit of a feature that sends NaN to the left.
const NAN_LEFT: u32 = 1 << 31;

/// A type in which features and thresholds are compared.
pub(super) trait Compared: Copy + PartialOrd + Debug + Send + Sync + 'static {
    /// A threshold, which has the precision of the type.
    fn of(threshold: f64) -> Self;

    /// The features of a tensor.
    fn values(tensor: &Tensor) -> TractResult<Vec<Self>>;

    /// The next smaller number; for the smallest one NaN, so that no comparison with it is true.
    fn below(self) -> Self;

    fn is_nan(self) -> bool;
}

impl Compared for f32 {
    fn of(threshold: f64) -> Self {
        threshold as f32
    }

    fn values(tensor: &Tensor) -> TractResult<Vec<Self>> {
        singles(tensor)
    }

    fn below(self) -> Self {
        match self == f32::NEG_INFINITY {
            true => f32::NAN,
            false => self.next_down(),
        }
    }

    fn is_nan(self) -> bool {
        f32::is_nan(self)
    }
}

impl Compared for f64 {
    fn of(threshold: f64) -> Self {
        threshold
    }

    fn values(tensor: &Tensor) -> TractResult<Vec<Self>> {
        doubles(tensor)
    }

    fn below(self) -> Self {
        match self == f64::NEG_INFINITY {
            true => f64::NAN,
            false => self.next_down(),
        }
    }

    fn is_nan(self) -> bool {
        f64::is_nan(self)
    }
}

/// A step down a tree.
#[derive(Debug, Clone, Copy)]
struct Step<T> {
    threshold: T,
    /// The feature, and perhaps [`NAN_LEFT`].
    feature: u32,
    left: u32,
    right: u32,
}

/// What the leaves add to the scores, by node.
#[derive(Debug)]
enum Leaves {
    /// One weight for the only target.
    One(Vec<f64>),
    /// Any number of weights: for each node a part of them.
    Many(Vec<(u32, u32)>, Vec<Weight>),
}

/// What becomes of the weights of the leaves that a row reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aggregate {
    Sum,
    Average,
    Min,
    Max,
}

/// Trees for features of type `T`.
#[derive(Debug)]
pub(super) struct Ensemble<T> {
    steps: Vec<Step<T>>,
    roots: Vec<u32>,
    leaves: Leaves,
    targets: usize,
    takes_nan: bool,
    aggregate: Aggregate,
}

impl<T: Compared> Ensemble<T> {
    /// `None` if there are more nodes than a step can name.
    pub(super) fn of(trees: &Trees, aggregate: Aggregate) -> Option<Self> {
        let mut layout = Layout {
            places: vec![0; trees.nodes.len()],
            order: Vec::with_capacity(trees.nodes.len()),
            length: 0,
        };
        for root in &trees.roots {
            layout.place(trees, *root)?;
        }
        let mut steps = Vec::with_capacity(layout.length as usize);
        let mut parts = vec![(0, 0); layout.length as usize];
        for node in &layout.order {
            match &trees.nodes[*node] {
                Node::Leaf { weights } => {
                    let here = steps.len() as u32;
                    parts[steps.len()] = (weights.start as u32, weights.end as u32);
                    steps.push(Step {
                        threshold: T::of(0.0),
                        feature: 0,
                        left: here,
                        right: here,
                    });
                }
                Node::Branch {
                    feature,
                    compare,
                    threshold,
                    nan_is_true,
                    next,
                } => {
                    let branch = Branch {
                        feature: *feature,
                        compare: *compare,
                        threshold: T::of(*threshold),
                        nan_is_true: *nan_is_true,
                        next: next.map(|child| layout.places[child]),
                    };
                    branch.add_to(&mut steps);
                }
            }
        }
        let takes_nan = steps.iter().any(|step| step.feature & NAN_LEFT != 0);
        Some(Self {
            roots: trees
                .roots
                .iter()
                .map(|root| layout.places[*root])
                .collect(),
            leaves: Leaves::of(trees, parts),
            targets: trees.targets,
            steps,
            takes_nan,
            aggregate,
        })
    }

    /// The scores `[rows, targets]` of rows with `width` features each, at least one and as many as the trees compare; 0 for a
    /// target that no leaf has a weight for.
    pub(super) fn scores(&self, values: &[T], width: usize) -> Vec<f64> {
        let rows = values.len() / width.max(1);
        let start = match self.aggregate {
            Aggregate::Sum | Aggregate::Average => 0.0,
            Aggregate::Min => f64::INFINITY,
            Aggregate::Max => f64::NEG_INFINITY,
        };
        let mut scores = vec![start; rows * self.targets];
        let blocks = values.chunks(BLOCK_ROWS * width.max(1));
        let of_blocks = scores.chunks_mut(BLOCK_ROWS * self.targets);
        for (block, scores) in blocks.zip(of_blocks) {
            for root in &self.roots {
                match self.takes_nan {
                    true => self.walk::<true>(*root, block, width, scores),
                    false => self.walk::<false>(*root, block, width, scores),
                }
            }
        }
        match self.aggregate {
            Aggregate::Sum => {}
            Aggregate::Average => {
                let trees = self.roots.len() as f64;
                scores.iter_mut().for_each(|score| *score /= trees);
            }
            Aggregate::Min | Aggregate::Max => {
                let unset = scores.iter_mut().filter(|score| score.is_infinite());
                unset.for_each(|score| *score = 0.0);
            }
        }
        scores
    }

    /// Takes the rows of a block through a tree.
    fn walk<const NAN: bool>(&self, root: u32, block: &[T], width: usize, scores: &mut [f64]) {
        let together = LANES * width;
        let mut lanes = block.chunks_exact(together);
        let mut of_lanes = scores.chunks_exact_mut(LANES * self.targets);
        for (rows, scores) in lanes.by_ref().zip(of_lanes.by_ref()) {
            let leaves = self.descend::<NAN, LANES>(root, rows, width);
            for (leaf, scores) in leaves
                .into_iter()
                .zip(scores.chunks_exact_mut(self.targets))
            {
                self.add(leaf, scores);
            }
        }
        let rest = lanes.remainder().chunks_exact(width);
        let of_rest = of_lanes.into_remainder().chunks_exact_mut(self.targets);
        for (row, scores) in rest.zip(of_rest) {
            let [leaf] = self.descend::<NAN, 1>(root, row, width);
            self.add(leaf, scores);
        }
    }

    /// The leaves that rows reach.
    fn descend<const NAN: bool, const ROWS: usize>(
        &self,
        root: u32,
        rows: &[T],
        width: usize,
    ) -> [u32; ROWS] {
        let mut places = [root; ROWS];
        loop {
            let mut moved = false;
            for (row, place) in places.iter_mut().enumerate() {
                let step = &self.steps[*place as usize];
                let value = rows[row * width + (step.feature & !NAN_LEFT) as usize];
                let mut is_left = value <= step.threshold;
                if NAN {
                    is_left |= value.is_nan() & (step.feature & NAN_LEFT != 0);
                }
                let next = if is_left { step.left } else { step.right };
                moved |= next != *place;
                *place = next;
            }
            if !moved {
                return places;
            }
        }
    }

    fn add(&self, leaf: u32, scores: &mut [f64]) {
        let aggregate = |score: &mut f64, value: f64| match self.aggregate {
            Aggregate::Sum | Aggregate::Average => *score += value,
            Aggregate::Min => *score = score.min(value),
            Aggregate::Max => *score = score.max(value),
        };
        match &self.leaves {
            Leaves::One(weights) => aggregate(&mut scores[0], weights[leaf as usize]),
            Leaves::Many(parts, weights) => {
                let (start, end) = parts[leaf as usize];
                for weight in &weights[start as usize..end as usize] {
                    aggregate(&mut scores[weight.target as usize], weight.value);
                }
            }
        }
    }
}

impl Leaves {
    fn of(trees: &Trees, parts: Vec<(u32, u32)>) -> Self {
        let has_one = |node: &Node| match node {
            Node::Leaf { weights } => weights.len() == 1,
            Node::Branch { .. } => true,
        };
        let has_one_each = trees.targets == 1 && trees.nodes.iter().all(has_one);
        match has_one_each {
            true => {
                let weight = |(start, end): (u32, u32)| match start < end {
                    true => trees.weights[start as usize].value,
                    false => 0.0,
                };
                Self::One(parts.into_iter().map(weight).collect())
            }
            false => Self::Many(parts, trees.weights.clone()),
        }
    }
}

/// The order of nodes in an ensemble: each before its children.
struct Layout {
    /// The first step of each node.
    places: Vec<u32>,
    order: Vec<usize>,
    length: u32,
}

impl Layout {
    fn place(&mut self, trees: &Trees, root: usize) -> Option<()> {
        let mut waiting = vec![root];
        while let Some(node) = waiting.pop() {
            self.places[node] = self.length;
            self.order.push(node);
            let steps = match &trees.nodes[node] {
                Node::Leaf { .. } => 1,
                Node::Branch { compare, next, .. } => {
                    waiting.extend([next[1], next[0]]);
                    match compare {
                        Compare::Equal | Compare::NotEqual => 2,
                        Compare::LessOrEqual
                        | Compare::Less
                        | Compare::GreaterOrEqual
                        | Compare::Greater => 1,
                    }
                }
            };
            self.length = self.length.checked_add(steps)?;
        }
        Some(())
    }
}

/// A branch whose children are at these places.
struct Branch<T> {
    feature: u32,
    compare: Compare,
    threshold: T,
    nan_is_true: bool,
    next: [u32; 2],
}

impl<T: Compared> Branch<T> {
    fn add_to(self, steps: &mut Vec<Step<T>>) {
        let ([yes, no], nan_is_true) = (self.next, self.nan_is_true);
        let (here, below) = (self.threshold, self.threshold.below());
        let second = steps.len() as u32 + 1;
        let mut step = |threshold: T, nan_is_left: bool, left: u32, right: u32| {
            let nan = if nan_is_left { NAN_LEFT } else { 0 };
            steps.push(Step {
                threshold,
                feature: self.feature | nan,
                left,
                right,
            });
        };
        match self.compare {
            Compare::LessOrEqual => step(here, nan_is_true, yes, no),
            Compare::Less => step(below, nan_is_true, yes, no),
            // The children of the opposite are swapped, for NaN, too.
            Compare::Greater => step(here, !nan_is_true, no, yes),
            Compare::GreaterOrEqual => step(below, !nan_is_true, no, yes),
            Compare::Equal => {
                step(here, nan_is_true, second, no);
                step(below, false, no, yes);
            }
            // NaN equals nothing.
            Compare::NotEqual => {
                step(here, false, second, yes);
                step(below, false, yes, no);
            }
        }
    }
}

#[cfg(test)]
#[path = "ensemble_tests.rs"]
mod tests;
