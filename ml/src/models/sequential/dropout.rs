//! `dropout(share)`

use super::layer::{Input, Layer, Placed};
use super::text::Arguments;
use crate::Result;

#[derive(Debug)]
struct Dropout {
    share: f64,
}

pub(super) fn read(arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    let share = arguments.share("share")?;
    Ok(Box::new(Dropout { share }))
}

/// The bytes of a mask that take the memory of a number.
const MASKS_OF_NUMBER: usize = size_of::<f32>();

impl Layer for Dropout {
    fn place(&self, input: &Input<'_>) -> Result<Placed> {
        let share = self.share;
        let numbers: usize = input.shape.iter().product();
        Ok(Placed {
            flops: 0,
            inner_numbers: numbers.div_ceil(MASKS_OF_NUMBER),
            ..Placed::same_shape(input, move |x, pass| pass.mode.dropout(x.clone(), share))
        }
        .drawn(|x, _| Ok(x.clone())))
    }

    fn can_end(&self) -> bool {
        false
    }
}
