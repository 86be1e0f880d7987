//! Models in ONNX, which tract runs. In the order of a load, then of a batch:
//!
//! * `proto` the bytes of a file → messages; `external` tensors in files beside it
//! * `graph` a graph that is whole, and whose operators are known; `inputs` its inputs, of a type of `element`
//! * `operators` the operators that tract lacks
//! * `plan` the graph that runs, and the memory of a run
//! * `ports` inputs and outputs → the ports of a model
//! * [`model`] the model for the engine
//! * `encode` columns → tensors; `texts` texts as tensors
//! * `run` some rows at a time; `computed` their outputs
//! * `outputs` tensors → columns
//!
//! Numbers and texts cross into tract in `run`, and back in `computed`.

mod computed;
mod element;
mod encode;
mod external;
mod graph;
mod inputs;
pub mod model;
mod operators;
mod outputs;
mod plan;
mod ports;
mod proto;
mod run;
mod texts;

#[cfg(test)]
mod examples;
