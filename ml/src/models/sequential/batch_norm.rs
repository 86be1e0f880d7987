//! `batch_norm`

use super::layer::{Input, Layer, Placed};
use super::text::Arguments;
use crate::Result;
use crate::graph::Attribute;
use crate::model::network::{Init, Mode, ParameterKind};
use crate::nn::{ChannelStatistics, EPSILON, batch_norm_inference, batch_norm_training};

/// Over the rows of a step and the places of each channel.
#[derive(Debug)]
struct BatchNorm;

pub(super) fn read(_arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    Ok(Box::new(BatchNorm))
}

impl Layer for BatchNorm {
    fn place(&self, input: &Input<'_>) -> Result<Placed> {
        let &[channels, ref places @ ..] = input.shape else {
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
            normalised: Some(places.iter().product()),
            ..Placed::same_shape(input, |x, pass| {
                let (weight, bias) = (pass.parameter()?, pass.parameter()?);
                let running = ChannelStatistics {
                    mean: pass.parameter()?.clone(),
                    variance: pass.parameter()?.clone(),
                };
                match &mut pass.mode {
                    Mode::Inference => batch_norm_inference(x, weight, bias, &running),
                    Mode::Training { statistics, .. } => {
                        let (y, batch) = batch_norm_training(x, weight, bias, &running)?;
                        statistics.extend([batch.mean, batch.variance]);
                        Ok(y)
                    }
                }
            })
        }
        .drawn(|x, drawing| {
            let (weight, bias) = (drawing.parameter()?, drawing.parameter()?);
            let (mean, variance) = (drawing.parameter()?, drawing.parameter()?);
            let inputs = [x, &weight, &bias, &mean, &variance];
            let epsilon = Attribute::Number(EPSILON as f32);
            Ok(drawing
                .graph
                .node("BatchNormalization", &inputs, vec![("epsilon", epsilon)]))
        }))
    }
}
