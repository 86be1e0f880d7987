//! Compiles the GPU kernels of the feature `cuda` with nvcc.

use std::process::Command;
use std::{env, path::Path};

type Failure = Box<dyn std::error::Error>;

const FOLDER: &str = "src/device";
/// The files that are compiled, each to a module of its own.
const KERNELS: [&str; 2] = ["kernels", "layers"];
/// What they include.
const HEADER: &str = "activation.cuh";

fn main() -> Result<(), Failure> {
    println!("cargo:rerun-if-changed={FOLDER}/{HEADER}");
    for kernels in KERNELS {
        println!("cargo:rerun-if-changed={FOLDER}/{kernels}.cu");
    }
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
    for kernels in KERNELS {
        let source = format!("{FOLDER}/{kernels}.cu");
        let status = Command::new(&nvcc)
            .args(["--ptx", "-O3", "--std=c++17", &source, "-o"])
            .arg(Path::new(&out).join(kernels).with_extension("ptx"))
            .arg(format!("-arch=compute_{capability}"))
            .status()
            .map_err(|error| format!("{nvcc}: {error}"))?;
        if !status.success() {
            return Err(format!("{nvcc} could not compile {source}").into());
        }
    }
    Ok(())
}
