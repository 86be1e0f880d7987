//! Tests of the checks of graphs.

use tract_onnx::pb::AttributeProto;

use super::super::element::Element;
use super::super::examples::{FLOAT, input, model, node};
use super::super::inputs::Row;
use super::*;

fn of_tract(model: ModelProto) -> Result<Graph> {
    checked("m.onnx", model, Runner::Tract)
}

/// A graph of one input with these dimensions.
fn of_dims(elem_type: i32, dims: &[&str]) -> Result<Graph> {
    let nodes = vec![node("Identity", "", &["x"], &["y"])];
    of_tract(model(vec![input("x", elem_type, dims)], nodes, &["y"]))
}

#[test]
fn inputs_are_values_arrays_or_lists() {
    let cases: [(&[&str], Row); 7] = [
        (&["?"], Row::One { rank: 1 }),
        (&["batch"], Row::One { rank: 1 }),
        (&["batch", "1"], Row::One { rank: 2 }),
        (&["batch", "4"], Row::Array(vec![4])),
        (&["-1", "3", "2", "2"], Row::Array(vec![3, 2, 2])),
        (&["batch", "sequence"], Row::List { length: 0 }),
        (&["batch", "?"], Row::List { length: 0 }),
    ];
    for (dims, row) in cases {
        let graph = of_dims(FLOAT, dims).unwrap();
        assert_eq!(graph.inputs[0].row, row, "{dims:?}");
        assert_eq!(graph.inputs[0].element, Element::F32);
        assert_eq!(graph.batch, Batch::Any);
    }
    let graph = of_dims(FLOAT, &["8", "4"]).unwrap();
    assert_eq!(graph.batch, Batch::Of(8));
}

#[test]
fn an_input_that_no_column_can_be_is_named() {
    let complex = tensor_proto::DataType::Complex64 as i32;
    let text = tensor_proto::DataType::String as i32;
    let cases: [(i32, &[&str], &str); 8] = [
        (FLOAT, &[], "input \"x\" is a single value"),
        (FLOAT, &["0", "4"], "takes 0 rows at once"),
        (FLOAT, &["N", "0"], "has a dimension of size 0"),
        (
            FLOAT,
            &["N", "3", "height", "width"],
            "no fixed size in dimension 2",
        ),
        (
            FLOAT,
            &["N", "4294967296", "4294967296"],
            "more than 2097152 elements",
        ),
        (text, &["N", "length"], "a list of strings of any length"),
        (complex, &["N", "4"], "is a tensor of COMPLEX64"),
        (99, &["N", "4"], "is a tensor of an unknown type"),
    ];
    for (elem_type, dims, expected) in cases {
        let error = of_dims(elem_type, dims).unwrap_err();
        assert!(matches!(error, Error::Unsupported(_)), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let two = vec![
        input("x", FLOAT, &["N", "4"]),
        input("z", FLOAT, &["1", "4"]),
    ];
    let nodes = vec![node("Add", "", &["x", "z"], &["y"])];
    let error = of_tract(model(two, nodes, &["y"])).unwrap_err();
    assert!(
        error.to_string().contains("different numbers of rows"),
        "{error}"
    );
}

#[test]
fn lists_of_one_name_have_one_length() {
    let integers = tensor_proto::DataType::Int64 as i32;
    let inputs = vec![
        input("ids", integers, &["batch", "sequence"]),
        input("mask", integers, &["batch", "sequence"]),
        input("labels", integers, &["batch", "classes"]),
    ];
    let nodes = vec![node("Sum", "", &["ids", "mask", "labels"], &["y"])];
    let graph = of_tract(model(inputs, nodes, &["y"])).unwrap();
    let rows: Vec<&Row> = graph.inputs.iter().map(|input| &input.row).collect();
    let list = |length| Row::List { length };
    assert_eq!(rows, [&list(0), &list(0), &list(1)]);
    assert_eq!(graph.lengths, 2);
}

#[test]
fn all_unknown_operators_are_named_at_once() {
    let inner = GraphProto {
        node: vec![node("Unheard", "my.own", &["x"], &["z"])],
        ..GraphProto::default()
    };
    let mut scan = node("Scan", "", &["x"], &["a"]);
    scan.attribute.push(AttributeProto {
        name: "body".into(),
        g: Some(inner),
        ..AttributeProto::default()
    });
    let nodes = vec![
        scan,
        node("If", "", &["a"], &["b"]),
        node("Loop", "", &["b"], &["c"]),
        node("DictVectorizer", "ai.onnx.ml", &["c"], &["y"]),
        node("Relu", "", &["x"], &["d"]),
    ];
    let error = of_tract(model(vec![input("x", FLOAT, &["N", "4"])], nodes, &["y"]));
    let expected = "m.onnx uses operators that this build does not know: If (opset 15), Loop (opset 15), \
                    ai.onnx.ml.DictVectorizer (opset 3), my.own.Unheard (no opset); onnxruntime may run it: import it with \
                    OPTIONS (format = 'onnxruntime')";
    assert_eq!(error.unwrap_err().to_string(), expected);
}

#[test]
fn a_library_may_run_other_operators_but_nothing_random() {
    let nodes = || vec![node("Unheard", "my.own", &["x"], &["y"])];
    let of = |nodes: Vec<NodeProto>| {
        let model = model(vec![input("x", FLOAT, &["N", "4"])], nodes, &["y"]);
        checked("m.onnx", model, Runner::Library)
    };
    assert!(of(nodes()).is_ok());
    let random = node("RandomNormalLike", "", &["x"], &["z"]);
    let nodes = [vec![random], nodes()].concat();
    let error = of(nodes).unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    let expected =
        "other outputs each time: RandomNormalLike (opset 15); export the model for inference";
    assert!(error.to_string().ends_with(expected), "{error}");
}

#[test]
fn a_map_of_probabilities_is_the_tensor_before_it() {
    let labels = AttributeProto {
        name: "classlabels_strings".into(),
        strings: vec![b"no".to_vec(), b"yes".to_vec()],
        ..AttributeProto::default()
    };
    let mut map = node("ZipMap", "ai.onnx.ml", &["p"], &["output_probability"]);
    map.attribute.push(labels);
    let nodes = vec![node("Softmax", "", &["x"], &["p"]), map.clone()];
    let inputs = || vec![input("x", FLOAT, &["N", "2"])];
    let mut with_map = model(inputs(), nodes, &["output_probability"]);
    let of_map = input("output_probability", FLOAT, &["N", "2"]);
    with_map.graph.as_mut().unwrap().output = vec![of_map];
    let graph = of_tract(with_map).unwrap();
    let expected = ["no", "yes"].map(|text| ClassValue::Text(text.into()));
    assert_eq!(graph.classes["output_probability"], expected);
    let last = &graph.model.graph.as_ref().unwrap().node[1];
    assert_eq!(
        (last.op_type.as_str(), last.domain.as_str()),
        ("Identity", "")
    );
    // The type of the output was that of a map.
    assert_eq!(graph.model.graph.as_ref().unwrap().output[0].r#type, None);
    map.attribute.clear();
    let nodes = vec![node("Softmax", "", &["x"], &["p"]), map];
    let error = of_tract(model(inputs(), nodes, &["output_probability"])).unwrap_err();
    assert!(error.to_string().contains("has no class names"), "{error}");
}

#[test]
fn a_graph_that_is_not_whole_is_refused() {
    let inputs = || vec![input("x", FLOAT, &["N", "2"])];
    let relu = |from: &str, to: &str| node("Relu", "", &[from], &[to]);
    let cases: [(Vec<NodeProto>, &[&str], &str); 5] = [
        (
            vec![relu("z", "y")],
            &["y"],
            "Relu reads \"z\", which nothing defines",
        ),
        (
            vec![relu("x", "y")],
            &["q"],
            "nothing defines the output \"q\"",
        ),
        (
            vec![relu("x", "y"), relu("x", "y")],
            &["y"],
            "\"y\" is defined twice",
        ),
        (vec![relu("x", "x")], &["x"], "\"x\" is defined twice"),
        (
            vec![relu("x", "y")],
            &["y", "y"],
            "two outputs are called \"y\"",
        ),
    ];
    for (nodes, outputs, expected) in cases {
        let error = of_tract(model(inputs(), nodes, outputs)).unwrap_err();
        assert!(matches!(error, Error::Corrupt(_)), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let twice = [inputs(), inputs()].concat();
    let error = of_tract(model(twice, vec![relu("x", "y")], &["y"])).unwrap_err();
    assert!(
        error.to_string().contains("two inputs are called \"x\""),
        "{error}"
    );
    let error = of_tract(model(inputs(), vec![], &[])).unwrap_err();
    assert!(
        error.to_string().contains("has 1 inputs and 0 outputs"),
        "{error}"
    );
}

#[test]
fn a_constant_of_any_size_is_not_made() {
    let shape = TensorProto {
        name: "shape".into(),
        data_type: tensor_proto::DataType::Int64 as i32,
        dims: vec![2],
        int64_data: vec![1 << 20, 1 << 20],
        ..TensorProto::default()
    };
    let nodes = vec![
        node("ConstantOfShape", "", &["shape"], &["c"]),
        node("Add", "", &["x", "c"], &["y"]),
    ];
    let mut model = model(vec![input("x", FLOAT, &["N", "2"])], nodes, &["y"]);
    model.graph.as_mut().unwrap().initializer.push(shape);
    let error = of_tract(model).unwrap_err().to_string();
    assert!(
        error.contains("makes a tensor of the shape [1048576, 1048576]"),
        "{error}"
    );
}

#[test]
fn a_graph_in_training_is_refused_by_the_name_of_its_operator() {
    let dropout = |mode: Option<u8>, runner: Runner| {
        let nodes = vec![node("Dropout", "", &["x", "", "mode"], &["y"])];
        let mut inputs = vec![input("x", FLOAT, &["N", "4"])];
        if mode.is_none() {
            let of_bool = tensor_proto::DataType::Bool as i32;
            inputs.push(input("mode", of_bool, &["1"]));
        }
        let mut model = model(inputs, nodes, &["y"]);
        let tensor = mode.map(|mode| TensorProto {
            name: "mode".into(),
            data_type: tensor_proto::DataType::Bool as i32,
            raw_data: vec![mode],
            ..TensorProto::default()
        });
        model.graph.as_mut().unwrap().initializer.extend(tensor);
        checked("m.onnx", model, runner)
    };
    assert!(dropout(Some(0), Runner::Tract).is_ok());
    let norm = |mode: i64| {
        let names = ["x", "scale", "bias", "mean", "variance"];
        let inputs = names.map(|name| input(name, FLOAT, &["N", "4"]));
        let mut norm = node("BatchNormalization", "", &names, &["y"]);
        norm.attribute.push(AttributeProto {
            name: "training_mode".into(),
            i: mode,
            ..AttributeProto::default()
        });
        of_tract(model(inputs.to_vec(), vec![norm], &["y"]))
    };
    assert!(norm(0).is_ok());
    for (found, problem) in [
        (
            dropout(Some(1), Runner::Tract),
            "Dropout has training_mode = true",
        ),
        (
            dropout(Some(1), Runner::Library),
            "Dropout has training_mode = true",
        ),
        (
            dropout(None, Runner::Tract),
            "Dropout has a training_mode that is no constant",
        ),
        (norm(1), "BatchNormalization has training_mode = 1"),
    ] {
        let error = found.unwrap_err();
        assert!(matches!(error, Error::Unsupported(_)), "{error}");
        let message = error.to_string();
        assert!(message.contains(problem), "{message}");
    }
}
