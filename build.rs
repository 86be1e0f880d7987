//! Names the sources of this build, so that the processes of a cluster can tell whether they are of one build.

use std::fs;
use std::path::{Path, PathBuf};

/// Everything that decides what travels between machines, and how it is computed there.
const SOURCES: &[&str] = &[
    "src",
    "ml/src",
    "udfs/src",
    "images/src",
    "metrics/src",
    "Cargo.lock",
];

fn main() {
    let mut files = Vec::new();
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
        collect(Path::new(source), &mut files);
    }
    files.sort();
    let mut hash = Fnv::new();
    for file in files {
        let content = fs::read(&file).unwrap_or_default();
        hash.add(file.to_string_lossy().as_bytes());
        hash.add(&content);
    }
    println!("cargo::rustc-env=VATIC_SOURCES={:016x}", hash.0);
}

/// The files below a path. A source that a package does not contain has none.
fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    match fs::read_dir(path) {
        Ok(entries) => entries
            .flatten()
            .for_each(|entry| collect(&entry.path(), files)),
        Err(_) if path.is_file() => files.push(path.to_owned()),
        Err(_) => {}
    }
}

/// The hash FNV-1a with 64 bits, in which each text ends with its length.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, text: &[u8]) {
        let length = (text.len() as u64).to_le_bytes();
        for byte in text.iter().chain(&length) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
