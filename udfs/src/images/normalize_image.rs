//! `normalize_image(image [, mean, std])`: the numbers of an image as networks take them.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, exec_err};
use datafusion_expr::ScalarUDF;
use vatic_images::Image;

use super::argument::Arguments;
use super::column::check_result;
use super::function::{Definition, Parameter, Takes};
use crate::doc::Doc;

const DOC: Doc = Doc {
    name: "normalize_image",
    syntax: "normalize_image(image [, mean, std])",
    gives: "the image as a list of numbers in the order channels, height, width: each value / 255, minus mean, divided by std; \
            mean and std are numbers, or lists with a number for each channel; 0 and 1 by default",
    example: "SELECT normalize_image(resize_image(bytes, 32, 32), 0.5, 0.5) FROM read_images('photos/')",
};

const PARAMETERS: &[Parameter] = &[
    Parameter("image", Takes::Image),
    Parameter("mean", Takes::Numbers),
    Parameter("std", Takes::Numbers),
];

/// The values that a channel of a pixel may have.
const LEVELS: usize = 256;

pub(super) fn function() -> ScalarUDF {
    let definition = Definition {
        doc: &DOC,
        parameters: PARAMETERS,
        optional: 2,
        returns: DataType::List(item()),
        compute,
    };
    definition.function()
}

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Float32, true))
}

fn compute(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let images = arguments.images(0)?;
    let (means, deviations) = (arguments.numbers_or(1, 0.0)?, arguments.numbers_or(2, 1.0)?);
    let mut numbers: Vec<f32> = Vec::new();
    let mut lengths = Vec::with_capacity(arguments.rows);
    let mut valid = Vec::with_capacity(arguments.rows);
    for row in 0..arguments.rows {
        let before = numbers.len();
        let image = match (means.row(row), deviations.row(row)) {
            (Some(mean), Some(deviation)) => images.row(row)?.map(|image| (image, mean, deviation)),
            _ => None,
        };
        valid.push(image.is_some());
        if let Some((image, mean, deviation)) = image {
            let bytes = (before + image.pixels.len()) * size_of::<f32>();
            check_result(DOC.name, bytes)?;
            append(&mut numbers, &image, &mean, &deviation)?;
        }
        lengths.push(numbers.len() - before);
    }
    Ok(Arc::new(ListArray::try_new(
        item(),
        OffsetBuffer::from_lengths(lengths),
        Arc::new(Float32Array::from(numbers)),
        Some(NullBuffer::from(valid)),
    )?))
}

/// Appends the numbers of an image. They are computed in f32 and in these steps, as torchvision computes them.
fn append(
    numbers: &mut Vec<f32>,
    image: &Image<'_>,
    mean: &[f64],
    deviation: &[f64],
) -> Result<()> {
    for channel in 0..image.channels {
        let mean = of_channel("mean", mean, channel, image.channels)? as f32;
        let deviation = of_channel("std", deviation, channel, image.channels)? as f32;
        if deviation.is_nan() || deviation <= 0.0 {
            return exec_err!("{} takes a std above 0, found {deviation}", DOC.name);
        }
        let normalized: [f32; LEVELS] =
            std::array::from_fn(|level| (level as f32 / 255.0 - mean) / deviation);
        let values = image.pixels.iter().skip(channel).step_by(image.channels);
        numbers.extend(values.map(|value| normalized[usize::from(*value)]));
    }
    Ok(())
}

fn of_channel(name: &str, numbers: &[f64], channel: usize, channels: usize) -> Result<f64> {
    match numbers {
        [number] => Ok(*number),
        numbers if numbers.len() == channels => Ok(numbers[channel]),
        numbers => exec_err!(
            "{} takes 1 or {channels} numbers as {name} of an image with {channels} channels, found {}",
            DOC.name,
            numbers.len()
        ),
    }
}
