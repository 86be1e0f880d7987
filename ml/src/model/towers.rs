//! A trained model as a [`Recommender`]: the vectors of its network's two towers.

use std::ops::Range;

use arrow::array::{ArrayRef, RecordBatch};
use candle_core::{DType, Tensor};

use crate::data::encode::keys::Keys;
use crate::data::encode::tabular::{CATEGORIES, Encoder};
use crate::data::inputs::Inputs;
use crate::data::labels::Labels;
use crate::device::{HOST, pass_rows};
use crate::model::flat::numbers_per_row;
use crate::model::passes::in_passes;
use crate::model::predicted::scores;
use crate::model::recommender::{Recommender, Side, Sides, Vectors};
use crate::model::trained::TrainedModel;
use crate::{Error, Result};

impl Recommender for TrainedModel {
    fn sides(&self) -> &Sides {
        self.towers().sides()
    }

    fn vectors(&self, side: Side, batch: &RecordBatch) -> Result<Vectors> {
        let encoder = self.towers().encoder(side);
        let inputs = encoder.encode(batch, None)?;
        let mut known = vec![true; inputs.rows()];
        if let Some(valid) = &inputs.report.valid {
            known
                .iter_mut()
                .zip(valid)
                .for_each(|(known, valid)| *known = valid);
        }
        if keys_of(encoder).is_some() {
            let unseen = &encoder.shape().unseen_ids;
            let is_seen = |id: &u32| !unseen.contains(&(*id as usize));
            let ids = ids(&inputs)?;
            let seen = known.iter_mut().zip(ids.iter().map(is_seen));
            seen.for_each(|(known, is_seen)| *known &= is_seen);
        }
        let failures = inputs.report.failures.iter();
        let failure = failures.map(|(_, cause)| cause.clone()).next();
        self.computed(side, &inputs, known, failure)
    }

    fn known_items(&self) -> Result<Option<(ArrayRef, Vectors)>> {
        let encoder = self.towers().encoder(Side::Item);
        let Some(keys) = keys_of(encoder).filter(|_| self.sides().lists_items) else {
            return Ok(None);
        };
        let column = keys.to_column(&encoder.columns()[0].column.data_type)?;
        let count = keys.len();
        let first = encoder.first_id(0) + 1;
        let ids: Vec<u32> = (first..first + count as u32).collect();
        let ids = Tensor::from_vec(ids, (count, 1), &HOST)?;
        let inputs = Inputs::new(count).with(CATEGORIES, ids)?;
        let vectors = self.computed(Side::Item, &inputs, vec![true; count], None)?;
        Ok(Some((column, vectors)))
    }

    fn score(&self, product: f32) -> f64 {
        let labels = self.config().labels.first();
        let scores = labels.map(|labels| (labels, scores(labels, &[f64::from(product)])));
        match scores {
            // The probability of the second class: that it was taken.
            Some((Labels::Classes { .. }, scores)) => scores.last().copied(),
            Some((_, scores)) => scores.first().copied(),
            None => None,
        }
        .unwrap_or(f64::NAN)
    }
}

impl TrainedModel {
    /// The vectors of inputs of a side, some rows after the other.
    fn computed(
        &self,
        side: Side,
        inputs: &Inputs,
        known: Vec<bool>,
        failure: Option<String>,
    ) -> Result<Vectors> {
        let towers = self.network().towers();
        let towers = towers.ok_or_else(|| Error::Internal("a network without towers".into()))?;
        let pass = |range: Range<usize>| -> Result<Vec<Tensor>> {
            let inputs = inputs.narrow(range)?.to(&HOST, DType::F32)?;
            Ok(vec![towers.vectors(side, self.parameters(), &inputs)?])
        };
        let at_once = pass_rows(&HOST, numbers_per_row(self.network(), inputs));
        let computed = in_passes(inputs.rows(), at_once, pass)?;
        let Some(vectors) = computed.first() else {
            return Ok(Vectors {
                width: 0,
                values: vec![],
                known,
                failure,
            });
        };
        Ok(Vectors {
            width: vectors.dim(1)?,
            values: vectors.flatten_all()?.to_vec1()?,
            known,
            failure,
        })
    }
}

/// The keys of the only column of an encoder, if it has keys.
fn keys_of(encoder: &Encoder) -> Option<&Keys> {
    match encoder.columns() {
        [only] => only.keys.as_ref(),
        _ => None,
    }
}

fn ids(inputs: &Inputs) -> Result<Vec<u32>> {
    match inputs.get(CATEGORIES) {
        Some(ids) => Ok(ids.flatten_all()?.to_vec1()?),
        None => Ok(vec![]),
    }
}
