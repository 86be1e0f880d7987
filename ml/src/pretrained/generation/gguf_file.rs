//! [`GgufFile`]: a file in GGUF: values by name, which describe a model and its tokenizer, and tensors.
//!
//! ```text
//! "GGUF", version, counts │ values: name, type, value … │ tensors: name, dimensions, type, place … │ bytes of the tensors
//! ```
//! A file is not trusted: each length is compared with the bytes that are left before memory is taken for it.
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>

use std::collections::HashMap;

use serde_json::{Map, Number, Value};

use super::stored::{Content, Element, StoredTensor, Tensors};
use crate::artifact::corrupt;
use crate::pretrained::config::Config;
use crate::{Error, Result};

/// The first bytes of a file.
const MAGIC: &[u8] = b"GGUF";
/// The versions of the format whose lengths have 64 bits.
const VERSIONS: [u32; 2] = [2, 3];
/// The values of a file, and the elements of all its lists.
const VALUES_MAX: usize = 1 << 22;
const TENSORS_MAX: usize = 100_000;
const DIMENSIONS_MAX: u32 = 4;
/// Where tensors begin, if the file does not say it: at multiples of so many bytes.
const ALIGNMENT: usize = 32;

/// A file in GGUF.
#[derive(Debug)]
pub(super) struct GgufFile {
    /// The values by name.
    pub(super) values: Config,
    pub(super) tensors: Tensors,
}

impl GgufFile {
    /// Reads the content of the file of this name.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for content that is cut off or that is no GGUF; [`Error::Unsupported`] for an older version.
    pub(super) fn read(name: &str, content: Vec<u8>) -> Result<Self> {
        let content = Content::new(content);
        let mut reader = Reader {
            file: name,
            bytes: content.all(),
            at: 0,
            values: 0,
        };
        let (tensors, values) = reader.header()?;
        let mut fields = Map::new();
        for _ in 0..values {
            let key = reader.text()?;
            let kind = reader.u32()?;
            let value = reader.value(kind)?;
            if fields.insert(key.clone(), value).is_some() {
                return Err(reader.error(format!("\"{}\" is there twice", key.escape_debug())));
            }
        }
        let values = Config::of_fields(name, fields);
        let found = (0..tensors).map(|_| reader.tensor());
        let found = found.collect::<Result<Vec<(String, Entry)>>>()?;
        let alignment = values.whole("general.alignment", Some(ALIGNMENT), 1..=1 << 16)?;
        let start = reader.at.next_multiple_of(alignment);
        let mut tensors = HashMap::with_capacity(found.len());
        for (tensor, entry) in found {
            let stored = entry.stored(name, &tensor, start, content.all().len())?;
            if tensors.insert(tensor.clone(), stored).is_some() {
                let what = format!("tensor \"{}\" is there twice", tensor.escape_debug());
                return Err(corrupt(name, what));
            }
        }
        let files = vec![(name.to_owned(), content)];
        Ok(Self {
            values,
            tensors: Tensors::new(files, tensors),
        })
    }
}

/// A tensor in the list of tensors.
struct Entry {
    /// The last dimension first, as in GGUF.
    dimensions: Vec<u64>,
    element: u32,
    /// Where it begins after the list.
    offset: u64,
}

impl Entry {
    /// The tensor, whose bytes must be among the `length` bytes of the file; those of tensors begin at `start`.
    fn stored(self, file: &str, name: &str, start: usize, length: usize) -> Result<StoredTensor> {
        let shape = self.dimensions.iter().rev();
        let shape = shape.map(|dimension| usize::try_from(*dimension).ok());
        let shape: Option<Vec<usize>> = shape.collect();
        let element = Element::of_gguf(self.element);
        let place = shape.and_then(|shape| {
            let numbers = shape
                .iter()
                .try_fold(1usize, |numbers, dimension| numbers.checked_mul(*dimension))?;
            let begins = start.checked_add(usize::try_from(self.offset).ok()?)?;
            let bytes = element.map_or(Some(0), |element| element.bytes(numbers))?;
            (begins.checked_add(bytes)? <= length).then_some((shape, begins))
        });
        let (shape, start) = place.ok_or_else(|| {
            let what = format!(
                "tensor \"{}\" with the dimensions {:?} is not in the file, which has {length} bytes; is the file complete?",
                name.escape_debug(),
                self.dimensions
            );
            corrupt(file, what)
        })?;
        Ok(StoredTensor {
            file: 0,
            start,
            shape,
            element: element.ok_or_else(|| format!("of the type {} of GGUF", self.element)),
        })
    }
}

/// Reads a file from its start.
struct Reader<'a> {
    file: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// The values so far, and the elements of lists.
    values: usize,
}

impl<'a> Reader<'a> {
    fn error(&self, problem: impl std::fmt::Display) -> Error {
        corrupt(self.file, problem)
    }

    /// The numbers of tensors and of values.
    fn header(&mut self) -> Result<(usize, usize)> {
        if self.take(MAGIC.len())? != MAGIC {
            return Err(self.error("it does not begin as a file in GGUF does"));
        }
        let version = self.u32()?;
        if !VERSIONS.contains(&version) {
            let known = VERSIONS.map(|version| version.to_string()).join(" and ");
            return Err(Error::Unsupported(format!(
                "{}: version {version} of GGUF is not supported; versions {known} are",
                self.file
            )));
        }
        let tensors = self.count(TENSORS_MAX, "tensors")?;
        let values = self.count(VALUES_MAX, "values")?;
        Ok((tensors, values))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (bytes, at) = (self.bytes, self.at);
        let end = at.checked_add(count);
        let taken = end.and_then(|end| bytes.get(at..end));
        let taken = taken.ok_or_else(|| {
            self.error(format!(
                "it ends after {} bytes, in the middle of its header",
                self.bytes.len()
            ))
        })?;
        self.at += count;
        Ok(taken)
    }

    fn array<const COUNT: usize>(&mut self) -> Result<[u8; COUNT]> {
        let mut bytes = [0; COUNT];
        bytes.copy_from_slice(self.take(COUNT)?);
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A number of things, of which each takes a byte or more.
    fn count(&mut self, max: usize, what: &str) -> Result<usize> {
        let count = self.u64()?;
        let most = max.min(self.bytes.len() - self.at);
        let fits = usize::try_from(count).ok().filter(|count| *count <= most);
        fits.ok_or_else(|| {
            let what = format!(
                "it promises {count} {what}; at most {most} are possible in the rest of the file"
            );
            self.error(what)
        })
    }

    /// A text. What is not UTF-8 in it is replaced.
    fn text(&mut self) -> Result<String> {
        let length = self.count(usize::MAX, "bytes of a text")?;
        let bytes = self.take(length)?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    /// A value of a type. A number that JSON does not have is null.
    fn value(&mut self, kind: u32) -> Result<Value> {
        /// The type of lists.
        const LIST: u32 = 9;
        if kind != LIST {
            return self.single(kind);
        }
        let kind = self.u32()?;
        let count = self.count(VALUES_MAX, "elements of a list")?;
        // The elements count together, so that lists of lists do not fill the memory.
        self.values += count;
        if kind == LIST || self.values > VALUES_MAX {
            let what = format!(
                "lists of lists, and more than {VALUES_MAX} elements of lists, are not supported"
            );
            return Err(Error::Unsupported(format!("{}: {what}", self.file)));
        }
        let elements = (0..count).map(|_| self.single(kind));
        Ok(Value::Array(elements.collect::<Result<_>>()?))
    }

    fn single(&mut self, kind: u32) -> Result<Value> {
        let float = |number: f64| Number::from_f64(number).map_or(Value::Null, Value::Number);
        Ok(match kind {
            0 => Value::from(u8::from_le_bytes(self.array()?)),
            1 => Value::from(i8::from_le_bytes(self.array()?)),
            2 => Value::from(u16::from_le_bytes(self.array()?)),
            3 => Value::from(i16::from_le_bytes(self.array()?)),
            4 => Value::from(u32::from_le_bytes(self.array()?)),
            5 => Value::from(i32::from_le_bytes(self.array()?)),
            6 => float(f64::from(f32::from_le_bytes(self.array()?))),
            7 => Value::Bool(self.array::<1>()? != [0]),
            8 => Value::String(self.text()?),
            10 => Value::from(u64::from_le_bytes(self.array()?)),
            11 => Value::from(i64::from_le_bytes(self.array()?)),
            12 => float(f64::from_le_bytes(self.array()?)),
            other => return Err(self.error(format!("a value has the unknown type {other}"))),
        })
    }

    fn tensor(&mut self) -> Result<(String, Entry)> {
        let name = self.text()?;
        let count = self.u32()?;
        if count > DIMENSIONS_MAX {
            return Err(self.error(format!(
                "tensor \"{}\" has {count} dimensions, at most {DIMENSIONS_MAX} are supported",
                name.escape_debug()
            )));
        }
        let dimensions = (0..count).map(|_| self.u64());
        let entry = Entry {
            dimensions: dimensions.collect::<Result<_>>()?,
            element: self.u32()?,
            offset: self.u64()?,
        };
        Ok((name, entry))
    }
}
