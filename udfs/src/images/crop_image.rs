//! `crop_image(image, x, y, width, height)`: a part of an image.

use arrow::array::ArrayRef;
use datafusion_common::{Result, exec_err};
use datafusion_expr::ScalarUDF;
use vatic_images::{Image, crop};

use super::argument::Arguments;
use super::column::{ImagesBuilder, image_type};
use super::function::{Definition, Parameter, Takes};
use crate::doc::Doc;

const DOC: Doc = Doc {
    name: "crop_image",
    syntax: "crop_image(image, x, y, width, height)",
    gives: "the part of the image whose upper left corner is x pixels from the left and y from the top; the part must be \
            within the image",
    example: "SELECT crop_image(bytes, 0, 0, 64, 64) FROM read_images('photos/')",
};

const PARAMETERS: &[Parameter] = &[
    Parameter("image", Takes::Image),
    Parameter("x", Takes::Integer),
    Parameter("y", Takes::Integer),
    Parameter("width", Takes::Integer),
    Parameter("height", Takes::Integer),
];

pub(super) fn function() -> ScalarUDF {
    let definition = Definition {
        doc: &DOC,
        parameters: PARAMETERS,
        optional: 0,
        returns: image_type(),
        compute,
    };
    definition.function()
}

fn compute(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let images = arguments.images(0)?;
    let (x, y) = (arguments.integers(1)?, arguments.integers(2)?);
    let (widths, heights) = (arguments.integers(3)?, arguments.integers(4)?);
    let mut parts = ImagesBuilder::new(DOC.name, arguments.rows);
    for row in 0..arguments.rows {
        let (Some(x), Some(y), Some(width), Some(height)) = (
            x.integer(row),
            y.integer(row),
            widths.integer(row),
            heights.integer(row),
        ) else {
            parts.push(None)?;
            continue;
        };
        match images.row(row)? {
            Some(image) => match cropped(&image, [x, y], [width, height]) {
                Some(part) => parts.push(Some(&part))?,
                None => {
                    return exec_err!(
                        "{}: {width} x {height} pixels from ({x}, {y}) on are not within an image of {} x {}",
                        DOC.name,
                        image.width,
                        image.height
                    );
                }
            },
            None => parts.push(None)?,
        }
    }
    parts.finish()
}

/// The part of an image; `None` if it is not within the image, or has no pixel.
fn cropped(image: &Image<'_>, corner: [i64; 2], sizes: [i64; 2]) -> Option<Image<'static>> {
    let [x, y] = corner.map(|at| usize::try_from(at).ok());
    let [width, height] = sizes.map(|size| usize::try_from(size).ok());
    crop(image, [x?, y?], [width?, height?])
}
