//! Bytes → the message of a model. Before the decoder allocates anything, the entries of the graph are counted: an empty
//! entry takes two bytes in a file, and a hundred times as much in memory.

use tract_onnx::Onnx;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::Framework;

use crate::{Error, Result};

/// The most nodes, attributes, inputs and tensors of a graph, subgraphs not counted.
const ENTRIES_MAX: usize = 2_000_000;

/// The numbers of fields in the messages of ONNX.
const GRAPH_OF_MODEL: u64 = 7;
const NODE_OF_GRAPH: u64 = 1;

/// The model of a file of this name.
///
/// # Errors
/// [`Error::Corrupt`] if the content is not a model; [`Error::Unsupported`] for a model with too many entries.
pub(super) fn decode(file: &str, content: &[u8]) -> Result<ModelProto> {
    let no_model = |problem: String| {
        let hint =
            looks_like(content).map_or(String::new(), |what| format!("; it looks like {what}"));
        Error::Corrupt(format!("{file} is not a model in ONNX: {problem}{hint}"))
    };
    let entries = entries(content).ok_or_else(|| no_model("it is damaged or cut off".into()))?;
    if entries > ENTRIES_MAX {
        return Err(Error::Unsupported(format!(
            "{file} has {entries} nodes, attributes and tensors; at most {ENTRIES_MAX} are read"
        )));
    }
    let mut reader = content;
    let model = Onnx::default().proto_model_for_read(&mut reader);
    let model = model.map_err(|error| no_model(error.root_cause().to_string()))?;
    match &model.graph {
        Some(_) => Ok(model),
        None => Err(no_model("it has no graph".into())),
    }
}

/// The number of nodes, attributes, inputs and tensors in the graph of a model; `None` if the content is malformed.
fn entries(content: &[u8]) -> Option<usize> {
    let mut count = 0;
    let mut model = Fields(content);
    while let Some((number, graph)) = model.field()? {
        if number != GRAPH_OF_MODEL {
            continue;
        }
        let mut graph = Fields(graph);
        while let Some((number, entry)) = graph.field()? {
            count += 1;
            let mut node = Fields(entry);
            while number == NODE_OF_GRAPH && node.field()?.is_some() {
                count += 1;
            }
        }
    }
    Some(count)
}

/// The fields of a message as protobuf writes them: a key, which is the number of the field and its kind, and the value.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The number of the next field, and its bytes if it has a length; no field at the end, `None` if the message is malformed.
    fn field(&mut self) -> Option<Option<(u64, &'a [u8])>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let key = self.varint()?;
        let value: &'a [u8] = match key & 7 {
            0 => {
                self.varint()?;
                &[]
            }
            1 => self.take(8)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.take(length)?
            }
            5 => self.take(4)?,
            _ => return None,
        };
        Some(Some((key >> 3, value)))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for position in 0..10 {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << (7 * position);
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

/// What a file is that is often taken for a model.
fn looks_like(content: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 7] = [
        (b"version https://git-lfs", "a pointer of Git LFS"),
        (b"<!DOCTYPE", "a web page"),
        (b"<html", "a web page"),
        (
            b"PK\x03\x04",
            "a ZIP archive, such as a checkpoint of PyTorch",
        ),
        (b"\x1f\x8b", "a gzip archive"),
        (b"\x80", "a pickle of Python"),
        (b"GGUF", "a model in GGUF"),
    ];
    if content.is_empty() {
        return Some("an empty file");
    }
    let found = known.iter().find(|(start, _)| content.starts_with(start));
    found.map(|(_, what)| *what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_model_is_named() {
        let cases: [(&[u8], &str); 8] = [
            (b"", "it looks like an empty file"),
            (
                b"version https://git-lfs.github.com/spec/v1\noid",
                "Git LFS",
            ),
            (b"<!DOCTYPE html><html></html>", "a web page"),
            (b"PK\x03\x04rest", "a ZIP archive"),
            (b"\x80\x04\x95", "a pickle"),
            (b"hello world", "not a model in ONNX"),
            // A version of the format and nothing else.
            (&[0x08, 0x08], "it has no graph"),
            // A graph that claims to be longer than the file.
            (&[0x3a, 0x7f, 0x0a], "it is damaged or cut off"),
        ];
        for (content, expected) in cases {
            let error = decode("m.onnx", content).unwrap_err();
            assert!(matches!(error, Error::Corrupt(_)), "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn a_flood_of_empty_nodes_is_refused_before_it_is_decoded() {
        let nodes = [0x0a, 0x00].repeat(ENTRIES_MAX + 1);
        let mut content = vec![0x3a];
        let mut length = nodes.len();
        while length >= 0x80 {
            content.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        content.push(length as u8);
        content.extend(nodes);
        let error = decode("m.onnx", &content).unwrap_err();
        assert!(matches!(error, Error::Unsupported(_)), "{error}");
        assert!(error.to_string().contains("has 2000001 nodes"), "{error}");
    }

    #[test]
    fn a_graph_is_counted_with_its_attributes() {
        // A graph with a node of two attributes, and a tensor.
        let content = [0x3a, 0x08, 0x0a, 0x04, 0x2a, 0x00, 0x2a, 0x00, 0x2a, 0x00];
        assert_eq!(entries(&content), Some(4));
        assert!(decode("m.onnx", &content).is_ok());
    }
}
