//! The elements of tensors, for layers that compute on slices of the host, or that round to 16 bits.

use candle_core::{DType, Layout, Storage, Tensor, WithDType};

/// The numbers that layers compute with.
pub(super) trait Float: WithDType {}

impl Float for f32 {}
impl Float for f64 {}

/// The elements of a contiguous layout.
pub(super) fn part<'a, T>(values: &'a [T], layout: &Layout) -> &'a [T] {
    &values[layout.start_offset()..][..layout.shape().elem_count()]
}

/// The elements in the memory of a tensor.
pub(super) fn cpu_slice<T: WithDType>(storage: &Storage) -> candle_core::Result<&[T]> {
    match storage {
        Storage::Cpu(storage) => storage.as_slice(),
        _ => candle_core::bail!("a layer of the host met a tensor of another device"),
    }
}

/// Whether the elements have 16 bits: layers then compute in f32 what would lose bits at each step, and round once.
pub(super) fn is_half(tensor: &Tensor) -> bool {
    matches!(tensor.dtype(), DType::BF16 | DType::F16)
}
