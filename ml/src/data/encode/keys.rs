//! [`Keys`]: the ids of users or of items that training saw, whole numbers or texts. There may be millions: they are sorted, and a
//! value is found by halving.

use std::cmp::Ordering;
use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, LargeStringArray};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Int64Type};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::bytes::{Reader, Writer};
use crate::data::types::{canonical_type, type_name};
use crate::{Error, Result};

/// A cast fails on a value that does not fit.
const STRICT: CastOptions<'_> = CastOptions {
    safe: false,
    format_options: arrow::util::display::FormatOptions::new(),
};

/// Different keys in ascending order. In JSON only their kind is written: a file of tensors holds the keys.
#[derive(Debug, Clone, PartialEq)]
pub enum Keys {
    /// Whole numbers.
    Integers(Int64Array),
    /// Texts, in the order of their bytes.
    Texts(LargeStringArray),
}

/// What keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// Whole numbers.
    Integers,
    /// Texts.
    Texts,
}

impl KeyKind {
    /// The keys that a column of this type holds.
    ///
    /// # Errors
    /// [`Error::Type`] with the remedy for a type that holds none.
    pub fn of(name: &str, data_type: &DataType) -> Result<Self> {
        match canonical_type(data_type) {
            DataType::Utf8 => Ok(Self::Texts),
            integer if integer.is_integer() => Ok(Self::Integers),
            other => Err(Error::Type(format!(
                "column \"{name}\" is {}, and an id is a whole number or a string; CAST it to BIGINT or VARCHAR",
                type_name(&other)
            ))),
        }
    }
}

impl Keys {
    /// No keys.
    pub fn empty(kind: KeyKind) -> Self {
        match kind {
            KeyKind::Integers => Self::Integers(Int64Array::from(Vec::<i64>::new())),
            KeyKind::Texts => Self::Texts(LargeStringArray::from(Vec::<&str>::new())),
        }
    }

    /// What the keys are.
    pub fn kind(&self) -> KeyKind {
        match self {
            Self::Integers(_) => KeyKind::Integers,
            Self::Texts(_) => KeyKind::Texts,
        }
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        match self {
            Self::Integers(keys) => keys.len(),
            Self::Texts(keys) => keys.len(),
        }
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The keys as a column of this type.
    pub fn to_column(&self, data_type: &DataType) -> Result<ArrayRef> {
        let keys: &dyn Array = match self {
            Self::Integers(keys) => keys,
            Self::Texts(keys) => keys,
        };
        Ok(cast_with_options(keys, data_type, &STRICT)?)
    }

    /// The position of the value of each row among the keys; `None` for NULL and for a value that is no key.
    pub(crate) fn positions(&self, column: &ArrayRef) -> Result<Vec<Option<u32>>> {
        Ok(match self {
            Self::Integers(keys) => {
                let keys = keys.values();
                let found = |value: i64| keys.binary_search(&value).ok();
                let column = cast(column, &DataType::Int64)?;
                let values = column.as_primitive::<Int64Type>().iter();
                let positions = values.map(|value| value.and_then(found));
                positions.map(|at| at.map(|at| at as u32)).collect()
            }
            Self::Texts(keys) => {
                let column = cast(column, &DataType::LargeUtf8)?;
                let values = column.as_string::<i64>().iter();
                let positions = values.map(|value| value.and_then(|value| search(keys, value)));
                positions.collect()
            }
        })
    }

    /// The position of each key among the keys of another model; `None` for those that it does not have.
    pub(crate) fn positions_in(&self, other: &Self) -> Vec<Option<u32>> {
        match (self, other) {
            (Self::Integers(keys), Self::Integers(others)) => {
                let others = others.values();
                let found = |key: &i64| others.binary_search(key).ok().map(|at| at as u32);
                keys.values().iter().map(found).collect()
            }
            (Self::Texts(keys), Self::Texts(others)) => {
                let found = |key: Option<&str>| search(others, key.unwrap_or_default());
                keys.iter().map(found).collect()
            }
            (Self::Integers(_) | Self::Texts(_), _) => vec![None; self.len()],
        }
    }

    /// These keys and those.
    pub(crate) fn union(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Integers(keys), Self::Integers(others)) => {
                let all = keys.values().iter().chain(others.values().iter());
                of_integers(all.copied().collect())
            }
            (Self::Texts(keys), Self::Texts(others)) => {
                of_texts(keys.iter().chain(others.iter()).flatten().collect())
            }
            (Self::Integers(_) | Self::Texts(_), _) => self.clone(),
        }
    }

    /// The keys as bytes, for files and for other ranks.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Integers(keys) => keys
                .values()
                .iter()
                .flat_map(|key| key.to_le_bytes())
                .collect(),
            Self::Texts(keys) => {
                let mut bytes = Writer::default();
                keys.iter()
                    .flatten()
                    .for_each(|key| bytes.block(key.as_bytes()));
                bytes.0
            }
        }
    }

    /// Reads the bytes of [`Keys::to_bytes`].
    ///
    /// # Errors
    /// [`Error::Internal`] for bytes that are cut off, no text, or not in ascending order.
    pub(crate) fn from_bytes(kind: KeyKind, bytes: &[u8]) -> Result<Self> {
        let wrong = |problem: &str| Error::Internal(format!("keys that are {problem}"));
        let (keys, is_ascending) = match kind {
            KeyKind::Integers => {
                let (keys, rest) = bytes.as_chunks::<8>();
                if !rest.is_empty() {
                    return Err(wrong("cut off"));
                }
                let keys: Vec<i64> = keys.iter().map(|key| i64::from_le_bytes(*key)).collect();
                let is_ascending = keys.is_sorted_by(|left, right| left < right);
                (Self::Integers(Int64Array::from(keys)), is_ascending)
            }
            KeyKind::Texts => {
                let mut bytes = Reader(bytes);
                let mut keys: Vec<&str> = Vec::new();
                while !bytes.0.is_empty() {
                    let key = std::str::from_utf8(bytes.block()?);
                    keys.push(key.map_err(|_| wrong("no text"))?);
                }
                let is_ascending = keys.is_sorted_by(|left, right| left < right);
                (Self::Texts(LargeStringArray::from(keys)), is_ascending)
            }
        };
        match is_ascending {
            true => Ok(keys),
            false => Err(wrong("not in ascending order")),
        }
    }

    /// Memory of the keys in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Integers(keys) => keys.get_array_memory_size(),
            Self::Texts(keys) => keys.get_array_memory_size(),
        }
    }
}

impl Serialize for Keys {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.kind().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::empty(KeyKind::deserialize(deserializer)?))
    }
}

fn search(keys: &LargeStringArray, text: &str) -> Option<u32> {
    let (mut low, mut high) = (0, keys.len());
    while low < high {
        let middle = low + (high - low) / 2;
        match keys.value(middle).cmp(text) {
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
            Ordering::Equal => return Some(middle as u32),
        }
    }
    None
}

fn of_integers(mut keys: Vec<i64>) -> Keys {
    keys.sort_unstable();
    keys.dedup();
    Keys::Integers(Int64Array::from(keys))
}

fn of_texts(mut keys: Vec<&str>) -> Keys {
    keys.sort_unstable();
    keys.dedup();
    Keys::Texts(LargeStringArray::from(keys))
}

/// The different values of columns.
#[derive(Debug)]
pub(crate) enum KeySet {
    Integers(HashSet<i64>),
    Texts(HashSet<String>),
}

impl KeySet {
    pub(crate) fn new(kind: KeyKind) -> Self {
        match kind {
            KeyKind::Integers => Self::Integers(HashSet::new()),
            KeyKind::Texts => Self::Texts(HashSet::new()),
        }
    }

    /// Adds the values of a column of this name.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a number that is no int64.
    pub(crate) fn add(&mut self, name: &str, column: &ArrayRef) -> Result<()> {
        match self {
            Self::Integers(keys) => {
                let column = cast_with_options(column, &DataType::Int64, &STRICT).map_err(|_| {
                    Error::Invalid(format!(
                        "column \"{name}\" holds a number beyond int64, which cannot be an id; CAST it to VARCHAR"
                    ))
                })?;
                keys.extend(column.as_primitive::<Int64Type>().iter().flatten());
            }
            Self::Texts(keys) => {
                let column = cast_with_options(column, &DataType::LargeUtf8, &STRICT)?;
                for value in column.as_string::<i64>().iter().flatten() {
                    // Most values are known already, and need no memory.
                    if !keys.contains(value) {
                        keys.insert(value.to_owned());
                    }
                }
            }
        }
        Ok(())
    }

    pub(crate) fn into_keys(self) -> Keys {
        match self {
            Self::Integers(keys) => of_integers(keys.into_iter().collect()),
            Self::Texts(keys) => of_texts(keys.iter().map(String::as_str).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int32Array, StringArray, UInt64Array};

    use super::*;

    fn keys(column: &ArrayRef) -> Keys {
        let mut set = KeySet::new(KeyKind::of("id", column.data_type()).unwrap());
        set.add("id", column).unwrap();
        set.into_keys()
    }

    fn texts(values: &[&str]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    #[test]
    fn each_key_has_a_position_and_other_values_have_none() {
        let ids: ArrayRef = Arc::new(Int32Array::from(vec![Some(7), None, Some(-1), Some(7)]));
        let ids = keys(&ids);
        assert_eq!(ids.len(), 2);
        let column: ArrayRef = Arc::new(UInt64Array::from(vec![
            Some(7),
            None,
            Some(u64::MAX),
            Some(8),
        ]));
        assert_eq!(ids.positions(&column).unwrap(), [Some(1), None, None, None]);
        let names = keys(&texts(&["b", "", "é", "a", "b"]));
        let column = texts(&["é", "c", "", "a"]);
        assert_eq!(
            names.positions(&column).unwrap(),
            [Some(3), None, Some(0), Some(1)]
        );
        assert_eq!(names.to_column(&DataType::Utf8).unwrap().len(), 4);
    }

    #[test]
    fn keys_come_back_from_their_bytes_and_others_do_not() {
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![5, -3, 5, 0]));
        for keys in [keys(&numbers), keys(&texts(&["x", "", "yy"]))] {
            let bytes = keys.to_bytes();
            assert_eq!(Keys::from_bytes(keys.kind(), &bytes).unwrap(), keys);
            assert!(Keys::from_bytes(keys.kind(), &bytes[..bytes.len() - 1]).is_err());
            let twice = [bytes.clone(), bytes].concat();
            let error = Keys::from_bytes(keys.kind(), &twice)
                .unwrap_err()
                .to_string();
            assert!(error.contains("ascending"), "{error}");
            let text = serde_json::to_string(&keys).unwrap();
            assert!(serde_json::from_str::<Keys>(&text).unwrap().is_empty());
        }
    }

    #[test]
    fn keys_of_two_models_are_joined_and_found_in_each_other() {
        let (ours, theirs) = (keys(&texts(&["b", "d"])), keys(&texts(&["a", "b", "c"])));
        let both = ours.union(&theirs);
        assert_eq!(both, keys(&texts(&["a", "b", "c", "d"])));
        assert_eq!(both.positions_in(&ours), [None, Some(0), None, Some(1)]);
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        assert_eq!(ours.positions_in(&keys(&numbers)), [None, None]);
    }

    #[test]
    fn an_id_is_a_whole_number_or_a_text() {
        let error = KeyKind::of("x", &DataType::Float64)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("column \"x\" is float64, and an id is"),
            "{error}"
        );
        let large: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
        let error = KeySet::new(KeyKind::Integers).add("x", &large).unwrap_err();
        assert!(error.to_string().contains("beyond int64"), "{error}");
    }
}
