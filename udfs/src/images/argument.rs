//! [`Arguments`]: the arguments of a call.

use datafusion_common::{Result, ScalarValue, exec_err};
use datafusion_expr::ColumnarValue;

use super::column::Images;
use super::numbers::Numbers;
use crate::call::Values;

/// The arguments of a call. Optional arguments may be missing.
pub(super) struct Arguments<'a> {
    pub(super) function: &'static str,
    pub(super) rows: usize,
    pub(super) values: &'a [ColumnarValue],
}

impl Arguments<'_> {
    fn value(&self, index: usize) -> Result<&ColumnarValue> {
        match self.values.get(index) {
            Some(value) => Ok(value),
            None => exec_err!("{} takes more arguments", self.function),
        }
    }

    /// An optional argument, or its default.
    fn value_or(&self, index: usize, default: impl Into<ScalarValue>) -> ColumnarValue {
        let given = self.values.get(index).cloned();
        given.unwrap_or_else(|| ColumnarValue::Scalar(default.into()))
    }

    pub(super) fn bytes(&self, index: usize) -> Result<Values> {
        Values::try_new(self.value(index)?)
    }

    pub(super) fn images(&self, index: usize) -> Result<Images> {
        Images::try_new(self.function, Values::try_new(self.value(index)?)?)
    }

    pub(super) fn integers(&self, index: usize) -> Result<Values> {
        Values::of_integers(self.value(index)?)
    }

    pub(super) fn integers_or(&self, index: usize, default: i64) -> Result<Values> {
        Values::of_integers(&self.value_or(index, default))
    }

    pub(super) fn texts_or(&self, index: usize, default: &str) -> Result<Values> {
        Values::of_texts(&self.value_or(index, default))
    }

    pub(super) fn numbers_or(&self, index: usize, default: f64) -> Result<Numbers> {
        Numbers::try_new(&self.value_or(index, default))
    }
}
