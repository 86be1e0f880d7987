//! [`Images`]: a column of images or of files of images. [`ImagesBuilder`]: builds a column of images.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListArray, StructArray, UInt8Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Int32Type, UInt8Type};
use datafusion_common::{Result, exec_err};
use vatic_images::{Image, decode};

use crate::call::{Values, strictly};
use crate::guard::check_bytes;

/// The channels of a file that a function decodes on the way.
pub(super) const DEFAULT_CHANNELS: usize = 3;

/// The whole numbers of an image.
const SIZES: [&str; 3] = ["height", "width", "channels"];
const PIXELS: &str = "pixels";

/// The type of an image in SQL.
pub(super) fn image_type() -> DataType {
    DataType::Struct(fields())
}

fn fields() -> Fields {
    let sizes = SIZES.map(|name| Field::new(name, DataType::Int32, false));
    let pixels = Field::new_list(PIXELS, item(), false);
    sizes.into_iter().chain([pixels]).collect()
}

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::UInt8, false))
}

/// Whether a type can hold images: it has the fields, which may have other types of numbers and lists.
pub(super) fn is_image(data_type: &DataType) -> bool {
    let DataType::Struct(fields) = data_type else {
        return false;
    };
    let has = |name: &str, is: fn(&DataType) -> bool| {
        let mut fields = fields.iter();
        fields.any(|field| field.name() == name && is(field.data_type()))
    };
    SIZES.iter().all(|name| has(name, DataType::is_integer)) && has(PIXELS, is_list_of_integers)
}

fn is_list_of_integers(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            item.data_type().is_integer()
        }
        _ => false,
    }
}

/// The images of an argument.
pub(super) struct Images {
    function: &'static str,
    values: Values,
    /// The fields of images; `None` if the values are files.
    decoded: Option<Decoded>,
}

struct Decoded {
    sizes: [Part; 3],
    pixels: Part,
}

/// A field of all images.
struct Part {
    found: ArrayRef,
    /// The field in the type that images have. What does not fit this type is NULL: it may belong to no row, as behind a NULL,
    /// or in a list before the first row of a slice.
    fitted: ArrayRef,
}

impl Images {
    pub(super) fn try_new(function: &'static str, values: Values) -> Result<Self> {
        let decoded = match values.array.as_struct_opt() {
            Some(images) => Some(Decoded::try_new(function, images)?),
            None => None,
        };
        Ok(Self {
            function,
            values,
            decoded,
        })
    }

    /// The image of a row; `None` if it is NULL.
    pub(super) fn row(&self, row: usize) -> Result<Option<Image<'_>>> {
        let function = self.function;
        let found = match &self.decoded {
            None => match self.values.binary(row) {
                Some(bytes) => decode(bytes, DEFAULT_CHANNELS).map(Some),
                None => Ok(None),
            },
            Some(decoded) => match self.values.place(row) {
                Some(place) => return decoded.image(function, place),
                None => Ok(None),
            },
        };
        match found {
            Ok(image) => Ok(image),
            Err(cause) => exec_err!("{function}: {cause}"),
        }
    }
}

impl Decoded {
    fn try_new(function: &str, images: &StructArray) -> Result<Self> {
        let part = |name: &str, data_type: &DataType| -> Result<Part> {
            match images.column_by_name(name) {
                Some(found) => Ok(Part {
                    found: Arc::clone(found),
                    fitted: cast(found, data_type)?,
                }),
                None => exec_err!("{function} takes images with the field {name}"),
            }
        };
        let [height, width, channels] = SIZES;
        let size = |name: &str| part(name, &DataType::Int32);
        let nullable = Field::new_list_field(DataType::UInt8, true);
        Ok(Self {
            sizes: [size(height)?, size(width)?, size(channels)?],
            pixels: part(PIXELS, &DataType::List(Arc::new(nullable)))?,
        })
    }

    /// The image at a place; `None` if a part of it is NULL.
    fn image(&self, function: &str, place: usize) -> Result<Option<Image<'_>>> {
        let mut parts = self.sizes.iter().chain([&self.pixels]);
        if parts.any(|part| part.found.is_null(place)) {
            return Ok(None);
        }
        let mut sizes = [0; 3];
        for (size, part) in sizes.iter_mut().zip(&self.sizes) {
            *size = usize::try_from(part.size(place)?).unwrap_or(0);
        }
        let Some(pixels) = self.pixels.bytes(place)? else {
            return Ok(None);
        };
        match Image::try_new(sizes, Cow::Borrowed(pixels)) {
            Ok(image) => Ok(Some(image)),
            Err(cause) => exec_err!("{function}: {cause}"),
        }
    }
}

impl Part {
    /// A size that is not NULL.
    fn size(&self, place: usize) -> Result<i32> {
        if self.fitted.is_null(place) {
            strictly(&self.found.slice(place, 1), &DataType::Int32)?;
        }
        Ok(self.fitted.as_primitive::<Int32Type>().value(place))
    }

    /// The elements of a list that is not NULL; `None` if one of them is NULL.
    fn bytes(&self, place: usize) -> Result<Option<&[u8]>> {
        let lists = self.fitted.as_list::<i32>();
        let offsets = lists.value_offsets();
        let (start, end) = (offsets[place] as usize, offsets[place + 1] as usize);
        let values = lists.values().as_primitive::<UInt8Type>();
        if values.null_count() > 0 && (start..end).any(|at| values.is_null(at)) {
            strictly(&elements(&self.found, place), &DataType::UInt8)?;
            return Ok(None);
        }
        Ok(Some(&values.values()[start..end]))
    }
}

/// The elements of a list at a place.
fn elements(lists: &ArrayRef, place: usize) -> ArrayRef {
    match lists.data_type() {
        DataType::List(_) => lists.as_list::<i32>().value(place),
        DataType::LargeList(_) => lists.as_list::<i64>().value(place),
        _ => lists.as_fixed_size_list().value(place),
    }
}

/// Builds a column of images.
pub(super) struct ImagesBuilder {
    function: &'static str,
    sizes: [Vec<i32>; 3],
    pixels: Vec<u8>,
    lengths: Vec<usize>,
    valid: Vec<bool>,
}

impl ImagesBuilder {
    pub(super) fn new(function: &'static str, rows: usize) -> Self {
        Self {
            function,
            sizes: [(); 3].map(|()| Vec::with_capacity(rows)),
            pixels: Vec::new(),
            lengths: Vec::with_capacity(rows),
            valid: Vec::with_capacity(rows),
        }
    }

    pub(super) fn push(&mut self, image: Option<&Image<'_>>) -> Result<()> {
        self.valid.push(image.is_some());
        let (sizes, pixels) = match image {
            Some(image) => (
                [image.height, image.width, image.channels],
                &image.pixels[..],
            ),
            None => ([0; 3], &[][..]),
        };
        for (column, size) in self.sizes.iter_mut().zip(sizes) {
            // An image has at most 100 million pixels.
            column.push(size as i32);
        }
        check_result(self.function, self.pixels.len() + pixels.len())?;
        self.lengths.push(pixels.len());
        self.pixels.extend_from_slice(pixels);
        Ok(())
    }

    pub(super) fn finish(self) -> Result<ArrayRef> {
        let pixels = ListArray::try_new(
            item(),
            OffsetBuffer::from_lengths(self.lengths),
            Arc::new(UInt8Array::from(self.pixels)),
            None,
        )?;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(4);
        for size in self.sizes {
            columns.push(Arc::new(Int32Array::from(size)));
        }
        columns.push(Arc::new(pixels));
        let valid = NullBuffer::from(self.valid);
        Ok(Arc::new(StructArray::try_new(
            fields(),
            columns,
            Some(valid),
        )?))
    }
}

/// Refuses a result that is too large for one batch.
pub(super) fn check_result(function: &str, bytes: usize) -> Result<()> {
    let hint = "; SET datafusion.execution.batch_size to fewer rows, or give the bytes of files to resize_image or \
                normalize_image, which keep no larger image than their result";
    check_bytes(function, bytes as u128, hint)
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use datafusion_expr::ColumnarValue;

    use super::*;

    /// Images of one grey pixel.
    fn images(pixels: &[i64], valid: &[bool]) -> StructArray {
        let sizes: ArrayRef = Arc::new(Int64Array::from(vec![1; pixels.len()]));
        let item = Arc::new(Field::new_list_field(DataType::Int64, true));
        let values = Arc::new(Int64Array::from(pixels.to_vec()));
        let offsets = OffsetBuffer::from_repeated_length(1, pixels.len());
        let pixels = Arc::new(ListArray::new(item, offsets, values, None));
        let columns = SIZES.map(|name| (name, Arc::clone(&sizes)));
        let columns = columns.into_iter().chain([(PIXELS, pixels as ArrayRef)]);
        let fields = columns.clone().map(|(name, column)| {
            let data_type = column.data_type().clone();
            Field::new(name, data_type, true)
        });
        let columns = columns.map(|(_, column)| column).collect();
        let valid = NullBuffer::from(valid.to_vec());
        StructArray::new(fields.collect(), columns, Some(valid))
    }

    fn pixel(images: &StructArray, row: usize) -> Result<Option<u8>> {
        let values = Values::try_new(&ColumnarValue::Array(Arc::new(images.clone())))?;
        let images = Images::try_new("resize_image", values)?;
        Ok(images.row(row)?.map(|image| image.pixels[0]))
    }

    #[test]
    fn values_that_belong_to_no_row_are_not_looked_at() {
        let all = images(&[256, 7, -1, 8], &[true, true, false, true]);
        assert_eq!(pixel(&all, 1).unwrap(), Some(7));
        assert_eq!(pixel(&all, 2).unwrap(), None);
        let error = pixel(&all, 0).unwrap_err().to_string();
        assert!(error.contains("256"), "{error}");
        let last = all.slice(3, 1);
        assert_eq!(pixel(&last, 0).unwrap(), Some(8));
    }
}
