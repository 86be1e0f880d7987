//! [`BarrierClusterState`]: placement of tasks on executors. All ranks of a training are placed at once, or none.
//!
//! Jobs are served from the oldest to the latest; [`BindingRound`] decides whether a training takes its turn, and who passes it
//! while it waits. Free slots are counted from the running tasks, never kept as a sum, so that no slot can leak. Binding is
//! one critical section: no training holds slots while it waits for others.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::error::Result;
use ballista_core::execution_plans::{RangeShuffleReaderExec, ShuffleReaderExec};
use ballista_core::extension::SessionConfigExt;
use ballista_core::serde::protobuf::{ExecutorHeartbeat, job_status, task_status};
use ballista_core::serde::scheduler::{ExecutorData, ExecutorMetadata, TaskKey};
use ballista_scheduler::cluster::memory::InMemoryClusterState;
use ballista_scheduler::cluster::{BoundTask, ClusterState, ClusterStateEventStream, ExecutorSlot};
use ballista_scheduler::config::TaskDistributionPolicy;
use ballista_scheduler::state::execution_graph::{
    ExecutionGraphBox, TaskDescription, create_task_info,
};
use ballista_scheduler::state::execution_stage::{ExecutionStage, RunningStage};
use ballista_scheduler::state::task_manager::JobInfoCache;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use tokio::sync::Mutex;

use super::rendezvous::Coordinator;
use super::turns::{BindingRound, QuerySlot, RanksWanted, SlotsNow};
use crate::train::TrainExec;

/// Free slots by executor.
type Free = BTreeMap<String, u32>;

pub(super) struct BarrierClusterState {
    inner: InMemoryClusterState,
    /// All slots by executor. The lock makes binding one critical section.
    slots: Mutex<Free>,
    /// The trainings that wait for slots, by run id, and since when.
    waiting: Mutex<HashMap<String, Instant>>,
    last_join: std::sync::Mutex<Option<Instant>>,
    coordinator: Arc<Coordinator>,
}

impl BarrierClusterState {
    pub(super) fn new(coordinator: Arc<Coordinator>) -> Self {
        Self {
            inner: InMemoryClusterState::default(),
            slots: Mutex::default(),
            waiting: Mutex::default(),
            last_join: std::sync::Mutex::default(),
            coordinator,
        }
    }

    /// The slots of all executors that are alive.
    pub(super) async fn slots(&self) -> usize {
        self.slots.lock().await.values().sum::<u32>() as usize
    }

    /// The executors that can run tasks.
    pub(super) async fn executor_ids(&self) -> BTreeSet<String> {
        let slots = self.slots.lock().await;
        let usable = slots.iter().filter(|(_, slots)| **slots > 0);
        usable.map(|(id, _)| id.clone()).collect()
    }

    /// The time since the last executor joined; `None` before the first.
    pub(super) fn since_last_join(&self) -> Option<Duration> {
        let last = self.last_join.lock();
        let last = last.unwrap_or_else(PoisonError::into_inner);
        last.map(|last| last.elapsed())
    }

    /// The slots and the free slots of each executor.
    pub(super) async fn free(
        &self,
        jobs: &HashMap<JobId, JobInfoCache>,
    ) -> BTreeMap<String, (u32, u32)> {
        let slots = self.slots.lock().await.clone();
        let mut free = slots.clone();
        for info in jobs.values() {
            take_running(&*info.execution_graph.read().await, &mut free);
        }
        let both = slots.into_iter().map(|(id, slots)| {
            let free = free.get(&id).copied().unwrap_or(0);
            (id, (slots, free))
        });
        both.collect()
    }

    /// Binds the tasks that fit and whose turn it is, job by job in the order of their start.
    async fn bind(
        &self,
        free: &mut Free,
        mut round: BindingRound,
        jobs: &HashMap<JobId, JobInfoCache>,
    ) -> Vec<BoundTask> {
        let mut bound = Vec::new();
        let mut waiting = self.waiting.lock().await;
        let waited_before = std::mem::take(&mut *waiting);
        let now = Instant::now();
        for (id, info) in in_order(jobs).await {
            let mut graph = info.execution_graph.write().await;
            let session = graph.session_id().to_owned();
            let job_started_ms = graph.start_time();
            let mut seen = Vec::new();
            while let Some(stage) = graph.fetch_running_stage(&seen) {
                seen.push(stage.stage_id);
                let mut task = Binder {
                    stage,
                    session: &session,
                    job: id,
                };
                let Some(run_id) = training(&task.stage.plan) else {
                    if round.admits_queries() {
                        task.bind_slices(free, &mut bound);
                    }
                    continue;
                };
                let is_rest = task.is_rest();
                // A training that has started lost a rank: its driver is about to start a new attempt.
                if is_rest && !self.coordinator.is_joining(&run_id) {
                    continue;
                }
                let since = waited_before.get(&run_id).copied().unwrap_or(now);
                let ranks = RanksWanted {
                    needed: task.stage.pending.remaining(),
                    free: free.values().sum::<u32>() as usize,
                    waited: now.duration_since(since),
                    job_started_ms,
                    is_rest,
                };
                if round.admits_ranks(ranks) {
                    task.bind_ranks(free, &mut bound);
                } else {
                    waiting.insert(run_id, since);
                }
            }
        }
        bound
    }
}

/// The running jobs, the oldest first.
async fn in_order(jobs: &HashMap<JobId, JobInfoCache>) -> Vec<(&JobId, &JobInfoCache)> {
    let mut ordered = Vec::new();
    for (id, info) in jobs {
        if matches!(info.status, Some(job_status::Status::Running(_))) {
            let since = info.execution_graph.read().await.start_time();
            ordered.push((since, id, info));
        }
    }
    ordered.sort_by_key(|(since, id, _)| (*since, id.to_string()));
    ordered
        .into_iter()
        .map(|(_, id, info)| (id, info))
        .collect()
}

/// The run id of the training in this stage, if there is one.
fn training(plan: &Arc<dyn ExecutionPlan>) -> Option<String> {
    match plan.downcast_ref::<TrainExec>() {
        Some(train) => Some(train.task().run_id.clone()),
        None => plan.children().into_iter().find_map(training),
    }
}

/// Whether an operator of this stage merges all partitions into one, so that a single task must run the whole stage.
fn collapses(stage: &Arc<dyn ExecutionPlan>) -> bool {
    let mut exec = stage;
    while let [input] = exec.children().as_slice() {
        exec = input;
        if exec.downcast_ref::<ShuffleReaderExec>().is_some()
            || exec.downcast_ref::<RangeShuffleReaderExec>().is_some()
        {
            return false;
        }
        if exec.output_partitioning().partition_count() == 1 {
            return true;
        }
    }
    false
}

/// The executor with the most free slots.
fn most_free(free: &Free) -> Option<(String, u32)> {
    let most = free.iter().max_by_key(|(_, slots)| **slots)?;
    (*most.1 > 0).then(|| (most.0.clone(), *most.1))
}

/// Binds tasks of one stage.
struct Binder<'a> {
    stage: &'a mut RunningStage,
    session: &'a str,
    job: &'a JobId,
}

impl Binder<'_> {
    /// Whether other ranks of this training were bound before.
    fn is_rest(&self) -> bool {
        self.stage.pending.remaining() < self.stage.pending.total_partitions()
    }

    /// Binds all ranks that are not bound. There must be a free slot for each.
    fn bind_ranks(&mut self, free: &mut Free, bound: &mut Vec<BoundTask>) {
        for _ in 0..self.stage.pending.remaining() {
            let Some((executor, _)) = most_free(free) else {
                return;
            };
            self.bind_one(executor, 1, None, free, bound);
        }
    }

    fn bind_slices(&mut self, free: &mut Free, bound: &mut Vec<BoundTask>) {
        let collapses = collapses(&self.stage.plan);
        let config = self.stage.session_config.ballista_config();
        let limit = match config.max_partitions_per_task() {
            0 => usize::MAX,
            limit => limit,
        };
        while let Some((executor, slots)) = most_free(free) {
            let is_bound = match collapses {
                true => self.bind_one(executor, usize::MAX, Some(1), free, bound),
                false => self.bind_one(executor, limit.min(slots as usize), None, free, bound),
            };
            if !is_bound {
                return;
            }
        }
    }

    /// Binds a task of at most `partitions_max` partitions; `false` if no partitions wait.
    fn bind_one(
        &mut self,
        executor: String,
        partitions_max: usize,
        slots: Option<u32>,
        free: &mut Free,
        bound: &mut Vec<BoundTask>,
    ) -> bool {
        let stage = &mut *self.stage;
        let partitions = stage.pending.next_slice(partitions_max);
        if partitions.is_empty() {
            return false;
        }
        let slots = slots.unwrap_or(partitions.len() as u32);
        let task_id = stage.task_infos.len();
        let failures = partitions
            .iter()
            .map(|partition| stage.task_failure_numbers[*partition]);
        let task_attempt = failures.max().unwrap_or(0);
        let mut info = create_task_info(executor.clone(), task_id);
        info.global_input_partition_ids.clone_from(&partitions);
        info.vcores_consumed = slots;
        stage.task_infos.push(info);
        let task = TaskDescription {
            session_id: self.session.to_owned(),
            key: TaskKey {
                job_id: self.job.clone(),
                stage_id: stage.stage_id,
                task_id,
            },
            stage_attempt_num: stage.stage_attempt_num,
            task_attempt,
            global_input_partition_ids: partitions,
            vcores_consumed: slots,
            plan: Arc::clone(&stage.plan),
            session_config: Arc::clone(&stage.session_config),
        };
        if let Some(left) = free.get_mut(&executor) {
            *left = left.saturating_sub(slots);
        }
        bound.push((executor, task));
        true
    }
}

/// Subtracts the slots of running tasks.
fn take_running(graph: &ExecutionGraphBox, free: &mut Free) {
    for task in graph.running_tasks() {
        if let Some(left) = free.get_mut(&task.executor_id) {
            let slots = graph.task_vcores(task.stage_id, task.task_id).unwrap_or(0);
            *left = left.saturating_sub(slots);
        }
    }
}

/// The slots that ranks of trainings hold.
fn held_by_ranks(graph: &ExecutionGraphBox) -> usize {
    let runs_ranks = |stage: usize| match graph.stages().get(&stage) {
        Some(ExecutionStage::Running(stage)) => training(&stage.plan).is_some(),
        _ => false,
    };
    let tasks = graph.running_tasks();
    let ranks = tasks.iter().filter(|task| runs_ranks(task.stage_id));
    ranks.count()
}

/// The slots that tasks of queries hold.
fn held_by_queries(graph: &ExecutionGraphBox) -> Vec<QuerySlot> {
    let mut held = Vec::new();
    for stage in graph.stages().values() {
        let ExecutionStage::Running(stage) = stage else {
            continue;
        };
        if training(&stage.plan).is_some() {
            continue;
        }
        for task in &stage.task_infos {
            if matches!(task.task_status, task_status::Status::Running(_)) {
                let slot = QuerySlot {
                    job_started_ms: graph.start_time(),
                    task_started_ms: task.scheduled_time as u64,
                };
                held.extend(std::iter::repeat_n(slot, task.vcores_consumed as usize));
            }
        }
    }
    held
}

#[async_trait]
impl ClusterState for BarrierClusterState {
    async fn init(&self) -> Result<()> {
        self.inner.init().await
    }

    async fn bind_schedulable_tasks(
        &self,
        _distribution: TaskDistributionPolicy,
        jobs: Arc<HashMap<JobId, JobInfoCache>>,
        executors: Option<HashSet<String>>,
    ) -> Result<Vec<BoundTask>> {
        let slots = self.slots.lock().await;
        let is_wanted = |id: &String| executors.as_ref().is_none_or(|wanted| wanted.contains(id));
        let wanted = slots.iter().filter(|(id, _)| is_wanted(id));
        let mut free: Free = wanted.map(|(id, slots)| (id.clone(), *slots)).collect();
        // The jobs and their tasks have the time of the clock.
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut counted = SlotsNow {
            all: free.values().sum::<u32>() as usize,
            of_trainings: 0,
            of_queries: Vec::new(),
            now_ms: now.unwrap_or_default().as_millis() as u64,
        };
        for info in jobs.values() {
            let graph = info.execution_graph.read().await;
            take_running(&graph, &mut free);
            counted.of_trainings += held_by_ranks(&graph);
            counted.of_queries.extend(held_by_queries(&graph));
        }
        let round = BindingRound::new(counted);
        Ok(self.bind(&mut free, round, &jobs).await)
    }

    async fn unbind_tasks(&self, _slots: Vec<ExecutorSlot>) -> Result<()> {
        Ok(())
    }

    async fn register_executor(
        &self,
        metadata: ExecutorMetadata,
        spec: ExecutorData,
    ) -> Result<()> {
        let (id, slots) = (metadata.id.clone(), spec.available_vcores);
        self.inner.register_executor(metadata, spec).await?;
        if self.slots.lock().await.insert(id, slots).is_none() {
            let last = self.last_join.lock();
            *last.unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        Ok(())
    }

    async fn save_executor_metadata(&self, metadata: ExecutorMetadata) -> Result<()> {
        self.inner.save_executor_metadata(metadata).await
    }

    async fn get_executor_metadata(&self, executor_id: &str) -> Result<ExecutorMetadata> {
        self.inner.get_executor_metadata(executor_id).await
    }

    async fn registered_executor_metadata(&self) -> Vec<ExecutorMetadata> {
        self.inner.registered_executor_metadata().await
    }

    async fn save_executor_heartbeat(&self, heartbeat: ExecutorHeartbeat) -> Result<()> {
        self.inner.save_executor_heartbeat(heartbeat).await
    }

    async fn remove_executor(&self, executor_id: &str) -> Result<()> {
        self.slots.lock().await.remove(executor_id);
        self.inner.remove_executor(executor_id).await
    }

    fn executor_heartbeats(&self) -> HashMap<String, ExecutorHeartbeat> {
        self.inner.executor_heartbeats()
    }

    fn get_executor_heartbeat(&self, executor_id: &str) -> Option<ExecutorHeartbeat> {
        self.inner.get_executor_heartbeat(executor_id)
    }

    async fn cluster_state_events(&self) -> Result<ClusterStateEventStream> {
        self.inner.cluster_state_events().await
    }
}
