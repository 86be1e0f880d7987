//! Networks whose layers the user writes: `layers = ['conv2d(32, 3)', 'relu', 'flatten', 'linear(classes)']`.
//!
//! ```text
//! text ─ text ─▶ name and arguments ─ list ─▶ layers ─ layers, with the shape of the input ─▶ placed layers ─ network ─▶ forward
//! ```
//! * `model_type` the type `sequential`, `cnn` the types `cnn_classifier` and `cnn_regressor`
//! * `network` the network of all of them; `layers` its layers, and which columns they fit; `input_shape` the dimensions of a row
//! * `classes` errors of layers before and after the number of classes is known
//! * `list` every layer, with its arguments; reads the layers of a model
//! * `text` the text of a layer → its name and arguments
//! * `layer` the trait of layers, before and after the shape of their input is known
//! * `linear`, `convolution`, `pool`, `recurrent`, `embedding`, `inputs`, `shape`, `activation`, `dropout`, `norm`, `batch_norm`,
//!   `residual` the layers; `window` what convolutions and pools share
//!
//! To add a layer:
//!
//! 1. Write its arithmetic in a file of `nn/`, unless candle's operations give it with correct gradients.
//! 2. Write its `Layer` in a file here, with its nodes in a graph of ONNX (`Placed::drawn`), and name the file in the list above.
//! 3. Append it to `LAYERS` in `list.rs`.
//! 4. Add it to the table of layers in `docs/sql.md`, which `tests/it/tidy.rs` compares with `LAYERS`, and to `CHANGELOG.md`.
//! 5. Use it in a network of `ml/tests/it/layers.rs`, which checks the gradients of every layer of `LAYERS`, in one of
//!    `ml/src/artifact/onnx/layer_tests.rs`, which draws every layer, in `tests/clients/graphs/test_graphs.py`, which runs the graphs, and
//!    in `sql-tests/train/sequential.slt`.
//!
//! A layer is a function of its input, its parameters and the mode, over the rows of one shard; only `inputs` takes more of the
//! rows. It has no state: what a pass measures for later ones is a parameter of the kind `Statistic`, as in `batch_norm`. Texts
//! are stored with models, so a default never changes.

mod activation;
mod batch_norm;
mod classes;
mod cnn;
mod convolution;
mod dropout;
mod embedding;
mod input_shape;
mod inputs;
mod layer;
mod layers;
mod linear;
mod list;
mod model_type;
mod network;
mod norm;
mod pool;
mod recurrent;
mod residual;
mod shape;
mod text;
mod window;

pub(super) use cnn::Cnn;
pub use list::{LAYERS, LayerKind};
pub(super) use model_type::SequentialModel;
pub use network::Sequential;
