//! [`RowNumbers`]: how many numbers a network computes for a row, so how many rows it takes at once, and their memory.

use candle_core::Device;

use crate::device::pass_rows;

/// The layers whose outputs are there at the same time: those of a block with the way around it.
const LAYERS_AT_ONCE: usize = 4;

/// The numbers that a network computes for a row.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RowNumbers {
    /// Those of all layers together.
    all: usize,
    /// Those of the largest layer.
    largest: usize,
}

impl RowNumbers {
    /// Counts those of one more layer.
    pub(super) fn count(&mut self, numbers: usize) {
        self.all = self.all.saturating_add(numbers);
        self.largest = self.largest.max(numbers);
    }

    /// The rows of one pass through the network on a device.
    pub(super) fn pass_rows(self, device: &Device) -> usize {
        pass_rows(device, self.all)
    }

    /// The memory of the numbers between layers for so many rows, in bytes. On a GPU they take memory of the GPU.
    pub(super) fn bytes(self, device: &Device, rows: usize) -> usize {
        match device.is_cpu() {
            true => {
                let at_once = rows.min(self.pass_rows(device));
                at_once * LAYERS_AT_ONCE * self.largest * size_of::<f32>()
            }
            false => 0,
        }
    }
}
