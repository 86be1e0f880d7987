//! Files of images as pixels, and pixels with other sizes.
//!
//! ```text
//! bytes ─ header ─▶ sizes, format
//!       └ decode ─▶ Image ─ crop, resize, with_channels ─▶ Image
//! ```
//! The SQL functions on images and the models that take images share this crate, so that both see the same pixels. It knows
//! neither arrow nor tensors.
//!
//! * `decode`: [`header`], and [`decode()`], upright and within limits ([`PIXELS_MAX`]); `whole` finds truncated files, and
//!   `profile` leaves out what is not read
//! * `pixels`: [`Image`]
//! * `colour`: [`Image::with_channels`]; `crop`: [`crop()`]
//! * `resize`: [`resize()`] with the [`Filter`]s of Pillow

mod colour;
mod crop;
mod decode;
mod pixels;
mod profile;
mod resize;
mod whole;

pub use crop::crop;
pub use decode::{Header, decode, header};
pub use pixels::{CHANNELS, Image, PIXELS_MAX};
pub use resize::{Filter, resize};
