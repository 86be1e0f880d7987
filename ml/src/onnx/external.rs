//! Tensors whose values are in files beside the model, as PyTorch writes them. Their values move into the message, so tract
//! opens no file: a location is the name of a file that the manifest names, and no path.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::{AttributeProto, GraphProto, TensorProto};

use crate::{Error, Result};

/// Moves the values of all tensors of a graph and its subgraphs into the message. `read` returns the content of a file.
///
/// # Errors
/// [`Error::Corrupt`] for a tensor beyond the end of its file, or a location that is no name of a file; the errors of `read`.
pub(super) fn inline(
    file: &str,
    graph: &mut GraphProto,
    read: &mut dyn FnMut(&str) -> Result<Vec<u8>>,
) -> Result<()> {
    let mut contents: HashMap<String, Vec<u8>> = HashMap::new();
    in_graph(graph, &mut |tensor: &mut TensorProto| {
        if tensor.data_location != Some(DataLocation::External as i32) {
            return Ok(());
        }
        let name = tensor.name.clone();
        let wrong =
            |problem: String| Error::Corrupt(format!("{file}: tensor \"{name}\" {problem}"));
        let location = entry(tensor, "location");
        let location = location.ok_or_else(|| wrong("has no location of its values".into()))?;
        if !is_name(location) {
            return Err(wrong(format!(
                "has its values in \"{}\", which is not the name of a file beside {file}",
                location.escape_debug()
            )));
        }
        let content: &[u8] = match contents.entry(location.to_owned()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let content = read(location).map_err(|error| match error {
                    Error::Corrupt(problem) => wrong(format!(
                        "has its values in another file: {problem}; give the directory with both files"
                    )),
                    other => other,
                });
                place.insert(content?)
            }
        };
        let number = |key: &str| match entry(tensor, key) {
            None => Ok(None),
            Some(text) => match text.parse::<usize>() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(wrong(format!("has the {key} \"{}\"", text.escape_debug()))),
            },
        };
        let start = number("offset")?.unwrap_or(0);
        let end = match number("length")? {
            Some(length) => start.checked_add(length),
            None => Some(content.len()),
        };
        let values = end.and_then(|end| content.get(start..end));
        let values = values.ok_or_else(|| {
            let bytes = content.len();
            wrong(format!("ends beyond {location}, which has {bytes} bytes"))
        })?;
        let values = values.to_vec();
        tensor.raw_data = values;
        tensor.data_location = None;
        tensor.external_data.clear();
        Ok(())
    })
}

fn entry<'a>(tensor: &'a TensorProto, key: &str) -> Option<&'a str> {
    let found = tensor.external_data.iter().find(|entry| entry.key == key);
    found.map(|entry| entry.value.as_str())
}

/// Whether the location is a plain name, as a file of a model has it.
fn is_name(location: &str) -> bool {
    !location.is_empty() && !location.contains(['/', '\\', ':', '\0']) && !location.starts_with('.')
}

/// Calls `edit` on every tensor of a graph and its subgraphs.
fn in_graph(
    graph: &mut GraphProto,
    edit: &mut dyn FnMut(&mut TensorProto) -> Result<()>,
) -> Result<()> {
    graph.initializer.iter_mut().try_for_each(&mut *edit)?;
    let attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
    for AttributeProto {
        t,
        g,
        tensors,
        graphs,
        ..
    } in attributes
    {
        t.iter_mut().chain(tensors).try_for_each(&mut *edit)?;
        for graph in g.iter_mut().chain(graphs) {
            in_graph(graph, edit)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::StringStringEntryProto;

    use super::*;

    fn inlined(entries: &[(&str, &str)]) -> Result<Vec<u8>> {
        let external_data = entries.iter().map(|(key, value)| StringStringEntryProto {
            key: (*key).into(),
            value: (*value).into(),
        });
        let tensor = TensorProto {
            name: "w".into(),
            data_location: Some(DataLocation::External as i32),
            external_data: external_data.collect(),
            ..TensorProto::default()
        };
        let mut graph = GraphProto {
            initializer: vec![tensor],
            ..GraphProto::default()
        };
        let mut read = |name: &str| -> Result<Vec<u8>> {
            match name {
                "m.data" => Ok((0..10).collect()),
                _ => Err(Error::Corrupt(format!(
                    "{name}: the manifest does not name this file"
                ))),
            }
        };
        inline("m.onnx", &mut graph, &mut read)?;
        let tensor = graph.initializer.remove(0);
        assert_eq!(tensor.data_location, None);
        Ok(tensor.raw_data)
    }

    #[test]
    fn values_come_from_the_part_of_the_file() {
        let location = ("location", "m.data");
        let all = inlined(&[location]).unwrap();
        assert_eq!(all, (0..10).collect::<Vec<u8>>());
        let part = inlined(&[location, ("offset", "2"), ("length", "3")]).unwrap();
        assert_eq!(part, [2, 3, 4]);
    }

    #[test]
    fn values_outside_of_the_files_of_the_model_are_refused() {
        let location = ("location", "m.data");
        let cases: [(&[(&str, &str)], &str); 9] = [
            (&[("location", "../m.data")], "not the name of a file"),
            (&[("location", "/etc/passwd")], "not the name of a file"),
            (&[("location", "")], "not the name of a file"),
            (&[("offset", "0")], "has no location"),
            (
                &[("location", "other.data")],
                "give the directory with both files",
            ),
            (
                &[location, ("length", "11")],
                "ends beyond m.data, which has 10 bytes",
            ),
            (&[location, ("offset", "11")], "ends beyond m.data"),
            (
                &[
                    location,
                    ("offset", "2"),
                    ("length", "18446744073709551615"),
                ],
                "ends beyond m.data",
            ),
            (&[location, ("offset", "-1")], "has the offset \"-1\""),
        ];
        for (entries, expected) in cases {
            let error = inlined(entries).unwrap_err();
            assert!(matches!(error, Error::Corrupt(_)), "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
