//! Random changes of the images of training rows, so that a network sees no picture twice the same.
//!
//! ```text
//! stream of a row ─ list ─▶ Change: one map of places, and colours ─▶ planes of a row
//!                               geometry: one sampling, whatever the maps    colour: brightness, contrast, saturation
//! ```
//! * `list` the augmentations as users write them, and what is drawn for a row
//! * `geometry` maps of places, and the bilinear sampling
//! * `colour` changes of levels
//! * `planes` the numbers of one image that a change applies to

mod colour;
mod geometry;
mod list;
mod planes;

pub use list::{AUGMENTATIONS, AugmentationKind, Augmentations, Change};
pub use planes::{Levels, Planes};
