//! [`ranking_metrics`]: whether the items that were held out are among the best of each user, for implicit feedback.

use std::collections::{BTreeMap, HashSet};

use crate::bytes::{Reader, Writer};
use crate::model::metrics::Metric;
use crate::model::top_k::{ItemVectors, Pick, top_k};
use crate::train::als::ratings::{Block, Ratings};
use crate::train::als::table::Table;
use crate::train::training::Training;
use crate::{Error, Result};

/// The items of a user that count.
const K: usize = 10;
/// More users than this are sampled evenly: each is compared with all items.
const USERS_MAX: usize = 10_000;
/// Users whose best items are found at once.
const USERS_AT_ONCE: usize = 256;

/// recall, ndcg and map at 10: means over the users with items that only held-out rows have, among all items but those of the training
/// rows. Without held-out rows, the metrics of the training rows, among all items.
///
/// # Errors
/// [`Error::Cancelled`]; [`Error::Peer`].
pub(crate) fn ranking_metrics(training: &Training<'_>, weights: &[f64]) -> Result<Vec<Metric>> {
    let table = Table::of(training)?;
    let weights: Vec<f32> = weights.iter().map(|weight| *weight as f32).collect();
    let has_eval = training.prepared.eval_rows() > 0;
    let (users_are_first, users) = users(training, &table)?;
    let judged = Ratings::gather(training, |shard| match has_eval {
        true => &shard.eval,
        false => &shard.train,
    })?;
    let judged = Block::of(&judged, users_are_first, users.clone(), false);
    let with_items = users.filter(|user| taken(&judged, *user).next().is_some());
    let with_items: Vec<usize> = with_items.collect();
    let step = with_items.len().div_ceil(USERS_MAX).max(1);
    let chosen: Vec<usize> = with_items.into_iter().step_by(step).collect();
    let (rank, ranks) = (training.collective.rank(), training.collective.world_size());
    let ours = &chosen[chosen.len() * rank / ranks..chosen.len() * (rank + 1) / ranks];
    let range = ours
        .first()
        .map_or(0..0, |first| *first..ours[ours.len() - 1] + 1);
    let seen = match has_eval {
        true => Ratings::gather(training, |shard| &shard.train)?,
        false => Ratings::none(),
    };
    let seen = Block::of(&seen, users_are_first, range, true);
    let items = table.known(!users_are_first);
    let range = items.start * table.width..items.end * table.width;
    let vectors = ItemVectors::new(table.width, &weights[range]);
    let mut message = Writer::default();
    for users in ours.chunks(USERS_AT_ONCE) {
        training.control.stop.check()?;
        let of_users = users.iter().flat_map(|user| table.vector(&weights, *user));
        let of_users: Vec<f32> = of_users.copied().collect();
        let place = |id: &u32| (*id as usize).checked_sub(items.start).map(|at| at as u32);
        let excluded = users.iter().map(|user| {
            let (seen, _) = seen.of_id(*user);
            seen.iter().filter_map(place).collect()
        });
        let excluded: Vec<Vec<u32>> = excluded.collect();
        let picks = top_k(&of_users, &excluded, &vectors, K)?;
        for (user, picks) in users.iter().zip(picks) {
            let (seen, _) = seen.of_id(*user);
            let wanted = Wanted::of(taken(&judged, *user), seen, items.start);
            if wanted.count == 0 {
                continue;
            }
            message.count(*user as u64);
            for value in of_user(&picks, items.start, &wanted) {
                message.number(value);
            }
        }
    }
    let mut of_all: BTreeMap<u64, [f64; 3]> = BTreeMap::new();
    for message in training.collective.all_gather(message.0)? {
        let mut reader = Reader(&message);
        while !reader.0.is_empty() {
            let user = reader.count()?;
            of_all.insert(user, [reader.number()?, reader.number()?, reader.number()?]);
        }
    }
    Ok(means(&of_all))
}

/// Whether users are the first column, and the ids of the known ones.
fn users(training: &Training<'_>, table: &Table) -> Result<(bool, std::ops::Range<usize>)> {
    let columns = &training.prepared.encoder.shape().columns;
    let user = training.options.user_columns();
    let user = user.first().copied().unwrap_or_default();
    let is_user = |name: &str| name.eq_ignore_ascii_case(user);
    let first = columns.first().map(|column| is_user(&column.name));
    let is_first =
        first.ok_or_else(|| Error::Internal("a factorization without columns".into()))?;
    Ok((is_first, table.known(is_first)))
}

/// The items that a user took, one for each row.
fn taken(block: &Block, user: usize) -> impl Iterator<Item = u32> {
    let (items, strengths) = block.of_id(user);
    let taken = items
        .iter()
        .zip(strengths)
        .filter(|(_, strength)| **strength > 0.0);
    taken.map(|(item, _)| *item)
}

/// The items that should be among the picks of a user.
#[derive(Debug, PartialEq)]
struct Wanted {
    /// Those that training saw.
    known: HashSet<u32>,
    /// All of them.
    count: usize,
}

impl Wanted {
    /// The items that were taken but those that are `seen`, which are ascending: no pick is one of them. Items that training did not
    /// see have the id before `first`. They are missed, and each row has another one.
    fn of(taken: impl Iterator<Item = u32>, seen: &[u32], first: usize) -> Self {
        let (mut known, mut missed) = (HashSet::new(), 0);
        for item in taken {
            if (item as usize) < first {
                missed += 1;
            } else if seen.binary_search(&item).is_err() {
                known.insert(item);
            }
        }
        Self {
            count: known.len() + missed,
            known,
        }
    }
}

/// recall, ndcg and average precision of a user's picks, whose positions count from the item `first`.
fn of_user(picks: &[Pick], first: usize, wanted: &Wanted) -> [f64; 3] {
    let gain = |place: usize| 1.0 / (place as f64 + 2.0).log2();
    let (mut hits, mut gained, mut precisions) = (0.0, 0.0, 0.0);
    for (place, pick) in picks.iter().enumerate() {
        if wanted.known.contains(&(pick.item + first as u32)) {
            hits += 1.0;
            gained += gain(place);
            precisions += hits / (place as f64 + 1.0);
        }
    }
    let possible = wanted.count.min(K);
    let best: f64 = (0..possible).map(gain).sum();
    [
        hits / wanted.count as f64,
        gained / best,
        precisions / possible as f64,
    ]
}

/// The means over users, in the order of their ids.
fn means(users: &BTreeMap<u64, [f64; 3]>) -> Vec<Metric> {
    let names = ["recall_at_10", "ndcg_at_10", "map_at_10"];
    let metric = |(at, name): (usize, &str)| {
        let sum: f64 = users.values().map(|values| values[at]).sum();
        Metric {
            target: None,
            name: name.into(),
            value: (!users.is_empty()).then(|| sum / users.len() as f64),
        }
    };
    names.into_iter().enumerate().map(metric).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As scikit-learn's `ndcg_score` with relevances of 0 and 1, and the average precision of the first ten.
    #[test]
    fn a_user_with_two_of_three_items_among_the_first() {
        let items = [14, 10, 19, 11, 12];
        let pick = |item: u32| Pick {
            item: item - 10,
            product: 0.0,
        };
        let picks = items.map(pick);
        let wanted = Wanted::of([10, 12, 30].into_iter(), &[], 10);
        let [recall, ndcg, map] = of_user(&picks, 10, &wanted);
        let close = |found: f64, expected: f64| (found - expected).abs() < 1e-9;
        assert!(close(recall, 2.0 / 3.0));
        assert!((ndcg - 0.477_623).abs() < 1e-6, "{ndcg}");
        assert!(close(map, (0.5 + 0.4) / 3.0), "{map}");
        assert_eq!(of_user(&[], 10, &wanted), [0.0; 3]);
    }

    #[test]
    fn wanted_items_are_new_to_the_user() {
        let taken = [9, 9, 10, 12, 12, 14];
        let wanted = Wanted::of(taken.into_iter(), &[11, 12], 10);
        let known = HashSet::from([10, 14]);
        assert_eq!(wanted, Wanted { known, count: 4 });
        assert_eq!(Wanted::of([12].into_iter(), &[12], 10).count, 0);
    }

    #[test]
    fn means_are_over_users() {
        let users = BTreeMap::from([(3, [1.0, 0.5, 0.0]), (1, [0.0, 0.5, 1.0])]);
        let values = means(&users)
            .into_iter()
            .map(|metric| metric.value.unwrap());
        assert_eq!(values.collect::<Vec<_>>(), [0.5, 0.5, 0.5]);
        assert_eq!(means(&BTreeMap::new())[0].value, None);
    }
}
