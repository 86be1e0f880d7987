//! Gradients of parameters that layers give past candle.
//!
//! candle adds each gradient to zeros, and so writes it three times. That of a large weight takes longer than its product. Nothing
//! behind a parameter waits for its gradient, so a layer can [`give`] it to a caller that [collects](collect_gradients).

use std::cell::RefCell;

use candle_core::Tensor;
use candle_core::backprop::GradStore;

use crate::Result;

thread_local! {
    static GIVEN: RefCell<Option<GradStore>> = const { RefCell::new(None) };
}

/// The gradients of a backward pass, which runs on this thread: those that candle has, and those that layers gave.
///
/// # Errors
/// The error of the pass.
pub(crate) fn collect_gradients(
    backward: impl FnOnce() -> candle_core::Result<GradStore>,
) -> Result<GradStore> {
    let before = Before(GIVEN.replace(Some(GradStore::default())));
    let mut gradients = backward()?;
    if let Some(given) = GIVEN.take() {
        gradients.extend(given)?;
    }
    drop(before);
    Ok(gradients)
}

/// Gives the gradient of an argument of a layer, if it is a parameter and somebody collects; else it is candle's.
pub(super) fn give(argument: &Tensor, gradient: Tensor) -> candle_core::Result<Option<Tensor>> {
    GIVEN.with_borrow_mut(|given| {
        let Some(given) = given.as_mut().filter(|_| argument.is_variable()) else {
            return Ok(Some(gradient));
        };
        let gradient = gradient.detach();
        // A parameter of two layers has the sum of their gradients.
        let sum = match given.remove(argument) {
            Some(known) => (known + gradient)?,
            None => gradient,
        };
        given.insert(argument, sum);
        Ok(None)
    })
}

/// What the thread collected before, also after a panic.
struct Before(Option<GradStore>);

impl Drop for Before {
    fn drop(&mut self) {
        GIVEN.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::super::linear::linear;
    use super::*;

    #[test]
    fn given_gradients_are_those_of_candle() {
        let var =
            |values: &[f32], shape: &[usize]| Var::from_slice(values, shape, &Device::Cpu).unwrap();
        let x = var(&[0.5, -1.0, 2.0, 1.5], &[2, 2]);
        let weight = var(&[1.0, -2.0, 0.25, 0.75], &[2, 2]);
        let bias = var(&[0.5, 1.0], &[2]);
        // Both layers have the same parameters.
        let y = linear(&x, &weight, &bias, None).unwrap();
        let y = linear(&y, &weight, &bias, None).unwrap();
        let sum = y.sqr().unwrap().sum_all().unwrap();
        let (expected, found) = (
            sum.backward().unwrap(),
            collect_gradients(|| sum.backward()).unwrap(),
        );
        let numbers = |gradients: &GradStore, variable: &Var| {
            let gradient = gradients.get(variable).unwrap().flatten_all().unwrap();
            gradient.to_vec1::<f32>().unwrap()
        };
        for variable in [&x, &weight, &bias] {
            assert_eq!(numbers(&found, variable), numbers(&expected, variable));
        }
        assert!(GIVEN.take().is_none());
    }

    #[test]
    fn an_error_ends_the_collection() {
        let failed = collect_gradients(|| candle_core::bail!("on purpose"));
        assert!(failed.unwrap_err().to_string().contains("on purpose"));
        assert!(GIVEN.take().is_none());
    }
}
