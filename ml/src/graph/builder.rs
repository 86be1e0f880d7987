//! [`Graph`]: nodes and constants, one after the other.

use std::collections::HashSet;
use std::ops::Range;

use prost::Message;

use super::messages::{
    DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, ShapeProto,
    StringStringEntryProto, TensorProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use super::values::{Attribute, ElementType, GraphPort, Value};
use crate::data::precision::Precision;
use crate::{Error, Result};

/// The version of ONNX's operators: the first with layer normalisation.
const OPSET: i64 = 17;
/// The domain of operators beside ONNX's own, such as those of categories, and its version of that time.
const ML_DOMAIN: &str = "ai.onnx.ml";
const ML_OPSET: i64 = 3;
/// The operators of [`ML_DOMAIN`] that graphs use.
const ML_OPERATORS: &[&str] = &["CategoryMapper", "LabelEncoder"];
/// The version of the format of files that goes with [`OPSET`].
const IR_VERSION: i64 = 8;
/// No protocol buffer is longer.
const BYTES_MAX: usize = i32::MAX as usize;
/// The name of the dimension of rows.
const ROWS: &str = "rows";

/// A graph that grows. Nodes stand in the order in which they compute.
#[derive(Debug)]
pub struct Graph {
    precision: Precision,
    graph: GraphProto,
    names: HashSet<String>,
    metadata: Vec<StringStringEntryProto>,
}

impl Graph {
    /// A graph without nodes, for a network of this precision.
    pub fn new(precision: Precision) -> Self {
        Self {
            precision,
            graph: GraphProto::default(),
            names: HashSet::new(),
            metadata: vec![],
        }
    }

    /// The type of the network's numbers.
    pub fn float(&self) -> ElementType {
        match self.precision {
            Precision::Single => ElementType::Float32,
            Precision::Double => ElementType::Float64,
        }
    }

    /// Adds an input.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a name that another input has, or an empty one.
    pub fn input(&mut self, port: GraphPort<'_>) -> Result<Value> {
        self.reserve(port.name)?;
        self.graph.input.push(described(port));
        Ok(Value(port.name.to_owned()))
    }

    /// Makes a value an output.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a name that an input or another output has, or an empty one.
    pub fn output(&mut self, value: &Value, port: GraphPort<'_>) -> Result<()> {
        self.reserve(port.name)?;
        self.graph.output.push(described(port));
        let name = self.fresh("output");
        self.graph.node.push(NodeProto {
            input: vec![value.0.clone()],
            output: vec![port.name.to_owned()],
            name,
            op_type: "Identity".into(),
            ..NodeProto::default()
        });
        Ok(())
    }

    fn reserve(&mut self, name: &str) -> Result<()> {
        if name.is_empty() {
            return Err(Error::Unsupported(
                "a column without a name cannot be an input or output of an ONNX graph; train with a named column".into(),
            ));
        }
        match self.names.insert(name.to_owned()) {
            true => Ok(()),
            false => Err(Error::Unsupported(format!(
                "\"{name}\" would be the name of two inputs or outputs of an ONNX graph; rename the column in the training query"
            ))),
        }
    }

    /// A name that nothing in the graph has: `base`, or `base` with a number.
    fn fresh(&mut self, base: &str) -> String {
        let (mut name, mut number) = (base.to_owned(), self.names.len());
        while !self.names.insert(name.clone()) {
            number += 1;
            name = format!("{base}_{number}");
        }
        name
    }

    /// Adds a node with one output.
    pub fn node(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attributes: Vec<(&str, Attribute)>,
    ) -> Value {
        let [output] = self.node_of(operator, inputs, attributes);
        output
    }

    /// Adds a node with `N` outputs.
    pub fn node_of<const N: usize>(
        &mut self,
        operator: &str,
        inputs: &[&Value],
        attributes: Vec<(&str, Attribute)>,
    ) -> [Value; N] {
        let base = operator.to_lowercase();
        let outputs: [Value; N] = std::array::from_fn(|_| Value(self.fresh(&base)));
        let domain = match ML_OPERATORS.contains(&operator) {
            true => ML_DOMAIN,
            false => "",
        };
        let attributes = attributes.into_iter();
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|value| value.0.clone()).collect(),
            output: outputs.iter().map(|value| value.0.clone()).collect(),
            name: outputs.first().map_or(base, |value| value.0.clone()),
            op_type: operator.to_owned(),
            attribute: attributes
                .map(|(name, value)| value.message(name))
                .collect(),
            domain: domain.to_owned(),
        });
        outputs
    }

    /// Adds a constant; `elements` holds its elements in little-endian order.
    fn constant(
        &mut self,
        name: &str,
        sizes: &[usize],
        element: ElementType,
        elements: Vec<u8>,
    ) -> Value {
        let name = self.fresh(name);
        self.graph.initializer.push(TensorProto {
            dims: sizes.iter().map(|&size| size as i64).collect(),
            data_type: element.number(),
            name: name.clone(),
            raw_data: elements,
            ..TensorProto::default()
        });
        Value(name)
    }

    /// A constant in the type of the network's numbers.
    pub fn numbers(&mut self, name: &str, sizes: &[usize], numbers: &[f64]) -> Value {
        match self.precision {
            Precision::Single => {
                let bytes = numbers
                    .iter()
                    .flat_map(|&number| (number as f32).to_le_bytes());
                self.constant(name, sizes, ElementType::Float32, bytes.collect())
            }
            Precision::Double => self.doubles(name, sizes, numbers),
        }
    }

    /// A constant in double precision.
    pub fn doubles(&mut self, name: &str, sizes: &[usize], numbers: &[f64]) -> Value {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
        self.constant(name, sizes, ElementType::Float64, bytes.collect())
    }

    /// A constant of whole numbers.
    pub fn integers(&mut self, name: &str, sizes: &[usize], integers: &[i64]) -> Value {
        let bytes = integers.iter().flat_map(|integer| integer.to_le_bytes());
        self.constant(name, sizes, ElementType::Int64, bytes.collect())
    }

    /// A constant of booleans `[booleans]`.
    pub fn booleans(&mut self, name: &str, booleans: &[bool]) -> Value {
        let bytes = booleans.iter().map(|&boolean| u8::from(boolean)).collect();
        self.constant(name, &[booleans.len()], ElementType::Boolean, bytes)
    }

    /// A constant of strings `[texts]`.
    pub fn texts(&mut self, name: &str, texts: &[&str]) -> Value {
        let name = self.fresh(name);
        self.graph.initializer.push(TensorProto {
            dims: vec![texts.len() as i64],
            data_type: ElementType::Text.number(),
            name: name.clone(),
            string_data: texts.iter().map(|text| text.as_bytes().to_vec()).collect(),
            ..TensorProto::default()
        });
        Value(name)
    }

    /// The elements in another type.
    pub fn cast(&mut self, x: &Value, element: ElementType) -> Value {
        let to = Attribute::Integer(element.number().into());
        self.node("Cast", &[x], vec![("to", to)])
    }

    /// The numbers of each row of `x` with these dimensions.
    pub fn reshape(&mut self, x: &Value, sizes: &[usize]) -> Value {
        // 0 is the size that the dimension has: the number of rows.
        let sizes = sizes.iter().map(|&size| size as i64);
        let all: Vec<i64> = std::iter::once(0).chain(sizes).collect();
        let shape = self.integers("shape", &[all.len()], &all);
        self.node("Reshape", &[x, &shape], vec![])
    }

    /// The dimensions in this order; dimension 0 is that of the rows.
    pub fn transpose(&mut self, x: &Value, order: &[usize]) -> Value {
        self.node("Transpose", &[x], vec![("perm", Attribute::sizes(order))])
    }

    /// The values side by side along dimension 1.
    pub fn concat(&mut self, values: &[Value]) -> Value {
        if let [only] = values {
            return only.clone();
        }
        let values: Vec<&Value> = values.iter().collect();
        self.node("Concat", &values, vec![("axis", Attribute::Integer(1))])
    }

    /// The part `range` of the columns of `x` `[rows, columns]`.
    pub fn columns(&mut self, x: &Value, range: Range<usize>) -> Value {
        let mut one = |name: &str, integer: usize| self.integers(name, &[1], &[integer as i64]);
        let (start, end, axis) = (
            one("start", range.start),
            one("end", range.end),
            one("axis", 1),
        );
        self.node("Slice", &[x, &start, &end, &axis], vec![])
    }

    /// The sum of the rows of `table` that the ids `[rows, ids]` of each row name: `[rows, width]`.
    pub fn sum_of_ids(&mut self, table: &Value, ids: &Value) -> Value {
        let picked = self.node("Gather", &[table, ids], vec![]);
        let axis = self.integers("axis", &[1], &[1]);
        let attributes = vec![("keepdims", Attribute::Integer(0))];
        self.node("ReduceSum", &[&picked, &axis], attributes)
    }

    /// The product of the vectors of each row, both `[rows, width]`: `[rows, 1]`.
    pub fn product_of_rows(&mut self, first: &Value, second: &Value) -> Value {
        let products = self.node("Mul", &[first, second], vec![]);
        let axis = self.integers("axis", &[1], &[1]);
        self.node("ReduceSum", &[&products, &axis], vec![])
    }

    /// Adds a property of the model to the file.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a key that another property has.
    pub fn property(&mut self, key: &str, value: String) -> Result<()> {
        if self.metadata.iter().any(|entry| entry.key == key) {
            return Err(Error::Unsupported(format!(
                "\"{key}\" would be the name of two properties of an ONNX file; rename the column in the training query"
            )));
        }
        let key = key.to_owned();
        self.metadata.push(StringStringEntryProto { key, value });
        Ok(())
    }

    /// The content of the file.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a graph that is longer than a file of the format may be.
    pub fn finish(mut self, name: &str) -> Result<Vec<u8>> {
        name.clone_into(&mut self.graph.name);
        let of_domain = |domain: &str, version: i64| OperatorSetIdProto {
            domain: domain.to_owned(),
            version,
        };
        let mut opset_import = vec![of_domain("", OPSET)];
        if self.graph.node.iter().any(|node| node.domain == ML_DOMAIN) {
            opset_import.push(of_domain(ML_DOMAIN, ML_OPSET));
        }
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: "vatic".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(self.graph),
            opset_import,
            metadata_props: self.metadata,
        };
        check_length(model.encoded_len())?;
        Ok(model.encode_to_vec())
    }
}

/// Refuses a graph of so many bytes if no file of the format is so long.
pub(crate) fn check_length(bytes: usize) -> Result<()> {
    match bytes <= BYTES_MAX {
        true => Ok(()),
        false => Err(Error::Unsupported(format!(
            "an ONNX file has at most {BYTES_MAX} bytes, and this model needs {bytes}; write TO 'directory/' to export its files"
        ))),
    }
}

/// The description of an input or output.
fn described(port: GraphPort<'_>) -> ValueInfoProto {
    let rows = DimensionProto {
        dim_param: Some(ROWS.into()),
        ..DimensionProto::default()
    };
    let sizes = port.sizes.iter().map(|&size| DimensionProto {
        dim_value: Some(size as i64),
        ..DimensionProto::default()
    });
    let tensor = TensorTypeProto {
        elem_type: port.element.number(),
        shape: Some(ShapeProto {
            dim: std::iter::once(rows).chain(sizes).collect(),
        }),
    };
    ValueInfoProto {
        name: port.name.to_owned(),
        r#type: Some(TypeProto {
            tensor_type: Some(tensor),
        }),
        doc_string: port.meaning.to_owned(),
    }
}
