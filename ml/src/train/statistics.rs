//! Mean and standard deviation of the training rows, summed over shards in a fixed tree.

use rayon::ThreadPool;
use rayon::prelude::*;

use crate::collective::{Collective, ShardBuffers};
use crate::data::apart::parts;
use crate::data::columns::{Columns, FeatureKind};
use crate::data::encode::standardise::Standardiser;
use crate::data::labels::numbers as label_numbers;
use crate::data::targets::TargetKind;
use crate::train::counts::ShardCounts;
use crate::train::raw::{RawRows, RawShard};
use crate::{Error, Result};

/// The numbers of the columns of a training.
pub(crate) struct Numbers<'a> {
    pub(crate) columns: &'a Columns,
    pub(crate) kinds: &'a [TargetKind],
    /// The numbers per row of each feature.
    pub(crate) widths: &'a [usize],
    /// The numbers per row of each target.
    pub(crate) target_widths: &'a [usize],
    /// The counts of each shard.
    pub(crate) counts: &'a [ShardCounts],
    pub(crate) helpers: &'a ThreadPool,
}

/// Mean and standard deviation of each number of each feature, then of each target.
pub(crate) fn standardise(
    raw: &[RawShard],
    of: &Numbers<'_>,
    counts: &[f64],
    collective: &dyn Collective,
) -> Result<Vec<Standardiser>> {
    let sums = sum_shards(raw, of, |_, value| value, collective)?;
    let mut means: Vec<f64> = sums
        .iter()
        .zip(counts)
        .map(|(sum, count)| sum / count)
        .collect();
    // The rounding of a plain sum of many rows can make a constant column vary; a second pass corrects the means.
    let rest = |index: usize, value: f64| value - means[index];
    let rests = sum_shards(raw, of, rest, collective)?;
    means
        .iter_mut()
        .zip(rests.iter().zip(counts))
        .for_each(|(mean, (rest, count))| *mean += rest / count);
    let square = |index: usize, value: f64| (value - means[index]).powi(2);
    let squares = sum_shards(raw, of, square, collective)?;
    let mut variances: Vec<f64> = squares
        .iter()
        .zip(counts)
        .map(|(sum, count)| sum / count)
        .collect();
    pool_arrays(&mut variances, of)?;
    let mut standardisers = Vec::with_capacity(means.len());
    for (index, &mean) in means.iter().enumerate() {
        let std = variances[index].sqrt();
        if !std.is_finite() {
            return Err(Error::Invalid(format!(
                "the values of column \"{}\" are too large to standardise; scale them in the query",
                column_of(index, of)
            )));
        }
        // Rounding can leave a constant column with a deviation of a few ulps, which would scale noise up to 1.
        let varies = std > mean.abs() * 1e-12;
        standardisers.push(Standardiser {
            mean,
            std: if varies { std } else { 1.0 },
        });
    }
    Ok(standardisers)
}

/// Sets the variance of all elements of an array to their mean variance. An array is one tensor: an element that rarely
/// varies, such as a pixel in a corner, would be very large where it does if it had its own deviation.
fn pool_arrays(variances: &mut [f64], of: &Numbers<'_>) -> Result<()> {
    let mut rest = variances;
    let features = of.columns.features.iter().zip(of.widths);
    let features = features.map(|(column, width)| -> Result<(bool, usize)> {
        let kind = FeatureKind::of(&column.name, &column.data_type)?;
        Ok((kind == FeatureKind::Array, *width))
    });
    let targets = of.kinds.iter().zip(of.target_widths);
    let targets = targets.map(|(kind, width)| Ok((*kind == TargetKind::Vector, *width)));
    for column in features.chain(targets) {
        let (is_array, width) = column?;
        let (elements, others) = rest.split_at_mut(width);
        rest = others;
        if is_array {
            let mean = elements.iter().sum::<f64>() / width as f64;
            elements.fill(mean);
        }
    }
    Ok(())
}

/// The name of the column that has this number.
fn column_of<'a>(mut number: usize, of: &'a Numbers<'_>) -> &'a str {
    let columns = of.columns.features.iter().chain(&of.columns.targets);
    let widths = of.widths.iter().chain(of.target_widths);
    for (column, &width) in columns.zip(widths) {
        if number < width {
            return &column.name;
        }
        number -= width;
    }
    ""
}

/// Sums `of(number, value)` over the training rows: the numbers of all features, then of all targets.
fn sum_shards(
    raw: &[RawShard],
    numbers: &Numbers<'_>,
    of: impl Fn(usize, f64) -> f64 + Sync,
    collective: &dyn Collective,
) -> Result<Vec<f64>> {
    let mut buffers: ShardBuffers<f64> = Vec::with_capacity(raw.len());
    for shard in raw {
        let features = numbers.columns.features.len();
        let counts = &numbers.counts[shard.number];
        let column = |index: usize| {
            let is_complete = counts.columns[index].valid == counts.train_rows;
            column_sums(&shard.train, index, is_complete, numbers, &of)
        };
        let columns = (0..features).into_par_iter().map(column);
        let columns = numbers
            .helpers
            .install(|| columns.collect::<Result<Vec<_>>>())?;
        let mut sums = columns.concat();
        for (target, kind) in numbers.kinds.iter().enumerate() {
            let first = sums.len();
            sums.extend(target_sums(
                &shard.train,
                target,
                *kind,
                numbers,
                first,
                &of,
            )?);
        }
        buffers.push((shard.number, sums));
    }
    collective.all_reduce_f64(buffers)
}

/// The sums of the numbers of one target, of which the first is number `first`. Each row has a label.
fn target_sums(
    rows: &RawRows,
    target: usize,
    kind: TargetKind,
    numbers: &Numbers<'_>,
    first: usize,
    of: &impl Fn(usize, f64) -> f64,
) -> Result<Vec<f64>> {
    let columns = numbers.columns;
    let index = columns.features.len() + target;
    match kind {
        TargetKind::Class | TargetKind::Set => Ok(vec![0.0]),
        TargetKind::Number => {
            let mut sum = LaneSum::default();
            for part in &rows.parts {
                let labels = label_numbers(part.column(index))?;
                sum.add(labels.values(), |value| of(first, value));
            }
            Ok(vec![sum.total()])
        }
        TargetKind::Vector => {
            let (name, width) = (&columns.targets[target].name, numbers.target_widths[target]);
            let mut sums = vec![0.0; width];
            for part in &rows.parts {
                let parts = parts(name, part.column(index), Some(width))?;
                for values in parts.numbers.chunks_exact(width) {
                    let places = sums.iter_mut().zip(values).enumerate();
                    places.for_each(|(place, (sum, &value))| *sum += of(first + place, value));
                }
            }
            Ok(sums)
        }
    }
}

/// The sums of the numbers of one column, which has a value in each row if it `is_complete`.
fn column_sums(
    rows: &RawRows,
    index: usize,
    is_complete: bool,
    numbers: &Numbers<'_>,
    of: &impl Fn(usize, f64) -> f64,
) -> Result<Vec<f64>> {
    let width = numbers.widths[index];
    let first = numbers.widths[..index].iter().sum::<usize>();
    let name = &numbers.columns.features[index].name;
    let mut sums = vec![0.0; width];
    if width == 0 {
        return Ok(sums);
    }
    let mut lanes = LaneSum::default();
    for part in &rows.parts {
        let parts = parts(name, part.column(index), Some(width))?;
        if width == 1 && is_complete {
            lanes.add(&parts.numbers, |value| of(first, value));
            continue;
        }
        for row in (0..part.num_rows()).filter(|&row| parts.is_valid(row)) {
            let values = &parts.numbers[row * width..][..width];
            for (position, (sum, &value)) in sums.iter_mut().zip(values).enumerate() {
                *sum += of(first + position, value);
            }
        }
    }
    if width == 1 && is_complete {
        sums[0] = lanes.total();
    }
    Ok(sums)
}

/// A sum in a fixed order, in eight lanes so that an addition does not wait for the one before. How the values are divided
/// into parts does not change the sum.
#[derive(Default)]
struct LaneSum {
    lanes: [f64; 8],
    /// The values after the last eight that the lanes took.
    rest: [f64; 8],
    rest_length: usize,
}

impl LaneSum {
    fn add(&mut self, mut values: &[f64], of: impl Fn(f64) -> f64) {
        while self.rest_length > 0
            && let Some((value, others)) = values.split_first()
        {
            values = others;
            self.push(of(*value));
        }
        let (eights, rest) = values.as_chunks::<8>();
        for eight in eights {
            self.lanes
                .iter_mut()
                .zip(eight)
                .for_each(|(sum, &value)| *sum += of(value));
        }
        rest.iter().for_each(|&value| self.push(of(value)));
    }

    fn push(&mut self, value: f64) {
        self.rest[self.rest_length] = value;
        self.rest_length += 1;
        if self.rest_length == self.rest.len() {
            let lanes = self.lanes.iter_mut().zip(self.rest);
            lanes.for_each(|(sum, value)| *sum += value);
            self.rest_length = 0;
        }
    }

    fn total(&self) -> f64 {
        let rest: f64 = self.rest[..self.rest_length].iter().sum();
        self.lanes.iter().sum::<f64>() + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_change_a_sum() {
        let values: Vec<f64> = (1..1_000).map(|n| 1.0 / f64::from(n)).collect();
        let sum = |part: usize| {
            let mut sum = LaneSum::default();
            let parts = values.chunks(part);
            parts.for_each(|part| sum.add(part, |value| value * 1e8 - 3.0));
            sum.total().to_bits()
        };
        for part in [1, 3, 7, 8, 9, 64, 500] {
            assert_eq!(sum(part), sum(values.len()), "parts of {part}");
        }
        let mut few = LaneSum::default();
        few.add(&values[..3], |value| value);
        assert_eq!(few.total(), values[..3].iter().sum::<f64>());
    }
}
