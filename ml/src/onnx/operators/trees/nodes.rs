//! [`Trees`]: the nodes of an ensemble as its attributes name them, checked: every tree has one root, every node one parent, and
//! so no walk is without an end.

use std::collections::HashMap;
use std::ops::Range;

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{DatumType, Tensor, TractResult};

use super::super::attributes::{floats, longs, texts};
use super::super::own::wrong;
use super::super::tensors::doubles;

/// Loads the tensor of an attribute.
pub(super) type Load<'a> = &'a dyn Fn(&str) -> TractResult<Option<Tensor>>;

/// The comparison of a feature with a threshold, which is true or false.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    LessOrEqual,
    Less,
    GreaterOrEqual,
    Greater,
    Equal,
    NotEqual,
}

/// A node of a tree.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// The part of the weights that belongs to the leaf.
    Leaf { weights: Range<usize> },
    Branch {
        feature: u32,
        compare: Compare,
        threshold: f64,
        /// Whether NaN counts as true.
        nan_is_true: bool,
        /// The nodes for true and for false.
        next: [usize; 2],
    },
}

/// A weight of a leaf for a target or class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Weight {
    pub(super) target: u32,
    pub(super) value: f64,
}

/// The trees of an ensemble.
#[derive(Debug)]
pub(super) struct Trees {
    pub(super) nodes: Vec<Node>,
    pub(super) roots: Vec<usize>,
    pub(super) weights: Vec<Weight>,
    pub(super) base_values: Vec<f64>,
    /// The number of targets or classes.
    pub(super) targets: usize,
    /// Features of a row that the trees compare, at least.
    pub(super) features: usize,
    /// Whether a threshold has more precision than a single-precision number.
    pub(super) is_double: bool,
}

impl Trees {
    /// The trees of a node whose weights have this prefix in the names of their attributes.
    ///
    /// # Errors
    /// If the attributes are not those of trees.
    pub(super) fn of(
        node: &NodeProto,
        prefix: &str,
        targets: usize,
        load: Load<'_>,
    ) -> TractResult<Self> {
        let operator = node.op_type.as_str();
        let (thresholds, is_double) = values(node, "nodes_values", load)?;
        let columns = Columns::of(node, thresholds.len())?;
        let mut places = HashMap::with_capacity(thresholds.len());
        for at in 0..thresholds.len() {
            if places
                .insert((columns.trees[at], columns.ids[at]), at)
                .is_some()
            {
                let (tree, id) = (columns.trees[at], columns.ids[at]);
                return Err(wrong(
                    operator,
                    format!("has node {id} of tree {tree} twice"),
                ));
            }
        }
        let (weights, mut parts) = weights(node, prefix, targets, &places, load)?;
        let mut nodes = Vec::with_capacity(thresholds.len());
        let mut has_parent = vec![false; thresholds.len()];
        let mut features = 0;
        for (at, threshold) in thresholds.into_iter().enumerate() {
            let Some(compare) = compare(operator, &columns.modes[at])? else {
                let weights = std::mem::take(&mut parts[at]);
                nodes.push(Node::Leaf { weights });
                continue;
            };
            let tree = columns.trees[at];
            let mut next = [0; 2];
            for (place, id) in next.iter_mut().zip([columns.yes[at], columns.no[at]]) {
                let child = places.get(&(tree, id)).copied();
                let child = child.filter(|child| !std::mem::replace(&mut has_parent[*child], true));
                *place = child.ok_or_else(|| {
                    let problem = format!("of tree {tree} is missing, or has two parents");
                    wrong(operator, format!("is no tree: node {id} {problem}"))
                })?;
            }
            let feature = u32::try_from(columns.features[at])
                .ok()
                .filter(|f| *f < 1 << 24);
            let feature = feature.ok_or_else(|| wrong(operator, "compares no feature"))?;
            if threshold.is_nan() {
                return Err(wrong(operator, "compares with NaN"));
            }
            features = features.max(feature as usize + 1);
            nodes.push(Node::Branch {
                feature,
                compare,
                threshold,
                nan_is_true: columns.nan_is_true[at],
                next,
            });
        }
        let roots = roots(operator, &columns.trees, &has_parent)?;
        if reached(&nodes, &roots) != nodes.len() {
            return Err(wrong(
                operator,
                "is no tree: no root leads to one of the nodes",
            ));
        }
        let base_values = values(node, "base_values", load)?.0;
        Ok(Self {
            nodes,
            roots,
            weights,
            base_values,
            targets,
            features,
            is_double,
        })
    }
}

/// The attributes of nodes, one element for each.
struct Columns {
    trees: Vec<i64>,
    ids: Vec<i64>,
    features: Vec<i64>,
    modes: Vec<String>,
    yes: Vec<i64>,
    no: Vec<i64>,
    nan_is_true: Vec<bool>,
}

impl Columns {
    fn of(node: &NodeProto, count: usize) -> TractResult<Self> {
        let missing = longs(node, "nodes_missing_value_tracks_true")?;
        let columns = Self {
            trees: longs(node, "nodes_treeids")?,
            ids: longs(node, "nodes_nodeids")?,
            features: longs(node, "nodes_featureids")?,
            modes: texts(node, "nodes_modes")?,
            yes: longs(node, "nodes_truenodeids")?,
            no: longs(node, "nodes_falsenodeids")?,
            nan_is_true: match missing.is_empty() {
                true => vec![false; count],
                false => missing.iter().map(|flag| *flag != 0).collect(),
            },
        };
        let lengths = [
            columns.trees.len(),
            columns.ids.len(),
            columns.features.len(),
            columns.modes.len(),
            columns.yes.len(),
            columns.no.len(),
            columns.nan_is_true.len(),
        ];
        match count > 0 && lengths.iter().all(|length| *length == count) {
            true => Ok(columns),
            false => Err(wrong(
                &node.op_type,
                format!("has {count} nodes, and attributes of {lengths:?} nodes"),
            )),
        }
    }
}

/// The comparison of a mode; none for a leaf.
fn compare(operator: &str, mode: &str) -> TractResult<Option<Compare>> {
    Ok(Some(match mode {
        "LEAF" => return Ok(None),
        "BRANCH_LEQ" => Compare::LessOrEqual,
        "BRANCH_LT" => Compare::Less,
        "BRANCH_GTE" => Compare::GreaterOrEqual,
        "BRANCH_GT" => Compare::Greater,
        "BRANCH_EQ" => Compare::Equal,
        "BRANCH_NEQ" => Compare::NotEqual,
        other => {
            return Err(wrong(
                operator,
                format!("has a node of the mode \"{other}\""),
            ));
        }
    }))
}

/// The numbers of an attribute, or of the attribute that has them as a tensor; and whether they are a tensor of double precision.
fn values(node: &NodeProto, name: &str, load: Load<'_>) -> TractResult<(Vec<f64>, bool)> {
    match load(&format!("{name}_as_tensor"))? {
        Some(tensor) if tensor.len() > 0 => {
            let is_double = tensor.datum_type() == DatumType::F64;
            Ok((doubles(&tensor)?, is_double))
        }
        _ => {
            let values = floats(node, name)?.into_iter();
            Ok((values.map(f64::from).collect(), false))
        }
    }
}

/// The weights of all leaves, those of a node beside each other; and for each node its part of them.
fn weights(
    node: &NodeProto,
    prefix: &str,
    targets: usize,
    places: &HashMap<(i64, i64), usize>,
    load: Load<'_>,
) -> TractResult<(Vec<Weight>, Vec<Range<usize>>)> {
    let operator = node.op_type.as_str();
    let attribute = |name: &str| longs(node, &format!("{prefix}_{name}"));
    let (trees, ids) = (attribute("treeids")?, attribute("nodeids")?);
    let of_targets = attribute("ids")?;
    let (values, _) = values(node, &format!("{prefix}_weights"), load)?;
    let count = values.len();
    if count == 0 || [trees.len(), ids.len(), of_targets.len()] != [count; 3] {
        return Err(wrong(operator, "has no weights, or weights without a leaf"));
    }
    let mut found = Vec::with_capacity(count);
    let leaves = trees.into_iter().zip(ids);
    for ((tree, id), (target, value)) in leaves.zip(of_targets.into_iter().zip(values)) {
        let leaf = places.get(&(tree, id)).copied();
        let leaf = leaf.ok_or_else(|| {
            wrong(
                operator,
                format!("has a weight for node {id} of tree {tree}, which is missing"),
            )
        })?;
        let in_range = usize::try_from(target).is_ok_and(|target| target < targets);
        if !in_range {
            return Err(wrong(
                operator,
                format!("has a weight for target {target} of {targets}"),
            ));
        }
        let target = target as u32;
        found.push((leaf, Weight { target, value }));
    }
    // Stable, so that the weights of a leaf keep their order.
    found.sort_by_key(|(leaf, _)| *leaf);
    let mut parts = vec![0..0; places.len()];
    for (at, (leaf, _)) in found.iter().enumerate() {
        let part = &mut parts[*leaf];
        *part = match Range::is_empty(part) {
            true => at..at + 1,
            false => part.start..at + 1,
        };
    }
    Ok((found.into_iter().map(|(_, weight)| weight).collect(), parts))
}

/// The root of each tree, in the order of the trees: its only node without a parent.
fn roots(operator: &str, trees: &[i64], has_parent: &[bool]) -> TractResult<Vec<usize>> {
    let mut known: HashMap<i64, usize> = HashMap::new();
    let mut roots = Vec::new();
    for (at, tree) in trees.iter().enumerate().filter(|(at, _)| !has_parent[*at]) {
        if known.insert(*tree, at).is_some() {
            return Err(wrong(operator, format!("has two roots in tree {tree}")));
        }
        roots.push(at);
    }
    let without = trees.iter().find(|tree| !known.contains_key(*tree));
    match without {
        Some(tree) => Err(wrong(operator, format!("has no root in tree {tree}"))),
        None => Ok(roots),
    }
}

/// The number of nodes that the roots lead to. A node has one parent at most, so none is counted twice.
fn reached(nodes: &[Node], roots: &[usize]) -> usize {
    let (mut count, mut waiting) = (0, roots.to_vec());
    while let Some(node) = waiting.pop() {
        count += 1;
        if let Node::Branch { next, .. } = &nodes[node] {
            waiting.extend(next);
        }
    }
    count
}
