//! [`Lookup`]: the ids of the values of one category.

use std::collections::HashMap;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::data::encode::keys::Keys;

/// The ids of one category: the first for values that training did not see, the others for values with a position.
#[derive(Debug, Clone)]
pub(crate) struct Lookup {
    first: usize,
    length: usize,
    positions: Positions,
}

#[derive(Debug, Clone)]
enum Positions {
    /// The position of each value that training saw.
    Listed(Arc<HashMap<String, u32>>),
    /// The position of a value is its hash, modulo this number.
    Hashed(u32),
    /// The position of a value is its place among these.
    Keyed(Keys),
}

impl Lookup {
    /// The ids from `first` on for these values, which differ.
    pub(crate) fn listed(first: usize, values: &[String]) -> Self {
        Self {
            first,
            length: values.len() + 1,
            positions: Positions::Listed(Arc::new(values.iter().cloned().zip(0..).collect())),
        }
    }

    /// The ids from `first` on that all values share by their hash.
    pub(crate) fn hashed(first: usize, buckets: u32) -> Self {
        Self {
            first,
            length: buckets as usize + 1,
            positions: Positions::Hashed(buckets),
        }
    }

    /// The ids from `first` on for these keys.
    pub(crate) fn keyed(first: usize, keys: &Keys) -> Self {
        Self {
            first,
            length: keys.len() + 1,
            positions: Positions::Keyed(keys.clone()),
        }
    }

    /// The number of ids, with that of unseen values.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// The position of a value of a vocabulary; `None` if training did not see it.
    pub(crate) fn position(&self, value: &str) -> Option<u32> {
        match &self.positions {
            Positions::Listed(positions) => positions.get(value).copied(),
            Positions::Hashed(buckets) => Some(bucket(value, *buckets)),
            // Keys are found for a whole column at once.
            Positions::Keyed(_) => None,
        }
    }

    /// The id of a position, or of unseen values.
    pub(crate) fn id(&self, position: Option<u32>) -> u32 {
        self.first as u32 + position.map_or(0, |position| position + 1)
    }

    /// Adds, for each id, the id of the same value in the lookup of another model; `None` for a value that it does not know.
    pub(crate) fn add_ids_in(&self, other: &Self, ids: &mut Vec<Option<u32>>) {
        let start = ids.len();
        ids.resize(start + self.length, None);
        ids[start] = Some(other.id(None));
        match (&self.positions, &other.positions) {
            (Positions::Listed(values), _) => {
                for (value, position) in values.iter() {
                    let theirs = other.position(value);
                    ids[start + 1 + *position as usize] =
                        theirs.map(|theirs| other.id(Some(theirs)));
                }
            }
            (Positions::Hashed(ours), Positions::Hashed(theirs)) if ours == theirs => {
                for bucket in 0..*ours {
                    ids[start + 1 + bucket as usize] = Some(other.id(Some(bucket)));
                }
            }
            (Positions::Keyed(ours), Positions::Keyed(theirs)) => {
                let found = ours.positions_in(theirs).into_iter();
                let found = found.map(|theirs| theirs.map(|theirs| other.id(Some(theirs))));
                ids[start + 1..]
                    .iter_mut()
                    .zip(found)
                    .for_each(|(id, found)| *id = found);
            }
            // Which values share a bucket is not known.
            (Positions::Hashed(_) | Positions::Keyed(_), _) => {}
        }
    }
}

/// The bucket of a value, in `0..buckets`.
fn bucket(value: &str, buckets: u32) -> u32 {
    (xxh3_64(value.as_bytes()) % u64::from(buckets.max(1))) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn values_keep_their_ids_in_the_lookup_of_another_model() {
        let base = Lookup::listed(10, &names(&["red", "blue"]));
        let ours = Lookup::listed(3, &names(&["red", "blue", "green"]));
        assert_eq!(ours.id(ours.position("green")), 6);
        assert_eq!(ours.id(ours.position("black")), 3);
        let mut ids = vec![Some(99)];
        ours.add_ids_in(&base, &mut ids);
        assert_eq!(ids, [Some(99), Some(10), Some(11), Some(12), None]);
    }

    #[test]
    fn buckets_are_those_of_another_model_if_there_are_as_many() {
        let ids_in = |buckets| {
            let mut ids = vec![];
            Lookup::hashed(0, 3).add_ids_in(&Lookup::hashed(5, buckets), &mut ids);
            ids
        };
        assert_eq!(ids_in(3), [Some(5), Some(6), Some(7), Some(8)]);
        assert_eq!(ids_in(4), [Some(5), None, None, None]);
    }
}
