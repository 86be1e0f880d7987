//! CUDA's libraries, found when a process needs a GPU: one binary runs on machines with and without one.
//!
//! cudarc and candle call the functions of CUDA's libraries by name, as if the libraries were linked. Here each function
//! is a jump through a slot. [`load`] opens the libraries and fills the slots; until then, and where a library is
//! missing, a function answers `CUDA_ERROR_NO_DEVICE` (100). `build.rs` makes the functions from `symbols.txt`, which
//! `scripts/cuda-symbols` extends by the names that the linker misses. CUDA's runtime is linked statically; it opens the
//! driver by itself.
//!
//! Only x86-64 Linux has slots; elsewhere [`load`] finds no GPU.

mod search;

pub use search::Library;

use std::ffi::c_int;

/// The libraries of CUDA that a process uses.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Each library with the file that it came from.
    pub files: Vec<(Library, String)>,
    /// The functions that the libraries of this machine lack, such as those of a newer version.
    pub missing: Vec<&'static str>,
}

/// The answer of a function whose library is missing: `CUDA_ERROR_NO_DEVICE`.
#[unsafe(no_mangle)]
extern "C" fn vatic_cuda_missing() -> c_int {
    100
}

/// Opens CUDA's libraries and fills the slots of their functions. The first call decides for the life of the process.
///
/// # Errors
/// What is missing, as a sentence for users.
pub fn load() -> Result<&'static Loaded, &'static str> {
    static LOADED: std::sync::OnceLock<Result<Loaded, String>> = std::sync::OnceLock::new();
    let loaded = LOADED.get_or_init(slots::fill);
    loaded.as_ref().map_err(String::as_str)
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod slots {
    use std::ffi::c_void;
    use std::sync::atomic::{AtomicPtr, Ordering};

    use super::Loaded;
    use super::search::{self, Library};

    core::arch::global_asm!(
        include_str!(concat!(env!("OUT_DIR"), "/slots.s")),
        options(att_syntax)
    );
    include!(concat!(env!("OUT_DIR"), "/slots.rs"));

    unsafe extern "C" {
        /// One slot for each of `FUNCTIONS`, in that order.
        #[link_name = "vatic_slots"]
        static SLOTS: [AtomicPtr<c_void>; FUNCTIONS.len()];
    }

    pub(super) fn fill() -> Result<Loaded, String> {
        let opened = search::open(FUNCTIONS.iter().map(|(library, _)| *library))?;
        let mut missing = vec![];
        for (slot, (library, name)) in FUNCTIONS.iter().enumerate() {
            let found = opened.iter().find(|opened| opened.library == *library);
            match found.and_then(|found| found.function(name)) {
                // SAFETY: `build.rs` makes the slots from the same list, one pointer for each function.
                Some(function) => unsafe { &SLOTS[slot] }.store(function, Ordering::Release),
                None => missing.push(*name),
            }
        }
        let files = opened
            .into_iter()
            .map(|opened| (opened.library, opened.file));
        Ok(Loaded {
            files: files.collect(),
            missing,
        })
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod slots {
    use super::Loaded;

    pub(super) fn fill() -> Result<Loaded, String> {
        Err("GPUs work on x86-64 Linux only".into())
    }
}
