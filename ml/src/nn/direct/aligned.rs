//! [`Aligned`]: numbers of which every sixteenth begins a line of the cache.

use std::ops::{Deref, DerefMut};

/// The bytes of a line of the cache, and of the widest vector.
const LINE_BYTES: usize = 64;

/// Zeros at first. A vector that lies in two lines of the cache is read in twice the time.
#[derive(Debug, Default)]
pub(in crate::nn) struct Aligned {
    values: Vec<f32>,
    start: usize,
    length: usize,
}

impl Aligned {
    pub(in crate::nn) fn zeros(length: usize) -> Self {
        if length == 0 {
            return Self::default();
        }
        let spare = LINE_BYTES / size_of::<f32>() - 1;
        let values = vec![0.0; length + spare];
        // The offset may be unknown, which costs only speed.
        let start = values.as_ptr().align_offset(LINE_BYTES).min(spare);
        Self {
            values,
            start,
            length,
        }
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[self.start..][..self.length]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.start..][..self.length]
    }
}
