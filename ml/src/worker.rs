//! Threads that own candle. A model never runs on a thread of the query runtime.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::{Error, Result};

type Job = Box<dyn FnOnce() + Send>;

/// Jobs that may wait for a worker, per worker.
const QUEUE_PER_WORKER: usize = 2;
/// candle's backward pass and the drop of its graph recurse once for each operation.
const STACK_BYTES: usize = 64 << 20;

/// A fixed set of workers with a bounded queue.
#[derive(Debug)]
pub struct WorkerPool {
    queue: SyncSender<Job>,
    workers: usize,
}

impl WorkerPool {
    /// Starts `workers` threads for a device of this name, each with a rayon pool of one thread: throughput comes from
    /// parallel batches, not from threads inside one product.
    ///
    /// # Errors
    /// [`Error::Io`] if the system cannot start a thread.
    pub fn start(device: &str, workers: usize) -> Result<Self> {
        let (queue, jobs) = sync_channel::<Job>(workers * QUEUE_PER_WORKER);
        let jobs = Arc::new(Mutex::new(jobs));
        for worker in 0..workers {
            let jobs = Arc::clone(&jobs);
            spawn(&format!("vatic-{device}-{worker}"), move || work(&jobs))?;
        }
        Ok(Self { queue, workers })
    }

    /// The number of unfinished jobs up to which [`WorkerPool::execute`] does not block.
    pub fn capacity(&self) -> usize {
        self.workers * QUEUE_PER_WORKER
    }

    /// Queues a job for the next free worker; blocks while the queue is full. A panic ends only its own job: the channel
    /// of the job's result is dropped.
    ///
    /// # Errors
    /// [`Error::Internal`] if the workers are gone.
    pub fn execute(&self, job: impl FnOnce() + Send + 'static) -> Result<()> {
        self.queue
            .send(Box::new(job))
            .map_err(|_| Error::Internal("the model workers have ended".into()))
    }
}

/// Starts a thread for one long job, such as a rank of a training.
///
/// # Errors
/// [`Error::Io`] if the system cannot start the thread.
pub fn spawn(name: &str, job: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>> {
    let run = move || {
        // Without a pool of its own, candle's kernels would share one global pool among all workers.
        match rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .use_current_thread()
            .build()
        {
            Ok(pool) => pool.install(job),
            Err(_) => job(),
        }
    };
    Ok(thread::Builder::new()
        .name(name.into())
        .stack_size(STACK_BYTES)
        .spawn(run)?)
}

/// A pool of threads for the short parts of one job, such as the columns of a batch.
///
/// # Errors
/// [`Error::Io`] if the system cannot start a thread.
pub(crate) fn helpers(threads: usize) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|number| format!("vatic-helper-{number}"))
        .build()
        .map_err(|error| Error::Io(error.to_string()))
}

/// Runs `job` and turns a panic into an error that says what happened.
pub fn catch<T>(job: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .copied()
            .or(panic.downcast_ref::<String>().map(String::as_str));
        Err(Error::Internal(format!(
            "the model panicked: {}",
            text.unwrap_or("without a message")
        )))
    })
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // The job's own error path reports a panic; the worker only has to outlive it.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

/// Makes candle's kernels single-threaded unless the user chose otherwise. `main` must call this function first.
///
/// Without these variables, candle reads `/proc/cpuinfo` before each product, and the elementwise kernels of all
/// threads wait for one lock.
pub fn single_threaded_kernels() {
    for name in ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"] {
        if std::env::var_os(name).is_none() {
            // SAFETY: called first in `main`, before any other thread exists that could read the environment.
            unsafe { std::env::set_var(name, "1") };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_worker_outlives_a_panic() {
        let pool = WorkerPool::start("test", 1).unwrap();
        pool.execute(|| panic!("on purpose")).unwrap();
        let (sender, receiver) = channel();
        pool.execute(move || sender.send(7).unwrap()).unwrap();
        assert_eq!(receiver.recv().unwrap(), 7);
    }

    #[test]
    fn a_panic_becomes_an_error() {
        let error = catch::<()>(|| panic!("on purpose"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("on purpose"), "{error}");
    }
}
