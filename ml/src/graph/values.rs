//! [`Value`]: a tensor of a graph; [`ElementType`]: the type of its elements; [`GraphPort`]: an input or output;
//! [`Attribute`]: a constant that belongs to a node.

use super::messages::AttributeProto;

/// A tensor of a graph: an input, a constant, or an output of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value(pub(super) String);

/// The type of the elements of a tensor, with its number in ONNX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementType {
    /// f32
    Float32 = 1,
    /// u8
    UInt8 = 2,
    /// i8
    Int8 = 3,
    /// u16
    UInt16 = 4,
    /// i16
    Int16 = 5,
    /// i32
    Int32 = 6,
    /// i64
    Int64 = 7,
    /// A string.
    Text = 8,
    /// A boolean.
    Boolean = 9,
    /// f16
    Float16 = 10,
    /// f64
    Float64 = 11,
    /// u32
    UInt32 = 12,
    /// u64
    UInt64 = 13,
}

impl ElementType {
    /// Whether an element may be NaN.
    pub fn is_float(self) -> bool {
        matches!(self, Self::Float16 | Self::Float32 | Self::Float64)
    }

    /// The number of the type in ONNX.
    pub(crate) fn number(self) -> i32 {
        self as i32
    }
}

/// An input or an output of a graph.
#[derive(Debug, Clone, Copy)]
pub struct GraphPort<'a> {
    /// The name, which no other input or output has.
    pub name: &'a str,
    /// The type of the elements.
    pub element: ElementType,
    /// The dimensions behind the dimension of rows.
    pub sizes: &'a [usize],
    /// What the elements mean, for people.
    pub meaning: &'a str,
}

/// A constant that belongs to a node.
#[derive(Debug, Clone)]
pub enum Attribute {
    /// A whole number.
    Integer(i64),
    /// Whole numbers.
    Integers(Vec<i64>),
    /// A number.
    Number(f32),
    /// A string.
    Text(&'static str),
    /// Strings.
    Texts(Vec<String>),
}

impl Attribute {
    /// Sizes as whole numbers.
    pub fn sizes(sizes: &[usize]) -> Self {
        Self::Integers(sizes.iter().map(|&size| size as i64).collect())
    }

    pub(super) fn message(self, name: &str) -> AttributeProto {
        let named = |number: i32| AttributeProto {
            name: name.to_owned(),
            r#type: number,
            ..AttributeProto::default()
        };
        match self {
            Self::Number(number) => AttributeProto {
                f: Some(number),
                ..named(1)
            },
            Self::Integer(integer) => AttributeProto {
                i: Some(integer),
                ..named(2)
            },
            Self::Text(text) => AttributeProto {
                s: Some(text.as_bytes().to_vec()),
                ..named(3)
            },
            Self::Integers(ints) => AttributeProto { ints, ..named(7) },
            Self::Texts(texts) => AttributeProto {
                strings: texts.into_iter().map(String::into_bytes).collect(),
                ..named(8)
            },
        }
    }
}
