//! Graphs in the format ONNX, which other programs run. This folder knows the format and no models.
//!
//! * `values` tensors of a graph, their types, and attributes of nodes
//! * `builder` [`Graph`]: nodes and constants, one after the other, and the file of them
//! * `drawing` [`Drawing`]: what a network needs to write itself into a graph
//! * `messages` the protocol buffers of the format
//!
//! A graph has a dimension of its own for the rows, so it takes any number of them. An operator is one of ONNX's
//! [operators](https://onnx.ai/onnx/operators/) in the version that [`Graph`] imports.

mod builder;
mod drawing;
pub(crate) mod messages;
mod values;

pub use builder::Graph;
pub(crate) use builder::check_length;
pub use drawing::{Drawing, Weight};
pub use values::{Attribute, ElementType, GraphPort, Value};
