//! Wire codec of the operators of a training.

use std::sync::Arc;

use datafusion::arrow::datatypes::Field;
use datafusion::physical_plan::ExecutionPlan;
use serde::{Deserialize, Serialize};

use super::exec::TrainExec;
use super::route::{Reading, Route, RouteExec};
use super::task::TrainTask;
use crate::error::Result;
use crate::plan::extension::{from_wire, to_wire};

#[derive(Serialize, Deserialize)]
enum Wire {
    Route {
        columns: Vec<(usize, Field)>,
        seed: u64,
        shards: usize,
        workers: usize,
        images: Option<Reading>,
    },
    Train(Box<TrainTask>),
}

pub(super) fn encode(exec: &dyn ExecutionPlan) -> Option<Result<Vec<u8>>> {
    if let Some(train) = exec.downcast_ref::<TrainExec>() {
        return Some(to_wire(&Wire::Train(Box::new(train.task().clone()))));
    }
    let route = exec.downcast_ref::<RouteExec>()?.route();
    Some(to_wire(&Wire::Route {
        columns: route.columns.clone(),
        seed: route.seed,
        shards: route.shards,
        workers: route.workers(),
        images: route.images,
    }))
}

pub(super) fn decode(
    bytes: &[u8],
    input: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    Ok(match from_wire(bytes)? {
        Wire::Train(task) => Arc::new(TrainExec::new(input, Arc::from(task))),
        Wire::Route {
            columns,
            seed,
            shards,
            workers,
            images,
        } => {
            let route = Route::try_new(columns, seed, shards, workers)?.reading(images);
            Arc::new(RouteExec::new(input, route))
        }
    })
}
