//! [`Element`]: the type of the elements of an input or output of a graph, in SQL, in the file and in tract.

use arrow::datatypes::DataType;
use tract_onnx::pb::tensor_proto;
use tract_onnx::prelude::DatumType;

/// The type of the elements of an input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    F16,
    F32,
    F64,
    Text,
}

/// The type in which elements are stored between the engine and tract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    F32,
    F64,
    I64,
    Bool,
    Text,
}

impl Element {
    /// The element of a type in a file; `None` for a type that has no SQL type here.
    pub(super) fn of_file(elem_type: i32) -> Option<Self> {
        use tensor_proto::DataType as Of;
        Some(match Of::try_from(elem_type).ok()? {
            Of::Bool => Self::Bool,
            Of::Int8 => Self::I8,
            Of::Int16 => Self::I16,
            Of::Int32 => Self::I32,
            Of::Int64 => Self::I64,
            Of::Uint8 => Self::U8,
            Of::Uint16 => Self::U16,
            Of::Uint32 => Self::U32,
            Of::Float16 => Self::F16,
            Of::Float => Self::F32,
            Of::Double => Self::F64,
            Of::String => Self::Text,
            _ => return None,
        })
    }

    /// The element of a type of tract, whose dimensions are integers.
    pub(super) fn of_tract(datum_type: DatumType) -> Option<Self> {
        Some(match datum_type {
            DatumType::Bool => Self::Bool,
            DatumType::I8 => Self::I8,
            DatumType::I16 => Self::I16,
            DatumType::I32 => Self::I32,
            DatumType::I64 | DatumType::TDim => Self::I64,
            DatumType::U8 => Self::U8,
            DatumType::U16 => Self::U16,
            DatumType::U32 => Self::U32,
            DatumType::F16 => Self::F16,
            DatumType::F32 => Self::F32,
            DatumType::F64 => Self::F64,
            DatumType::String => Self::Text,
            _ => return None,
        })
    }

    /// The type of tract.
    pub(super) fn datum_type(self) -> DatumType {
        match self {
            Self::Bool => DatumType::Bool,
            Self::I8 => DatumType::I8,
            Self::I16 => DatumType::I16,
            Self::I32 => DatumType::I32,
            Self::I64 => DatumType::I64,
            Self::U8 => DatumType::U8,
            Self::U16 => DatumType::U16,
            Self::U32 => DatumType::U32,
            Self::F16 => DatumType::F16,
            Self::F32 => DatumType::F32,
            Self::F64 => DatumType::F64,
            Self::Text => DatumType::String,
        }
    }

    /// The type of a column.
    pub(super) fn data_type(self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::I8 => DataType::Int8,
            Self::I16 => DataType::Int16,
            Self::I32 => DataType::Int32,
            Self::I64 => DataType::Int64,
            Self::U8 => DataType::UInt8,
            Self::U16 => DataType::UInt16,
            Self::U32 => DataType::UInt32,
            Self::F16 | Self::F32 => DataType::Float32,
            Self::F64 => DataType::Float64,
            Self::Text => DataType::Utf8,
        }
    }

    /// The type between the engine and tract, which holds every value of the element.
    pub(super) fn stored(self) -> Stored {
        match self {
            Self::Bool => Stored::Bool,
            Self::I8 | Self::I16 | Self::I32 | Self::I64 | Self::U8 | Self::U16 | Self::U32 => {
                Stored::I64
            }
            Self::F16 | Self::F32 => Stored::F32,
            Self::F64 => Stored::F64,
            Self::Text => Stored::Text,
        }
    }

    /// The bytes of a stored element; of a text, about its bytes with its length.
    pub(super) fn bytes(self) -> usize {
        match self.stored() {
            Stored::Bool => 1,
            Stored::F32 => 4,
            Stored::F64 | Stored::I64 => 8,
            Stored::Text => 64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_of_a_file_is_that_of_tract() {
        use tensor_proto::DataType as Of;
        for of in [
            Of::Bool,
            Of::Int8,
            Of::Int16,
            Of::Int32,
            Of::Int64,
            Of::Uint8,
            Of::Uint16,
            Of::Uint32,
            Of::Float16,
            Of::Float,
            Of::Double,
            Of::String,
        ] {
            let element = Element::of_file(of as i32).unwrap();
            assert_eq!(DatumType::try_from(of).unwrap(), element.datum_type());
            assert_eq!(Element::of_tract(element.datum_type()), Some(element));
        }
        for of in [Of::Undefined, Of::Uint64, Of::Bfloat16, Of::Complex64] {
            assert_eq!(Element::of_file(of as i32), None);
        }
        assert_eq!(Element::of_file(99), None);
    }
}
