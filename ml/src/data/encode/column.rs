//! [`ColumnEncoder`]: what training learnt of one feature column.

use serde::{Deserialize, Serialize};

use crate::data::columns::Column;
use crate::data::encode::keys::Keys;
use crate::data::encode::lookup::Lookup;
use crate::data::encode::standardise::Standardiser;
use crate::data::image::ImageEncoder;

/// The learnt encoding of one feature column as numbers and categories.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnEncoder {
    /// The column.
    pub column: Column,
    /// One for each number of the column.
    pub numbers: Vec<Standardiser>,
    /// One for each category of the column.
    pub vocabularies: Vec<Vocabulary>,
    /// How an image becomes a tensor, if the column holds images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageEncoder>,
    /// The values of the column, each with an id, if it holds users or items: any number of values, of which the column has neither
    /// numbers nor vocabularies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Keys>,
}

/// The values of a category seen in training, in ascending order, or the number of buckets of their hashes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vocabulary {
    /// The part of the column that the values belong to: empty for the column itself, else `month` and the like.
    pub part: String,
    /// The values.
    pub values: Vec<String>,
    /// The number of ids that all values share by their hash, if there are too many values to list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buckets: Option<u32>,
}

impl ColumnEncoder {
    /// The ids of each of its categories, from `first` on.
    pub(super) fn lookups(&self, first: usize) -> Vec<Lookup> {
        if let Some(keys) = &self.keys {
            return vec![Lookup::keyed(first, keys)];
        }
        let mut next = first;
        let lookup = |vocabulary: &Vocabulary| {
            let lookup = match vocabulary.buckets {
                Some(buckets) => Lookup::hashed(next, buckets),
                None => Lookup::listed(next, &vocabulary.values),
            };
            next += lookup.length();
            lookup
        };
        self.vocabularies.iter().map(lookup).collect()
    }
}
