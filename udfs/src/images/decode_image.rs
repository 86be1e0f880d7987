//! `decode_image(bytes [, channels])` and `try_decode_image`: the pixels of a file.

use arrow::array::ArrayRef;
use datafusion_common::{Result, exec_err};
use datafusion_expr::ScalarUDF;
use vatic_images::{CHANNELS, decode};

use super::argument::Arguments;
use super::column::{DEFAULT_CHANNELS, ImagesBuilder, image_type};
use super::function::{Definition, Parameter, Takes};
use crate::doc::Doc;

const DOC: Doc = Doc {
    name: "decode_image",
    syntax: "decode_image(bytes [, channels])",
    gives: "the pixels of a JPEG, PNG, WebP or GIF (its first frame) as {height, width, channels, pixels}, upright; \
            channels is 1 (grey), 3 (RGB, the default) or 4 (RGBA)",
    example: "SELECT decode_image(bytes, channels => 1) FROM read_images('photos/')",
};

const TRY_DOC: Doc = Doc {
    name: "try_decode_image",
    syntax: "try_decode_image(bytes [, channels])",
    gives: "the same; NULL if the file cannot be decoded",
    example: "SELECT path FROM read_images('photos/') WHERE try_decode_image(bytes) IS NULL",
};

const PARAMETERS: &[Parameter] = &[
    Parameter("bytes", Takes::Bytes),
    Parameter("channels", Takes::Integer),
];

pub(super) fn function() -> ScalarUDF {
    definition(&DOC, |arguments| compute(arguments, IfBroken::Fail)).function()
}

pub(super) fn try_function() -> ScalarUDF {
    definition(&TRY_DOC, |arguments| compute(arguments, IfBroken::Null)).function()
}

fn definition(doc: &'static Doc, compute: fn(&Arguments<'_>) -> Result<ArrayRef>) -> Definition {
    Definition {
        doc,
        parameters: PARAMETERS,
        optional: 1,
        returns: image_type(),
        compute,
    }
}

/// What becomes of a file that cannot be decoded.
enum IfBroken {
    Fail,
    Null,
}

fn compute(arguments: &Arguments<'_>, if_broken: IfBroken) -> Result<ArrayRef> {
    let function = arguments.function;
    let files = arguments.bytes(0)?;
    let channels = arguments.integers_or(1, DEFAULT_CHANNELS as i64)?;
    let mut images = ImagesBuilder::new(function, arguments.rows);
    for row in 0..arguments.rows {
        let (Some(bytes), Some(channels)) = (files.binary(row), channels.integer(row)) else {
            images.push(None)?;
            continue;
        };
        let known = CHANNELS.into_iter().find(|known| *known as i64 == channels);
        let Some(channels) = known else {
            return exec_err!("{function} takes 1, 3 or 4 channels, found {channels}");
        };
        match (decode(bytes, channels), &if_broken) {
            (Ok(image), _) => images.push(Some(&image))?,
            (Err(_), IfBroken::Null) => images.push(None)?,
            (Err(cause), IfBroken::Fail) => {
                return exec_err!(
                    "{function}: {cause}; try_decode_image gives NULL for such files"
                );
            }
        }
    }
    images.finish()
}
