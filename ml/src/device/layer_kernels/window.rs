//! [`KernelWindow`]: a window over an image, as kernels take it.

use candle_core::cuda_backend::cudarc::driver::DeviceRepr;

/// The size of an image and a window over it, as the kernels take them: first down, then across.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct KernelWindow {
    pub(crate) image: [u32; 2],
    pub(crate) positions: [u32; 2],
    pub(crate) kernel: [u32; 2],
    pub(crate) stride: [u32; 2],
    pub(crate) padding: [u32; 2],
}

// SAFETY: ten numbers of 32 bits without padding, as the struct of the kernels.
unsafe impl DeviceRepr for KernelWindow {}

impl KernelWindow {
    pub(super) fn area(&self) -> usize {
        product_of(self.kernel)
    }

    pub(super) fn places(&self) -> usize {
        product_of(self.positions)
    }

    pub(super) fn pixels(&self) -> usize {
        product_of(self.image)
    }
}

fn product_of([down, across]: [u32; 2]) -> usize {
    down as usize * across as usize
}
