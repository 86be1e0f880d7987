//! [`BoundRows`]: the runs of a prepared statement with several rows of values, one for each row.
//!
//! For `INSERT … VALUES (?)`, all rows are a single write instead ([`super::work::Work::Rows`]). Other statements take effect
//! row by row, so an error says how many rows took effect before.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::DataFusionError;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};

use super::work::Work;
use crate::error::{Result, SqlState, report, sql_err};
use crate::session::Session;
use crate::session::answer::Answer;
use crate::sql::Effect;

/// The number of bound rows, and of those that took effect.
#[derive(Debug, Clone)]
pub(super) struct BoundRows {
    total: usize,
    changed: Arc<AtomicUsize>,
}

impl BoundRows {
    pub(super) fn of(work: &Work) -> Self {
        let total = match work {
            Work::Bound(texts) => texts.len(),
            Work::Text(_) | Work::Rows { .. } => 1,
        };
        let changed = Arc::default();
        Self { total, changed }
    }

    /// Runs the statements of all rows one after the other and chains their rows.
    pub(super) async fn answer(self, session: Session, mut texts: Vec<String>) -> Result<Answer> {
        if texts.is_empty() {
            return Err(sql_err(
                SqlState::WrongParameters,
                "no row of parameter values was bound",
            ));
        }
        let rest = texts.split_off(1);
        let Answer { effect, rows } = self.answer_row(&session, &texts[0]).await?;
        if rest.is_empty() {
            return Ok(Answer { effect, rows });
        }
        let schema = rows.schema();
        let rest = futures::stream::iter(rest)
            .then(move |text| {
                let (bound, session) = (self.clone(), session.clone());
                async move {
                    let answer = bound.answer_row(&session, &text).await?;
                    Ok::<_, DataFusionError>(answer.rows)
                }
            })
            .try_flatten();
        let rows = Box::pin(RecordBatchStreamAdapter::new(schema, rows.chain(rest)));
        Ok(Answer { effect, rows })
    }

    async fn answer_row(&self, session: &Session, text: &str) -> Result<Answer> {
        let Answer { effect, rows } = session.answer(text).await?;
        if effect == Effect::Rows {
            return Ok(Answer { effect, rows });
        }
        let (schema, changed) = (rows.schema(), Arc::clone(&self.changed));
        let mut is_counted = false;
        // The first batch says what was published.
        let rows = rows.inspect(move |batch| {
            if batch.is_ok() && !is_counted {
                is_counted = true;
                changed.fetch_add(1, Ordering::Relaxed);
            }
        });
        let rows = Box::pin(RecordBatchStreamAdapter::new(schema, rows));
        Ok(Answer { effect, rows })
    }

    /// The error of the statement, with the number of rows that took effect before.
    pub(super) fn explain(&self, error: DataFusionError) -> DataFusionError {
        let changed = self.changed.load(Ordering::Relaxed);
        if self.total < 2 || changed == 0 {
            return error;
        }
        let mut found = report(&error);
        if found.state == SqlState::Cancelled {
            // Nobody may conclude that the statement took no effect.
            found.state = SqlState::TimedOut;
        }
        found.message = format!(
            "{}; {changed} of {} bound rows took effect before",
            found.message, self.total
        );
        found.into()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::record_batch::RecordBatch;

    use super::*;
    use crate::Engine;
    use crate::server::stop::cancelled;

    async fn run(session: &Session, texts: &[&str]) -> (BoundRows, Result<Vec<RecordBatch>>) {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let bound = BoundRows::of(&Work::Bound(texts.clone()));
        let answer = bound.clone().answer(session.clone(), texts).await.unwrap();
        let rows = answer.rows.try_collect().await;
        (bound, rows)
    }

    #[tokio::test]
    async fn an_error_says_how_many_rows_took_effect() {
        let session = Engine::builder().build().unwrap().session().unwrap();
        let created = session.sql("CREATE TABLE t (a INT)").await.unwrap();
        created.try_collect::<Vec<_>>().await.unwrap();
        let insert = |value: &str| format!("INSERT INTO t SELECT CAST({value} AS INT)");
        let (one, two, wrong) = (insert("1"), insert("2"), insert("'x'"));
        let (bound, rows) = run(&session, &[&one, &two, &wrong, &one]).await;
        let error = report(&bound.explain(rows.unwrap_err()));
        let expected = "; 2 of 4 bound rows took effect before";
        assert!(error.message.ends_with(expected), "{}", error.message);
        // A statement that was cancelled in the middle took effect.
        let error = report(&bound.explain(cancelled()));
        assert_eq!(error.state, SqlState::TimedOut);
        let (_, rows) = run(&session, &["SELECT count(*) FROM t"]).await;
        let counts = rows.unwrap();
        let counts = arrow::util::pretty::pretty_format_batches(&counts);
        assert!(counts.unwrap().to_string().contains("| 2 "));
    }

    #[tokio::test]
    async fn an_error_of_the_first_row_or_of_queries_says_nothing_of_it() {
        let session = Engine::builder().build().unwrap().session().unwrap();
        let (bound, rows) = run(&session, &["SELECT 1", "SELECT 1 / 0"]).await;
        let error = report(&bound.explain(rows.unwrap_err()));
        assert_eq!(error.state, SqlState::DivisionByZero);
        assert!(!error.message.contains("bound rows"), "{}", error.message);
    }
}
