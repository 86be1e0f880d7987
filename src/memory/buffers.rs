//! The bytes of batches: each buffer counts once.

use std::collections::HashSet;

use datafusion::arrow::array::{Array, ArrayData};
use datafusion::arrow::record_batch::RecordBatch;

/// The memory of a batch in bytes. A buffer that several columns share counts once, with its whole capacity.
pub(crate) fn batch_bytes(batch: &RecordBatch) -> usize {
    Buffers::default().add(batch)
}

/// A set of held buffers. Batches that are slices of one another or came in one message share buffers.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    known: HashSet<usize>,
}

impl Buffers {
    /// The bytes of the batch's buffers that are not in the set yet.
    pub(crate) fn add(&mut self, batch: &RecordBatch) -> usize {
        let columns = batch.columns().iter();
        columns.map(|column| self.add_data(&column.to_data())).sum()
    }

    fn add_data(&mut self, data: &ArrayData) -> usize {
        let nulls = data.nulls().map(|nulls| nulls.buffer());
        let mut bytes = 0;
        for buffer in data.buffers().iter().chain(nulls) {
            if self.known.insert(buffer.data_ptr().as_ptr() as usize) {
                bytes += buffer.capacity();
            }
        }
        let children = data.child_data().iter();
        bytes + children.map(|child| self.add_data(child)).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Int64Array};

    use super::*;

    #[test]
    fn a_buffer_that_batches_share_counts_once() {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1_000));
        let columns = [("a", Arc::clone(&column)), ("b", column)];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let whole = batch_bytes(&batch);
        assert!((8_000..9_000).contains(&whole), "{whole}");
        let mut buffers = Buffers::default();
        assert_eq!(buffers.add(&batch.slice(0, 500)), whole);
        assert_eq!(buffers.add(&batch.slice(500, 500)), 0);
    }
}
