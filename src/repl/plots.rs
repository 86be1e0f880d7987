//! `\plot`: draws the losses of a model's training, or the result of a query.

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::DataFusionError;
use futures::TryStreamExt;

use super::output::{Frame, draw};
use super::shell::{Shell, say};
use crate::error::{Result, SqlState, report, sql_err};
use crate::sql::quoted;

/// The newest training that made a version.
const NEWEST: &str = "SELECT concat(model_name, '@', version) FROM ml.training_runs WHERE version IS NOT NULL \
                      ORDER BY started_at DESC LIMIT 1";

impl Shell {
    /// Draws the losses of a model by epoch; without a model, those of the newest training.
    ///
    /// # Errors
    /// If there is no such model, or it has no losses.
    pub(super) async fn plot_model(&mut self, model: Option<&str>) -> Result<()> {
        let model = match model {
            Some(model) => model.to_owned(),
            None => self.newest_model().await?,
        };
        let (schema, batches) = self.losses(&model).await?;
        self.draw(&format!("losses of {model}"), (&schema, &batches))
    }

    /// Draws the losses of a training that has just ended, if it had several epochs.
    pub(super) async fn plot_trained(&mut self, model: &str) {
        let drawn = match self.losses(model).await {
            Ok((schema, batches)) => {
                let epochs: usize = batches.iter().map(RecordBatch::num_rows).sum();
                match epochs > 1 {
                    true => self.draw("", (&schema, &batches)),
                    false => Ok(()),
                }
            }
            Err(error) => Err(error),
        };
        // The training succeeded, so the statement does not fail.
        if let Err(error) = drawn {
            say(&format!(
                "notice: the losses are not drawn: {}\n",
                report(&error).message
            ));
        }
    }

    /// Draws the result of a query.
    ///
    /// # Errors
    /// If the query fails, or its result has no two columns with numbers.
    pub(super) async fn plot_query(&mut self, query: &str) -> Result<()> {
        let (schema, batches) = self.collected(query).await?;
        self.draw("", (&schema, &batches))
    }

    async fn losses(&mut self, model: &str) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let query = format!(
            "SELECT epoch, train_loss, eval_loss FROM training_info({}) ORDER BY epoch",
            quoted(model)
        );
        self.collected(&query).await
    }

    async fn newest_model(&mut self) -> Result<String> {
        let (_, batches) = self.collected(NEWEST).await?;
        let mut batches = batches.iter().filter(|batch| batch.num_rows() > 0);
        let Some(batch) = batches.next() else {
            let message = "no model was trained yet; \\plot MODEL draws the losses of a model";
            return Err(sql_err(SqlState::NoSuchModel, message));
        };
        Ok(array_value_to_string(batch.column(0), 0)?)
    }

    /// Runs a query to its end.
    async fn collected(&mut self, query: &str) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let rows = self.rows(query).0;
        let work = async {
            let rows = rows.await?;
            let schema = rows.schema();
            let batches: Vec<RecordBatch> = rows.try_collect().await?;
            Ok::<_, DataFusionError>((schema, batches))
        };
        tokio::select! {
            collected = work => collected,
            _ = self.signals.stopped() => Err(sql_err(SqlState::Cancelled, "cancelled")),
        }
    }

    fn draw(&mut self, title: &str, (schema, batches): (&SchemaRef, &[RecordBatch])) -> Result<()> {
        let frame = Frame::new(&self.settings, &self.target);
        let drawn = draw(schema, batches, frame)?;
        let drawn = drawn.trim_end();
        match title.is_empty() {
            true => self.print(drawn),
            false => self.print(&format!("{title}\n{drawn}")),
        }
    }
}
