//! [`KnownRows`]: rows that a model has computed in this statement, so that an equal row takes their outputs.
//!
//! Rows are equal if the SHA-256 of their features is, so a long text or an image is not kept. The rows of a call of the model stay
//! together; the oldest calls go when the rows take too much memory, or as soon as a batch finds none.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use sha2::{Digest as _, Sha256};
use vatic_ml::data::inputs::RowReport;

use crate::memory::is_half_free;

/// The most memory for known rows, and their share of a statement's memory.
const BYTES_MAX: usize = 256 << 20;
const SHARE: usize = 8;

/// The hash of the features of a row.
pub(super) type Digest = [u8; 32];

/// The hash of each row; `None` if a column has a type that cannot be hashed.
pub(super) fn digests(features: &RecordBatch) -> Result<Option<Vec<Digest>>, ArrowError> {
    let columns = features.columns();
    let fields = columns
        .iter()
        .map(|column| SortField::new(column.data_type().clone()));
    let fields: Vec<SortField> = fields.collect();
    if !RowConverter::supports_fields(&fields) {
        return Ok(None);
    }
    let rows = RowConverter::new(fields)?.convert_columns(columns)?;
    let digests = rows
        .iter()
        .map(|row| -> Digest { Sha256::digest(row).into() });
    Ok(Some(digests.collect()))
}

/// The outputs of the rows of one call of the model.
#[derive(Debug)]
pub(super) struct Part {
    columns: Vec<ArrayRef>,
    report: RowReport,
    causes: HashMap<usize, String>,
}

impl Part {
    pub(super) fn new(columns: Vec<ArrayRef>, report: RowReport) -> Self {
        let causes = report.failures.iter().cloned().collect();
        Self {
            columns,
            report,
            causes,
        }
    }

    pub(super) fn column(&self, output: usize) -> &dyn Array {
        self.columns[output].as_ref()
    }

    /// Whether the row has neither a NULL nor a failure.
    pub(super) fn is_valid(&self, row: usize) -> bool {
        let valid = self.report.valid.as_ref();
        valid.is_none_or(|valid| valid.is_valid(row))
    }

    /// Why the row has no output.
    pub(super) fn cause(&self, row: usize) -> Option<&str> {
        self.causes.get(&row).map(String::as_str)
    }

    /// The first column with a NULL.
    pub(super) fn null_column(&self) -> Option<&str> {
        self.report.null_column.as_deref()
    }

    fn bytes(&self) -> usize {
        let columns = self.columns.iter();
        let columns: usize = columns.map(|column| column.get_array_memory_size()).sum();
        let causes: usize = self.causes.values().map(String::len).sum();
        columns + causes
    }
}

/// The rows that a model has computed, for all partitions of an operator in this process.
#[derive(Debug, Default)]
pub(super) struct KnownRows {
    known: Mutex<Known>,
    turns: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    /// The part of each row, by its number, and the place in the part.
    places: HashMap<Digest, (u64, usize)>,
    /// The parts, the oldest first.
    parts: VecDeque<KnownPart>,
    /// The number of the oldest part.
    first: u64,
    held: Option<MemoryReservation>,
}

#[derive(Debug)]
struct KnownPart {
    part: Arc<Part>,
    digests: Vec<Digest>,
    bytes: usize,
}

impl KnownRows {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The outputs of an equal row: a part, and the place in it.
    pub(super) fn find(&self, digest: &Digest) -> Option<(Arc<Part>, usize)> {
        let known = self.lock();
        let (number, row) = *known.places.get(digest)?;
        let at = usize::try_from(number - known.first).ok()?;
        let found = known.parts.get(at)?;
        Some((Arc::clone(&found.part), row))
    }

    /// Adds the rows of a part if there is memory for them.
    pub(super) fn add(&self, digests: Vec<Digest>, part: &Arc<Part>, pool: &Arc<dyn MemoryPool>) {
        // A digest is there twice.
        let bytes =
            part.bytes() + digests.len() * (2 * size_of::<Digest>() + size_of::<(u64, usize)>());
        let mut known = self.lock();
        while known.bytes() + bytes > bytes_max(pool.as_ref()) {
            if !known.forget_oldest() {
                return;
            }
        }
        let held = known
            .held
            .get_or_insert_with(|| MemoryConsumer::new("PredictExec").register(pool));
        if held.try_grow(bytes).is_err() {
            return;
        }
        if !is_half_free(pool.as_ref()) {
            // Batches and other operators need it more.
            held.shrink(bytes);
            return;
        }
        let number = known.first + known.parts.len() as u64;
        for (row, digest) in digests.iter().enumerate() {
            known.places.insert(*digest, (number, row));
        }
        known.parts.push_back(KnownPart {
            part: Arc::clone(part),
            digests,
            bytes,
        });
    }

    /// Forgets all rows, to give their memory to others; `false` if there are none.
    pub(super) fn forget_all(&self) -> bool {
        let mut known = self.lock();
        let has_rows = !known.parts.is_empty();
        while known.forget_oldest() {}
        has_rows
    }

    /// Where the next batch begins with its `count` calls of the model. Batches with the same rows that run side by side begin far
    /// apart, so that each finds rows that the others have computed.
    pub(super) fn next_turn(&self, count: usize) -> usize {
        // The multiples of the golden ratio are spread evenly between two whole numbers.
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        let share = u128::from(turn.wrapping_mul(GOLDEN));
        ((share * count as u128) >> 64) as usize
    }
}

fn bytes_max(pool: &dyn MemoryPool) -> usize {
    match pool.memory_limit() {
        MemoryLimit::Finite(bytes) => BYTES_MAX.min(bytes / SHARE),
        MemoryLimit::Infinite | MemoryLimit::Unknown => BYTES_MAX,
    }
}

impl Known {
    fn bytes(&self) -> usize {
        self.held.as_ref().map_or(0, MemoryReservation::size)
    }

    fn forget_oldest(&mut self) -> bool {
        let Some(oldest) = self.parts.pop_front() else {
            return false;
        };
        for digest in &oldest.digests {
            // A later part may have the same row.
            if self
                .places
                .get(digest)
                .is_some_and(|(number, _)| *number == self.first)
            {
                self.places.remove(digest);
            }
        }
        self.first += 1;
        if let Some(held) = &self.held {
            held.shrink(oldest.bytes);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int64Array, StringArray, StringViewArray};

    use super::*;
    use crate::memory::Memory;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn part(values: &[i64]) -> Arc<Part> {
        let column = Arc::new(Int64Array::from(values.to_vec()));
        Arc::new(Part::new(vec![column], RowReport::default()))
    }

    #[test]
    fn rows_have_one_digest_if_all_their_features_are_equal() {
        let texts = StringArray::from(vec![Some("a"), Some("a"), None, Some(""), Some("a")]);
        let numbers = Int64Array::from(vec![1, 1, 1, 1, 2]);
        let found = digests(&batch(vec![
            ("a", Arc::new(texts)),
            ("b", Arc::new(numbers)),
        ]));
        let found = found.unwrap().unwrap();
        assert_eq!(found[0], found[1]);
        let others: std::collections::HashSet<_> = found[1..].iter().collect();
        assert_eq!(others.len(), 4);
        // However the strings are stored.
        let views = StringViewArray::from(vec!["a", "b"]);
        let plain = StringArray::from(vec!["b", "a"]);
        let views = digests(&batch(vec![("a", Arc::new(views))]))
            .unwrap()
            .unwrap();
        let plain = digests(&batch(vec![("a", Arc::new(plain))]))
            .unwrap()
            .unwrap();
        assert_eq!((views[0], views[1]), (plain[1], plain[0]));
    }

    #[test]
    fn a_row_is_found_until_its_part_is_forgotten() {
        let pool: Arc<dyn MemoryPool> = Memory::new(None).statement(1 << 20, None);
        let known = KnownRows::default();
        let row = |number: u8| [number; 32];
        known.add(vec![row(1), row(2)], &part(&[10, 20]), &pool);
        known.add(vec![row(2), row(3)], &part(&[21, 30]), &pool);
        let value = |number| {
            let (part, at) = known.find(&row(number))?;
            let column = part.column(0).as_any().downcast_ref::<Int64Array>()?;
            Some(column.value(at))
        };
        assert_eq!(
            [1, 2, 3, 4].map(value),
            [Some(10), Some(21), Some(30), None]
        );
        assert!(pool.reserved() > 0);
        assert!(known.lock().forget_oldest());
        assert_eq!([1, 2, 3].map(value), [None, Some(21), Some(30)]);
        assert!(known.forget_all());
        assert!(!known.forget_all());
        assert_eq!(([2, 3].map(value), pool.reserved()), ([None, None], 0));
        known.add(vec![row(1)], &part(&[11]), &pool);
        assert_eq!(value(1), Some(11));
    }

    #[test]
    fn rows_take_a_small_part_of_the_memory_and_none_if_others_need_it() {
        let pool: Arc<dyn MemoryPool> = Memory::new(None).statement(16_000, None);
        let known = KnownRows::default();
        for number in 0..100 {
            known.add(vec![[number; 32]], &part(&[i64::from(number)]), &pool);
        }
        assert!(
            (1..=2_000).contains(&pool.reserved()),
            "{}",
            pool.reserved()
        );
        assert!(known.find(&[0; 32]).is_none() && known.find(&[99; 32]).is_some());
        let others = MemoryConsumer::new("others").register(&pool);
        others.try_grow(9_000).unwrap();
        known.add(vec![[200; 32]], &part(&[200]), &pool);
        assert!(known.find(&[200; 32]).is_none());
    }

    #[test]
    fn turns_are_spread() {
        let known = KnownRows::default();
        let mut turns: Vec<usize> = (0..4).map(|_| known.next_turn(100)).collect();
        turns.sort_unstable();
        let gaps = turns.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(turns[0] == 0 && gaps.min() >= Some(14), "{turns:?}");
        assert!((0..100).all(|_| known.next_turn(3) < 3));
    }
}
