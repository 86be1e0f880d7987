//! Evaluation of weights on the rows of all ranks: losses, and the metrics that are stored with a model.

use candle_core::Tensor;

use crate::Result;
use crate::data::heads;
use crate::data::labels::{Labels, outputs_of};
use crate::data::rows::Rows;
use crate::device::pass_rows;
use crate::model::flat::{numbers_per_row, tensors_of};
use crate::model::metrics::{Assessment, Assessments, Predictions};
use crate::model::predicted::{in_units, scores};
use crate::model::trained::forward;
use crate::train::prepare::Shard;
use crate::train::training::Training;

/// The evaluation of a network on one side of the split.
#[derive(Default)]
pub(crate) struct Assessed {
    /// The mean loss; `None` without rows.
    pub(crate) loss: Option<f64>,
    /// The assessment of the rows of all ranks, if requested.
    pub(crate) quality: Option<Assessments>,
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
        let parameters: Vec<Tensor> = tensors_of(
            specs,
            weights,
            self.model_type.precision().dtype(),
            &self.device,
        )?;
        let mut buffers = Vec::with_capacity(self.prepared.shards.len());
        let mut ours = self.no_assessments();
        for shard in &self.prepared.shards {
            let rows = side(shard);
            let (mut loss, mut weight) = (0.0, 0.0);
            let numbers = numbers_per_row(self.network, &rows.inputs);
            for range in rows.ranges(pass_rows(&self.device, numbers)) {
                self.control.stop.check()?;
                let inputs = rows.inputs.narrow(range.clone())?;
                let inputs = inputs.to(&self.device, self.model_type.precision().dtype())?;
                let values = forward(self.network, &parameters, &inputs)?;
                let (labels, weights) = rows.labels_and_weights(&range);
                let sum = self.losses.evaluate(&values, labels, weights)?;
                loss += sum.loss;
                weight += sum.weight;
                if with_quality {
                    self.add_all(&mut ours, labels, &values);
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

    fn no_assessments(&self) -> Assessments {
        Assessments::new(self.prepared.labels.iter().map(Labels::form))
    }

    /// Adds the labels and outputs of rows to the assessments of all targets.
    fn add_all(&self, to: &mut Assessments, labels: &[f64], outputs: &[f64]) {
        let targets = &self.prepared.labels;
        let numbers: usize = targets.iter().map(Labels::numbers).sum();
        let labels_of = heads::ranges(targets.iter().map(Labels::numbers));
        let outputs_at = heads::ranges(targets.iter().map(Labels::outputs));
        let ranges = labels_of.zip(outputs_at);
        for ((to, of), (label_columns, output_columns)) in to.0.iter_mut().zip(targets).zip(ranges)
        {
            let labels = heads::columns(labels, numbers, label_columns);
            let outputs = heads::columns(outputs, outputs_of(targets), output_columns);
            add(to, of, &labels, &outputs);
        }
    }

    fn of_all_ranks(&self, ours: &Assessments) -> Result<Assessments> {
        let mut all = self.no_assessments();
        for message in self.collective.all_gather(ours.to_bytes())? {
            all.merge(Assessments::from_bytes(&message)?)?;
        }
        Ok(all)
    }
}

/// Adds the labels and outputs of rows of one target.
fn add(to: &mut Assessment, of: &Labels, labels: &[f64], outputs: &[f64]) {
    let (labels, predicted) = (in_units(of, labels), scores(of, outputs));
    match &mut to.predictions {
        Predictions::Numbers(regressed) => regressed.add(labels, &predicted),
        Predictions::Vectors(vectors) => vectors.add(&labels, &predicted),
        Predictions::Sets(tagged) => {
            let labels: Vec<bool> = labels.iter().map(|label| *label > 0.0).collect();
            let width = of.numbers().max(1);
            let rows = labels
                .chunks_exact(width)
                .zip(predicted.chunks_exact(width));
            rows.for_each(|(applies, probabilities)| tagged.add(applies, probabilities, false));
        }
        Predictions::Classes(classified) => {
            let labels: Vec<_> = labels.iter().map(|label| Some(*label as u32)).collect();
            classified.add(&labels, &predicted);
        }
    }
}
