//! Running statistics: the parameters that training measures on the rows of its steps, such as the means of batch norm.
//!
//! ```text
//! rows of a shard ─ forward ─▶ statistics · weight of the rows ─ summed beside the gradients ─▶ mean over the shards
//! running statistic += 0.1 (mean - running statistic)
//! ```
//! Their places in the gradient stay zero, and penalties do not apply to them. So neither an optimiser nor `clip_norm`
//! changes them, and all that handles weights handles them too: checkpoints, the best epoch, files, the check that all
//! ranks hold the same weights.

use candle_core::Tensor;

use crate::model::flat::add_tensor;
use crate::model::network::{Parameter, ParameterKind};
use crate::{Error, Result};

/// The share of the way to its new value that a running statistic goes in a step. PyTorch calls it momentum.
pub(crate) const MOMENTUM: f32 = 0.1;

/// The statistics among the parameters of a network.
pub(crate) fn statistics(specs: &[Parameter]) -> impl Iterator<Item = &Parameter> {
    let specs = specs.iter();
    specs.filter(|spec| spec.kind == ParameterKind::Statistic)
}

/// The number of elements of all statistics of a network.
pub(crate) fn length(specs: &[Parameter]) -> usize {
    statistics(specs).map(Parameter::len).sum()
}

/// Adds the statistics that a shard measured, times the weight of its rows, to `sums`.
///
/// # Errors
/// [`Error::Internal`] if the network has measured other statistics than it has.
pub(crate) fn add(
    specs: &[Parameter],
    measured: &[Tensor],
    weight: f32,
    sums: &mut [f32],
) -> Result<()> {
    let shapes = measured.iter().map(Tensor::dims);
    if !statistics(specs).map(|spec| &spec.shape[..]).eq(shapes) {
        let message = "a network has measured other statistics than it has";
        return Err(Error::Internal(message.into()));
    }
    let mut rest = sums;
    for statistic in measured {
        let (ours, tail) = rest.split_at_mut(statistic.elem_count());
        rest = tail;
        add_tensor(ours, &(statistic * f64::from(weight))?)?;
    }
    Ok(())
}

/// Moves the running statistics among `weights` towards `means`, those of a step.
pub(crate) fn follow(specs: &[Parameter], weights: &mut [f32], means: &[f32]) {
    let mut means = means.iter();
    let mut start = 0;
    for spec in specs {
        let range = start..start + spec.len();
        start = range.end;
        if spec.kind == ParameterKind::Statistic {
            let pairs = weights[range].iter_mut().zip(&mut means);
            pairs.for_each(|(running, mean)| *running += MOMENTUM * (mean - *running));
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::model::network::Init;

    fn specs() -> Vec<Parameter> {
        let kinds = [
            ("weight", ParameterKind::Penalised),
            ("mean", ParameterKind::Statistic),
            ("bias", ParameterKind::Free),
            ("variance", ParameterKind::Statistic),
        ];
        let spec = |(name, kind): (&str, ParameterKind)| Parameter {
            name: name.into(),
            shape: vec![2],
            init: Init::Constant { value: 0.0 },
            kind,
        };
        kinds.into_iter().map(spec).collect()
    }

    #[test]
    fn statistics_follow_the_weighted_mean_of_the_shards() {
        let specs = specs();
        assert_eq!(length(&specs), 4);
        let measured = |values: [[f32; 2]; 2]| {
            values.map(|values| Tensor::new(&values, &Device::Cpu).unwrap())
        };
        let mut sums = vec![0.0; 4];
        let (first, second) = (
            measured([[1.0, 2.0], [3.0, 4.0]]),
            measured([[5.0, 6.0], [7.0, 8.0]]),
        );
        add(&specs, &first, 1.0, &mut sums).unwrap();
        add(&specs, &second, 3.0, &mut sums).unwrap();
        let means: Vec<f32> = sums.iter().map(|sum| sum / 4.0).collect();
        assert_eq!(means, [4.0, 5.0, 6.0, 7.0]);
        let mut weights = [9.0, 9.0, 0.0, 10.0, 9.0, 9.0, 6.0, 7.0];
        follow(&specs, &mut weights, &means);
        assert_eq!(weights, [9.0, 9.0, 0.4, 9.5, 9.0, 9.0, 6.0, 7.0]);
    }

    #[test]
    fn statistics_of_other_shapes_are_an_error() {
        let one = Tensor::new(&[1f32, 2.0], &Device::Cpu).unwrap();
        let error = add(&specs(), &[one], 1.0, &mut [0.0; 4]).unwrap_err();
        assert!(error.to_string().contains("other statistics"), "{error}");
    }
}
