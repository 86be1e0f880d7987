//! [`Stock`]: what an executor has, devices and loaded models, and the orders of its engine about these models.
//!
//! An order runs beside the reports, once, however often the engine repeats it. Its answer is reported until the engine repeats
//! the order no more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use datafusion::common::runtime::SpawnedTask;
use tokio::sync::Notify;

use super::message::{ExecutorReport, NumberedOrder, OrderAnswer, OrderOutcome};
use crate::error::report;
use crate::model::runtime::{CacheOrder, ModelRuntime};

#[derive(Debug)]
pub(in crate::cluster) struct Stock {
    runtime: Arc<ModelRuntime>,
    /// The GPUs of this process that can be used, or `cpu`.
    devices: Vec<String>,
    /// The orders that the engine repeated last, by id.
    works: Mutex<HashMap<String, Work>>,
    news: Notify,
}

/// An order that is being obeyed, or was. Dropping it cancels the task.
#[derive(Debug)]
struct Work {
    outcome: Arc<OnceLock<OrderOutcome>>,
    _task: SpawnedTask<()>,
}

impl Stock {
    pub(in crate::cluster) fn new(runtime: Arc<ModelRuntime>, devices: Vec<String>) -> Self {
        Self {
            runtime,
            devices,
            works: Mutex::default(),
            news: Notify::new(),
        }
    }

    pub(in crate::cluster) fn runtime(&self) -> &Arc<ModelRuntime> {
        &self.runtime
    }

    /// The answers to orders, and what the executor has now: the models of an answer are there already.
    pub(super) fn report(&self) -> (ExecutorReport, Vec<OrderAnswer>) {
        let works = self.lock();
        let answers = works.iter().filter_map(|(id, work)| {
            Some(OrderAnswer {
                id: id.clone(),
                outcome: work.outcome.get()?.clone(),
            })
        });
        let answers = answers.collect();
        let cached = self.runtime.cached().into_iter();
        let mut models: Vec<String> = cached.map(|model| model.name).collect();
        // A model may be there on several devices and in several types.
        models.dedup();
        let report = ExecutorReport {
            models,
            pinned: self.runtime.pinned(),
            devices: self.devices.clone(),
        };
        (report, answers)
    }

    /// Begins the orders that are new, and forgets those that the engine does not repeat: their answers have arrived, or they
    /// were withdrawn.
    pub(super) fn obey(self: &Arc<Self>, orders: Vec<NumberedOrder>) {
        let mut works = self.lock();
        works.retain(|known, _| orders.iter().any(|order| order.id == *known));
        for NumberedOrder { id, order } in orders {
            works.entry(id).or_insert_with(|| self.begin(order));
        }
    }

    fn begin(self: &Arc<Self>, order: CacheOrder) -> Work {
        let outcome = Arc::new(OnceLock::new());
        let (stock, answer) = (Arc::clone(self), Arc::clone(&outcome));
        let task = SpawnedTask::spawn(async move {
            let obeyed = Box::pin(stock.runtime.obey(order)).await;
            // Only this task sets the outcome.
            let _ = answer.set(obeyed.map_err(|error| report(&error)));
            stock.news.notify_one();
        });
        Work {
            outcome,
            _task: task,
        }
    }

    /// Returns when an order has an answer that was not reported yet.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Work>> {
        self.works.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
