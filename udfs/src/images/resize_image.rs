//! `resize_image(image, width, height [, filter])`: the image with other sizes.

use arrow::array::ArrayRef;
use datafusion_common::{Result, exec_err};
use datafusion_expr::ScalarUDF;
use vatic_images::{Filter, PIXELS_MAX, resize};

use super::argument::Arguments;
use super::column::{ImagesBuilder, image_type};
use super::function::{Definition, Parameter, Takes};
use crate::doc::Doc;

const DOC: Doc = Doc {
    name: "resize_image",
    syntax: "resize_image(image, width, height [, filter])",
    gives: "the image with this width and height, as Pillow resizes it; filter is nearest, box, bilinear (the default), \
            hamming, bicubic or lanczos",
    example: "SELECT resize_image(bytes, 224, 224, filter => 'bicubic') FROM read_images('photos/')",
};

const PARAMETERS: &[Parameter] = &[
    Parameter("image", Takes::Image),
    Parameter("width", Takes::Integer),
    Parameter("height", Takes::Integer),
    Parameter("filter", Takes::Text),
];

pub(super) fn function() -> ScalarUDF {
    let definition = Definition {
        doc: &DOC,
        parameters: PARAMETERS,
        optional: 1,
        returns: image_type(),
        compute,
    };
    definition.function()
}

fn compute(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let images = arguments.images(0)?;
    let (widths, heights) = (arguments.integers(1)?, arguments.integers(2)?);
    let filters = arguments.texts_or(3, "bilinear")?;
    let mut resized = ImagesBuilder::new(DOC.name, arguments.rows);
    for row in 0..arguments.rows {
        let (Some(width), Some(height), Some(filter)) =
            (widths.integer(row), heights.integer(row), filters.text(row))
        else {
            resized.push(None)?;
            continue;
        };
        let (width, height) = checked(width, height)?;
        let filter = known(filter)?;
        match images.row(row)? {
            Some(image) => resized.push(Some(&resize(image, width, height, filter)))?,
            None => resized.push(None)?,
        }
    }
    resized.finish()
}

fn checked(width: i64, height: i64) -> Result<(usize, usize)> {
    let pixels = i128::from(width) * i128::from(height);
    if width < 1 || height < 1 || pixels > i128::from(PIXELS_MAX) {
        return exec_err!(
            "{} takes a width and a height of at least 1 and at most {} megapixels, found {width} x {height}",
            DOC.name,
            PIXELS_MAX / 1_000_000
        );
    }
    Ok((width as usize, height as usize))
}

fn known(name: &str) -> Result<Filter> {
    match name.parse() {
        Ok(filter) => Ok(filter),
        Err(cause) => exec_err!("{} has {cause}", DOC.name),
    }
}
