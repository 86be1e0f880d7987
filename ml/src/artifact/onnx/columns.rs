//! Features → the numbers and ids of categories that a network takes, as `data/encode/tabular` makes them of rows.
//!
//! ```text
//! inputs ─ cast ─▶ f64 [rows, numbers] ─ NaN → 0 ─ (x - mean) / std ─▶ f32 or f64
//!        ─ vocabulary, keys ─▶ i64 [rows, categories]
//!        ─ pixels ─▶ u8 [rows, channels, height, width]
//! ```

use arrow::array::new_empty_array;

use super::calendar::{of_days, of_microseconds};
use super::types::{DAYS, MICROSECONDS, PIXELS, element_type};
use crate::data::apart::parts;
use crate::data::columns::{Column, FeatureKind};
use crate::data::encode::column::{ColumnEncoder, Vocabulary};
use crate::data::encode::keys::Keys;
use crate::data::encode::standardise::Standardiser;
use crate::data::image::ImageReader;
use crate::data::parts::CategoryPart;
use crate::data::types::{canonical_type, item_type};
use crate::graph::{Attribute, ElementType, Graph, GraphPort, Value};
use crate::{Error, Result};

/// The encoded features.
#[derive(Debug, Default)]
pub(super) struct Encoded {
    /// `[rows, numbers]` in the precision of the network, if there are numbers.
    pub(super) numbers: Option<Value>,
    /// `[rows, categories]`, if there are categories.
    pub(super) categories: Option<Value>,
    /// `[rows, channels, height, width]` in u8, if there is an image.
    pub(super) pixels: Option<Value>,
    /// Which rows have no outputs, `[rows, 1]`; `None` if all have.
    pub(super) is_null: Option<Value>,
}

/// The features, as inputs of the graph. `ids` says how many ids there are, if the numbers of a column are ids.
///
/// # Errors
/// [`Error::Unsupported`] with the column whose encoding ONNX cannot express.
pub(super) fn encode(
    graph: &mut Graph,
    encoders: &[ColumnEncoder],
    ids: impl Fn(&Column) -> Option<usize>,
) -> Result<Encoded> {
    let mut found = Found::default();
    for encoder in encoders {
        found.column(graph, encoder, ids(&encoder.column))?;
    }
    let (numbers, is_null) = found.numbers(graph, encoders);
    let categories = match found.categories.as_slice() {
        [] => None,
        categories => Some(graph.concat(categories)),
    };
    Ok(Encoded {
        numbers,
        categories,
        pixels: found.pixels,
        is_null,
    })
}

/// What the columns so far hold.
#[derive(Debug, Default)]
struct Found {
    /// Each `[rows, width]` in double precision.
    numbers: Vec<Value>,
    /// Each `[rows, 1]`.
    categories: Vec<Value>,
    /// The image, of which a row has one at most.
    pixels: Option<Value>,
    /// The number of ids of the vocabularies so far.
    category_ids: usize,
    /// Whether a number may be NaN.
    has_nan: bool,
}

impl Found {
    fn column(
        &mut self,
        graph: &mut Graph,
        encoder: &ColumnEncoder,
        ids: Option<usize>,
    ) -> Result<()> {
        let Column { name, data_type } = &encoder.column;
        let mut input = |element: ElementType, sizes: &[usize], meaning: &str| {
            graph.input(GraphPort {
                name,
                element,
                sizes,
                meaning,
            })
        };
        if let Some(keys) = &encoder.keys {
            let element = element_type(data_type);
            let x = input(element, &[1], "")?;
            self.keys(graph, keys, &x, element);
            return Ok(());
        }
        let codes = match FeatureKind::of(name, data_type)? {
            FeatureKind::Number => {
                let element = element_type(data_type);
                let x = input(element, &[1], null(element))?;
                self.number(graph, x, element, ids);
                vec![]
            }
            FeatureKind::Array => {
                let width = encoder.numbers.len();
                let item = item_type(&canonical_type(data_type));
                let element = item.map(|item| element_type(&item));
                let (Some(element), 1..) = (element, width) else {
                    return Err(Error::Unsupported(format!(
                        "column \"{name}\" is an array without elements, which ONNX has no input for; train without it"
                    )));
                };
                let x = input(element, &[width], null(element))?;
                self.number(graph, x, element, ids);
                vec![]
            }
            FeatureKind::Image => {
                let image = encoder.image.as_ref();
                let image =
                    image.ok_or_else(|| Error::Internal("an image without pixels".into()))?;
                let reader = &image.reader;
                self.pixels = Some(input(ElementType::UInt8, &reader.shape(), PIXELS)?);
                let ImageReader { resize, filter, .. } = reader;
                let how = format!("image_resize {}, image_filter {filter}", resize.name());
                graph.property(name, how)?;
                vec![]
            }
            FeatureKind::Category => {
                let element = element_type(data_type);
                let x = input(element, &[1], "")?;
                match element {
                    ElementType::Boolean => vec![graph.cast(&x, ElementType::Int64)],
                    _ => vec![x],
                }
            }
            FeatureKind::Date => {
                let days = input(ElementType::Int64, &[1], DAYS)?;
                let calendar = of_days(graph, &days);
                self.numbers.extend(calendar.numbers);
                calendar.codes
            }
            FeatureKind::Timestamp => {
                let microseconds = input(ElementType::Int64, &[1], MICROSECONDS)?;
                let calendar = of_microseconds(graph, &microseconds);
                self.numbers.extend(calendar.numbers);
                calendar.codes
            }
        };
        self.categories(graph, encoder, &codes)
    }

    /// Adds the numbers of a column.
    fn number(&mut self, graph: &mut Graph, x: Value, element: ElementType, ids: Option<usize>) {
        let x = match element {
            ElementType::Float64 => x,
            _ => graph.cast(&x, ElementType::Float64),
        };
        let x = match ids {
            Some(count) => only_ids(graph, &x, count),
            None => x,
        };
        self.has_nan |= element.is_float() || ids.is_some();
        self.numbers.push(x);
    }

    /// Adds the ids of a column of users or items.
    fn keys(&mut self, graph: &mut Graph, keys: &Keys, x: &Value, element: ElementType) {
        let other = self.category_ids as i64;
        let ids = match keys {
            Keys::Integers(keys) => {
                let x = match element {
                    ElementType::Int64 => x.clone(),
                    _ => graph.cast(x, ElementType::Int64),
                };
                ids_of_integers(graph, &x, keys.values().to_vec(), other)
            }
            Keys::Texts(keys) => {
                let texts = keys.iter().flatten().map(str::to_owned);
                ids_of_texts(graph, x, texts.collect(), other)
            }
        };
        self.categories.push(ids);
        self.category_ids += keys.len() + 1;
    }

    /// Adds the ids of the categories of a column; `codes` holds a text, or positions in a fixed vocabulary, for each.
    fn categories(
        &mut self,
        graph: &mut Graph,
        encoder: &ColumnEncoder,
        codes: &[Value],
    ) -> Result<()> {
        let Column { name, data_type } = &encoder.column;
        let of_type = parts(name, &new_empty_array(data_type), None)?;
        let categories = of_type.categories.iter().zip(&encoder.vocabularies);
        for ((part, vocabulary), code) in categories.zip(codes) {
            if vocabulary.buckets.is_some() {
                return Err(Error::Unsupported(format!(
                    "the values of column \"{name}\" share weights by their hash (hash_buckets), which ONNX cannot compute; write \
                     TO 'directory/' to export the model's files, or train without the column"
                )));
            }
            let ids = match part {
                CategoryPart::Text(_) => {
                    let values = vocabulary.values.clone();
                    ids_of_texts(graph, code, values, self.category_ids as i64)
                }
                CategoryPart::Coded(_, names, _) => self.of_code(graph, vocabulary, code, names),
            };
            self.categories.push(ids);
            self.category_ids += vocabulary.values.len() + 1;
        }
        Ok(())
    }

    /// The ids of positions in `names`.
    fn of_code(
        &self,
        graph: &mut Graph,
        vocabulary: &Vocabulary,
        code: &Value,
        names: &[&str],
    ) -> Value {
        let id = |name: &&str| {
            let position = vocabulary.values.iter().position(|value| value == name);
            (self.category_ids + position.map_or(0, |position| position + 1)) as i64
        };
        let ids: Vec<i64> = names.iter().map(id).collect();
        let table = graph.integers("ids", &[ids.len()], &ids);
        graph.node("Gather", &[&table, code], vec![])
    }

    /// The standardised numbers, and which rows have a NaN among them.
    fn numbers(
        &self,
        graph: &mut Graph,
        encoders: &[ColumnEncoder],
    ) -> (Option<Value>, Option<Value>) {
        if self.numbers.is_empty() {
            return (None, None);
        }
        let mut x = graph.concat(&self.numbers);
        let mut is_null = None;
        if self.has_nan {
            let is_nan = graph.node("IsNaN", &[&x], vec![]);
            // Runtimes differ in what layers make of NaN, so the network gets 0.
            let zero = graph.doubles("zero", &[], &[0.0]);
            x = graph.node("Where", &[&is_nan, &zero, &x], vec![]);
            let counted = graph.cast(&is_nan, ElementType::Float32);
            let axes = ("axes", Attribute::Integers(vec![1]));
            let any = graph.node("ReduceMax", &[&counted], vec![axes]);
            is_null = Some(graph.cast(&any, ElementType::Boolean));
        }
        let of_columns = encoders.iter().flat_map(|encoder| &encoder.numbers);
        let standardisers: Vec<Standardiser> = of_columns.copied().collect();
        if standardisers.iter().any(|of| *of != Standardiser::IDENTITY) {
            let means: Vec<f64> = standardisers.iter().map(|of| of.mean).collect();
            let scales: Vec<f64> = standardisers.iter().map(|of| 1.0 / of.std).collect();
            let means = graph.doubles("means", &[means.len()], &means);
            let scales = graph.doubles("scales", &[scales.len()], &scales);
            let centred = graph.node("Sub", &[&x, &means], vec![]);
            x = graph.node("Mul", &[&centred, &scales], vec![]);
        }
        if graph.float() != ElementType::Float64 {
            x = graph.cast(&x, graph.float());
        }
        (Some(x), is_null)
    }
}

/// The ids of these texts, which follow on `other`, that of all other texts.
fn ids_of_texts(graph: &mut Graph, x: &Value, mut texts: Vec<String>, other: i64) -> Value {
    let mut ids: Vec<i64> = (other + 1..).take(texts.len()).collect();
    if texts.is_empty() {
        // The operator needs an entry.
        (texts, ids) = (vec![String::new()], vec![other]);
    }
    let attributes = vec![
        ("cats_strings", Attribute::Texts(texts)),
        ("cats_int64s", Attribute::Integers(ids)),
        ("default_int64", Attribute::Integer(other)),
    ];
    graph.node("CategoryMapper", &[x], attributes)
}

/// The ids of these whole numbers, which follow on `other`, that of all other numbers.
fn ids_of_integers(graph: &mut Graph, x: &Value, mut integers: Vec<i64>, other: i64) -> Value {
    let mut ids: Vec<i64> = (other + 1..).take(integers.len()).collect();
    if integers.is_empty() {
        // The operator needs an entry.
        (integers, ids) = (vec![0], vec![other]);
    }
    let attributes = vec![
        ("keys_int64s", Attribute::Integers(integers)),
        ("values_int64s", Attribute::Integers(ids)),
        ("default_int64", Attribute::Integer(other)),
    ];
    graph.node("LabelEncoder", &[x], attributes)
}

/// What stands for NULL in an input of this type.
fn null(element: ElementType) -> &'static str {
    match element.is_float() {
        true => "NaN stands for NULL",
        false => "",
    }
}

/// Numbers that are no whole numbers from 0 to below `count` as NaN: `predict` has no output for their rows either.
fn only_ids(graph: &mut Graph, x: &Value, count: usize) -> Value {
    let floor = graph.node("Floor", &[x], vec![]);
    let is_whole = graph.node("Equal", &[&floor, x], vec![]);
    let first = graph.doubles("first", &[], &[0.0]);
    let is_enough = graph.node("GreaterOrEqual", &[x, &first], vec![]);
    let end = graph.doubles("end", &[], &[count as f64]);
    let is_below = graph.node("Less", &[x, &end], vec![]);
    let is_id = graph.node("And", &[&is_whole, &is_enough], vec![]);
    let is_id = graph.node("And", &[&is_id, &is_below], vec![]);
    let nan = graph.doubles("nan", &[], &[f64::NAN]);
    graph.node("Where", &[&is_id, x, &nan], vec![])
}
