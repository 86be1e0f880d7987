//! [`Images`]: a column of images, row by row.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Int64Type, UInt8Type};
use vatic_images::{Image, decode, header};

use super::reader::ImageReader;
use crate::data::coerce::canonical_array;
use crate::data::lists::Lists;
use crate::data::types::{IMAGE_PIXELS, IMAGE_SIZES, type_name};
use crate::{Error, Result};

/// A column of images: files in bytes of any type of varying length, or structs as `decode_image` gives them.
#[derive(Debug)]
pub struct Images(Column);

#[derive(Debug)]
enum Column {
    /// Only NULLs.
    Nothing,
    Files(ArrayRef),
    Decoded(Box<Decoded>),
}

/// Structs of sizes and levels.
#[derive(Debug)]
struct Decoded {
    images: StructArray,
    sizes: [ArrayRef; 3],
    pixels: Lists,
}

impl Images {
    /// The images of a column.
    ///
    /// # Errors
    /// [`Error::Type`] for a column of another type.
    pub fn of(array: &ArrayRef) -> Result<Self> {
        let column = match array.data_type() {
            DataType::Null => Column::Nothing,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
                Column::Files(Arc::clone(array))
            }
            DataType::Struct(_) => {
                let decoded = Decoded::try_new(array.as_struct())?;
                Column::Decoded(Box::new(decoded))
            }
            DataType::Dictionary(..) | DataType::RunEndEncoded(..) => {
                return Self::of(&canonical_array(array)?);
            }
            other => return Err(no_images(other)),
        };
        Ok(Self(column))
    }

    /// The memory that [`Images::image`] takes at once, in bytes: an upper bound, which the header of a file tells; and the width
    /// and the height of the image. `None` without an image.
    fn decoding_bytes(&self, row: usize, channels: usize) -> Option<(usize, [usize; 2])> {
        match &self.0 {
            Column::Nothing => None,
            Column::Files(files) => {
                let header = file(files, row).and_then(|bytes| header(bytes).ok());
                header.map(|header| {
                    let size = [header.width as usize, header.height as usize];
                    (header.decoding_bytes(channels) as usize, size)
                })
            }
            Column::Decoded(decoded) => {
                let image = decoded.row(row).and_then(Result::ok);
                image.map(|image| {
                    let values = image.height * image.width * channels;
                    (values, [image.width, image.height])
                })
            }
        }
    }

    /// The image of a row; `None` if it is NULL. A file is decoded with these channels.
    ///
    /// # Errors
    /// The cause, for a message that names the column.
    pub(crate) fn image(&self, row: usize, channels: usize) -> Result<Option<Image<'_>>, String> {
        match &self.0 {
            Column::Nothing => Ok(None),
            Column::Files(files) => {
                let bytes = file(files, row);
                bytes.map(|bytes| decode(bytes, channels)).transpose()
            }
            Column::Decoded(decoded) => decoded.row(row).transpose(),
        }
    }

    /// The memory that [`Images::image`] and resizing its result take at once, in bytes: an upper bound. `resizing` tells the
    /// memory that resizing takes for an image of a width and a height. 0 without an image.
    pub(crate) fn resized_bytes(
        &self,
        row: usize,
        channels: usize,
        resizing: impl Fn([usize; 2]) -> usize,
    ) -> usize {
        let found = self.decoding_bytes(row, channels);
        found.map_or(0, |(decoding, [width, height])| {
            // The orientation of a file may exchange both.
            let (upright, turned) = (resizing([width, height]), resizing([height, width]));
            decoding.saturating_add(upright.max(turned))
        })
    }

    /// The memory that [`Images::read`] takes at once besides the pixels that it appends, in bytes: an upper bound.
    pub fn reading_bytes(&self, row: usize, reader: &ImageReader) -> usize {
        self.resized_bytes(row, reader.channels, |size| reader.resizing_bytes(size))
    }

    /// Appends the pixels of a row, channels first, and returns whether there is an image. NULL appends zeros.
    ///
    /// # Errors
    /// The cause, for a message that names the column; then nothing is appended.
    pub fn read(
        &self,
        row: usize,
        reader: &ImageReader,
        pixels: &mut Vec<u8>,
    ) -> Result<bool, String> {
        let Some(image) = self.image(row, reader.channels)? else {
            pixels.resize(pixels.len() + reader.numbers(), 0);
            return Ok(false);
        };
        reader.append(image, pixels)?;
        Ok(true)
    }
}

impl Decoded {
    fn try_new(images: &StructArray) -> Result<Self> {
        let missing = || no_images(images.data_type());
        let field = |name: &str| images.column_by_name(name).ok_or_else(missing);
        let [height, width, channels] = IMAGE_SIZES;
        let size = |name: &str| -> Result<ArrayRef> { Ok(cast(field(name)?, &DataType::Int64)?) };
        Ok(Self {
            images: images.clone(),
            sizes: [size(height)?, size(width)?, size(channels)?],
            pixels: Lists::of(field(IMAGE_PIXELS)?)?,
        })
    }

    /// The image of a row; `None` if a part of it is NULL.
    fn row(&self, row: usize) -> Option<Result<Image<'_>, String>> {
        let Self {
            images,
            sizes,
            pixels,
        } = self;
        let is_null = |array: &dyn Array| array.is_null(row);
        if is_null(images) || sizes.iter().any(|size| is_null(size)) || !pixels.is_valid(row) {
            return None;
        }
        let (start, length) = pixels.rows[row];
        let levels = pixels.values.slice(start, length);
        if levels.null_count() > 0 {
            return None;
        }
        let sizes = [0, 1, 2].map(|of: usize| {
            let size = sizes[of].as_primitive::<Int64Type>().value(row);
            usize::try_from(size).unwrap_or(0)
        });
        Some(image(sizes, &pixels.values, start..start + length, &levels))
    }
}

fn no_images(data_type: &DataType) -> Error {
    Error::Type(format!(
        "a column of {} holds no images; expected the bytes of files, or decode_image",
        type_name(data_type)
    ))
}

/// The bytes of a file; `None` if they are NULL.
fn file(files: &ArrayRef, row: usize) -> Option<&[u8]> {
    if files.is_null(row) {
        return None;
    }
    match files.data_type() {
        DataType::Binary => Some(files.as_binary::<i32>().value(row)),
        DataType::LargeBinary => Some(files.as_binary::<i64>().value(row)),
        DataType::BinaryView => Some(files.as_binary_view().value(row)),
        _ => None,
    }
}

/// An image of these sizes, whose levels are the part `range` of `values`.
fn image<'a>(
    sizes: [usize; 3],
    values: &'a ArrayRef,
    range: Range<usize>,
    levels: &ArrayRef,
) -> Result<Image<'a>, String> {
    let pixels = match values.as_primitive_opt::<UInt8Type>() {
        Some(values) => Cow::Borrowed(&values.values()[range]),
        None => {
            let strict = CastOptions {
                safe: false,
                ..CastOptions::default()
            };
            let levels = cast_with_options(levels, &DataType::UInt8, &strict);
            let levels = levels.map_err(|_| "its levels are not from 0 to 255".to_owned())?;
            Cow::Owned(levels.as_primitive::<UInt8Type>().values().to_vec())
        }
    };
    Image::try_new(sizes, pixels)
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BinaryArray, BinaryViewArray, Int32Array, Int64Array, ListArray, NullArray, new_null_array,
    };
    use arrow::datatypes::{Field, Int32Type};

    use super::super::options::ImageOptions;
    use super::*;

    /// A grey PNG of 4 x 2 pixels with one bit each: 1010 above 0101.
    const PNG: &[u8] = &[
        0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44,
        0x52, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x02, 0x01, 0x00, 0x00, 0x00, 0x00, 0x57,
        0xd3, 0x40, 0xce, 0x00, 0x00, 0x00, 0x0c, 0x49, 0x44, 0x41, 0x54, 0x78, 0x9c, 0x63, 0x58,
        0xc0, 0x10, 0x00, 0x00, 0x02, 0x34, 0x00, 0xf1, 0x16, 0x04, 0xb2, 0x3f, 0x00, 0x00, 0x00,
        0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
    ];

    fn reader(channels: usize) -> ImageReader {
        ImageReader::new(&[channels, 2, 4], &ImageOptions::default()).unwrap()
    }

    fn read(images: &Images, row: usize, channels: usize) -> Result<(bool, Vec<u8>), String> {
        let mut pixels = vec![];
        let is_there = images.read(row, &reader(channels), &mut pixels)?;
        Ok((is_there, pixels))
    }

    #[test]
    fn files_of_every_type_of_bytes_are_decoded() {
        let files = [Some(PNG), None, Some(b"text".as_slice())];
        let binary: ArrayRef = Arc::new(BinaryArray::from_iter(files));
        let views: ArrayRef = Arc::new(BinaryViewArray::from_iter(files));
        let large = cast(&binary, &DataType::LargeBinary).unwrap();
        for array in [binary, views, large] {
            let images = Images::of(&array).unwrap();
            let grey = [255, 0, 255, 0, 0, 255, 0, 255];
            assert_eq!(read(&images, 0, 1), Ok((true, grey.to_vec())));
            assert_eq!(read(&images, 0, 3), Ok((true, [grey; 3].concat())));
            assert_eq!(read(&images, 1, 1), Ok((false, vec![0; 8])));
            let cause = read(&images, 2, 1).unwrap_err();
            assert!(cause.contains("the 4 bytes are no JPEG"), "{cause}");
            assert!(images.reading_bytes(0, &reader(1)) >= 8 * 2);
            assert_eq!(images.reading_bytes(1, &reader(1)), 0);
        }
        let nothing: ArrayRef = Arc::new(NullArray::new(1));
        let nothing = Images::of(&nothing).unwrap();
        assert_eq!(read(&nothing, 0, 1), Ok((false, vec![0; 8])));
    }

    #[test]
    fn structs_of_any_integers_are_images() {
        let levels = |first: i32| Some((first..first + 24).map(Some).collect::<Vec<_>>());
        let pixels = ListArray::from_iter_primitive::<Int32Type, _, _>([
            levels(0),
            levels(232 + 1),
            Some(vec![Some(1), Some(2)]),
        ]);
        let sizes = |value: i64| Arc::new(Int64Array::from(vec![value; 3])) as ArrayRef;
        let field = |name: &str, array: &ArrayRef| {
            Arc::new(Field::new(name, array.data_type().clone(), true))
        };
        let pixels: ArrayRef = Arc::new(pixels);
        let small = cast(&sizes(3), &DataType::Int32).unwrap();
        let columns = [
            ("height", sizes(2)),
            ("width", sizes(4)),
            ("channels", small),
            ("pixels", pixels),
        ];
        let columns = columns.map(|(name, array)| (field(name, &array), array));
        let array: ArrayRef = Arc::new(StructArray::from(columns.to_vec()));
        let images = Images::of(&array).unwrap();
        let expected: Vec<u8> = (0..3)
            .flat_map(|channel| (0..8).map(move |pixel| 3 * pixel + channel))
            .collect();
        assert_eq!(read(&images, 0, 3), Ok((true, expected)));
        let cause = read(&images, 1, 3).unwrap_err();
        assert_eq!(cause, "its levels are not from 0 to 255");
        let cause = read(&images, 2, 3).unwrap_err();
        assert!(cause.contains("3 channels has 2 values"), "{cause}");
        let null = new_null_array(array.data_type(), 1);
        assert_eq!(
            read(&Images::of(&null).unwrap(), 0, 3),
            Ok((false, vec![0; 24]))
        );
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        let error = Images::of(&numbers).unwrap_err().to_string();
        assert!(error.contains("a column of int32 holds no images"));
    }
}
