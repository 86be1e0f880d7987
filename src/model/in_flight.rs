//! [`side_by_side`]: computes the batches of a stream side by side, and returns the results in the order of the batches.
//!
//! All streams of a process share a number of permits ([`super::runtime::ModelRuntime::batch_permits`]). A stream always has
//! one batch, and a second one that is prepared meanwhile as soon as there is memory for it. It has more while permits are free
//! and memory is plenty. So the only partition with rows keeps all cores busy, and one of many partitions takes no more than
//! its share.

use std::sync::Arc;
use std::task::Poll;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream::{FuturesOrdered, poll_fn};
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::sync::Semaphore;

use crate::error::Result;

/// The batches of a stream that need no permit.
const WITHOUT_PERMIT: usize = 2;

/// A batch that begins before it is the oldest of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// It is prepared while the oldest batch is computed.
    Second,
    /// It is computed on a core that would be idle.
    Further,
}

/// When the next batch of a stream may begin.
#[derive(Debug, Clone, Copy)]
enum Place {
    Oldest,
    Ahead(Ahead),
    /// Not before the stream has fewer batches.
    Later,
}

/// Computes the batches of a stream. A batch ahead of others begins with the memory that `reserve` returns; without it, the
/// batch waits for an earlier one. The oldest batch begins in any case. A dropped stream starts no further batch.
pub(crate) fn side_by_side<B, M, F: Future>(
    mut input: impl Stream<Item = B> + Unpin,
    permits: Arc<Semaphore>,
    reserve: impl Fn(&B, Ahead) -> Option<M>,
    compute: impl Fn(B, Option<M>) -> F,
) -> impl Stream<Item = F::Output> {
    let mut running = FuturesOrdered::new();
    // A batch that waits for memory.
    let mut next = None;
    let (mut is_over, mut returned) = (false, 0_usize);
    poll_fn(move |context| {
        loop {
            let permit = Arc::clone(&permits).try_acquire_owned().ok();
            let place = match running.len() {
                0 => Place::Oldest,
                1 => Place::Ahead(Ahead::Second),
                // Each result that is read makes room for one more: a LIMIT above may need no more than the first.
                count if count < WITHOUT_PERMIT + returned && permit.is_some() => {
                    Place::Ahead(Ahead::Further)
                }
                _ => Place::Later,
            };
            let may_begin = !matches!(place, Place::Later);
            if may_begin && next.is_none() && !is_over {
                match input.poll_next_unpin(context) {
                    Poll::Ready(Some(batch)) => next = Some(batch),
                    Poll::Ready(None) => is_over = true,
                    Poll::Pending => {}
                }
            }
            let memory = match (place, &next) {
                (Place::Oldest, Some(_)) => Some(None),
                (Place::Ahead(ahead), Some(batch)) => reserve(batch, ahead).map(Some),
                (Place::Later, _) | (_, None) => None,
            };
            let starts = memory.is_some();
            if let Some(memory) = memory
                && let Some(batch) = next.take()
            {
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

/// The rows of batches that are computed side by side. `compute` returns a batch with the memory that the batch holds until it is
/// returned; a batch without rows is left out.
pub(crate) fn rows_side_by_side<M, H, F>(
    schema: SchemaRef,
    input: SendableRecordBatchStream,
    permits: Arc<Semaphore>,
    reserve: impl Fn(&Result<RecordBatch>, Ahead) -> Option<M> + Send + 'static,
    compute: impl Fn(Result<RecordBatch>, Option<M>) -> F + Send + 'static,
) -> SendableRecordBatchStream
where
    M: Send + 'static,
    H: Send + 'static,
    F: Future<Output = Result<(RecordBatch, H)>> + Send + 'static,
{
    let rows = side_by_side(input, permits, reserve, compute)
        .map_ok(|(batch, _held)| batch)
        .try_filter(|batch| std::future::ready(batch.num_rows() > 0));
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
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
        fn new(permits: &Arc<Semaphore>, has_memory: fn(Ahead) -> bool) -> Self {
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
            let reserve = move |_: &usize, ahead: Ahead| has_memory(ahead).then_some(());
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
        let mut lab = Lab::new(&permits, |_| true);
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
        let mut lab = Lab::new(&permits(4), |_| true);
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
    fn streams_share_the_places_and_each_has_two_batches_without_a_permit() {
        let permits = permits(3);
        let (mut one, mut other) = (Lab::new(&permits, |_| true), Lab::new(&permits, |_| true));
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
    fn with_little_memory_there_are_two_batches_and_with_none_there_is_one() {
        type Rule = fn(Ahead) -> bool;
        let cases: [(usize, Rule); 2] = [(2, |ahead| ahead == Ahead::Second), (1, |_| false)];
        for (count, has_memory) in cases {
            let mut lab = Lab::new(&permits(8), has_memory);
            for result in 0..4 {
                assert_eq!((lab.poll(), lab.started()), (None, result + count));
                lab.finish(0);
                assert_eq!(lab.poll(), Some(result));
            }
        }
    }
}
