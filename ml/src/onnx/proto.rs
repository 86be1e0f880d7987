//! Bytes → the message of a model. Before the decoder allocates anything, the messages in the file are counted: an empty message
//! takes two bytes in a file, and a hundred times as much in memory.

use tract_onnx::Onnx;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::Framework;

use crate::foreign::looks_like;
use crate::{Error, Result};

/// The most messages in a file, and fields of its graphs and nodes.
const ENTRIES_MAX: usize = 2_000_000;

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
            "{file} has more than {ENTRIES_MAX} nodes, attributes and tensors, the most that are read"
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

/// The messages of ONNX, as far as the decoder knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Model,
    Training,
    Function,
    Graph,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
    Annotation,
    /// An input, an output, or a value between.
    ValueInfo,
    Type,
    TensorType,
    Shape,
    /// One that holds no others.
    Plain,
}

impl Message {
    /// The message in a field of this number; `None` for a number, a text or bytes.
    fn inner(self, field: u64) -> Option<Self> {
        match (self, field) {
            (Self::Model, 7) | (Self::Training, 1 | 2) | (Self::Attribute, 6 | 11) => {
                Some(Self::Graph)
            }
            (Self::Model, 20) => Some(Self::Training),
            (Self::Model, 25) => Some(Self::Function),
            (Self::Graph, 1) | (Self::Function, 7) => Some(Self::Node),
            (Self::Node, 5) => Some(Self::Attribute),
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => {
                Some(Self::Tensor)
            }
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Some(Self::SparseTensor),
            (Self::Graph, 11..=13) => Some(Self::ValueInfo),
            (Self::Graph, 14) => Some(Self::Annotation),
            (Self::ValueInfo, 2) | (Self::Attribute, 15) => Some(Self::Type),
            (Self::Type, 1) => Some(Self::TensorType),
            (Self::TensorType, 2) => Some(Self::Shape),
            (Self::Model, 8 | 14)
            | (Self::Training, 3 | 4)
            | (Self::Function, 9)
            | (Self::Annotation, 2)
            | (Self::Tensor, 3 | 13)
            | (Self::Shape, 1) => Some(Self::Plain),
            _ => None,
        }
    }

    /// Whether all fields of the message count, since each may be a name.
    fn has_names(self) -> bool {
        matches!(self, Self::Graph | Self::Node | Self::Function)
    }
}

/// The number of entries of a model, or any number above [`ENTRIES_MAX`]; `None` if the content is malformed.
fn entries(content: &[u8]) -> Option<usize> {
    let mut count = 0;
    // The messages around the current field, the innermost last.
    let mut open = vec![(Message::Model, Fields(content))];
    while let Some((message, fields)) = open.last_mut() {
        let message = *message;
        let Some((number, value)) = fields.field()? else {
            open.pop();
            continue;
        };
        let inner = message.inner(number);
        count += usize::from(inner.is_some() || message.has_names());
        if count > ENTRIES_MAX {
            break;
        }
        open.extend(inner.map(|inner| (inner, Fields(value))));
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

    /// A field that holds these bytes.
    fn field(number: u64, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![];
        for mut value in [(number << 3) | 2, content.len() as u64] {
            while value >= 0x80 {
                bytes.push((value & 0x7f) as u8 | 0x80);
                value >>= 7;
            }
            bytes.push(value as u8);
        }
        bytes.extend_from_slice(content);
        bytes
    }

    /// The fields that lead to a message, from the model.
    fn within(path: &[u64], content: Vec<u8>) -> Vec<u8> {
        path.iter()
            .rev()
            .fold(content, |content, number| field(*number, &content))
    }

    #[test]
    fn a_flood_of_empty_messages_is_refused_before_it_is_decoded() {
        let floods: [(&[u64], u64); 9] = [
            // Nodes of the graph, of a graph in an attribute, of a function and of a graph for training.
            (&[7], 1),
            (&[7, 1, 5, 6], 1),
            (&[25], 7),
            (&[20, 2], 1),
            // Properties of the model, tensors and graphs of an attribute.
            (&[], 14),
            (&[7, 1, 5], 10),
            (&[7, 1, 5], 11),
            // Dimensions of an input, and places of the values of a tensor.
            (&[7, 11, 2, 1, 2], 1),
            (&[7, 5], 13),
        ];
        for (path, number) in floods {
            let flood = field(number, &[]).repeat(ENTRIES_MAX + 1);
            let error = decode("m.onnx", &within(path, flood)).unwrap_err();
            assert!(matches!(error, Error::Unsupported(_)), "{error}");
            assert!(
                error.to_string().contains("has more than 2000000 nodes"),
                "{path:?} {number}: {error}"
            );
        }
    }

    #[test]
    fn a_graph_is_counted_with_its_attributes() {
        // A graph with a node of two attributes, and a tensor.
        let attributes = [field(5, &[]), field(5, &[])].concat();
        let graph = [field(1, &attributes), field(5, &[])].concat();
        let content = field(7, &graph);
        assert_eq!(entries(&content), Some(5));
        assert!(decode("m.onnx", &content).is_ok());
        // The numbers of an attribute do not count, since trees have millions.
        let numbers = field(7, &[0; 4]).repeat(1000);
        assert_eq!(entries(&within(&[7, 1, 5], numbers)), Some(3));
    }
}
