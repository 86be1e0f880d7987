//! Compiles the GPU kernels of the feature `cuda` with nvcc.

use std::process::Command;
use std::{env, path::Path};

type Failure = Box<dyn std::error::Error>;

const KERNELS: &str = "src/device/kernels.cu";

fn main() -> Result<(), Failure> {
    println!("cargo:rerun-if-changed={KERNELS}");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return Ok(());
    }
    for variable in ["CUDA_COMPUTE_CAP", "NVCC"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let capability = env::var("CUDA_COMPUTE_CAP").map_err(
        |_| "CUDA_COMPUTE_CAP must hold the compute capability; scripts/build-cuda sets it",
    )?;
    println!("cargo:rustc-env=VATIC_CUDA_CAPABILITY={capability}");
    let nvcc = env::var("NVCC").unwrap_or("nvcc".into());
    let out = env::var("OUT_DIR")?;
    let status = Command::new(&nvcc)
        .args(["--ptx", "-O3", "--std=c++17", KERNELS, "-o"])
        .arg(Path::new(&out).join("kernels.ptx"))
        .arg(format!("-arch=compute_{capability}"))
        .status()
        .map_err(|error| format!("{nvcc}: {error}"))?;
    if !status.success() {
        return Err(format!("{nvcc} could not compile {KERNELS}").into());
    }
    Ok(())
}
