//! The ids of users and items in the training rows of all ranks.

use rayon::ThreadPool;
use rayon::prelude::*;

use crate::collective::Collective;
use crate::data::columns::{Column, Columns};
use crate::data::encode::keys::{KeyKind, KeySet, Keys};
use crate::train::base::Base;
use crate::train::raw::RawShard;
use crate::{Error, Result};

/// The keys of each feature that has keys: those of the training rows, and those of the base model.
///
/// # Errors
/// [`Error::Invalid`] for a number that is no int64, and if all keys together are too many to be numbered.
pub(crate) fn gather_keys(
    raw: &[RawShard],
    columns: &Columns,
    is_key: &[bool],
    base: Option<Base<'_>>,
    collective: &dyn Collective,
    helpers: &ThreadPool,
) -> Result<Vec<Option<Keys>>> {
    let mut total = 0;
    let mut all = Vec::with_capacity(is_key.len());
    for (index, (column, is_key)) in columns.features.iter().zip(is_key).enumerate() {
        if !is_key {
            all.push(None);
            continue;
        }
        let ours = keys_of(raw, index, column, helpers)?;
        let kind = ours.kind();
        let mut keys = base
            .and_then(|base| base.keys(index))
            .unwrap_or_else(|| Keys::empty(kind));
        for message in collective.all_gather(ours.to_bytes())? {
            keys = keys.union(&Keys::from_bytes(kind, &message)?);
        }
        total += keys.len() + 1;
        all.push(Some(keys));
    }
    match u32::try_from(total) {
        Ok(_) => Ok(all),
        Err(_) => Err(Error::Invalid(format!(
            "there are {total} users and items, more than can be numbered; group them"
        ))),
    }
}

/// The keys of a column in the training rows of this rank.
fn keys_of(raw: &[RawShard], index: usize, column: &Column, helpers: &ThreadPool) -> Result<Keys> {
    let kind = KeyKind::of(&column.name, &column.data_type)?;
    let of_shard = |shard: &RawShard| {
        let mut keys = KeySet::new(kind);
        for part in &shard.train.parts {
            keys.add(&column.name, part.column(index))?;
        }
        Ok(keys.into_keys())
    };
    let shards = helpers.install(|| raw.par_iter().map(of_shard).collect::<Result<Vec<Keys>>>())?;
    let none = Keys::empty(kind);
    Ok(shards.iter().fold(none, |all, keys| all.union(keys)))
}
