//! Models ↔ files. Files are not trusted.
//!
//! * [`Files`] the files of a version, as its manifest names them
//! * [`Loader`] builds a [`Model`] from files; [`formats`](crate::formats) lists all loaders
//! * `trained` the format that TRAIN writes: `config.json`, whose content `checks` checks, and `model.safetensors`, which `tensors` reads
//!   and makes
//! * `texts` models of texts in that format, and as directories that the programs of others open; `text_head` what such programs
//!   know of the layers behind an encoder
//! * `onnx` models as files of ONNX, for other programs
//!
//! Files are read whole into memory and compared with the hashes of the manifest before any other use. A memory-mapped
//! file could change, or kill the process, while it is in use.

mod checks;
mod onnx;
mod tensors;
mod text_head;
mod texts;
mod trained;

use std::collections::HashMap;
use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::foreign::looks_like;
use crate::model::Model;
use crate::model::compute::LoadOptions;
use crate::{Error, Result};

pub use text_head::{HeadLayer, TextDirectory, TextHead, TextLoader};
pub use texts::{BASE_FOLDER, DESCRIPTION_FILE, HEAD_FILE};
pub use trained::{CONFIG_FILE, TRAINED, TrainedLoader, WEIGHTS_FILE, write};

/// The name of a file, and its content.
pub type NamedContent = (String, Vec<u8>);

/// Opens models of one format of files.
pub trait Loader: Debug + Send + Sync {
    /// The name of the format in manifests.
    fn format(&self) -> &str;

    /// Whether this loader opens a directory with these files, which has no manifest with a format yet.
    fn takes(&self, files: &Files) -> bool;

    /// The folders beside these files that belong to the model; the names of their files begin with that of the folder and `/`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the file that should name them is damaged.
    fn folders(&self, _files: &Files) -> Result<Vec<String>> {
        Ok(vec![])
    }

    /// Loads the model onto a device. With a [`LoadOptions::compute`], the model computes in that type and no other.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the file and what is wrong with it; [`Error::Unsupported`] for a model that this build does
    /// not know, or a type in which it does not compute.
    fn load(&self, files: &Files, options: &LoadOptions) -> Result<Arc<dyn Model>>;

    /// The files of a directory that the programs of others open, if those of the version are not such files.
    ///
    /// # Errors
    /// [`Error::Corrupt`] as [`Loader::load`]; [`Error::Unsupported`] for a model that has no such form.
    fn exported(&self, _files: &Files) -> Result<Option<Vec<NamedContent>>> {
        Ok(None)
    }

    /// The model as the content of an ONNX file, whose graph is called `name`. It takes the columns that the model takes.
    ///
    /// # Errors
    /// [`Error::Corrupt`] as [`Loader::load`]; [`Error::Unsupported`] with the part of the model that has no form in ONNX.
    fn onnx(&self, _files: &Files, _name: &str) -> Result<Vec<u8>> {
        Err(Error::Unsupported(format!(
            "models of format {} cannot be written as ONNX; write TO 'directory/' to export the model's files",
            self.format()
        )))
    }
}

/// One file of a model, as the manifest names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFile {
    /// Its name in the directory.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// The SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}

/// The files of a version in a directory of this machine.
#[derive(Debug, Clone)]
pub struct Files {
    directory: PathBuf,
    known: Vec<ModelFile>,
    /// The contents of files that are not in the directory, by their names.
    held: HashMap<String, Vec<u8>>,
}

impl Files {
    /// The files in `directory` that a manifest names.
    pub fn new(directory: impl Into<PathBuf>, known: Vec<ModelFile>) -> Self {
        Self {
            directory: directory.into(),
            known,
            held: HashMap::new(),
        }
    }

    /// The files with one more, which is not in the directory; it takes the place of one of this name.
    pub(crate) fn holding(mut self, name: &str, content: Vec<u8>) -> Self {
        self.known.retain(|file| file.name != name);
        self.known.push(ModelFile {
            name: name.into(),
            bytes: content.len() as u64,
            sha256: sha256(&content),
        });
        self.held.insert(name.into(), content);
        self
    }

    /// The entries of the manifest.
    pub fn known(&self) -> &[ModelFile] {
        &self.known
    }

    /// Whether the manifest has an entry of this name.
    pub fn has(&self, name: &str) -> bool {
        self.known.iter().any(|file| file.name == name)
    }

    /// The files in a folder; their names no longer begin with that of the folder.
    pub fn within(&self, folder: &str) -> Self {
        let inside = |name: &str| {
            let name = name.strip_prefix(folder)?.strip_prefix('/')?;
            Some(name.to_owned())
        };
        let known = self.known.iter().filter_map(|file| {
            Some(ModelFile {
                name: inside(&file.name)?,
                ..file.clone()
            })
        });
        let held = self.held.iter();
        let held = held.filter_map(|(name, content)| Some((inside(name)?, content.clone())));
        Self {
            directory: self.directory.join(folder),
            known: known.collect(),
            held: held.collect(),
        }
    }

    /// The content of a file of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the file differs from its manifest entry, or is too large.
    pub fn read(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>> {
        match self.held.get(name) {
            Some(content) => {
                check_bytes(name, content.len() as u64, bytes_max)?;
                Ok(content.clone())
            }
            None => read_file(&self.directory, &self.known, name, bytes_max),
        }
    }
}

/// The manifest entry of a file in `directory`.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read.
pub fn describe_file(directory: &Path, name: &str) -> Result<ModelFile> {
    let mut file = File::open(directory.join(name))?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            break;
        }
        hash.update(&piece[..count]);
        bytes += count as u64;
    }
    Ok(ModelFile {
        name: name.into(),
        bytes,
        sha256: hexadecimal(&hash.finalize()),
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a new file, and syncs it to disk.
///
/// # Errors
/// [`Error::Io`], also if the file exists already.
pub fn write_file(directory: &Path, name: &str, content: &[u8]) -> Result<ModelFile> {
    let mut file = File::create_new(directory.join(name))?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(ModelFile {
        name: name.into(),
        bytes: content.len() as u64,
        sha256: sha256(content),
    })
}

/// The SHA-256 of `content` in hexadecimal.
pub fn sha256(content: &[u8]) -> String {
    hexadecimal(&Sha256::digest(content))
}

pub(crate) fn corrupt(file: &str, problem: impl std::fmt::Display) -> Error {
    Error::Corrupt(format!("{file}: {problem}"))
}

/// The error of a file of safetensors with this content. If its first bytes are those of another kind of file, the error names that kind.
pub(crate) fn corrupt_tensors(
    file: &str,
    content: &[u8],
    problem: impl std::fmt::Display,
) -> Error {
    // Behind its length, a header begins with a brace; the length may have the bytes of another kind.
    let has_header = content.get(8) == Some(&b'{');
    match looks_like(content).filter(|_| !has_header) {
        Some(what) => corrupt(file, format!("no safetensors file; it looks like {what}")),
        None => corrupt(file, problem),
    }
}

/// Refuses a file of safetensors that is too short for its header's length, or whose header is longer than `bytes_max`.
pub(crate) fn check_header(file: &str, content: &[u8], bytes_max: u64) -> Result<()> {
    let header_bytes = content
        .first_chunk::<8>()
        .map(|bytes| u64::from_le_bytes(*bytes));
    let problem = match header_bytes {
        None => format!("{} bytes are too few", content.len()),
        Some(bytes) if bytes > bytes_max => {
            format!("a header of {bytes} bytes; not a safetensors file?")
        }
        Some(_) => return Ok(()),
    };
    Err(corrupt_tensors(file, content, problem))
}

fn read_file(directory: &Path, files: &[ModelFile], name: &str, bytes_max: u64) -> Result<Vec<u8>> {
    let known = files
        .iter()
        .find(|file| file.name == name)
        .ok_or_else(|| corrupt(name, "the manifest does not name this file"))?;
    let path = directory.join(name);
    let is_regular = fs::symlink_metadata(&path)
        .map(|metadata| metadata.is_file())
        .unwrap_or(false);
    if !is_regular {
        return Err(corrupt(name, "missing, or not a regular file"));
    }
    let mut file = File::open(&path)?;
    let bytes = file.metadata()?.len();
    if bytes != known.bytes {
        return Err(corrupt(
            name,
            format!("{bytes} bytes, the manifest says {}", known.bytes),
        ));
    }
    check_bytes(name, bytes, bytes_max)?;
    let mut content = Vec::with_capacity(bytes as usize);
    file.read_to_end(&mut content)?;
    if sha256(&content) != known.sha256 {
        return Err(corrupt(name, "its SHA-256 differs from the manifest"));
    }
    Ok(content)
}

fn check_bytes(name: &str, bytes: u64, bytes_max: u64) -> Result<()> {
    match bytes <= bytes_max {
        true => Ok(()),
        false => {
            let problem = format!("{bytes} bytes, at most {bytes_max} are read");
            Err(corrupt(name, problem))
        }
    }
}
