//! The dimensions of a row: `input_shape`, and the columns that hold its numbers.

use arrow::datatypes::DataType;

use super::layer::{Row, numbers};
use super::shape::DIMENSIONS_MAX;
use super::text::invalid;
use crate::data::augment::Augmentations;
use crate::data::columns::{Column, Columns, FeatureKind};
use crate::data::encode::shape::InputShape;
use crate::data::image::ImageEncoder;
use crate::data::types::{canonical_type, type_name};
use crate::model::options::TrainOptions;
use crate::{Error, Result};

/// The most columns that an error lists.
const LISTED_MAX: usize = 5;

/// The number of elements of a shape.
pub(super) fn count(shape: &[usize]) -> Result<usize> {
    let sizes = shape.len();
    if sizes > DIMENSIONS_MAX {
        return Err(invalid(format!(
            "input_shape has {sizes} sizes; expected at most {DIMENSIONS_MAX}"
        )));
    }
    numbers(shape).ok_or_else(|| match shape.contains(&0) {
        true => invalid(format!("input_shape = {shape:?} has a size of 0")),
        false => invalid(format!("input_shape = {shape:?} is too large")),
    })
}

/// Rows whose numbers are all the input of the first layer.
pub(super) fn whole_row(input_shape: &[usize], shape: &InputShape) -> Result<Row> {
    if shape.categories > 0 {
        return Err(invalid(
            "the layers take numbers and arrays, and a column has categories; leave out strings, booleans, dates and \
             timestamps, or CAST them to numbers",
        ));
    }
    if let Some(image) = &shape.image {
        return match shape.numbers {
            0 => image_row(image, input_shape, InputShape::default()),
            _ => Err(beside_an_image()),
        };
    }
    Ok(Row {
        dimensions: dimensions(input_shape, shape.numbers)?,
        place: 0..shape.numbers,
        beside: InputShape::default(),
        image: None,
    })
}

/// Rows with an image that is the input of the first layer.
fn image_row(image: &ImageEncoder, input_shape: &[usize], beside: InputShape) -> Result<Row> {
    Ok(Row {
        dimensions: dimensions(input_shape, image.reader.numbers())?,
        place: 0..0,
        beside,
        image: Some(image.clone()),
    })
}

fn beside_an_image() -> Error {
    invalid(
        "the image is all the input of the layers; leave out the other columns, or add a layer inputs(units), which takes them",
    )
}

/// Rows with an array that is the input of the first layer, and columns beside it for the layer `inputs`.
pub(super) fn array_row(input_shape: &[usize], shape: &InputShape) -> Result<Row> {
    if let Some(image) = &shape.image {
        let beside = InputShape {
            arrays: vec![],
            image: None,
            ..shape.clone()
        };
        return match (shape.arrays.len(), beside.numbers + beside.categories) {
            (0, 0) => Err(nothing_beside()),
            (0, _) => image_row(image, input_shape, beside),
            (arrays, _) => Err(needs_one_array(arrays + 1)),
        };
    }
    let [place] = shape.arrays.as_slice() else {
        return Err(needs_one_array(shape.arrays.len()));
    };
    let beside = InputShape {
        numbers: shape.numbers - place.len(),
        arrays: vec![],
        ..shape.clone()
    };
    match beside.numbers + beside.categories {
        0 => Err(nothing_beside()),
        _ => Ok(Row {
            dimensions: dimensions(input_shape, place.len())?,
            place: place.clone(),
            beside,
            image: None,
        }),
    }
}

/// The array or image of a network with a layer `inputs`, which takes the other columns.
pub(super) fn array_of(columns: &Columns) -> Result<&Column> {
    let mut arrays = vec![];
    for column in &columns.features {
        let kind = FeatureKind::of(&column.name, &column.data_type)?;
        if matches!(kind, FeatureKind::Array | FeatureKind::Image) {
            arrays.push(column);
        }
    }
    match (arrays.len(), columns.features.len()) {
        (1, 1) => Err(nothing_beside()),
        (1, _) => Ok(arrays[0]),
        (found, _) => Err(needs_one_array(found)),
    }
}

fn needs_one_array(found: usize) -> Error {
    invalid(format!(
        "the layer inputs needs one array column, found {found}: the array or the image is the input of the first layer, and \
         inputs takes the other columns"
    ))
}

fn nothing_beside() -> Error {
    invalid("the layer inputs takes the columns beside the array, and there are none; leave it out")
}

/// The dimensions of rows of so many numbers: those of `input_shape`, or a vector if it is empty.
fn dimensions(input_shape: &[usize], numbers: usize) -> Result<Vec<usize>> {
    match (input_shape, numbers) {
        ([], 0) => Err(invalid("the columns hold no numbers")),
        ([], _) => Ok(vec![numbers]),
        (shape, _) => match count(shape)? {
            count if count == numbers => Ok(shape.to_vec()),
            count => Err(invalid(format!(
                "input_shape = {shape:?} has {count} numbers, a row has {numbers}"
            ))),
        },
    }
}

/// Refuses images that are not the input of layers, before any row is read; `of_input` are the columns of the input. Returns
/// whether there is one.
///
/// # Errors
/// [`Error::Invalid`] with the remedy.
pub(super) fn check_image(of_input: &[&Column], options: &TrainOptions) -> Result<bool> {
    let is_image = |column: &&Column| {
        let kind = FeatureKind::of(&column.name, &column.data_type);
        kind.is_ok_and(|kind| kind == FeatureKind::Image)
    };
    let Some(column) = of_input.iter().copied().find(is_image) else {
        return Ok(false);
    };
    if of_input.len() > 1 {
        return Err(beside_an_image());
    }
    let reader = options.image_reader();
    let reader = reader.map_err(|error| invalid(format!("column \"{}\": {error}", column.name)))?;
    options.image.statistics(reader.channels)?;
    Ok(true)
}

/// Refuses augmentations that are not known, or that change no image: without the three sizes of one.
pub(super) fn check_augment(options: &TrainOptions) -> Result<()> {
    let augmentations = Augmentations::read(&options.augment)?;
    match options.input_shape.len() {
        3 => Ok(()),
        _ if augmentations.is_empty() => Ok(()),
        _ => Err(invalid(
            "augment changes images, so it needs input_shape = [channels, height, width]",
        )),
    }
}

/// The dimensions of rows of these columns; `None` if their types do not determine them.
///
/// # Errors
/// [`Error::Type`] for a column that holds no numbers, [`Error::Invalid`] for too many or too few numbers.
pub(super) fn dimensions_of(
    columns: &[&Column],
    input_shape: &[usize],
) -> Result<Option<Vec<usize>>> {
    let widths = columns.iter().map(|column| width(column));
    let widths = widths.collect::<Result<Vec<Option<usize>>>>()?;
    let Some(total) = widths.iter().copied().sum::<Option<usize>>() else {
        return Ok(None);
    };
    let found = dimensions(input_shape, total);
    let dimensions = found.map_err(|error| {
        let listed = columns.iter().zip(&widths).take(LISTED_MAX);
        let listed =
            listed.map(|(column, width)| format!("\"{}\" {}", column.name, width.unwrap_or(0)));
        let mut listed: Vec<String> = listed.collect();
        if widths.len() > LISTED_MAX {
            listed.push(format!("{} more columns", widths.len() - LISTED_MAX));
        }
        invalid(format!("{error}: {}", listed.join(", ")))
    })?;
    Ok(Some(dimensions))
}

/// The numbers of a column in each row, if its type determines them.
fn width(column: &Column) -> Result<Option<usize>> {
    let Column { name, data_type } = column;
    let remedy = match FeatureKind::of(name, data_type)? {
        FeatureKind::Number => return Ok(Some(1)),
        FeatureKind::Array => {
            return Ok(match canonical_type(data_type) {
                DataType::FixedSizeList(_, width) => usize::try_from(width).ok(),
                _ => None,
            });
        }
        // The shape of an input of images is `input_shape`.
        FeatureKind::Image => return Ok(None),
        FeatureKind::Category => "CAST it to a number",
        FeatureKind::Date | FeatureKind::Timestamp => "make numbers of it with date_part",
    };
    Err(Error::Type(format!(
        "column \"{name}\" is {}, and the layers take numbers and arrays of numbers; leave it out, or {remedy}",
        type_name(data_type)
    )))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{Field, TimeUnit};

    use super::*;

    fn found(features: Vec<DataType>, input_shape: &[usize]) -> String {
        let column = |(number, data_type): (usize, DataType)| Column {
            name: format!("c{number}"),
            data_type,
        };
        let columns: Vec<Column> = features.into_iter().enumerate().map(column).collect();
        match dimensions_of(&columns.iter().collect::<Vec<_>>(), input_shape) {
            Ok(dimensions) => format!("{dimensions:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_types_of_columns_tell_the_dimensions_of_a_row() {
        let item = || Arc::new(Field::new_list_field(DataType::Float32, true));
        let list = || DataType::List(item());
        let three = || DataType::FixedSizeList(item(), 3);
        let number = || DataType::Int64;
        assert_eq!(found(vec![three()], &[]), "Some([3])");
        assert_eq!(found(vec![three(), number()], &[2, 2]), "Some([2, 2])");
        assert_eq!(found(vec![list(), number()], &[1, 4]), "None");
        assert_eq!(
            found(vec![three()], &[1, 4]),
            "input_shape = [1, 4] has 4 numbers, a row has 3: \"c0\" 3"
        );
        let mut many = vec![number(); 7];
        many[0] = three();
        assert_eq!(
            found(many, &[8]),
            "input_shape = [8] has 8 numbers, a row has 9: \"c0\" 3, \"c1\" 1, \"c2\" 1, \"c3\" 1, \"c4\" 1, 2 more columns"
        );
        for (data_type, expected) in [
            (DataType::Utf8View, "column \"c1\" is utf8, and the layers"),
            (
                DataType::Boolean,
                "is boolean, and the layers take numbers and arrays of numbers; leave it out, or CAST it",
            ),
            (DataType::Date32, "is date32, and the layers"),
            (
                DataType::Timestamp(TimeUnit::Second, None),
                "leave it out, or make numbers of it with date_part",
            ),
        ] {
            let error = found(vec![list(), data_type], &[]);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_layer_inputs_needs_one_array_and_others() {
        let array = || {
            let item = Arc::new(Field::new_list_field(DataType::Float32, true));
            DataType::List(item)
        };
        let found = |features: Vec<DataType>| {
            let column = |(number, data_type): (usize, DataType)| Column {
                name: format!("c{number}"),
                data_type,
            };
            let columns = Columns {
                features: features.into_iter().enumerate().map(column).collect(),
                targets: vec![column((9, DataType::Int64))],
            };
            let found = array_of(&columns).map(|column| column.name.clone());
            found.unwrap_or_else(|error| error.to_string())
        };
        assert_eq!(found(vec![DataType::Utf8, array(), DataType::Date32]), "c1");
        assert!(found(vec![array()]).contains("and there are none"));
        assert!(found(vec![DataType::Int64]).contains("found 0"));
        assert!(found(vec![array(), DataType::Int64, array()]).contains("found 2"));
    }

    #[test]
    fn a_shape_that_no_row_has_is_named() {
        for (shape, expected) in [
            (vec![0], "input_shape = [0] has a size of 0"),
            (
                vec![1 << 14, 1 << 15],
                "input_shape = [16384, 32768] is too large",
            ),
            (
                vec![2, 4],
                "input_shape = [2, 4] has 8 numbers, a row has 6",
            ),
            (vec![1; 7], "input_shape has 7 sizes; expected at most 6"),
        ] {
            let error = dimensions(&shape, 6).unwrap_err().to_string();
            assert_eq!(error, expected);
        }
        let error = dimensions(&[], 0).unwrap_err().to_string();
        assert_eq!(error, "the columns hold no numbers");
    }
}
