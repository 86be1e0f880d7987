//! `image_info(bytes)`: what the header of a file says.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Builder, StringBuilder, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion_common::{Result, exec_err};
use datafusion_expr::ScalarUDF;
use vatic_images::header;

use super::argument::Arguments;
use super::function::{Definition, Parameter, Takes};
use crate::doc::Doc;

const DOC: Doc = Doc {
    name: "image_info",
    syntax: "image_info(bytes)",
    gives: "what the header of a file says, as {format, width, height, channels, bits, orientation}; no pixel is decoded, and \
            width and height are those before the image is turned upright",
    example: "SELECT path, image_info(bytes)['width'] AS width FROM read_images('photos/')",
};

const PARAMETERS: &[Parameter] = &[Parameter("bytes", Takes::Bytes)];

/// The fields that are numbers.
const NUMBERS: [&str; 5] = ["width", "height", "channels", "bits", "orientation"];

pub(super) fn function() -> ScalarUDF {
    let definition = Definition {
        doc: &DOC,
        parameters: PARAMETERS,
        optional: 0,
        returns: DataType::Struct(fields()),
        compute,
    };
    definition.function()
}

fn fields() -> Fields {
    let format = Field::new("format", DataType::Utf8, true);
    let numbers = NUMBERS.map(|name| Field::new(name, DataType::Int32, true));
    [format].into_iter().chain(numbers).collect()
}

fn compute(arguments: &Arguments<'_>) -> Result<ArrayRef> {
    let files = arguments.bytes(0)?;
    let mut formats = StringBuilder::new();
    let mut numbers = NUMBERS.map(|_| Int32Builder::with_capacity(arguments.rows));
    let mut valid = Vec::with_capacity(arguments.rows);
    for row in 0..arguments.rows {
        let found = match files.binary(row).map(header).transpose() {
            Ok(found) => found,
            Err(cause) => return exec_err!("{}: {cause}", DOC.name),
        };
        valid.push(found.is_some());
        formats.append_option(found.map(|header| header.format));
        // The sizes of a file fit: formats have at most 31 bits for them.
        let values = found.map(|header| {
            [
                header.width as i32,
                header.height as i32,
                i32::from(header.channels),
                i32::from(header.bits),
                i32::from(header.orientation),
            ]
        });
        for (index, column) in numbers.iter_mut().enumerate() {
            column.append_option(values.map(|values| values[index]));
        }
    }
    let mut columns: Vec<ArrayRef> = vec![Arc::new(formats.finish())];
    for mut column in numbers {
        columns.push(Arc::new(column.finish()));
    }
    let valid = NullBuffer::from(valid);
    Ok(Arc::new(StructArray::try_new(
        fields(),
        columns,
        Some(valid),
    )?))
}
