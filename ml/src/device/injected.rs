//! A fault inside a kernel, for tests: `VATIC_INJECT_GPU_FAULT=N` makes the N-th forward pass of the process on a GPU fail.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::Device;

use super::kernels;
use crate::Result;

/// The number of the pass that has a fault, from 1.
static FAULTY: LazyLock<Option<u64>> = LazyLock::new(|| {
    let number = std::env::var("VATIC_INJECT_GPU_FAULT").ok()?;
    number.parse().ok()
});

/// Counts a forward pass of a model. The next synchronisation after the faulty pass answers with the fault.
pub(crate) fn count_pass(device: &Device) -> Result<()> {
    static PASSES: AtomicU64 = AtomicU64::new(0);
    let (Some(faulty), Device::Cuda(device)) = (*FAULTY, device) else {
        return Ok(());
    };
    if PASSES.fetch_add(1, Ordering::Relaxed) + 1 == faulty {
        kernels::fault(device)?;
    }
    Ok(())
}
