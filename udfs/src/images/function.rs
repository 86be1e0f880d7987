//! A function on images with the checks of its arguments, so that the file of a function holds only its computation.

use std::hash::{Hash, Hasher};

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion_common::{Result, plan_err};
use datafusion_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use super::argument::Arguments;
use super::column::is_image;
use crate::call::signature;
use crate::doc::Doc;
use crate::vector::{is_vector, type_name};

/// A parameter of a function. Arguments may name it: `decode_image(bytes, channels => 1)`.
pub(super) struct Parameter(pub(super) &'static str, pub(super) Takes);

/// What a parameter takes; every parameter takes NULL.
#[derive(Debug, Clone, Copy)]
pub(super) enum Takes {
    Bytes,
    /// An image or the bytes of a file.
    Image,
    Integer,
    Text,
    /// A number or a list of numbers.
    Numbers,
}

impl Takes {
    fn accepts(self, data_type: &DataType) -> bool {
        let is_known = match self {
            Self::Bytes => data_type.is_binary(),
            Self::Image => data_type.is_binary() || is_image(data_type),
            Self::Integer => data_type.is_integer(),
            Self::Text => data_type.is_string(),
            Self::Numbers => data_type.is_numeric() || is_vector(data_type),
        };
        is_known || data_type.is_null()
    }

    fn described(self) -> &'static str {
        match self {
            Self::Bytes => "the bytes of a file",
            Self::Image => "an image or the bytes of a file",
            Self::Integer => "a whole number",
            Self::Text => "a text",
            Self::Numbers => "a number or a list of numbers",
        }
    }
}

/// What a function is.
pub(super) struct Definition {
    pub(super) doc: &'static Doc,
    pub(super) parameters: &'static [Parameter],
    /// The number of last parameters that may be left out.
    pub(super) optional: usize,
    pub(super) returns: DataType,
    pub(super) compute: fn(&Arguments<'_>) -> Result<ArrayRef>,
}

impl Definition {
    pub(super) fn function(self) -> ScalarUDF {
        let names = self.parameters.iter();
        let names: Vec<&str> = names.map(|Parameter(name, _)| *name).collect();
        let signature = signature(&names, self.optional);
        let documentation = self.doc.documentation("Image functions");
        ScalarUDF::from(ImageFunction {
            definition: self,
            signature,
            documentation,
        })
    }
}

struct ImageFunction {
    definition: Definition,
    signature: Signature,
    documentation: Documentation,
}

impl std::fmt::Debug for ImageFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.definition.doc.name)
    }
}

// A name belongs to one function.
impl PartialEq for ImageFunction {
    fn eq(&self, other: &Self) -> bool {
        self.definition.doc.name == other.definition.doc.name
    }
}

impl Eq for ImageFunction {}

impl Hash for ImageFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.definition.doc.name.hash(state);
    }
}

impl ScalarUDFImpl for ImageFunction {
    fn name(&self) -> &str {
        self.definition.doc.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        for (Parameter(name, takes), data_type) in self.definition.parameters.iter().zip(types) {
            if !takes.accepts(data_type) {
                return plan_err!(
                    "{} takes {} as {name}, found {}",
                    self.definition.doc.name,
                    takes.described(),
                    type_name(data_type)
                );
            }
        }
        Ok(self.definition.returns.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arguments = Arguments {
            function: self.definition.doc.name,
            rows: args.number_rows,
            values: &args.args,
        };
        (self.definition.compute)(&arguments).map(ColumnarValue::Array)
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}
