"""What EXPORT MODEL writes, read by others: onnxruntime runs the graphs, numpy reads the files of a directory. Both predict
what `predict` predicts, to 1e-5.

To run the tests: pip install -r requirements.txt, then VATIC_BIN=path/to/vatic pytest. One process trains and exports all
models, since a process takes longer than a small training.
"""

import json
import struct

import numpy as np
import onnx
import onnxruntime
import pytest
import vatic

TOLERANCE = 1e-5
# Rows from this id on hold values that training has not seen.
TRAINED = 160

NUMBERS = [f"CAST(sin(id * {number + 1} * 0.37) * {number % 3 + 1} AS FLOAT)" for number in range(24)]
# Column → its expression. Dates and timestamps begin before 1970.
COLUMNS = {
    "small": "CAST(id % 7 - 3 AS SMALLINT)",
    "whole": "id * 37 % 101 * 1000",
    "single": "CAST(id % 11 AS FLOAT) / 3",
    "price": "CAST(id % 13 AS DOUBLE) * 0.37 + 100",
    "cents": "CAST(id % 9 AS DECIMAL(10, 2)) / 4",
    "colour": f"CASE WHEN id >= {TRAINED} THEN 'violet' WHEN id % 3 = 0 THEN 'red' WHEN id % 3 = 1 THEN 'gr''ü\"n' ELSE '' END",
    "is_new": "id % 4 = 0",
    "day": "DATE '1969-11-03' + CAST(id * 29 % 997 AS INT)",
    "moment": "to_timestamp_micros(id * 7919 % 1009 * 98765432101 - 40000000000000)",
    "series": f"make_array({', '.join(NUMBERS)})",
    "image": f"make_array({', '.join(f'CAST(id * {n + 3} % 256 AS TINYINT UNSIGNED)' for n in range(25))})",
    "tokens": "make_array(id % 5, id % 7, (id + 3) % 6, 1, id % 2)",
}
SCALARS = ["small", "whole", "single", "price", "cents", "colour", "is_new", "day", "moment"]
ACTIVATIONS = ["relu", "gelu", "silu", "tanh", "sigmoid", "leaky_relu"]
TWO = "CASE WHEN id % 3 = 0 THEN 'no' ELSE 'yes' END"
THREE = "id % 3 - 1"
NUMBER = "sin(id * 0.1) * 50 + id % 3 + 1000"
NAMED = "CASE id % 3 WHEN 0 THEN 'small' WHEN 1 THEN 'middle' ELSE 'large' END"
COUNT = "id % 5"
CURVE = "make_array(sin(id * 0.1) * 50 + 1000, cos(id * 0.2) - 3, CAST(id % 7 AS DOUBLE))"
COUNTS = "make_array(id % 5, id % 3 + 1)"
TAGS = "CASE WHEN id % 3 = 0 THEN ['new', 'old'] WHEN id % 3 = 1 THEN ['new'] ELSE ['red', 'old'] END"
# The labels that are numbers; the others have probabilities.
NUMERIC = [NUMBER, COUNT, CURVE, COUNTS]
SEVERAL = {"rent": NUMBER, "kind": NAMED, "lift": "id % 3 = 0", "curve": CURVE, "tags": TAGS}


def layers(texts, shape=""):
    """The options of a sequential model."""
    shape = f", input_shape = {shape}" if shape else ""
    return f"model_type = 'sequential', layers = [{', '.join(repr(text) for text in texts)}]{shape}, epochs = 2"


IMAGES = [
    "conv2d(4, 3, padding=same)", "relu", "residual(group_norm(2), gelu, conv2d(4, 3, padding=same, groups=2))", "batch_norm",
    "silu", "max_pool2d(3, stride=2, padding=1)", "avg_pool2d(2, stride=1, padding=1)", "leaky_relu", "flatten", "dropout(0.2)",
]
SEQUENCES = [
    "conv1d(4, 3, stride=1, padding=1)", "tanh", "max_pool1d(2, stride=1)", "avg_pool1d(2)", "transpose",
    "lstm(3, sequences=true, bidirectional=true)", "layer_norm", "gru(4, sequences=true)", "transpose", "global_max_pool",
]
# Name → columns, label or a label for each target, options.
CASES = {
    "least_squares": (SCALARS, NUMBER, "model_type = 'linear_reg'"),
    "least_squares_of_arrays": (["series", "price"], NUMBER, "model_type = 'linear_reg'"),
    "two_classes": (["price", "colour", "is_new"], TWO, "model_type = 'logistic_reg'"),
    "three_classes": (["price", "day"], THREE, "model_type = 'logistic_reg'"),
    "small_classes": (["price"], f"CAST({THREE} AS TINYINT)", "model_type = 'logistic_reg'"),
    "true_and_false": (["whole", "moment"], "id % 3 = 0", "model_type = 'logistic_reg'"),
    "dates": (["single"], "DATE '1969-12-31' + CAST(id % 3 AS INT)", "model_type = 'logistic_reg'"),
    "categories_only": (["colour", "is_new"], THREE, "model_type = 'dnn_classifier', hidden_units = [5], epochs = 2"),
    "all_columns": (SCALARS, TWO, "model_type = 'dnn_classifier', hidden_units = [8, 4], epochs = 2"),
    "quantile": (SCALARS, NUMBER, "model_type = 'dnn_regressor', hidden_units = [4], epochs = 2, loss = 'quantile', quantile = 0.9"),
    "counts": (["price", "small"], COUNT, "model_type = 'dnn_regressor', hidden_units = [4], epochs = 2, loss = 'poisson'"),
    "ids": (["tokens"], THREE, layers(["embedding(8, 3)", "gru(4, reverse=true)", "linear(classes)"])),
    "images": (["series"], THREE, layers([*IMAGES, "linear(classes)"], "[1, 4, 6]")),
    "pooled": (["image"], THREE, layers(["conv2d(classes, 2, stride=2)", "global_avg_pool"], "[1, 5, 5]")),
    "sequences": (["series"], NUMBER, layers([*SEQUENCES, "linear(1)"], "[2, 12]")),
    "last_of_lstm": (["series"], TWO, layers(["lstm(4)", "linear(3)", "sigmoid", "linear(classes)"], "[12, 2]")),
    "last_of_reverse": (["series"], NUMBER, layers(["reshape(8, 3)", "lstm(2, reverse=true)", "linear(1)"])),
    "both_ways": (["series"], NUMBER, layers(["gru(3, bidirectional=true)", "linear(1)"], "[6, 4]")),
    "beside": (["price", "series", "colour", "small"], TWO, layers(["linear(4)", "inputs(3)", "relu", "linear(classes)"])),
    "pictures": (["image"], THREE, "model_type = 'cnn_classifier', input_shape = [1, 5, 5], hidden_units = [6], epochs = 1"),
    "numbers_of_pictures": (["image"], NUMBER, "model_type = 'cnn_regressor', input_shape = [1, 5, 5], hidden_units = [6], epochs = 1"),
    "curve": (["price", "colour"], CURVE, "model_type = 'dnn_regressor', hidden_units = [5], epochs = 2"),
    "curve_of_layers": (["series"], CURVE, layers(["gru(4)", "linear(3)"], "[6, 4]")),
    "list_of_counts": (["price"], COUNTS, "model_type = 'dnn_regressor', hidden_units = [4], epochs = 2, loss = 'poisson'"),
    "tags": (["price", "colour"], TAGS, "model_type = 'dnn_classifier', hidden_units = [5], epochs = 2"),
    "set_of_integers": (["small"], "make_array(id % 4, id % 3)", "model_type = 'dnn_classifier', hidden_units = [5], epochs = 2"),
    "several": (["price", "colour", "small"], SEVERAL, "model_type = 'dnn_regressor', hidden_units = [8], epochs = 2"),
    "several_of_layers": (["series"], {"kind": THREE, "lift": TWO, "rent": NUMBER}, layers(["lstm(4)", "linear(classes)"], "[12, 2]")),
    "ratings": (["small", "colour"], NUMBER, "model_type = 'matrix_factorization', user_col = 'small', item_col = 'colour', num_factors = 3"),
    "habits": (["colour", "whole"], COUNT,
        "model_type = 'matrix_factorization', feedback_type = 'implicit', user_col = 'whole', item_col = 'colour', num_factors = 3"),
    "towers": (["price", "whole", "colour", "is_new", "day"], TWO,
        "model_type = 'two_tower', user_cols = ['whole', 'price'], item_cols = ['colour', 'day', 'is_new'], hidden_units = [6, 4], num_factors = 3, epochs = 2"),
    "towers_of_ids": (["small", "colour"], TWO,
        "model_type = 'two_tower', user_cols = ['small'], item_cols = ['colour'], hidden_units = [4], activation = 'gelu', num_factors = 3, epochs = 2"),
    "several_of_pictures": (["image"], {"rent": NUMBER, "tags": TAGS},
        "model_type = 'cnn_regressor', input_shape = [1, 5, 5], hidden_units = [6], epochs = 1"),
} | {
    name: (["price", "colour"], NUMBER, f"model_type = 'dnn_regressor', activation = '{name}', hidden_units = [6], epochs = 2")
    for name in ACTIVATIONS
}
# As whole numbers: what a graph takes for a date or a timestamp.
AS_NUMBERS = {"day": "arrow_cast(day, 'Int32')", "moment": "arrow_cast(moment, 'Int64')"}
TYPES = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int16)": np.int16, "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8, "tensor(string)": object, "tensor(bool)": np.bool_,
}


def targets_of(label):
    """The label of each target."""
    return label if isinstance(label, dict) else {"y": label}


def statements(folder):
    """Trains, exports and predicts."""
    columns = ", ".join(f"{expression} AS {name}" for name, expression in COLUMNS.items())
    yield f"CREATE TABLE t AS SELECT id, {columns} FROM (SELECT value AS id FROM generate_series(0, 199))"
    for name, (features, label, options) in CASES.items():
        names, targets = ", ".join(features), targets_of(label)
        labels = ", ".join(f"{expression} AS {target}" for target, expression in targets.items())
        yield (
            f"TRAIN MODEL m_{name} TARGET {', '.join(targets)} OPTIONS ({options}, seed = 7) "
            f"AS SELECT {names}, {labels} FROM t WHERE id < {TRAINED}"
        )
        yield f"EXPORT MODEL m_{name} TO '{folder}/{name}.onnx'"
        yield f"EXPORT MODEL m_{name} TO '{folder}/{name}/'"
        inputs = ", ".join(f"{AS_NUMBERS.get(feature, feature)} AS in_{feature}" for feature in features)
        outputs = [f"predicted_{target}" for target in targets]
        outputs += [f"predicted_{target}_probs" for target, expression in targets.items() if expression not in NUMERIC]
        outputs = ", ".join(outputs)
        yield (
            f"SELECT '{name}' AS case_name, {inputs}, {outputs} "
            f"FROM predict(m_{name}, (SELECT id, {names} FROM t)) ORDER BY id"
        )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder of the exports, and the rows of `predict` for each case."""
    folder = tmp_path_factory.mktemp("exports")
    rows, done = vatic.run(folder, statements(folder))
    assert done.returncode == 0, done.stderr
    return folder, rows


def feeds_of(session, rows):
    """The inputs of a graph for these rows."""
    feeds = {}
    for port in session.get_inputs():
        values = np.array([row[f"in_{port.name}"] for row in rows], dtype=TYPES[port.type])
        assert port.shape[0] == "rows"
        feeds[port.name] = values.reshape(len(rows), *port.shape[1:])
    return feeds


def check_outputs(found, classes, rows):
    """Compares the outputs of a graph with rows of `predict`; `classes` holds the targets, with their classes if they have any."""
    for target, of_target in classes.items():
        check_target(f"predicted_{target}", found, of_target, rows)


def check_target(name, found, classes, rows):
    labels = found[name]
    if classes is None:
        expected = np.array([row[name] for row in rows]).reshape(len(rows), -1)
        assert labels.shape == expected.shape
        assert np.all(np.abs(labels - expected) <= TOLERANCE * np.maximum(1, np.abs(expected)))
        return
    probabilities = found[f"{name}_probs"]
    assert probabilities.shape == (len(rows), len(classes))
    for row, of_row, predicted in zip(rows, probabilities, labels):
        expected = {text_of(entry["label"]): entry["prob"] for entry in row[f"{name}_probs"]}
        for text, probability in zip(classes, of_row, strict=True):
            assert abs(expected[text] - probability) <= TOLERANCE
        if isinstance(row[name], list):
            check_set(row[name], classes, of_row, predicted)
        # Two classes that are as likely may change places.
        elif abs(sorted(of_row)[-1] - sorted(of_row)[-2]) > TOLERANCE:
            (label,) = predicted
            assert text_of(row[name]) == text_of(as_label(label, row[name]))


def check_set(expected, classes, probabilities, applies):
    """A graph says of each label whether it applies, `predict` lists those that do."""
    expected = [text_of(label) for label in expected]
    for text, probability, of_label in zip(classes, probabilities, applies, strict=True):
        if abs(probability - 0.5) > TOLERANCE:
            assert of_label == (text in expected)


def text_of(label):
    """A label as the graph's list of classes has it."""
    return str(label).lower() if isinstance(label, (bool, np.bool_)) else str(label)


def as_label(predicted, like):
    """The label of a graph, in which a date is a number of days."""
    is_date = isinstance(like, str) and isinstance(predicted, np.integer)
    return str(np.datetime64(int(predicted), "D")) if is_date else predicted


def opened(path):
    """A graph that the checker accepts, in onnxruntime."""
    onnx.checker.check_model(str(path), full_check=True)
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run(session, feeds):
    names = [port.name for port in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds)))


@pytest.mark.parametrize("name", CASES)
def test_a_graph_predicts_what_predict_does(exported, name):
    folder, rows = exported
    rows = rows[name]
    assert len(rows) == 200
    session = opened(folder / f"{name}.onnx")
    features, label, _ = CASES[name]
    assert [port.name for port in session.get_inputs()] == features
    targets = targets_of(label)
    properties = session.get_modelmeta().custom_metadata_map
    classes = {}
    for target, expression in targets.items():
        listed = properties.get("classes" if len(targets) == 1 else f"classes_{target}")
        assert (listed is None) == (expression in NUMERIC)
        classes[target] = listed and json.loads(listed)
    feeds = feeds_of(session, rows)
    check_outputs(run(session, feeds), classes, rows)
    # A row does not depend on the rows beside it, and there may be any number of them.
    for part in (slice(0, 1), slice(150, 170)):
        check_outputs(run(session, {name: of[part] for name, of in feeds.items()}), classes, rows[part])
    # NaN stands for NULL, in its row only.
    floats = [name for name, of in feeds.items() if of.dtype.kind == "f"]
    if floats:
        of = feeds[floats[-1]].copy()
        of[3, 0] = np.nan
        found = run(session, feeds | {floats[-1]: of})
        for target in targets:
            numbers = found.get(f"predicted_{target}_probs", found[f"predicted_{target}"])
            assert np.isnan(numbers[3]).all() and np.isfinite(np.delete(numbers, 3, 0)).all()


def test_a_number_that_is_no_id_has_no_outputs(exported):
    folder, rows = exported
    session = opened(folder / "ids.onnx")
    feeds = feeds_of(session, rows["ids"][:4])
    for row, number in ((0, 8), (1, -1), (2, 1 << 40)):
        feeds["tokens"][row, 2] = number
    numbers = run(session, feeds)["predicted_y_probs"]
    assert np.isnan(numbers[:3]).all() and np.isfinite(numbers[3]).all()


def tensors_of(path):
    """The tensors of a safetensors file: the length of a header, the header as JSON, and the numbers."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    types = {"F32": np.float32, "F64": np.float64}
    tensors = {}
    for name, of in header.items():
        start, end = (8 + length + offset for offset in of["data_offsets"])
        tensors[name] = np.frombuffer(content[start:end], types[of["dtype"]]).reshape(of["shape"])
    return tensors


@pytest.mark.parametrize("name", ["relu", "categories_only", "two_classes", "least_squares_of_arrays"])
def test_the_files_of_a_directory_say_what_another_program_needs(exported, name):
    folder, rows = exported
    rows = rows[name]
    names = sorted(path.name for path in (folder / name).iterdir())
    assert names == ["config.json", "manifest.json", "model.safetensors"]
    config = json.loads((folder / name / "config.json").read_text())
    weights = tensors_of(folder / name / "model.safetensors")
    numbers, ids, first = [], [], 0
    for encoder in config["encoders"]:
        values = [row[f"in_{encoder['column']['name']}"] for row in rows]
        if encoder["numbers"]:
            of = np.array(values, float).reshape(len(rows), -1)
            means, deviations = ([number[key] for number in encoder["numbers"]] for key in ("mean", "std"))
            numbers.append((of - means) / deviations)
        for vocabulary in encoder["vocabularies"]:
            known = {value: first + 1 + at for at, value in enumerate(vocabulary["values"])}
            ids.append([known.get(text_of(value), first) for value in values])
            first += len(known) + 1
    x = 0
    if numbers:
        x = np.concatenate(numbers, axis=1) @ weights["layer0.weight"]
    if ids:
        x = x + weights["layer0.categories"][np.array(ids).T].sum(axis=1)
    x = x + weights["layer0.bias"]
    for layer in range(1, 1 + sum(name.endswith(".weight") and name != "layer0.weight" for name in weights)):
        x = np.maximum(x, 0) @ weights[f"layer{layer}.weight"] + weights[f"layer{layer}.bias"]
    labels = config["labels"]
    if "number" in labels:
        number = labels["number"]
        return check_outputs({"predicted_y": x * number["std"] + number["mean"]}, {"y": None}, rows)
    classes = [text_of(value) for of in labels["classes"]["values"] for value in of.values()]
    if len(classes) == 2:
        x = np.concatenate([np.zeros_like(x), x], axis=1)
    probabilities = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    label = np.array(classes)[probabilities.argmax(axis=1)].reshape(-1, 1)
    check_outputs({"predicted_y": label, "predicted_y_probs": probabilities}, {"y": classes}, rows)
