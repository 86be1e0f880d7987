//! [`Judged`]: the final losses and metrics of a training.

use crate::Result;
use crate::data::columns::Column;
use crate::model::metrics::Metric;
use crate::train::als::{implicit_loss, ranking_metrics};
use crate::train::training::Training;

/// What the final weights are worth.
pub(crate) struct Judged {
    /// The mean loss of the training rows.
    pub(crate) train_loss: f64,
    /// The mean loss of the evaluation rows, if there are any and the loss is one of rows.
    pub(crate) eval_loss: Option<f64>,
    /// Metrics of the evaluation rows, or of the training rows if there are none.
    pub(crate) metrics: Vec<Metric>,
}

impl Training<'_> {
    /// Judges the final weights for these targets.
    pub(crate) fn judge(&self, weights: &[f64], targets: &[Column]) -> Result<Judged> {
        if self.options.implicit_alpha().is_some() {
            return Ok(Judged {
                train_loss: implicit_loss(self, weights)?,
                eval_loss: None,
                metrics: ranking_metrics(self, weights)?,
            });
        }
        let has_eval = self.prepared.eval_rows() > 0;
        let train = self.assess(weights, |shard| &shard.train, !has_eval)?;
        let eval = self.assess(weights, |shard| &shard.eval, has_eval)?;
        let watched = if has_eval {
            eval.quality
        } else {
            train.quality
        };
        let names = targets.iter().map(|target| target.name.as_str());
        Ok(Judged {
            train_loss: train.loss.unwrap_or(f64::NAN),
            eval_loss: eval.loss,
            metrics: watched.map_or(vec![], |quality| quality.metrics(names)),
        })
    }

    /// The mean loss of the evaluation rows after an epoch. Implicit feedback has no loss of some rows: what a user did not take
    /// counts too.
    pub(crate) fn eval_loss(&self, weights: &[f64]) -> Result<Option<f64>> {
        match self.options.implicit_alpha() {
            Some(_) => Ok(None),
            None => self.mean_loss(weights, |shard| &shard.eval),
        }
    }
}
