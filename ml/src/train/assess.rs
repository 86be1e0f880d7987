//! Evaluation of weights on the rows of all ranks: losses, and the metrics that are stored with a model.

use candle_core::Tensor;

use crate::data::labels::Labels;
use crate::data::rows::Rows;
use crate::device::pass_rows;
use crate::model::flat::{numbers_per_row, tensors_of};
use crate::model::metrics::{Assessment, Predictions};
use crate::model::trained::{forward, probabilities};
use crate::train::prepare::Shard;
use crate::train::training::Training;
use crate::{Error, Result};

/// The evaluation of a network on one side of the split.
#[derive(Default)]
pub(crate) struct Assessed {
    /// The mean loss; `None` without rows.
    pub(crate) loss: Option<f64>,
    /// The assessment of the rows of all ranks, if requested.
    pub(crate) quality: Option<Assessment>,
}

impl Training<'_> {
    /// The mean loss of one side of the split; `None` if it has no rows.
    pub(crate) fn mean_loss(
        &self,
        weights: &[f64],
        side: impl Fn(&Shard) -> &Rows,
    ) -> Result<Option<f64>> {
        Ok(self.assess(weights, side, false)?.loss)
    }

    /// Runs the network over one side of the split.
    pub(crate) fn assess(
        &self,
        weights: &[f64],
        side: impl Fn(&Shard) -> &Rows,
        with_quality: bool,
    ) -> Result<Assessed> {
        let specs = self.network.parameters();
        let parameters: Vec<Tensor> =
            tensors_of(specs, weights, self.precision.dtype(), &self.device)?;
        let mut buffers = Vec::with_capacity(self.prepared.shards.len());
        let mut ours = Assessment::new(self.prepared.labels.class_count());
        for shard in &self.prepared.shards {
            let rows = side(shard);
            let (mut loss, mut weight) = (0.0, 0.0);
            let numbers = numbers_per_row(self.network, &rows.inputs);
            for range in rows.ranges(pass_rows(&self.device, numbers)) {
                self.control.stop.check()?;
                let inputs = rows.inputs.narrow(range.clone())?;
                let inputs = inputs.to(&self.device, self.precision.dtype())?;
                let values = forward(self.network, &parameters, &inputs)?;
                let (labels, weights) = (&rows.labels[range.clone()], &rows.weights[range]);
                let sum = self.loss.evaluate(&values, labels, weights)?;
                loss += sum.loss;
                weight += sum.weight;
                if with_quality {
                    self.add(&mut ours, labels, &values)?;
                }
            }
            buffers.push((shard.number, vec![loss, weight]));
        }
        let sum = self.collective.all_reduce_f64(buffers)?;
        Ok(Assessed {
            loss: (sum[1] > 0.0).then(|| sum[0] / sum[1]),
            quality: match with_quality {
                true => Some(self.of_all_ranks(&ours)?),
                false => None,
            },
        })
    }

    /// Adds the labels and outputs of rows to an assessment.
    fn add(&self, to: &mut Assessment, labels: &[f64], outputs: &[f64]) -> Result<()> {
        match (&mut to.predictions, &self.prepared.labels) {
            (Predictions::Numbers(regressed), Labels::Number { mean, std }) => {
                let predicted: Vec<f64> =
                    outputs.iter().map(|output| output * std + mean).collect();
                regressed.add(labels.iter().map(|label| label * std + mean), &predicted);
            }
            (Predictions::Numbers(regressed), Labels::Count { mean }) => {
                let predicted: Vec<f64> =
                    outputs.iter().map(|output| mean * output.exp()).collect();
                regressed.add(labels.iter().copied(), &predicted);
            }
            (Predictions::Classes(classified), Labels::Classes { values }) => {
                let labels: Vec<_> = labels.iter().map(|label| Some(*label as u32)).collect();
                classified.add(&labels, &probabilities(outputs, values.len()));
            }
            (Predictions::Numbers(_), Labels::Classes { .. })
            | (Predictions::Classes(_), Labels::Number { .. } | Labels::Count { .. }) => {
                let message = "an assessment and its training have different kinds of labels";
                return Err(Error::Internal(message.into()));
            }
        }
        Ok(())
    }

    fn of_all_ranks(&self, ours: &Assessment) -> Result<Assessment> {
        let mut all = Assessment::new(self.prepared.labels.class_count());
        for message in self.collective.all_gather(ours.to_bytes())? {
            all.merge(Assessment::from_bytes(&message)?)?;
        }
        Ok(all)
    }
}
