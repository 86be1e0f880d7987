//! The slots of CUDA's functions, with libraries that a C compiler makes here. Each case is a process of its own, because
//! the slots of a process are filled once.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(
    clippy::print_stdout,
    reason = "a test says why it is skipped, and its child what it found"
)]

use std::ffi::{c_int, c_uint};
use std::path::Path;
use std::process::{Command, Output};

unsafe extern "C" {
    fn cuInit(flags: c_uint) -> c_int;
    fn cuDeviceGetCount(count: *mut c_int) -> c_int;
    fn cublasCreate_v2(handle: *mut usize) -> c_int;
}

const CASE: &str = "VATIC_TEST_CASE";

/// Runs the test `child` in a process of its own, with this folder of libraries and no other.
fn run(libraries: &Path) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CASE, "1")
        .env("VATIC_CUDA_PATH", libraries)
        .env("PATH", "")
        .env_remove("VIRTUAL_ENV")
        .env_remove("CONDA_PREFIX")
        .env_remove("CUDA_HOME")
        .env_remove("CUDA_PATH")
        .output()
        .unwrap()
}

/// Compiles a source of this folder as a library of this name.
fn compile(source: &str, to: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(source);
    let compiler = std::env::var("CC").unwrap_or("cc".into());
    let status = Command::new(compiler)
        .args(["-shared", "-fPIC", "-o"])
        .args([to, &source])
        .status()
        .unwrap();
    assert!(status.success());
}

/// Prints what the functions answer before and after the slots are filled.
#[test]
fn child() {
    if std::env::var_os(CASE).is_none() {
        return;
    }
    // SAFETY: the arguments have the types that the driver documents; a missing function ignores them.
    let answers = || unsafe {
        let (mut count, mut handle) = (-1, 0);
        let init = cuInit(0);
        let devices = cuDeviceGetCount(&mut count);
        let blas = cublasCreate_v2(&mut handle);
        format!("init {init}, devices {devices} {count}, blas {blas}")
    };
    println!("before: {}", answers());
    match vatic_cuda::load() {
        Ok(loaded) => println!("loaded {} libraries", loaded.files.len()),
        Err(cause) => println!("no GPU: {cause}"),
    }
    println!("after: {}", answers());
}

fn has_a_gpu() -> bool {
    let found = Path::new("/dev/nvidiactl").exists();
    if found {
        println!("skipped: this machine has a driver");
    }
    found
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn without_libraries_functions_say_that_there_is_no_device() {
    if has_a_gpu() {
        return;
    }
    let empty = tempfile::tempdir().unwrap();
    let output = run(empty.path());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("before: init 100, devices 100 -1, blas 100"),
        "{text}"
    );
    assert!(
        text.contains("no GPU: libcuda.so.1 is missing; install NVIDIA's driver"),
        "{text}"
    );
    assert!(
        text.contains("after: init 100, devices 100 -1, blas 100"),
        "{text}"
    );
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn a_driver_without_the_other_libraries_is_not_enough() {
    let folder = tempfile::tempdir().unwrap();
    compile("fake_driver.c", &folder.path().join("libcuda.so.1"));
    let output = run(folder.path());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("no GPU: libcublasLt.so.13 is missing; install CUDA 13"),
        "{text}"
    );
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn the_functions_of_the_libraries_fill_the_slots() {
    let folder = tempfile::tempdir().unwrap();
    compile("fake_driver.c", &folder.path().join("libcuda.so.1"));
    for library in ["libcublas.so.13", "libcublasLt.so.13", "libcurand.so.10"] {
        compile("fake_library.c", &folder.path().join(library));
    }
    let output = run(folder.path());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("before: init 100, devices 100 -1"), "{text}");
    assert!(text.contains("loaded 4 libraries"), "{text}");
    // A function that a library lacks still answers that there is no device.
    assert!(
        text.contains("after: init 0, devices 0 3, blas 100"),
        "{text}"
    );
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn a_broken_library_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("libcuda.so.1"), "not a library").unwrap();
    let output = run(folder.path());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("libcuda.so.1: ") && text.contains("no GPU"),
        "{text}"
    );
}
