//! Gradients of parameters that layers give past candle.
//!
//! candle adds each gradient to zeros, and so writes it three times. That of a large weight takes longer than its product. Nothing
//! behind a parameter waits for its gradient, so a layer can [`give`] it to a caller that [collects](collect_gradients), or add it
//! to the sum of that caller ([`add_to_sum`]) without memory of its own.

use std::cell::RefCell;
use std::ops::Range;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, TensorId, Var};

use crate::Result;

thread_local! {
    static GIVEN: RefCell<Option<Given>> = const { RefCell::new(None) };
}

/// A sum of the gradients of all parameters, one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    values: Vec<f32>,
    places: Vec<Place>,
}

/// The place of a parameter in a sum.
#[derive(Debug)]
struct Place {
    parameter: TensorId,
    range: Range<usize>,
    is_added: bool,
}

/// What layers gave.
#[derive(Debug, Default)]
struct Given {
    gradients: GradStore,
    sums: Sums,
}

impl Sums {
    /// The sum `values` of the gradients of these parameters.
    pub(crate) fn new(values: Vec<f32>, parameters: &[Var]) -> Self {
        let mut start = 0;
        let places = parameters.iter().map(|parameter| {
            let range = start..start + parameter.elem_count();
            start = range.end;
            Place {
                parameter: parameter.id(),
                range,
                is_added: false,
            }
        });
        Self {
            places: places.collect(),
            values,
        }
    }

    /// Whether a layer has added a gradient of the parameter.
    pub(crate) fn has(&self, parameter: &Var) -> bool {
        let mut places = self.places.iter();
        places.any(|place| place.parameter == parameter.id() && place.is_added)
    }

    pub(crate) fn into_values(self) -> Vec<f32> {
        self.values
    }
}

/// The gradients of a backward pass, which runs on this thread: those that candle has or that layers gave, and the sums to which
/// layers added others.
///
/// # Errors
/// The error of the pass.
pub(crate) fn collect_gradients(
    sums: Sums,
    backward: impl FnOnce() -> candle_core::Result<GradStore>,
) -> Result<(GradStore, Sums)> {
    let given = Given {
        gradients: GradStore::default(),
        sums,
    };
    let before = Before(GIVEN.replace(Some(given)));
    let mut gradients = backward()?;
    let Given {
        gradients: given,
        sums,
    } = GIVEN.take().unwrap_or_default();
    gradients.extend(given)?;
    drop(before);
    Ok((gradients, sums))
}

/// Gives the gradient of an argument of a layer, if it is a parameter and somebody collects; else it is candle's.
pub(super) fn give(argument: &Tensor, gradient: Tensor) -> candle_core::Result<Option<Tensor>> {
    GIVEN.with_borrow_mut(|given| {
        let Some(given) = given.as_mut().filter(|_| argument.is_variable()) else {
            return Ok(Some(gradient));
        };
        let (gradient, gradients) = (gradient.detach(), &mut given.gradients);
        // A parameter of two layers has the sum of their gradients.
        let sum = match gradients.remove(argument) {
            Some(known) => (known + gradient)?,
            None => gradient,
        };
        gradients.insert(argument, sum);
        Ok(None)
    })
}

/// Lets `add` add the gradient of an argument of a layer to the sum of whom collects; `false` if there is none.
pub(super) fn add_to_sum(
    argument: &Tensor,
    add: impl FnOnce(&mut [f32]) -> candle_core::Result<()>,
) -> candle_core::Result<bool> {
    GIVEN.with_borrow_mut(|given| {
        let Some(Given { sums, .. }) = given else {
            return Ok(false);
        };
        let mut places = sums.places.iter_mut();
        let Some(place) = places.find(|place| place.parameter == argument.id()) else {
            return Ok(false);
        };
        add(&mut sums.values[place.range.clone()])?;
        place.is_added = true;
        Ok(true)
    })
}

/// What the thread collected before, also after a panic.
struct Before(Option<Given>);

impl Drop for Before {
    fn drop(&mut self) {
        GIVEN.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::linear::linear;
    use super::*;

    fn var(values: &[f32], shape: &[usize]) -> Var {
        Var::from_slice(values, shape, &Device::Cpu).unwrap()
    }

    fn numbers(gradients: &GradStore, variable: &Var) -> Vec<f32> {
        let gradient = gradients.get(variable).unwrap().flatten_all().unwrap();
        gradient.to_vec1().unwrap()
    }

    #[test]
    fn given_gradients_are_those_of_candle() {
        let x = var(&[0.5, -1.0, 2.0, 1.5], &[2, 2]);
        let weight = var(&[1.0, -2.0, 0.25, 0.75], &[2, 2]);
        let bias = var(&[0.5, 1.0], &[2]);
        // Both layers have the same parameters.
        let y = linear(&x, &weight, &bias, None).unwrap();
        let y = linear(&y, &weight, &bias, None).unwrap();
        let sum = y.sqr().unwrap().sum_all().unwrap();
        let expected = sum.backward().unwrap();
        let (found, _) = collect_gradients(Sums::default(), || sum.backward()).unwrap();
        for variable in [&x, &weight, &bias] {
            assert_eq!(numbers(&found, variable), numbers(&expected, variable));
        }
        let parameters = [bias.clone(), weight.clone()];
        let sums = Sums::new(vec![1.0; 6], &parameters);
        let (found, sums) = collect_gradients(sums, || sum.backward()).unwrap();
        assert!(sums.has(&weight) && !sums.has(&bias) && !sums.has(&x));
        assert!(found.get(&weight).is_none());
        assert_eq!(numbers(&found, &bias), numbers(&expected, &bias));
        let added = numbers(&expected, &weight);
        let added: Vec<f32> = added.iter().map(|slope| slope + 1.0).collect();
        let values = sums.into_values();
        assert_eq!(values[..2], [1.0; 2]);
        for (value, expected) in values[2..].iter().zip(added) {
            assert!(
                (value - expected).abs() < 1e-3,
                "{value}, expected {expected}"
            );
        }
        assert!(GIVEN.take().is_none());
    }

    #[test]
    fn an_error_ends_the_collection() {
        let failed = collect_gradients(Sums::default(), || candle_core::bail!("on purpose"));
        assert!(failed.unwrap_err().to_string().contains("on purpose"));
        assert!(GIVEN.take().is_none());
    }
}
