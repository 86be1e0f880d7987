//! Mean and standard deviation of the training rows, summed over shards in a fixed tree.

use arrow::array::RecordBatch;
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::collective::{Collective, ShardBuffers};
use crate::data::apart::parts;
use crate::data::columns::{Columns, FeatureKind};
use crate::data::encode::standardise::Standardiser;
use crate::data::labels::{Task, numbers as label_numbers};
use crate::train::raw::RawShard;
use crate::{Error, Result};

/// The numbers of the columns of a training.
pub(crate) struct Numbers<'a> {
    pub(crate) columns: &'a Columns,
    pub(crate) task: Task,
    /// The numbers per row of each feature.
    pub(crate) widths: &'a [usize],
    pub(crate) helpers: &'a ThreadPool,
}

/// Mean and standard deviation of each number of each column, and of the label of a regressor last.
pub(crate) fn standardise(
    raw: &[RawShard],
    of: &Numbers<'_>,
    counts: &[f64],
    collective: &dyn Collective,
) -> Result<Vec<Standardiser>> {
    let (columns, widths) = (of.columns, of.widths);
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
    pool_arrays(&mut variances, columns, widths)?;
    let mut standardisers = Vec::with_capacity(means.len());
    for (index, &mean) in means.iter().enumerate() {
        let std = variances[index].sqrt();
        if !std.is_finite() {
            return Err(Error::Invalid(format!(
                "the values of column \"{}\" are too large to standardise; scale them in the query",
                column_of(index, columns, widths)
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
fn pool_arrays(variances: &mut [f64], columns: &Columns, widths: &[usize]) -> Result<()> {
    let mut first = 0;
    for (column, &width) in columns.features.iter().zip(widths) {
        if FeatureKind::of(&column.name, &column.data_type)? == FeatureKind::Array {
            let elements = &mut variances[first..first + width];
            let mean = elements.iter().sum::<f64>() / width as f64;
            elements.fill(mean);
        }
        first += width;
    }
    Ok(())
}

fn column_of<'a>(mut number: usize, columns: &'a Columns, widths: &[usize]) -> &'a str {
    for (column, &width) in columns.features.iter().zip(widths) {
        if number < width {
            return &column.name;
        }
        number -= width;
    }
    &columns.target.name
}

/// Sums `of(number, value)` over the training rows: the numbers of all columns, then the label of a regressor.
fn sum_shards(
    raw: &[RawShard],
    numbers: &Numbers<'_>,
    of: impl Fn(usize, f64) -> f64 + Sync,
    collective: &dyn Collective,
) -> Result<Vec<f64>> {
    let label: usize = numbers.widths.iter().sum();
    let mut buffers: ShardBuffers<f64> = Vec::with_capacity(raw.len());
    for shard in raw {
        let features = numbers.columns.features.len();
        let column = |index: usize| column_sums(&shard.train, index, numbers, &of);
        let columns = (0..features).into_par_iter().map(column);
        let columns = numbers
            .helpers
            .install(|| columns.collect::<Result<Vec<_>>>())?;
        let mut sums = columns.concat();
        sums.push(match numbers.task {
            Task::Regression => {
                let labels = label_numbers(shard.train.column(features))?;
                lane_sum(labels.values(), |value| of(label, value))
            }
            Task::Classification => 0.0,
        });
        buffers.push((shard.number, sums));
    }
    collective.all_reduce_f64(buffers)
}

/// The sums of the numbers of one column.
fn column_sums(
    rows: &RecordBatch,
    index: usize,
    numbers: &Numbers<'_>,
    of: &impl Fn(usize, f64) -> f64,
) -> Result<Vec<f64>> {
    let width = numbers.widths[index];
    let first = numbers.widths[..index].iter().sum::<usize>();
    let name = &numbers.columns.features[index].name;
    let parts = parts(name, rows.column(index), None)?;
    let count = match parts.width == width {
        true => rows.num_rows(),
        false => 0,
    };
    let mut sums = vec![0.0; width];
    // A bitmap without a NULL is ignored: whether arrow makes one depends on which shards share a worker.
    let nulls = parts.valid.as_ref().filter(|valid| valid.null_count() > 0);
    match (width, nulls) {
        (0, _) => {}
        (1, None) => sums[0] = lane_sum(&parts.numbers, |value| of(first, value)),
        _ => {
            for row in (0..count).filter(|&row| parts.is_valid(row)) {
                let values = &parts.numbers[row * width..][..width];
                for (position, (sum, &value)) in sums.iter_mut().zip(values).enumerate() {
                    *sum += of(first + position, value);
                }
            }
        }
    }
    Ok(sums)
}

/// A sum in a fixed order, in eight lanes so that an addition does not wait for the one before.
fn lane_sum(values: &[f64], of: impl Fn(f64) -> f64) -> f64 {
    let (lanes, rest) = values.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for lane in lanes {
        sums.iter_mut()
            .zip(lane)
            .for_each(|(sum, &value)| *sum += of(value));
    }
    let rest: f64 = rest.iter().map(|&value| of(value)).sum();
    sums.iter().sum::<f64>() + rest
}
