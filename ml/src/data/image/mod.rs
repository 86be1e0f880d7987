//! Images as inputs. In the order of a row:
//!
//! * `column` a column of images: files in bytes, or structs of pixels
//! * `options` what users choose; `reader` an image as pixels of one shape: channels and size
//! * `encoder` pixels in u8 as a tensor, and the tensor as standardised floats
//!
//! ```text
//! column ─ decode, resize ─▶ pixels, channels first ─▶ u8 [rows, channels, height, width] ─ on the device ─▶ floats
//! ```
//! Rows keep their pixels in u8, a quarter of the memory of floats, on the host and on a device.

mod column;
mod encoder;
mod options;
mod reader;

pub use column::Images;
pub use encoder::{ImageEncoder, PIXELS};
pub use options::{ImageOptions, ImageResize};
pub use reader::ImageReader;
pub use vatic_images::Filter;
