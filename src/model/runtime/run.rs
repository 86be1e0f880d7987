//! What runs on the workers of a device: any computation, and the batches of models.

use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use vatic_ml::data::inputs::{Inputs, RowReport};
use vatic_ml::device::DeviceName;
use vatic_ml::model::{Outputs, Wanted, forward_in_parts};

use super::loaded::LoadedModel;
use super::model_runtime::ModelRuntime;
use crate::error::Result;
use crate::model::batch_memory::BatchMemory;

impl ModelRuntime {
    /// Runs a computation on a worker of a device, never on the async runtime's threads. A panic becomes an error. The
    /// computation is asked to stop if nobody awaits it any more.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        device: DeviceName,
        job: impl FnOnce() -> vatic_ml::Result<T> + Send + 'static,
    ) -> impl Future<Output = Result<T>> {
        self.workers.run(device, (), job)
    }

    /// Runs a computation for a batch of a stream, for whose memory other batches of the statement may wait.
    pub(crate) async fn run_batch<T: Send + 'static>(
        &self,
        device: DeviceName,
        memory: &BatchMemory,
        job: impl FnOnce() -> vatic_ml::Result<T> + Send + 'static,
    ) -> Result<T> {
        // Not before somebody asks for the result: until then, nobody computes it.
        let note = memory.at_work();
        self.workers.run(device, note, job).await
    }

    /// Encodes a batch on the host, runs the model on its device, and makes the outputs on the host. For a GPU, each of these
    /// is a job: while one batch runs, the next is encoded, and the outputs of the last are made. For the processor, they are
    /// one job: the next job of a batch starts only when the task that reads the batches has time for it. `memory` is that of
    /// the stream of the batch.
    pub(crate) async fn infer(
        &self,
        memory: &BatchMemory,
        model: Arc<LoadedModel>,
        device: DeviceName,
        batch: RecordBatch,
        wanted: Wanted,
    ) -> Result<Outputs> {
        let device = device.resolved();
        let encoder = Arc::clone(&model);
        let encode = move || -> vatic_ml::Result<(Inputs, RowReport)> {
            let mut inputs = encoder.encode(&batch)?;
            let report = std::mem::take(&mut inputs.report);
            // Without memory on the device, the model takes the rows from the host, a part at a time.
            match inputs.upload(device) {
                Err(vatic_ml::Error::DeviceMemory(_)) => Ok((inputs, report)),
                uploaded => Ok((uploaded?, report)),
            }
        };
        if !device.is_gpu() {
            let run = move || {
                let (inputs, report) = encode()?;
                let computed = forward_in_parts(&**model, &inputs)?;
                model.outputs(&computed, report, &wanted)
            };
            return self.run_batch(device, memory, run).await;
        }
        let (inputs, report) = self.run_batch(DeviceName::Cpu, memory, encode).await?;
        let forward = Arc::clone(&model);
        let forward = move || forward_in_parts(&**forward, &inputs);
        let computed = self.run_batch(device, memory, forward).await?;
        let outputs = move || model.outputs(&computed, report, &wanted);
        self.run_batch(DeviceName::Cpu, memory, outputs).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;
    use tokio::sync::oneshot;
    use vatic_ml::stop;

    use super::*;
    use crate::memory::Memory;

    #[tokio::test]
    async fn a_computation_that_nobody_awaits_is_asked_to_stop() {
        let runtime = ModelRuntime::new(vec![], vec![], None, &Memory::new(None));
        let (begin, began) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let job = move || {
            begin.send(()).unwrap();
            while stop::check().is_ok() {
                std::thread::yield_now();
            }
            end.send(()).unwrap();
            Ok(())
        };
        let mut run = Box::pin(runtime.run(DeviceName::Cpu, job));
        tokio::select! {
            _ = &mut run => panic!("the computation does not end by itself"),
            began = began => began.unwrap(),
        }
        drop(run);
        let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
        ended.unwrap().unwrap();
    }

    #[tokio::test]
    async fn computations_that_nobody_looks_at_keep_no_worker_from_others() {
        let runtime = ModelRuntime::new(vec![], vec![], None, &Memory::new(None));
        // An operator above another one begins them, and then waits for rows of the other.
        let begun: Vec<_> = (0..1_000)
            .map(|_| {
                let mut run = Box::pin(runtime.run(DeviceName::Cpu, || Ok(())));
                assert!((&mut run).now_or_never().is_none());
                run
            })
            .collect();
        let other = runtime.run(DeviceName::Cpu, || Ok(()));
        let other = tokio::time::timeout(Duration::from_secs(60), other).await;
        other.unwrap().unwrap();
        drop(begun);
    }
}
