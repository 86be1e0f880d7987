//! [`side_by_side`]: computes the batches of a stream side by side, and returns the results in the order of the batches.
//!
//! All streams of a process share a number of permits ([`super::runtime::ModelRuntime::batch_permits`]). A stream always has
//! two batches: one is computed, and one is prepared. It has more while permits are free and memory is plenty. So the only
//! partition with rows keeps all cores busy, and one of many partitions takes no more than its share.

use std::sync::Arc;
use std::task::Poll;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use futures::stream::{FuturesOrdered, poll_fn};
use futures::{Stream, StreamExt};
use tokio::sync::Semaphore;
use vatic_ml::model::Model;

use crate::error::Result;
use crate::memory::{batch_bytes, is_half_free};

/// The batches of a stream that are in flight in any case.
const IN_FLIGHT_MIN: usize = 2;

/// Computes the batches of a stream. A batch beyond the first ones begins with the memory that `reserve` returns; without
/// it, the batch waits for an earlier one. A dropped stream starts no further batch.
pub(crate) fn side_by_side<B, M, F: Future>(
    mut input: impl Stream<Item = B> + Unpin,
    permits: Arc<Semaphore>,
    reserve: impl Fn(&B) -> Option<M>,
    compute: impl Fn(B, Option<M>) -> F,
) -> impl Stream<Item = F::Output> {
    let mut running = FuturesOrdered::new();
    // A batch that waits for memory.
    let mut next = None;
    let (mut is_over, mut returned) = (false, 0_usize);
    poll_fn(move |context| {
        loop {
            let permit = Arc::clone(&permits).try_acquire_owned().ok();
            let is_below_min = running.len() < IN_FLIGHT_MIN;
            // Each result that is read makes room for one more: a LIMIT above may need no more than the first.
            let may_grow =
                !is_below_min && running.len() < IN_FLIGHT_MIN + returned && permit.is_some();
            if (is_below_min || may_grow) && next.is_none() && !is_over {
                match input.poll_next_unpin(context) {
                    Poll::Ready(Some(batch)) => next = Some(batch),
                    Poll::Ready(None) => is_over = true,
                    Poll::Pending => {}
                }
            }
            let memory = match &next {
                Some(batch) if may_grow => reserve(batch),
                _ => None,
            };
            let starts = next.is_some() && (is_below_min || memory.is_some());
            if starts && let Some(batch) = next.take() {
                let computed = compute(batch, memory);
                running.push_back(async move { (computed.await, permit) });
            }
            match running.poll_next_unpin(context) {
                Poll::Ready(Some((output, _permit))) => {
                    returned += 1;
                    return Poll::Ready(Some(output));
                }
                Poll::Ready(None) if is_over && next.is_none() => return Poll::Ready(None),
                // The batch has begun; there may be a permit for another one.
                _ if starts => {}
                _ => return Poll::Pending,
            }
        }
    })
}

/// The memory of the batches of one partition that are in flight.
#[derive(Debug)]
pub(crate) struct BatchMemory {
    pool: Arc<dyn MemoryPool>,
    /// Empty: each batch gets its own reservation of the same consumer.
    consumer: MemoryReservation,
}

impl BatchMemory {
    /// The memory of an operator of this name.
    pub(crate) fn new(name: &str, pool: &Arc<dyn MemoryPool>) -> Self {
        Self {
            pool: Arc::clone(pool),
            consumer: MemoryConsumer::new(name).register(pool),
        }
    }

    /// A reservation without memory.
    pub(crate) fn none(&self) -> MemoryReservation {
        self.consumer.new_empty()
    }

    /// Reserves the memory of a batch and of its way through the model.
    pub(crate) fn reserve(
        &self,
        model: &dyn Model,
        batch: &RecordBatch,
    ) -> Result<MemoryReservation> {
        let held = self.none();
        held.try_grow(batch_bytes(batch) + model.working_bytes(batch.num_rows()))?;
        Ok(held)
    }

    /// Reserves the memory of one more batch, if half of all memory is left for other operators.
    pub(crate) fn reserve_more(
        &self,
        model: &dyn Model,
        batch: &RecordBatch,
    ) -> Option<MemoryReservation> {
        let held = self.reserve(model, batch).ok()?;
        is_half_free(self.pool.as_ref()).then_some(held)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Mutex;

    use futures::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[derive(Default)]
    struct Batches {
        started: Vec<usize>,
        /// Of those that are not finished.
        senders: Vec<oneshot::Sender<()>>,
    }

    /// A stream of ten batches, each of which ends when the test says so.
    struct Lab {
        batches: Arc<Mutex<Batches>>,
        stream: Pin<Box<dyn Stream<Item = usize>>>,
    }

    impl Lab {
        fn new(permits: &Arc<Semaphore>, has_memory: bool) -> Self {
            let batches: Arc<Mutex<Batches>> = Arc::default();
            let begun = Arc::clone(&batches);
            let compute = move |number: usize, _memory: Option<()>| {
                let (sender, receiver) = oneshot::channel();
                let mut begun = begun.lock().unwrap();
                begun.started.push(number);
                begun.senders.push(sender);
                async move {
                    receiver.await.unwrap();
                    number
                }
            };
            let reserve = move |_: &usize| has_memory.then_some(());
            let numbers = futures::stream::iter(0..10);
            let stream = side_by_side(numbers, Arc::clone(permits), reserve, compute);
            Self {
                batches,
                stream: Box::pin(stream),
            }
        }

        /// The next result, if it is there.
        fn poll(&mut self) -> Option<usize> {
            self.stream.next().now_or_never().flatten()
        }

        fn started(&self) -> usize {
            let batches = self.batches.lock().unwrap();
            let expected: Vec<usize> = (0..batches.started.len()).collect();
            assert_eq!(batches.started, expected);
            expected.len()
        }

        /// Ends the computation of a batch: the one at this index among those that are not finished.
        fn finish(&self, index: usize) {
            let sender = self.batches.lock().unwrap().senders.remove(index);
            sender.send(()).unwrap();
        }
    }

    fn permits(count: usize) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(count))
    }

    #[test]
    fn a_stream_alone_takes_all_places_once_results_are_read() {
        let permits = permits(4);
        let mut lab = Lab::new(&permits, true);
        assert_eq!((lab.poll(), lab.started()), (None, 2));
        lab.finish(0);
        assert_eq!(lab.poll(), Some(0));
        assert_eq!((lab.poll(), lab.started()), (None, 4));
        lab.finish(0);
        assert_eq!(lab.poll(), Some(1));
        assert_eq!((lab.poll(), lab.started()), (None, 6));
        lab.finish(0);
        assert_eq!(lab.poll(), Some(2));
        // The stream might have five batches in flight now, but there are four permits.
        assert_eq!((lab.poll(), lab.started()), (None, 7));
        assert_eq!(permits.available_permits(), 0);
        drop(lab);
        assert_eq!(permits.available_permits(), 4);
    }

    #[test]
    fn results_come_in_the_order_of_the_batches() {
        let mut lab = Lab::new(&permits(4), true);
        let mut results = Vec::new();
        while results.len() < 10 {
            results.extend(lab.poll());
            let running = lab.batches.lock().unwrap().senders.len();
            // The latest batch ends first.
            if running > 0 {
                lab.finish(running - 1);
            }
        }
        assert_eq!(results, (0..10).collect::<Vec<_>>());
        assert_eq!((lab.poll(), lab.started()), (None, 10));
    }

    #[test]
    fn streams_share_the_places_and_each_has_two_batches_in_any_case() {
        let permits = permits(3);
        let (mut one, mut other) = (Lab::new(&permits, true), Lab::new(&permits, true));
        one.poll();
        other.poll();
        assert_eq!((one.started(), other.started()), (2, 2));
        for lab in [&mut one, &mut other] {
            lab.finish(0);
            assert_eq!(lab.poll(), Some(0));
            assert_eq!((lab.poll(), lab.started()), (None, 3));
        }
        // The permits of the other stream are free now.
        drop(other);
        assert_eq!((one.poll(), one.started()), (None, 4));
    }

    #[test]
    fn without_memory_there_are_two_batches() {
        let mut lab = Lab::new(&permits(8), false);
        for result in 0..4 {
            assert_eq!((lab.poll(), lab.started()), (None, result + 2));
            lab.finish(0);
            assert_eq!(lab.poll(), Some(result));
        }
    }
}
