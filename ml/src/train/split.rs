//! Split of the rows into shards, and into training and evaluation rows.
//!
//! ```text
//! rows ─ by hash ─▶ home shards ─ kinds of equal rows, in hash order ─▶ evaluation rows of each ─▶ copies to the shards
//! ```
//! All copies of a row arrive at the rank of its home shard, which numbers them. Equal rows are interchangeable, so the
//! numbers decide: the first copies evaluate, and copy `j` belongs to shard `home + j`. So neither a shard nor a side of
//! the split gets all copies of a row, and the initial distribution of the rows does not affect the result.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::collective::Collective;
use crate::data::apart::parts;
use crate::data::columns::Columns;
use crate::data::labels::CLASSES_MAX;
use crate::data::targets::{TargetKind, valid_labels};
use crate::model::options::{DataSplit, NullHandling, TrainOptions};
use crate::train::control::{Control, ReservedMemory};
use crate::train::copies::{Copies, exchange};
use crate::train::raw::{RankRows, RawRows, RawShard, RowAt};
use crate::train::shard::{Placement, content_hashes, owner};
use crate::train::spec::TrainSpec;
use crate::{Error, Result};

/// Memory of a row while it finds its place: its entry in the home shard, and its entry in the shard. Its hash is reserved with
/// the rows.
const ORDER_BYTES: usize = 2 * size_of::<(Placement, RowAt)>();

/// The rows of a home shard in hash order, the sum of its row hashes, and its number of skipped rows.
#[derive(Default)]
struct Home {
    rows: Vec<(Placement, RowAt)>,
    rows_hash: u128,
    skipped: u64,
}

/// The training and evaluation rows of a shard, with their placements.
#[derive(Default)]
struct Sides {
    train: Vec<(Placement, RowAt)>,
    eval: Vec<(Placement, RowAt)>,
}

/// By home shard and stratum, the number of rows of the stratum in the shards before.
type RowsBefore = HashMap<(usize, Stratum), u64>;

/// The rows of one class of the first target with classes are a stratum; without such a target, all rows are one stratum.
type Stratum = u128;

/// Splits the rows of all ranks; returns the shards of this rank, and the memory that is reserved for them.
pub(crate) fn split_into_shards(
    spec: &TrainSpec,
    kinds: &[TargetKind],
    rows: RankRows,
    collective: &dyn Collective,
    helpers: &ThreadPool,
    control: &Control,
) -> Result<(Vec<RawShard>, Option<ReservedMemory>)> {
    let (columns, options, shard_count) = (&spec.columns, &spec.options, spec.shards);
    let ours = (0..shard_count)
        .filter(|&shard| owner(shard, shard_count, collective.world_size()) == collective.rank());
    let ours: Vec<usize> = ours.collect();
    let count: usize = rows.hashes.iter().map(Vec::len).sum();
    let _order = control.reserve(count * ORDER_BYTES, "the order of the rows")?;
    let homes = homes(spec, kinds, &ours, &rows, collective, helpers)?;
    let split = Split::new(columns, kinds, options, &rows)?;
    let evaluates = split.eval_counts(&homes, shard_count, collective)?;
    let mut shards: BTreeMap<usize, Sides> = ours
        .iter()
        .map(|&shard| (shard, Sides::default()))
        .collect();
    let mut away = Vec::new();
    for ((&home, rows), evaluates) in homes.iter().zip(evaluates) {
        for (rows, eval) in equal_rows(&rows.rows).zip(evaluates) {
            place_copies(rows, eval, home, shard_count, &mut shards, &mut away);
        }
    }
    let mut batches = rows.batches;
    let is_ours = |shard| ours.contains(&shard);
    let received = exchange(&away, &batches, columns, options, collective, is_ours)?;
    for (batch, copies) in received {
        for (row, copies) in copies.into_iter().enumerate() {
            let at = (batches.len(), row);
            for (shard, train, eval) in copies.of_shards {
                if let Some(sides) = shards.get_mut(&shard) {
                    let copy = (copies.placement, at);
                    sides.train.extend(std::iter::repeat_n(copy, train));
                    sides.eval.extend(std::iter::repeat_n(copy, eval));
                }
            }
        }
        batches.push(batch);
    }
    let columns_of = batches.iter().flat_map(RecordBatch::columns);
    let bytes = columns_of.map(|column| column.to_data().get_slice_memory_size());
    let held = control.reserve(bytes.sum::<Result<usize, _>>()?, "the rows in their order")?;
    let raw = shards.into_iter().map(|(number, sides)| {
        let home = &homes[&number];
        Ok(RawShard {
            number,
            train: in_order(sides.train, &batches, columns, helpers)?,
            eval: in_order(sides.eval, &batches, columns, helpers)?,
            skipped: home.skipped,
            rows_hash: home.rows_hash,
        })
    });
    Ok((raw.collect::<Result<_>>()?, held))
}

/// The rows by home shard, in hash order, without skipped rows.
fn homes(
    spec: &TrainSpec,
    kinds: &[TargetKind],
    ours: &[usize],
    rows: &RankRows,
    collective: &dyn Collective,
    helpers: &ThreadPool,
) -> Result<BTreeMap<usize, Home>> {
    let (columns, options, shard_count) = (&spec.columns, &spec.options, spec.shards);
    let mut homes: BTreeMap<usize, Home> =
        ours.iter().map(|&shard| (shard, Home::default())).collect();
    for (batch, hashes) in rows.hashes.iter().enumerate() {
        let complete = match options.null_handling {
            NullHandling::Skip => Some(complete_rows(&rows.batches[batch], columns, kinds)?),
            NullHandling::Error | NullHandling::Impute => None,
        };
        for (row, &hash) in hashes.iter().enumerate() {
            let placement = Placement::new(hash, options.seed);
            let home = homes
                .get_mut(&placement.shard(shard_count))
                .ok_or_else(|| {
                    Error::Internal(format!(
                        "a row of another worker's shard came to worker {}",
                        collective.rank()
                    ))
                })?;
            home.rows_hash = home.rows_hash.wrapping_add(hash);
            match complete.as_ref().is_none_or(|complete| complete[row]) {
                true => home.rows.push((placement, (batch, row))),
                false => home.skipped += 1,
            }
        }
    }
    for home in homes.values_mut() {
        // Rows with equal placements are equal, so their order does not matter.
        let rows = &mut home.rows;
        helpers.install(|| rows.par_sort_unstable_by_key(|(placement, _)| *placement));
    }
    Ok(homes)
}

/// The groups of equal rows.
fn equal_rows(rows: &[(Placement, RowAt)]) -> impl Iterator<Item = &[(Placement, RowAt)]> {
    rows.chunk_by(|left, right| left.0 == right.0)
}

/// Distributes the copies of one kind of row; the first `eval` copies evaluate. Copies for shards of other ranks go into
/// `away`.
fn place_copies(
    kind: &[(Placement, RowAt)],
    eval: usize,
    home: usize,
    shard_count: usize,
    shards: &mut BTreeMap<usize, Sides>,
    away: &mut Vec<(RowAt, Copies)>,
) {
    let Some(&(placement, at)) = kind.first() else {
        return;
    };
    let mut of_others: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    for (number, copy) in kind.iter().enumerate() {
        let shard = (home + number) % shard_count;
        let is_eval = number < eval;
        match shards.get_mut(&shard) {
            Some(sides) if is_eval => sides.eval.push(*copy),
            Some(sides) => sides.train.push(*copy),
            None => {
                let (train, eval) = of_others.entry(shard).or_default();
                *(if is_eval { eval } else { train }) += 1;
            }
        }
    }
    if !of_others.is_empty() {
        let of_shards = of_others
            .into_iter()
            .map(|(shard, (train, eval))| (shard, train, eval));
        let copies = Copies {
            placement,
            of_shards: of_shards.collect(),
        };
        away.push((at, copies));
    }
}

/// The rule that separates training rows from evaluation rows.
enum Split<'a> {
    /// All rows train.
    None,
    /// By a column of each batch.
    Column(Vec<&'a BooleanArray>),
    /// This share of each stratum evaluates; the strata of the rows of each batch, if there is more than one stratum.
    Share(f64, Option<Vec<Vec<Stratum>>>),
}

impl<'a> Split<'a> {
    fn new(
        columns: &Columns,
        kinds: &[TargetKind],
        options: &TrainOptions,
        rows: &'a RankRows,
    ) -> Result<Self> {
        let first = columns.features.len();
        match &options.data_split {
            DataSplit::None => Ok(Self::None),
            DataSplit::Column { name } => {
                let columns = rows.batches.iter();
                let columns = columns.map(|batch| split_column(batch, first + kinds.len(), name));
                Ok(Self::Column(columns.collect::<Result<_>>()?))
            }
            DataSplit::Hash { eval_fraction } => {
                let classes = kinds.iter().position(|kind| *kind == TargetKind::Class);
                let strata = match classes {
                    None => None,
                    Some(target) => {
                        let labels = rows.batches.iter().map(|batch| {
                            let labels = batch.column(first + target);
                            content_hashes(&[labels])
                        });
                        Some(labels.collect::<Result<_>>()?)
                    }
                };
                Ok(Self::Share(*eval_fraction, strata))
            }
        }
    }

    /// For each home shard and each kind of row in the shard, how many copies evaluate.
    fn eval_counts(
        &self,
        homes: &BTreeMap<usize, Home>,
        shard_count: usize,
        collective: &dyn Collective,
    ) -> Result<Vec<Vec<usize>>> {
        let (fraction, strata) = match self {
            Self::None => {
                let none = |home: &Home| equal_rows(&home.rows).map(|_| 0).collect();
                return Ok(homes.values().map(none).collect());
            }
            Self::Column(columns) => {
                let of_kind = |kind: &[(Placement, RowAt)]| {
                    let (batch, row) = kind[0].1;
                    usize::from(columns[batch].value(row)) * kind.len()
                };
                let of_home = |home: &Home| equal_rows(&home.rows).map(of_kind).collect();
                return Ok(homes.values().map(of_home).collect());
            }
            Self::Share(fraction, strata) => (*fraction, strata),
        };
        let stratum = |(batch, row): RowAt| strata.as_ref().map_or(0, |of| of[batch][row]);
        let (mut seen, totals) = rows_before(homes, stratum, shard_count, collective)?;
        // The evaluation rows among the first `rows` of a stratum. One row always trains, so that the class is learnt.
        let share = |rows: u64, total: u64| {
            let share = (fraction * rows as f64 + 0.5).floor() as u64;
            share.min(total.saturating_sub(1))
        };
        let of_home = |(shard, home): (&usize, &Home)| {
            let mut of_kind = |kind: &[(Placement, RowAt)]| {
                let stratum = stratum(kind[0].1);
                let total = totals.get(&stratum).copied().unwrap_or(0);
                let before = seen.entry((*shard, stratum)).or_default();
                let after = *before + kind.len() as u64;
                let count = share(after, total) - share(*before, total);
                *before = after;
                count as usize
            };
            equal_rows(&home.rows).map(&mut of_kind).collect()
        };
        Ok(homes.iter().map(of_home).collect())
    }
}

/// For each home shard and stratum, the number of rows of the stratum in the shards before, and the total of each
/// stratum. With these numbers the shares of all shards add up to the share of the whole, rounded once.
fn rows_before(
    homes: &BTreeMap<usize, Home>,
    stratum: impl Fn(RowAt) -> Stratum,
    shard_count: usize,
    collective: &dyn Collective,
) -> Result<(RowsBefore, HashMap<Stratum, u64>)> {
    let mut message = Vec::new();
    for (shard, home) in homes {
        let mut counts: BTreeMap<Stratum, u64> = BTreeMap::new();
        for (_, at) in &home.rows {
            *counts.entry(stratum(*at)).or_default() += 1;
            // So many classes end in an error, which reports their number.
            if counts.len() > CLASSES_MAX {
                break;
            }
        }
        for (stratum, count) in counts {
            message.extend((*shard as u64).to_le_bytes());
            message.extend(stratum.to_le_bytes());
            message.extend(count.to_le_bytes());
        }
    }
    let mut counts: BTreeMap<(Stratum, usize), u64> = BTreeMap::new();
    for message in collective.all_gather(message)? {
        let (entries, _) = message.as_chunks::<32>();
        for entry in entries {
            let number = |at: usize| {
                let bytes = entry[at..].first_chunk::<8>();
                bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
            };
            let stratum = u128::from(number(8)) | (u128::from(number(16)) << 64);
            counts.insert((stratum, number(0) as usize), number(24));
        }
    }
    let strata: std::collections::BTreeSet<Stratum> =
        counts.keys().map(|(stratum, _)| *stratum).collect();
    let (mut before, mut totals) = (HashMap::new(), HashMap::new());
    for stratum in strata {
        let mut sum = 0;
        for shard in 0..shard_count {
            before.insert((shard, stratum), sum);
            sum += counts.get(&(stratum, shard)).copied().unwrap_or(0);
        }
        totals.insert(stratum, sum);
    }
    Ok((before, totals))
}

/// The rows in the order of their placements.
fn in_order(
    mut rows: Vec<(Placement, RowAt)>,
    batches: &[RecordBatch],
    columns: &Columns,
    helpers: &ThreadPool,
) -> Result<RawRows> {
    helpers.install(|| rows.par_sort_by_key(|(placement, _)| *placement));
    let order: Vec<RowAt> = rows.into_iter().map(|(_, at)| at).collect();
    RawRows::gather(&order, batches, columns, helpers)
}

fn split_column<'a>(batch: &'a RecordBatch, index: usize, name: &str) -> Result<&'a BooleanArray> {
    let column = batch.column(index).as_boolean();
    if column.null_count() > 0 {
        return Err(Error::Null(format!(
            "data_split_col \"{name}\" has NULLs; make it true or false in each row"
        )));
    }
    Ok(column)
}

/// Which rows have neither a NULL feature nor a NULL label.
fn complete_rows(
    batch: &RecordBatch,
    columns: &Columns,
    kinds: &[TargetKind],
) -> Result<Vec<bool>> {
    let mut complete = vec![true; batch.num_rows()];
    let first = columns.features.len();
    for (index, column) in columns.features.iter().enumerate() {
        let parts = parts(&column.name, batch.column(index), None)?;
        complete
            .iter_mut()
            .enumerate()
            .for_each(|(row, complete)| *complete &= parts.is_valid(row));
    }
    for (target, (column, kind)) in columns.targets.iter().zip(kinds).enumerate() {
        let labels = batch.column(first + target);
        if let Some(valid) = valid_labels(&column.name, labels, *kind)? {
            complete
                .iter_mut()
                .enumerate()
                .for_each(|(row, complete)| *complete &= valid.is_valid(row));
        }
    }
    Ok(complete)
}
