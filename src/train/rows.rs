//! [`read_rows`]: the rows that a rank receives, in reserved memory.

use datafusion::arrow::array::AsArray;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use futures::StreamExt;
use vatic_ml::train::control::ReservedMemory;
use vatic_ml::train::raw::RankRows;

use super::rendezvous::Entered;
use crate::error::{Result, SqlState, sql_err};
use crate::memory::Buffers;

const HASH_BYTES: usize = size_of::<u128>();

/// Reads the rows of a rank's shards: the columns of a training, behind them the hash of each row and its routing key.
/// `held` reserves their memory before the next rows are read.
///
/// # Errors
/// `OutOfMemory` if the rows do not fit; those of the input; those of a training that has ended meanwhile.
pub(super) async fn read_rows(
    mut input: SendableRecordBatchStream,
    entered: &mut dyn Entered,
    held: MemoryReservation,
) -> Result<RankRows> {
    let mut rows = RankRows::default();
    let mut buffers = Buffers::default();
    while let Some(batch) = input.next().await {
        let batch = batch?;
        if batch.num_rows() == 0 {
            continue;
        }
        let columns = batch.num_columns() - 2;
        held.try_grow(batch.num_rows() * HASH_BYTES)?;
        let column = batch.column(columns).as_fixed_size_binary();
        let mut hashes = Vec::with_capacity(batch.num_rows());
        for bytes in column.iter().flatten() {
            let wrong = |_| sql_err(SqlState::Internal, "a row hash is not 16 bytes long");
            let bytes: [u8; HASH_BYTES] = bytes.try_into().map_err(wrong)?;
            hashes.push(u128::from_le_bytes(bytes));
        }
        rows.hashes.push(hashes);
        // Count only kept buffers: the memory of the others is freed, and another batch may reuse it.
        let kept = batch.project(&(0..columns).collect::<Vec<_>>())?;
        held.try_grow(buffers.add(&kept))?;
        rows.batches.push(kept);
        entered.read(batch.num_rows() as u64)?;
    }
    rows.held.push(ReservedMemory(Box::new(held)));
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use datafusion::arrow::array::{ArrayRef, FixedSizeBinaryArray, Int64Array, RecordBatch};
    use datafusion::arrow::buffer::{Buffer, ScalarBuffer};
    use datafusion::common::DataFusionError;
    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool};
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

    use super::super::rendezvous::Joined;
    use super::*;
    use crate::error::{SqlError, report};

    const COLUMNS: usize = 8;
    const ROWS: usize = 1_000;
    const BYTES: usize = COLUMNS * ROWS * size_of::<i64>();
    const HASHES: usize = ROWS * HASH_BYTES;

    /// A rank that counts its rows.
    struct Counting(u64);

    #[async_trait]
    impl Entered for Counting {
        fn read(&mut self, rows: u64) -> Result<()> {
            self.0 += rows;
            Ok(())
        }

        async fn join(self: Box<Self>) -> Result<Joined> {
            Err(sql_err(SqlState::Internal, "no training follows"))
        }

        async fn refuse(self: Box<Self>, _error: &SqlError) {}
    }

    /// Rows as they come from another machine: all columns are parts of one buffer.
    fn message() -> RecordBatch {
        let buffer = Buffer::from_vec(vec![7_i64; COLUMNS * ROWS]);
        let column = |at: usize| -> ArrayRef {
            let values = ScalarBuffer::<i64>::new(buffer.clone(), at * ROWS, ROWS);
            Arc::new(Int64Array::new(values, None))
        };
        let hashes = FixedSizeBinaryArray::new(16, vec![0u8; 16 * ROWS].into(), None);
        let keys = Int64Array::from(vec![0; ROWS]);
        let mut columns: Vec<(String, ArrayRef)> = (0..COLUMNS)
            .map(|at| (format!("c{at}"), column(at)))
            .collect();
        columns.push(("hash".into(), Arc::new(hashes)));
        columns.push(("key".into(), Arc::new(keys)));
        RecordBatch::try_from_iter(columns).unwrap()
    }

    /// Reads the message in two slices within so many bytes; returns the rows, and what they reserve.
    async fn read(bytes: usize) -> Result<(RankRows, usize)> {
        let message = message();
        let slices = [message.slice(0, 300), message.slice(300, ROWS - 300)];
        let input = futures::stream::iter(slices.map(Ok::<_, DataFusionError>));
        let input = Box::pin(RecordBatchStreamAdapter::new(message.schema(), input));
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(bytes));
        let held = MemoryConsumer::new("rank").register(&pool);
        let mut entered = Counting(0);
        let rows = read_rows(input, &mut entered, held).await?;
        assert_eq!(entered.0, ROWS as u64);
        Ok((rows, pool.reserved()))
    }

    #[tokio::test]
    async fn the_buffer_of_a_message_is_reserved_once_for_all_columns_and_the_hashes_with_it() {
        let (rows, reserved) = read(BYTES + HASHES).await.unwrap();
        assert_eq!(reserved, BYTES + HASHES);
        let hashes: Vec<usize> = rows.hashes.iter().map(Vec::len).collect();
        assert_eq!(hashes, [300, ROWS - 300]);
        let lengths: Vec<usize> = rows.batches.iter().map(RecordBatch::num_rows).collect();
        assert_eq!(lengths, [300, ROWS - 300]);
        let error = read(BYTES + HASHES - 1).await.unwrap_err();
        assert_eq!(report(&error).state, SqlState::OutOfMemory);
    }
}
