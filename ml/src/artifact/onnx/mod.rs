//! Models that TRAIN made → files of ONNX, with what encodes their rows and what makes labels of their outputs.
//!
//! ```text
//! inputs ─ columns, calendar ─▶ numbers, ids ─ the network's own drawing ─▶ outputs ─ labels ─▶ labels, probabilities
//! ```
//! * `file` a model → the file
//! * `columns` features → numbers and ids of categories, as `data/encode` makes them of rows; `calendar` dates and times
//! * `labels` the outputs of the network → the outputs of the model, those of each target
//! * `types` the types of inputs and outputs
//!
//! ONNX has no NULL. NaN stands for NULL in floats, and a row with NaN has the outputs NaN; other inputs cannot be NULL. The
//! numbers agree with those of `predict` to rounding (decision 0044).

mod calendar;
mod columns;
mod file;
mod labels;
mod types;

pub(super) use file::onnx;

#[cfg(test)]
mod examples;
#[cfg(test)]
mod layer_tests;
#[cfg(test)]
mod target_tests;
#[cfg(test)]
mod tests;
