//! Functions on images: files of images in bytes, and their pixels.
//!
//! ```text
//! bytes ─ decode ─▶ {height, width, channels, pixels} ─ crop, resize ─▶ the same ─ normalize ─▶ [channels, height, width]
//! ```
//! `decode_image` (with `try_decode_image`), `image_info`, `crop_image`, `resize_image` and `normalize_image` are functions.
//! Where a function takes an image it takes the bytes of a file, too. Then it decodes one row after the other, and the pixels
//! of a file are in memory for its row only.
//!
//! The crate `vatic_images` decodes, crops and resizes.
//!
//! * `column` images as a column of structs
//! * `argument` the arguments of a call, `numbers` those that are numbers or lists of numbers; `function` a function with the checks of
//!   its arguments
//!
//! A NULL argument gives NULL. To add a function, write a file with `function()` and list it.

mod argument;
mod column;
mod crop_image;
mod decode_image;
mod function;
mod image_info;
mod normalize_image;
mod numbers;
mod resize_image;

use std::sync::Arc;

use datafusion_expr::ScalarUDF;

/// The scalar functions of this group.
pub fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let all = [
        decode_image::function(),
        decode_image::try_function(),
        image_info::function(),
        resize_image::function(),
        crop_image::function(),
        normalize_image::function(),
    ];
    all.into_iter().map(Arc::new).collect()
}
