//! [`Weights`]: the tensors of a model by name, from `model.safetensors` or from the parts that
//! `model.safetensors.index.json` names.
//!
//! The headers of all files are read first. A model takes each tensor with the shape that its description asks for, so that a
//! description that asks for more than there is fails before memory is taken for it.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use candle_core::{DType, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde_json::Value;

use super::config::{Config, JSON_BYTES_MAX};
use crate::artifact::{Files, WEIGHTS_FILE, check_header, corrupt, corrupt_tensors};
use crate::device::HOST;
use crate::{Error, Result};

/// The list of the parts of a model.
const INDEX_FILE: &str = "model.safetensors.index.json";
/// A header of a file has more bytes only if somebody wants to fill the memory.
const HEADER_BYTES_MAX: u64 = 16 << 20;
const TENSORS_MAX: usize = 100_000;
/// Formats of weights that execute code when they are read.
pub(super) const PICKLES: [&str; 6] = [".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"];

/// The tensors of a model that nobody has taken yet.
#[derive(Debug)]
pub(crate) struct Weights {
    files: Vec<(String, Vec<u8>)>,
    /// The tensors of each file that nobody has taken yet.
    left: Vec<usize>,
    tensors: HashMap<String, Stored>,
    numbers: usize,
}

/// A tensor in a file.
#[derive(Debug)]
pub(crate) struct Stored {
    /// The position of the file.
    pub(crate) file: usize,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// Its bytes in the file.
    pub(crate) bytes: Range<usize>,
}

/// The files with their names and contents, and the tensors in them by name.
pub(crate) type StoredFiles = (Vec<(String, Vec<u8>)>, HashMap<String, Stored>);

impl Weights {
    /// Reads the files of the weights, and their headers.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if there are only weights that execute code when they are read; [`Error::Corrupt`] if a file is
    /// missing or damaged.
    pub(crate) fn read(files: &Files) -> Result<Self> {
        let names = match (files.has(WEIGHTS_FILE), files.has(INDEX_FILE)) {
            (true, _) => BTreeSet::from([WEIGHTS_FILE.to_owned()]),
            (false, true) => parts(files)?,
            (false, false) => return Err(no_weights(files)),
        };
        let mut weights = Self {
            files: vec![],
            left: vec![],
            tensors: HashMap::new(),
            numbers: 0,
        };
        for name in names {
            if !files.has(&name) {
                return Err(corrupt(
                    INDEX_FILE,
                    format!(
                        "names the part \"{}\", which is missing",
                        name.escape_debug()
                    ),
                ));
            }
            let content = files.read(&name, u64::MAX)?;
            weights.add(name, content)?;
        }
        Ok(weights)
    }

    fn add(&mut self, name: String, content: Vec<u8>) -> Result<()> {
        check_header(&name, &content, HEADER_BYTES_MAX)?;
        let (header_bytes, metadata) = SafeTensors::read_metadata(&content)
            .map_err(|error| corrupt_tensors(&name, &content, error))?;
        let start = header_bytes + 8;
        let found = metadata.tensors();
        if self.tensors.len() + found.len() > TENSORS_MAX {
            return Err(corrupt(&name, format!("more than {TENSORS_MAX} tensors")));
        }
        let file = self.files.len();
        self.left.push(found.len());
        for (tensor, info) in found {
            let (first, end) = info.data_offsets;
            let stored = Stored {
                file,
                dtype: info.dtype,
                shape: info.shape.clone(),
                bytes: start + first..start + end,
            };
            if self.tensors.insert(tensor.clone(), stored).is_some() {
                let what = format!("tensor \"{tensor}\" is in two parts");
                return Err(corrupt(&name, what));
            }
        }
        self.files.push((name, content));
        Ok(())
    }

    /// The files and the tensors in them, for a model that keeps its weights as they are stored.
    pub(crate) fn into_files(self) -> StoredFiles {
        (self.files, self.tensors)
    }

    /// Whether there is a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The shape of the tensor of this name.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if there is none.
    pub(crate) fn shape(&self, name: &str) -> Result<&[usize]> {
        let stored = self.tensors.get(name);
        let shape = stored.map(|stored| stored.shape.as_slice());
        shape.ok_or_else(|| self.missing(name))
    }

    /// How many of the names `{prefix}0`, `{prefix}1`, … begin the name of a tensor, with a point after them.
    pub(crate) fn count(&self, prefix: &str) -> usize {
        let numbers = self.tensors.keys().filter_map(|name| {
            let (number, _) = name.strip_prefix(prefix)?.split_once('.')?;
            number.parse::<usize>().ok()
        });
        let known: BTreeSet<usize> = numbers.collect();
        (0..).take_while(|number| known.contains(number)).count()
    }

    /// Takes the numbers of a tensor. The memory of a file is free once all of its tensors are taken, so that a model in parts is
    /// hardly in memory twice.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the tensor is missing, has another shape or other numbers than floats, or if a number is NaN or
    /// infinite.
    pub(crate) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let stored = match self.tensors.get(name) {
            Some(stored) => stored,
            None => return Err(self.missing(name)),
        };
        let (file, content) = &self.files[stored.file];
        let dtype = match stored.dtype {
            Dtype::F32 => Some(DType::F32),
            Dtype::F16 => Some(DType::F16),
            Dtype::BF16 => Some(DType::BF16),
            _ => None,
        };
        let dtype = dtype.filter(|_| stored.shape == shape).ok_or_else(|| {
            corrupt(
                file,
                format!(
                    "tensor \"{name}\" is {:?} of shape {:?}, expected F32, F16 or BF16 of shape {shape:?}",
                    stored.dtype, stored.shape
                ),
            )
        })?;
        let bytes = &content[stored.bytes.clone()];
        let numbers: Vec<f32> = match dtype {
            DType::F32 => {
                let numbers = bytes.as_chunks::<4>().0.iter();
                numbers.map(|bytes| f32::from_le_bytes(*bytes)).collect()
            }
            half => Tensor::from_raw_buffer(bytes, half, &[bytes.len() / 2], &HOST)?
                .to_dtype(DType::F32)?
                .to_vec1::<f32>()?,
        };
        if numbers.iter().any(|number| !number.is_finite()) {
            let what = format!("a number of tensor \"{name}\" is NaN or infinite");
            return Err(corrupt(file, what));
        }
        self.numbers += numbers.len();
        let file = stored.file;
        self.tensors.remove(name);
        self.left[file] -= 1;
        if self.left[file] == 0 {
            self.files[file].1 = vec![];
        }
        Ok(numbers)
    }

    /// The numbers that were taken.
    pub(crate) fn numbers(&self) -> usize {
        self.numbers
    }

    /// Refuses tensors that nobody took, unless they are `known` to have no effect: a model that has more tensors than its
    /// architecture computes something else.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the first of them.
    pub(crate) fn finish(&self, architecture: &str, known: impl Fn(&str) -> bool) -> Result<()> {
        let rest = self.tensors.iter().filter(|(name, _)| !known(name));
        match rest.min_by_key(|(name, _)| *name) {
            None => Ok(()),
            Some((name, stored)) => Err(corrupt(
                &self.files[stored.file].0,
                format!("tensor \"{name}\" is not expected; {architecture} has no such tensor"),
            )),
        }
    }

    fn missing(&self, name: &str) -> Error {
        let file = match self.files.as_slice() {
            [(only, _)] => only,
            _ => INDEX_FILE,
        };
        corrupt(file, format!("tensor \"{name}\" is missing"))
    }
}

/// The files that the index names.
fn parts(files: &Files) -> Result<BTreeSet<String>> {
    let index = Config::parse(INDEX_FILE, &files.read(INDEX_FILE, JSON_BYTES_MAX)?)?;
    let parts = index.get("weight_map").and_then(Value::as_object);
    let parts = parts.ok_or_else(|| index.error("weight_map", "is no object of names of files"))?;
    let names = parts.values().map(|name| name.as_str().map(str::to_owned));
    let names: Option<BTreeSet<String>> = names.collect();
    let wrong = || index.error("weight_map", "has a value that is no name of a file");
    let names = names.ok_or_else(wrong)?;
    match names.is_empty() {
        true => Err(index.error("weight_map", "names no file")),
        false => Ok(names),
    }
}

fn no_weights(files: &Files) -> Error {
    let mut names = files.known().iter().map(|file| file.name.as_str());
    let pickle = names.find(|name| {
        let name = name.to_ascii_lowercase();
        PICKLES.iter().any(|ending| name.ends_with(ending))
    });
    match pickle {
        Some(name) => Error::Unsupported(format!(
            "the weights are in {name}, a pickle, which executes code when it is read; load the model in Python where you trust \
             it, and save it with save_pretrained, or its state_dict with safetensors.torch.save_file as {WEIGHTS_FILE}"
        )),
        None => corrupt(WEIGHTS_FILE, "the directory has no such file"),
    }
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;
    use crate::artifact::{ModelFile, write_file};

    fn files(directory: &tempfile::TempDir, contents: &[(&str, Vec<u8>)]) -> Files {
        let written = contents
            .iter()
            .map(|(name, content)| write_file(directory.path(), name, content).unwrap());
        let known: Vec<ModelFile> = written.collect();
        Files::new(directory.path(), known)
    }

    fn file(tensors: &[(&str, Dtype, &[usize], &[u8])]) -> Vec<u8> {
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            (
                *name,
                TensorView::new(*dtype, shape.to_vec(), bytes).unwrap(),
            )
        });
        safetensors::serialize(views, None).unwrap()
    }

    fn read(contents: &[(&str, Vec<u8>)]) -> Result<Weights> {
        Weights::read(&files(&tempfile::tempdir().unwrap(), contents))
    }

    #[test]
    fn numbers_of_each_type_and_of_each_part() {
        // 1.5 and -2 as f32, f16 and bf16.
        let single: Vec<u8> = [1.5f32, -2.0]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let first = file(&[
            ("single", Dtype::F32, &[2], &single),
            ("half", Dtype::F16, &[1, 2], &[0, 0x3E, 0, 0xC0]),
        ]);
        let second = file(&[("brain", Dtype::BF16, &[2, 1], &[0xC0, 0x3F, 0, 0xC0])]);
        let index = r#"{"weight_map": {"single": "a.safetensors", "half": "a.safetensors", "brain": "b.safetensors"}}"#;
        let mut weights = read(&[
            ("a.safetensors", first),
            ("b.safetensors", second),
            (INDEX_FILE, index.into()),
        ])
        .unwrap();
        for (name, shape) in [
            ("single", &[2][..]),
            ("half", &[1, 2][..]),
            ("brain", &[2, 1][..]),
        ] {
            assert!(weights.has(name) && weights.shape(name).unwrap() == shape);
            assert_eq!(weights.take(name, shape).unwrap(), [1.5, -2.0], "{name}");
        }
        assert_eq!(weights.numbers(), 6);
        assert!(weights.files.iter().all(|(_, content)| content.is_empty()));
        weights.finish("a model", |_| false).unwrap();
    }

    #[test]
    fn what_is_wrong_with_a_tensor_is_named() {
        let numbers = [0u8; 8];
        let nan = f32::NAN.to_le_bytes();
        let infinite = f32::NEG_INFINITY.to_le_bytes();
        let content = file(&[
            ("a.0.x", Dtype::F32, &[2], &numbers),
            ("a.1.x", Dtype::I64, &[1], &numbers),
            ("a.3.x", Dtype::F32, &[1], &nan),
            ("a.4.x", Dtype::F32, &[1], &infinite),
        ]);
        let mut weights = read(&[(WEIGHTS_FILE, content)]).unwrap();
        assert_eq!(weights.count("a."), 2);
        let mut error = |name: &str, shape: &[usize]| {
            let error = weights.take(name, shape).unwrap_err();
            error.to_string()
        };
        assert_eq!(
            error("b", &[1]),
            "model.safetensors: tensor \"b\" is missing"
        );
        assert!(
            error("a.0.x", &[1, 2])
                .contains("is F32 of shape [2], expected F32, F16 or BF16 of shape [1, 2]")
        );
        assert!(error("a.1.x", &[1]).contains("is I64 of shape [1]"));
        assert!(error("a.3.x", &[1]).contains("NaN or infinite"));
        assert!(error("a.4.x", &[1]).contains("NaN or infinite"));
        let error = weights.finish("TinyModel", |name| name == "a.0.x");
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("\"a.1.x\" is not expected; TinyModel")
        );
    }

    #[test]
    fn files_that_are_no_weights() {
        for (contents, expected) in [
            (
                vec![("pytorch_model.bin", vec![1])],
                "pytorch_model.bin, a pickle",
            ),
            (
                vec![("README.md", vec![1])],
                "model.safetensors: the directory has no such file",
            ),
            (vec![(WEIGHTS_FILE, vec![1])], "1 bytes are too few"),
            (
                vec![(WEIGHTS_FILE, vec![255; 9])],
                "not a safetensors file?",
            ),
            (
                vec![(
                    INDEX_FILE,
                    br#"{"weight_map": {"a": "a.safetensors"}}"#.to_vec(),
                )],
                "names the part \"a.safetensors\", which is missing",
            ),
            (
                vec![(INDEX_FILE, b"{}".to_vec())],
                "weight_map is no object",
            ),
        ] {
            let error = read(&contents).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn files_of_other_kinds_are_told_by_their_kind() {
        let cases: [(&[u8], &str); 7] = [
            (
                b"",
                "model.safetensors: no safetensors file; it looks like an empty file",
            ),
            (
                b"version https://git-lfs.github.com/spec/v1\noid",
                "a pointer of Git LFS",
            ),
            (b"<!DOCTYPE html><html></html>", "a web page"),
            (
                b"PK\x03\x04 and more",
                "a ZIP archive, such as a checkpoint of PyTorch",
            ),
            (b"\x1f\x8b\x08\0\0\0\0\0\0", "it looks like a gzip archive"),
            (b"\x80\x02}q\0X and more", "a pickle of Python"),
            (b"GGUF\x03\0\0\0\0\0", "a model in GGUF"),
        ];
        for (content, expected) in cases {
            let error = read(&[(WEIGHTS_FILE, content.to_vec())]).unwrap_err();
            assert!(matches!(error, Error::Corrupt(_)), "{error}");
            assert!(error.to_string().ends_with(expected), "{error}");
        }
        // The length of a header may have the first byte of a pickle.
        let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let cut_off = with_header(format!("{header:128}").as_bytes(), 7);
        assert_eq!(cut_off[0], 0x80);
        let error = read(&[(WEIGHTS_FILE, cut_off)]).unwrap_err().to_string();
        assert!(!error.contains("looks like"), "{error}");
    }

    /// A file with this header and so many bytes behind it.
    fn with_header(header: &[u8], data: usize) -> Vec<u8> {
        let mut content = (header.len() as u64).to_le_bytes().to_vec();
        content.extend_from_slice(header);
        content.resize(content.len() + data, 0);
        content
    }

    #[test]
    fn files_that_are_cut_off_or_too_long_are_refused() {
        let numbers = [0u8; 8];
        let whole = file(&[
            ("a", Dtype::F32, &[2], &numbers),
            ("b", Dtype::F16, &[2], &numbers[..4]),
        ]);
        assert!(read(&[(WEIGHTS_FILE, whole.clone())]).is_ok());
        for length in 0..whole.len() {
            let error = read(&[(WEIGHTS_FILE, whole[..length].to_vec())]).unwrap_err();
            assert!(matches!(error, Error::Corrupt(_)), "{length}: {error}");
        }
        let longer = [whole.as_slice(), &[0]].concat();
        let error = read(&[(WEIGHTS_FILE, longer)]).unwrap_err().to_string();
        assert!(error.contains("not fully covered"), "{error}");
    }

    #[test]
    fn headers_that_lie_are_refused() {
        let tensor = |name: &str, shape: &str, start: i64, end: i64| {
            format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}"#)
        };
        let two = |second: String| format!("{{{},{second}}}", tensor("a", "[2]", 0, 8));
        let one = |only: String| format!("{{{only}}}");
        let huge = "[4294967296,4294967296,4294967296]";
        let nested = format!("{{\"a\":{}", "[".repeat(100_000));
        for (header, data, expected) in [
            // They overlap, have a gap between them, end before they begin, or end behind the file.
            (two(tensor("b", "[1]", 4, 8)), 8, "invalid offset"),
            (two(tensor("b", "[1]", 12, 16)), 16, "invalid offset"),
            (one(tensor("a", "[2]", 8, 0)), 8, "invalid offset"),
            (one(tensor("a", "[2]", 0, 8)), 4, "not fully covered"),
            // The shape has other numbers than the bytes, or more than can be counted.
            (one(tensor("a", "[3]", 0, 8)), 8, "invalid shape"),
            (one(tensor("a", huge, 0, 8)), 8, "overflow"),
            (one(tensor("a", "[-2]", 0, 8)), 8, "invalid JSON"),
            (two(tensor("a", "[2]", 8, 16)), 16, ""),
            ("{\"a\"".to_owned(), 0, "invalid JSON"),
            (nested, 0, "invalid JSON"),
        ] {
            let content = with_header(header.as_bytes(), data);
            let error = read(&[(WEIGHTS_FILE, content)]).unwrap_err();
            assert!(matches!(error, Error::Corrupt(_)), "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        }
        let message = |content: Vec<u8>| read(&[(WEIGHTS_FILE, content)]).unwrap_err().to_string();
        assert!(message(with_header(b"{\xff}", 0)).contains("invalid UTF-8"));
        let large = [&90_000_000u64.to_le_bytes()[..], b"{}"].concat();
        assert!(message(large).contains("a header of 90000000 bytes"));
        // Of tensors without numbers, any number would fit into a small file.
        let many = (0..=TENSORS_MAX).map(|at| tensor(&at.to_string(), "[0]", 0, 0));
        let many = one(many.collect::<Vec<_>>().join(","));
        let error = message(with_header(many.as_bytes(), 0));
        assert!(error.contains("more than 100000 tensors"), "{error}");
    }

    #[test]
    fn tensors_of_other_types_and_sizes_are_named() {
        let content = file(&[
            ("scalar", Dtype::F32, &[], &[0; 4]),
            ("empty", Dtype::F32, &[0], &[]),
            ("small", Dtype::F8_E4M3, &[1], &[0]),
        ]);
        let mut weights = read(&[(WEIGHTS_FILE, content)]).unwrap();
        for (name, expected) in [
            ("scalar", "\"scalar\" is F32 of shape [], expected"),
            ("empty", "\"empty\" is F32 of shape [0], expected"),
            ("small", "\"small\" is F8_E4M3 of shape [1], expected"),
        ] {
            let error = weights.take(name, &[1]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
