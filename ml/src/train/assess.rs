//! How weights do on the rows of all ranks: losses, and the metrics that are kept with a model.

use candle_core::Tensor;

use crate::data::labels::Labels;
use crate::data::rows::Rows;
use crate::model::flat::tensors_of;
use crate::model::metrics::{Classified, Metric, classifier, regressor};
use crate::model::{forward, probabilities};
use crate::train::fit::{CHUNK_ROWS, Training};
use crate::train::prepare::Shard;
use crate::{Error, Result};

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
        with_outputs: bool,
    ) -> Result<Assessed> {
        let parameters: Vec<Tensor> =
            tensors_of(self.network.parameters(), weights, self.precision)?;
        let mut buffers = Vec::with_capacity(self.prepared.shards.len());
        let mut ours = Vec::new();
        for shard in &self.prepared.shards {
            let rows = side(shard);
            let (mut loss, mut weight) = (0.0, 0.0);
            let mut of_shard = Vec::with_capacity(if with_outputs { rows.labels.len() } else { 0 });
            for (range, features) in rows.chunks(CHUNK_ROWS) {
                self.control.check()?;
                let values = forward(self.network, &parameters, &features, self.precision)?;
                let (labels, weights) = (&rows.labels[range.clone()], &rows.weights[range]);
                let sum = self.loss.evaluate(&values, labels, weights)?;
                loss += sum.loss;
                weight += sum.weight;
                if with_outputs {
                    of_shard.extend(values);
                }
            }
            buffers.push((shard.number, vec![loss, weight]));
            if with_outputs {
                ours.push((shard.number, rows.labels.as_slice(), of_shard));
            }
        }
        let sum = self.collective.all_reduce_f64(buffers)?;
        let mut assessed = Assessed {
            loss: (sum[1] > 0.0).then(|| sum[0] / sum[1]),
            ..Assessed::default()
        };
        if with_outputs {
            self.gather_outputs(&ours, &mut assessed)?;
        }
        Ok(assessed)
    }

    /// Labels and outputs of all ranks in shard order.
    fn gather_outputs(&self, ours: &[(usize, &[f64], Vec<f64>)], all: &mut Assessed) -> Result<()> {
        let mut message = Vec::new();
        for (shard, labels, outputs) in ours {
            for count in [*shard, labels.len(), outputs.len()] {
                message.extend((count as u64).to_le_bytes());
            }
            labels
                .iter()
                .for_each(|label| message.extend(label.to_le_bytes()));
            outputs
                .iter()
                .for_each(|output| message.extend(output.to_le_bytes()));
        }
        let messages = self.collective.all_gather(message)?;
        let mut shards = Vec::new();
        for message in &messages {
            let mut rest = message.as_slice();
            while !rest.is_empty() {
                let [shard, labels, outputs] = [
                    take_count(&mut rest)?,
                    take_count(&mut rest)?,
                    take_count(&mut rest)?,
                ];
                let labels = take(&mut rest, labels * 8)?;
                shards.push((shard, labels, take(&mut rest, outputs * 8)?));
            }
        }
        shards.sort_by_key(|(shard, ..)| *shard);
        for (_, labels, outputs) in shards {
            let labels = labels.as_chunks().0.iter();
            all.labels
                .extend(labels.map(|bytes| f64::from_le_bytes(*bytes)));
            let outputs = outputs.as_chunks().0.iter();
            all.outputs
                .extend(outputs.map(|bytes| f64::from_le_bytes(*bytes)));
        }
        Ok(())
    }

    /// Metrics of rows whose outputs are known.
    pub(crate) fn metrics(&self, labels: &[f64], outputs: &[f64]) -> Vec<Metric> {
        match &self.prepared.labels {
            Labels::Number { mean, std } => {
                let labels: Vec<f64> = labels.iter().map(|label| label * std + mean).collect();
                let predicted: Vec<f64> =
                    outputs.iter().map(|output| output * std + mean).collect();
                regressor(&labels, &predicted)
            }
            known @ Labels::Classes { values } => {
                let probabilities = probabilities(outputs, values.len());
                classifier(&Classified {
                    classes: values.len(),
                    labels: labels.iter().map(|label| Some(*label as u32)).collect(),
                    predicted: known.predict(&probabilities, 0.5),
                    probabilities,
                })
            }
        }
    }
}

/// How a network does on one side of the split.
#[derive(Default)]
pub(crate) struct Assessed {
    /// The mean loss; `None` without rows.
    pub(crate) loss: Option<f64>,
    /// The labels of all ranks in shard order, if asked for.
    pub(crate) labels: Vec<f64>,
    /// The outputs beside them, row-major.
    pub(crate) outputs: Vec<f64>,
}

fn take<'a>(message: &mut &'a [u8], bytes: usize) -> Result<&'a [u8]> {
    let cut = || Error::Internal("message of a worker: it is cut off".into());
    let (head, tail) = message.split_at_checked(bytes).ok_or_else(cut)?;
    *message = tail;
    Ok(head)
}

fn take_count(message: &mut &[u8]) -> Result<usize> {
    let bytes = take(message, 8)?;
    Ok(bytes
        .iter()
        .rev()
        .fold(0, |count, byte| (count << 8) | usize::from(*byte)))
}
