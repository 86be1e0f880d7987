//! `batch_norm`

use std::slice::Iter;

use candle_core::Tensor;

use super::layer::{Function, Input, Layer, Placed, next};
use super::text::Arguments;
use crate::Result;
use crate::model::network::{Init, Mode, ParameterKind};
use crate::nn::{ChannelStatistics, batch_norm_inference, batch_norm_training};

/// Over the rows of a step and the places of each channel.
#[derive(Debug)]
struct BatchNorm;

pub(super) fn read(_arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    Ok(Box::new(BatchNorm))
}

impl Layer for BatchNorm {
    fn place(&self, input: &Input<'_>) -> Result<Placed> {
        let &[channels, ..] = input.shape else {
            return Err(input.needs("[channels, …]"));
        };
        let parameter = |name: &str, value: f32, kind: ParameterKind| {
            input.parameter(name, vec![channels], Init::Constant { value }, kind)
        };
        Ok(Placed {
            parameters: vec![
                parameter("weight", 1.0, ParameterKind::Free),
                parameter("bias", 0.0, ParameterKind::Free),
                parameter("running_mean", 0.0, ParameterKind::Statistic),
                parameter("running_var", 1.0, ParameterKind::Statistic),
            ],
            ..Placed::plain(input, input.shape.to_vec(), Normalised)
        })
    }
}

#[derive(Debug)]
struct Normalised;

impl Function for Normalised {
    fn forward(
        &self,
        x: &Tensor,
        parameters: &mut Iter<'_, Tensor>,
        mode: &mut Mode<'_>,
    ) -> Result<Tensor> {
        let (weight, bias) = (next(parameters)?, next(parameters)?);
        let running = ChannelStatistics {
            mean: next(parameters)?.clone(),
            variance: next(parameters)?.clone(),
        };
        match mode {
            Mode::Inference => batch_norm_inference(x, weight, bias, &running),
            Mode::Training { statistics, .. } => {
                let (y, batch) = batch_norm_training(x, weight, bias, &running)?;
                statistics.extend([batch.mean, batch.variance]);
                Ok(y)
            }
        }
    }
}
