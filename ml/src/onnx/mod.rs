//! Models in ONNX, which tract runs, or a library of onnxruntime. In the order of a load, then of a batch:
//!
//! * `proto` the bytes of a file → messages; `external` tensors in files beside it
//! * `graph` a graph that is whole, and whose operators are known; `inputs` its inputs, of a type of `element`
//! * `operators` the operators that tract lacks
//! * `plan` a graph that runs: `tract_plan` on tract, after a `trial` of its types, `library_plan` on the `library` of onnxruntime that the user names
//! * `ports` inputs and outputs → the ports of a model
//! * [`model`] the model for the engine
//! * `encode` columns → tensors; `texts` texts as tensors
//! * `run` some rows at a time; `computed` their outputs
//! * `outputs` tensors → columns
//!
//! Numbers and texts become tensors of tract in `run`, and come back in `computed`; for the library, `library_plan` passes them on.

mod computed;
mod element;
mod encode;
mod external;
mod graph;
mod inputs;
mod library;
mod library_plan;
pub mod model;
mod operators;
mod outputs;
mod plan;
mod ports;
mod proto;
mod run;
mod texts;
mod tract_plan;
mod trial;

#[cfg(test)]
mod examples;
