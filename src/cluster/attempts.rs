//! The attempts to compute a query: its rows stay complete if executors are lost while rows are read.
//!
//! A small partition is read completely before its first row is returned. A larger partition may lose its executor after
//! some rows were returned; then it is computed again, and the returned rows are skipped. This is correct if these rows
//! come in the same order again, which they do unless the last stage reads its inputs in any order; a digest checks this.
//! Partitions of different attempts are mixed, unless the plan may choose other rows each time.
//!
//! A job that fails is repeated too if an executor was lost meanwhile and others are there.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::prelude::SessionConfig;
use futures::future::{BoxFuture, Shared};
use futures::{FutureExt, Stream, StreamExt};

use super::job::{Job, Rows};
use super::liveness::Machines;
use super::services::Cluster;
use crate::error::{Result, SqlState, sql_err};
use crate::plan::chance::depends_on_order;
use crate::plan::sample::draws_by_place;
use crate::progress::ProgressListener;

/// The most attempts to compute a query whose rows are lost before they are read.
const ATTEMPTS_MAX: usize = 3;

/// A job that all partitions wait for.
type Running = Shared<BoxFuture<'static, Result<Arc<Job>, Failure>>>;

/// Why a job failed.
#[derive(Debug, Clone)]
struct Failure {
    error: Arc<DataFusionError>,
    /// Whether an executor was lost, which may be the cause, and others can compute the query.
    is_of_machine: bool,
}

/// Whether a plan has the same rows in each partition each time it is computed. The rows that a limit takes, the order
/// in which a window or an aggregate such as `first_value` sees equal rows, the rows that a sample draws from rows in any
/// order, and the results of random functions may differ each time.
pub(super) fn is_stable(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let mut is_stable = true;
    plan.apply(|node| {
        let is_window = node.name().contains("Window") || node.name().contains("TopK");
        let is_limit = node.fetch().is_some() || node.name() == "GlobalLimitExec";
        let is_of_order = node.downcast_ref::<AggregateExec>().is_some_and(|exec| {
            let mut aggregates = exec.aggr_expr().iter();
            aggregates.any(|aggregate| depends_on_order(aggregate.fun().name()))
        });
        // The key of a sample is drawn once, so the same places are drawn each time.
        let is_drawn = draws_by_place(node.as_ref()) && !has_its_order_again(node);
        is_stable &= !is_window && !is_limit && !is_of_order && !is_drawn;
        node.apply_expressions(&mut |expression| {
            is_stable &= !is_volatile(expression);
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(is_stable)
}

/// Whether the rows of an operator come in the same order each time it is computed: they come from one scan, and all
/// operators between pass them on in its order. Rows of several tasks come in any order, and so do equal rows in a merge.
fn has_its_order_again(exec: &Arc<dyn ExecutionPlan>) -> bool {
    let inputs = exec.children().into_iter();
    let mut inputs = inputs.zip(exec.maintains_input_order());
    exec.downcast_ref::<SortPreservingMergeExec>().is_none()
        && inputs.all(|(input, keeps_order)| keeps_order && has_its_order_again(input))
}

/// The job of a plan, and the next job when rows of the job were lost.
#[derive(Clone)]
pub(super) struct Jobs {
    pub(super) cluster: Arc<Cluster>,
    pub(super) plan: Arc<dyn ExecutionPlan>,
    pub(super) config: SessionConfig,
    pub(super) listener: Option<ProgressListener>,
    /// The number of the attempt, from 1, and its job.
    current: Arc<Mutex<(usize, Option<Running>)>>,
    /// The first attempt whose rows were returned; 0 for none.
    given: Arc<AtomicUsize>,
}

impl Jobs {
    pub(super) fn new(
        cluster: Arc<Cluster>,
        plan: Arc<dyn ExecutionPlan>,
        config: SessionConfig,
        listener: Option<ProgressListener>,
    ) -> Self {
        Self {
            cluster,
            plan,
            config,
            listener,
            current: Arc::new(Mutex::new((1, None))),
            given: Arc::default(),
        }
    }

    /// The job of the last attempt.
    pub(super) async fn job(&self) -> Result<Arc<Job>> {
        let (_, running) = self.running(0);
        let job = running.await;
        job.map_err(|failure| DataFusionError::Shared(failure.error))
    }

    /// The job of the last attempt, if it is done.
    pub(super) fn done(&self) -> Option<Arc<Job>> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let done = current.1.as_ref()?.peek()?.as_ref().ok()?;
        Some(Arc::clone(done))
    }

    /// The first attempt that is not known to have lost rows, and its job. Attempts up to `lost` have lost rows.
    fn running(&self, lost: usize) -> (usize, Running) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let (attempt, running) = &mut *current;
        if *attempt <= lost {
            *attempt = lost + 1;
            *running = None;
        }
        let start = || {
            let (cluster, plan) = (Arc::clone(&self.cluster), Arc::clone(&self.plan));
            let (config, listener) = (self.config.clone(), self.listener.clone());
            let run = async move {
                let executors = cluster.placement.executor_ids().await;
                let job = cluster.run(plan, &config, "query", listener.as_ref()).await;
                match job {
                    Ok(job) => Ok(Arc::new(job)),
                    Err(error) => Err(failure(&cluster, error, &executors).await),
                }
            };
            run.boxed().shared()
        };
        (*attempt, running.get_or_insert_with(start).clone())
    }

    /// The first attempt whose rows are returned: this attempt if there was none before.
    fn given(&self, attempt: usize) -> usize {
        let (new, order) = (attempt, Ordering::Relaxed);
        match self.given.compare_exchange(0, new, order, order) {
            Ok(_) => attempt,
            Err(given) => given,
        }
    }

    /// Whether an attempt is the first whose rows were returned.
    fn has_given(&self, attempt: usize) -> bool {
        self.given.load(Ordering::Relaxed) == attempt
    }

    /// Whether the plan has the same rows in each partition each time it is computed.
    fn is_stable(&self) -> bool {
        is_stable(&self.plan).unwrap_or(false)
    }
}

async fn failure(
    cluster: &Cluster,
    error: DataFusionError,
    executors: &BTreeSet<String>,
) -> Failure {
    let machines = cluster.placement.machines_after(&error, executors).await;
    let is_of_machine = machines == Machines::SomeLost && cluster.slots_now().await > 0;
    Failure {
        error: Arc::new(error),
        is_of_machine,
    }
}

/// A partition that is being read.
struct Reading {
    jobs: Jobs,
    partition: usize,
    /// The memory of rows that are read at once.
    pool: Arc<dyn MemoryPool>,
    /// The number of the last attempt that lost rows.
    lost: usize,
    /// The number of the current attempt, and its rows.
    current: Option<(usize, Rows)>,
    /// The rows that were returned.
    left: Digest,
    /// The returned rows that came again; `None` once all of them have.
    again: Option<Digest>,
    /// Whether the reader has received a batch or the end of the rows.
    has_begun: bool,
}

/// The rows of a partition, each once.
pub(super) fn rows_of(
    jobs: Jobs,
    partition: usize,
    pool: Arc<dyn MemoryPool>,
) -> impl Stream<Item = Result<RecordBatch>> {
    let reading = Reading {
        jobs,
        partition,
        pool,
        lost: 0,
        current: None,
        left: Digest::default(),
        again: None,
        has_begun: false,
    };
    futures::stream::try_unfold(reading, |mut reading| async move {
        let batch = reading.next().await?;
        Ok(batch.map(|batch| (batch, reading)))
    })
}

impl Reading {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let (attempt, rows) = self.current().await?;
            let (attempt, are_safe) = (*attempt, rows.are_safe);
            let next = rows.stream.next().await;
            if matches!(next, None | Some(Ok(_))) && !self.may_leave(attempt)? {
                continue;
            }
            match next {
                Some(Ok(batch)) => {
                    let Some(batch) = self.without_left(batch)? else {
                        continue;
                    };
                    if !are_safe {
                        self.left.add(&batch);
                    }
                    return Ok(Some(batch));
                }
                Some(Err(error)) => self.lose(attempt, &error)?,
                None if self.again.is_some() => return Err(differs()),
                None => return Ok(None),
            }
        }
    }

    /// The rows of the first attempt that is not known to have lost rows.
    async fn current(&mut self) -> Result<&mut (usize, Rows)> {
        while self.current.is_none() {
            let (attempt, running) = self.jobs.running(self.lost);
            let job = match running.await {
                Ok(job) => job,
                Err(failure) if failure.is_of_machine => {
                    self.lose(attempt, &failure.error)?;
                    continue;
                }
                Err(failure) => return Err(DataFusionError::Shared(failure.error)),
            };
            match job.read(self.partition, &self.pool).await {
                Ok(rows) => {
                    self.again = (self.left.rows > 0).then(Digest::default);
                    self.current = Some((attempt, rows));
                }
                Err(error) => self.lose(attempt, &error)?,
            }
        }
        let none = || sql_err(SqlState::Internal, "no attempt to read rows from");
        self.current.as_mut().ok_or_else(none)
    }

    /// Whether rows of this attempt may be mixed with other partitions; if not, the rows come from another attempt.
    fn may_leave(&mut self, attempt: usize) -> Result<bool> {
        if self.has_begun {
            return Ok(true);
        }
        let given = self.jobs.given(attempt);
        if given != attempt && !self.jobs.is_stable() {
            if given < attempt {
                return Err(differs());
            }
            self.lost = given - 1;
            self.current = None;
            return Ok(false);
        }
        self.has_begun = true;
        Ok(true)
    }

    /// The rows of `batch` that were not returned before, if there are any.
    fn without_left(&mut self, batch: RecordBatch) -> Result<Option<RecordBatch>> {
        let Some(again) = &mut self.again else {
            return Ok(Some(batch));
        };
        let count = batch.num_rows().min(self.left.rows - again.rows);
        again.add(&batch.slice(0, count));
        if again.rows == self.left.rows {
            if !again.is_of_the_same_rows(&self.left) {
                return Err(differs());
            }
            self.again = None;
        }
        let rest = batch.num_rows() - count;
        Ok((rest > 0).then(|| batch.slice(count, rest)))
    }

    /// Gives an attempt up, so that another attempt follows.
    fn lose(&mut self, attempt: usize, error: &DataFusionError) -> Result<()> {
        if attempt >= ATTEMPTS_MAX {
            let message = format!("an executor was lost before its rows were read: {error}");
            return Err(sql_err(SqlState::NoResources, message));
        }
        if self.jobs.has_given(attempt) && !self.jobs.is_stable() {
            return Err(differs());
        }
        tracing::warn!(
            partition = self.partition,
            %error,
            "rows of a query were lost; the query is computed again"
        );
        self.lost = attempt;
        self.current = None;
        Ok(())
    }
}

fn differs() -> DataFusionError {
    let message = "an executor was lost while its rows were read, and a new computation may give other rows; run the \
                   statement again";
    sql_err(SqlState::NoResources, message)
}

/// A digest of rows in their order.
#[derive(Debug, Default)]
struct Digest {
    rows: usize,
    hash: u64,
    /// Whether a column has a type that cannot be hashed.
    is_unknown: bool,
}

impl Digest {
    fn add(&mut self, batch: &RecordBatch) {
        let mut hashes = vec![0; batch.num_rows()];
        let state = RandomState::with_seed(0);
        if batch.num_columns() > 0 {
            self.is_unknown |= create_hashes(batch.columns(), &state, &mut hashes).is_err();
        }
        for hash in hashes {
            // The multiplier is odd, so that no bits are lost: that of Knuth's linear congruential generator MMIX.
            self.hash = (self.hash ^ hash).wrapping_mul(6_364_136_223_846_793_005);
            self.hash = self.hash.rotate_left(29);
        }
        self.rows += batch.num_rows();
    }

    fn is_of_the_same_rows(&self, other: &Self) -> bool {
        !self.is_unknown && !other.is_unknown && self.hash == other.hash
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;
    use crate::Engine;

    fn batch(numbers: &[i64]) -> RecordBatch {
        let texts = numbers
            .iter()
            .map(|number| (number % 3 > 0).then(|| number.to_string()));
        let columns: [(&str, ArrayRef); 2] = [
            ("number", Arc::new(Int64Array::from(numbers.to_vec()))),
            ("text", Arc::new(texts.collect::<StringArray>())),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn digest(batches: &[&[i64]]) -> Digest {
        let mut digest = Digest::default();
        for numbers in batches {
            digest.add(&batch(numbers));
        }
        digest
    }

    #[test]
    fn a_digest_knows_rows_and_their_order_and_not_their_batches() {
        let all = digest(&[&[1, 2, 3, 4, 5]]);
        assert!(all.is_of_the_same_rows(&digest(&[&[1, 2], &[], &[3, 4, 5]])));
        for other in [[2, 1, 3, 4, 5], [1, 2, 3, 4, 6], [1, 2, 3, 5, 4]] {
            assert!(!all.is_of_the_same_rows(&digest(&[&other])));
        }
    }

    #[tokio::test]
    async fn plans_in_which_chance_chooses_rows_are_told_from_others() {
        let session = Engine::builder().build().unwrap().session().unwrap();
        let table =
            "CREATE TABLE t AS SELECT value AS a, value * 0.5 AS b FROM generate_series(1, 9)";
        session.sql(table).await.unwrap();
        for (query, expected) in [
            ("SELECT a + 1 FROM t WHERE b > 2", true),
            ("SELECT a, count(*) FROM t GROUP BY a", true),
            (
                "SELECT x.a FROM t x JOIN t y ON x.a = y.a ORDER BY x.b",
                true,
            ),
            ("SELECT a FROM t LIMIT 3", false),
            (
                "SELECT a FROM (SELECT a FROM t ORDER BY b LIMIT 3) WHERE a > 1",
                false,
            ),
            ("SELECT a, row_number() OVER (ORDER BY b) FROM t", false),
            ("SELECT DISTINCT ON (b) b, a FROM t", false),
            (
                "SELECT b, first_value(a ORDER BY b) FROM t GROUP BY b",
                false,
            ),
            ("SELECT b, array_agg(a) FROM t GROUP BY b", false),
            ("SELECT a FROM t WHERE b > random()", false),
            ("SELECT a, uuid() FROM t", false),
            ("SELECT a FROM t TABLESAMPLE BERNOULLI (50)", true),
            (
                "SELECT a FROM (SELECT a, count(*) FROM t GROUP BY a) s TABLESAMPLE BERNOULLI (50)",
                false,
            ),
            (
                "SELECT a FROM (SELECT a FROM t UNION ALL SELECT b FROM t) s TABLESAMPLE BERNOULLI (50) REPEATABLE (7)",
                true,
            ),
        ] {
            let plan = session.plan_query(query).await.unwrap();
            let plan = session.physical_plan(&plan).await.unwrap();
            assert_eq!(is_stable(&plan).unwrap(), expected, "{query}");
        }
    }
}
