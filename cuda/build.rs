//! Makes a jump slot for each function of `symbols.txt`, and answers the linker's requests for CUDA's libraries.
//!
//! cudarc asks the linker for libcuda, libcublas and others, which a machine without a GPU does not have. The linker finds
//! empty archives of these names instead. Each function is a jump through a slot in memory, which `src/lib.rs` fills from
//! the libraries that the process finds.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

type Failure = Box<dyn std::error::Error>;

/// The libraries that cudarc asks the linker for. No function of nvrtc and nccl is called.
const LIBRARIES: &[&str] = &["cuda", "cublas", "cublasLt", "curand", "nvrtc", "nccl"];

fn main() -> Result<(), Failure> {
    let out = env::var("OUT_DIR")?;
    let out = Path::new(&out);
    println!("cargo:rerun-if-changed=symbols.txt");
    let names = fs::read_to_string("symbols.txt")?;
    let names: Vec<&str> = names.lines().filter(|name| !name.is_empty()).collect();
    fs::write(out.join("slots.s"), assembly(&names)?)?;
    fs::write(out.join("slots.rs"), table(&names)?)?;
    if env::var_os("CARGO_FEATURE_TOOLKIT").is_some() {
        for library in LIBRARIES {
            // An archive without members.
            fs::write(out.join(format!("lib{library}.a")), "!<arch>\n")?;
        }
        println!("cargo:rerun-if-env-changed=CUDART_STATIC");
        let cudart = env::var("CUDART_STATIC").map_err(
            |_| "CUDART_STATIC must name libcudart_static.a; scripts/build-cuda sets it",
        )?;
        fs::copy(&cudart, out.join("libcudart.a"))
            .map_err(|error| format!("CUDART_STATIC = {cudart}: {error}"))?;
        println!("cargo:rustc-link-search=native={}", out.display());
        // As candle's kernels ask for it; the linker finds the static archive under this name.
        println!("cargo:rustc-link-lib=dylib=cudart");
    }
    Ok(())
}

/// A function for each name, which jumps through a slot; then the slots.
fn assembly(names: &[&str]) -> Result<String, Failure> {
    let mut text = String::new();
    for name in names {
        // A section of its own, so that the linker drops the functions that nothing calls.
        writeln!(
            text,
            ".section .text.{name},\"ax\",@progbits\n.globl {name}\n.type {name},@function\n\
             {name}: jmp *vatic_slot_{name}(%rip)\n.size {name}, . - {name}"
        )?;
    }
    text.push_str(".data\n.balign 8\n.globl vatic_slots\n.hidden vatic_slots\nvatic_slots:\n");
    for name in names {
        writeln!(text, "vatic_slot_{name}: .quad vatic_cuda_missing")?;
    }
    // The list may be empty, and a label needs something to stand on.
    text.push_str(".quad 0\n.text\n");
    Ok(text)
}

/// The library and the name of each function, in the order of the slots.
fn table(names: &[&str]) -> Result<String, Failure> {
    let mut text = String::from("const FUNCTIONS: &[(Library, &str)] = &[\n");
    for name in names {
        let prefixes = [
            ("cublasLt", "CublasLt"),
            ("cublas", "Cublas"),
            ("curand", "Curand"),
        ];
        let found = prefixes.iter().find(|(prefix, _)| name.starts_with(prefix));
        let library = found.map_or("Cuda", |(_, library)| library);
        writeln!(text, "    (Library::{library}, \"{name}\"),")?;
    }
    text.push_str("];\n");
    Ok(text)
}
