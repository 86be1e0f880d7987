//! The elements of tensors on the host, for layers that compute on slices.

use candle_core::{Layout, Storage, Tensor, WithDType};

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
