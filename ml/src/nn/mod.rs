//! Differentiable layers, whose gradients `gradients.rs`, `layers.rs`, `batch_norm.rs`, `attention.rs`, `packed.rs` and
//! `sequences.rs` in `tests/it` check against finite differences.
//!
//! `linear`, `embedding`, `activation`, `dropout`, `convolution` (`convolution_squares` with a pool behind it), `pool`, `norm`,
//! `batch_norm`, `attention`; `recurrent` with the cells `lstm` and `gru` (`recurrence` is a step of a cell); for encoders of texts
//! `packed` attention, rotary positions (`rope`), `feed_forward` and `add_norm`; `pointwise` functions of pretrained models; and
//! `softmax`, which predictions use without gradients. Below them, `window` moves a window over an image. `direct` has the kernels
//! of convolutions of f32 on x86-64 (`no_direct` stands for them elsewhere); other convolutions are products in `unfolded`, or sums
//! in `depthwise` where each channel sees only itself. `pool_rows` combines what is under a window, `channel_norm` is batch norm on
//! the host; `product` multiplies matrices, `inner_products` sets of vectors for searches; `sums` adds numbers, `values` is the frame
//! of a layer of the host, and `given` has gradients that layers give past candle.
//!
//! To add a layer, write a file here, add its gradients to the tests, and use it in a network of `models/`;
//! `models/sequential/mod.rs` has the steps.
//!
//! On a GPU, predictions also take bf16 and f16. On the host, only `linear`, `embedding` and `activation` do, for tests.
//!
//! The layers use only candle operations with a correct backward pass: candle's `relu` has slope 1 at 0, its `gelu`
//! six-digit constants, its dropout cannot be seeded, its pooling has wrong gradients, and its fused layers cut the gradient
//! without an error.

mod activation;
mod add_norm;
mod attention;
mod batch_norm;
mod channel_norm;
mod convolution;
mod convolution_squares;
mod depthwise;
#[cfg(target_arch = "x86_64")]
mod direct;
#[cfg(not(target_arch = "x86_64"))]
#[path = "no_direct.rs"]
mod direct;
mod dropout;
mod embedding;
mod feed_forward;
mod given;
mod gru;
mod inner_products;
mod linear;
mod lstm;
mod norm;
mod packed;
mod pointwise;
mod pool;
mod pool_rows;
mod product;
mod recurrence;
mod recurrent;
mod rope;
mod softmax;
mod sums;
mod unfolded;
mod values;
mod window;

pub use activation::{Activation, activate};
pub use add_norm::add_norm;
pub use attention::{Attention, attention};
pub use batch_norm::{ChannelStatistics, batch_norm_inference, batch_norm_training};
pub use convolution::{Convolution, convolution};
pub use convolution_squares::convolution_and_squares;
pub use dropout::dropout;
pub use embedding::{embedding, embedding_sum};
pub use feed_forward::{feed_forward, gated_feed_forward};
pub(crate) use given::{Sums, collect_gradients};
pub use inner_products::inner_products;
pub use linear::linear;
pub(crate) use norm::EPSILON;
pub use norm::{Runs, normalise, normalise_with};
pub use packed::{PackedAttention, Sequences, packed_attention};
pub use pointwise::{Pointwise, pointwise, write_pointwise};
pub use pool::{Pooling, pool};
pub use recurrent::{Cell, CellWeights, Direction, recurrent};
pub use rope::Rotary;
pub use softmax::{sigmoid, softmax};
pub use window::Window;
