//! Operators for graphs that tract lacks, or that it computes otherwise than onnxruntime: those of the domain `ai.onnx.ml`, which
//! scikit-learn, XGBoost and LightGBM are exported to.
//!
//! To add one: a file that implements [`own::Operator`], and a line in `list`.
//!
//! * `list` the operators of ours, and which operators a graph may have
//! * `own` what makes an operator of ours one of tract's
//! * `attributes`, `tensors` what operators read
//! * `scaler`, `imputer`, `binarizer`, `feature_vectorizer`, `array_feature_extractor` numbers → numbers
//! * `is_nan` which numbers are NaN or infinite; `element_wise` functions of a number, also in double precision
//! * `one_hot_encoder`, `label_encoder`, `cast` texts ↔ numbers
//! * `class_labels` what classifiers have in common: labels, and outputs
//! * `linear_classifier`, `linear_regressor` weighted sums, which are in `linear`
//! * `svm_classifier`, `svm_regressor` sums of kernels, which are in `svm`
//! * `trees` ensembles of trees
//! * `post_transform` scores → probabilities

mod array_feature_extractor;
mod attributes;
mod binarizer;
mod cast;
mod class_labels;
mod element_wise;
mod feature_vectorizer;
mod imputer;
mod is_nan;
mod label_encoder;
mod linear;
mod linear_classifier;
mod linear_regressor;
pub(super) mod list;
mod one_hot_encoder;
pub(super) mod own;
mod post_transform;
mod scaler;
mod svm;
mod svm_classifier;
mod svm_regressor;
pub(super) mod tensors;
mod trees;

#[cfg(test)]
mod examples;
