//! [`ModelFunction`]: a function of expressions that a model computes.

use datafusion::scalar::ScalarValue;

use crate::error::Result;
use crate::model::ResolvedModel;
use crate::predict::options::PredictOptions;
use crate::sql::CallForm;

/// Takes over one named argument of a call.
pub(super) type TakeArgument =
    fn(&mut PredictOptions, &ResolvedModel, &str, &ScalarValue) -> Result<()>;

/// A function of expressions that a model computes.
#[derive(Debug)]
pub(crate) struct ModelFunction {
    /// How its calls are written.
    pub(crate) form: CallForm,
    /// What it gives, for help.
    pub(super) gives: &'static str,
    /// The output of the model that it gives, as an index into the signature.
    ///
    /// # Errors
    /// If the model has no such output, or takes other inputs than the function has.
    pub(super) output: fn(&ResolvedModel) -> Result<usize>,
    /// Takes over one of the named arguments of `form`.
    pub(super) take: TakeArgument,
}
