"""Files in ONNX that others wrote, as models: `predict` returns what onnxruntime computes, to 1e-5; a file that is no model for rows
is refused in a sentence.

* the operators and networks whose files are in the package onnx, with the outputs that lie beside them, and the files of the
  package onnxruntime
* functions of numbers in double precision
* a loop that never ends
* models of other packages, which `../run install` fetches, on tract and on the library of onnxruntime
"""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import vatic
from onnx import TensorProto, helper, numpy_helper

TOLERANCE = 1e-5
DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
MODELS = Path(os.environ.get("VATIC_ONNX_MODELS", "/nowhere"))
(LIBRARY, *_) = [*(Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*"), None]

class Case:
    """A file, the rows to predict, and the outputs to expect, which onnxruntime computes if the file has none beside it."""

    def __init__(self, name, path, feeds, expected=None, model_format=None):
        self.name, self.path, self.model_format = name, path, model_format
        self.feeds, self.expected = feeds, expected or computed(path, feeds)

    def rows(self):
        """The rows of the table to predict: a column for each input, by its name. None if the inputs have no rows in common."""
        if any(of.ndim == 0 for of in self.feeds.values()) or len({len(of) for of in self.feeds.values()}) != 1:
            return None
        rows = [{"row": row} for row in range(len(next(iter(self.feeds.values()))))]
        for name, of in self.feeds.items():
            is_one = of.ndim == 1 or of.shape[1:] == (1,)
            for row, values in zip(rows, of.reshape(len(of), -1).tolist()):
                row[name] = values[0] if is_one else values
        return rows

    def statements(self, folder):
        options = f" OPTIONS (format = '{self.model_format}')" if self.model_format else ""
        yield f"CREATE MODEL m_{self.name} FROM '{self.path}'{options}"
        rows = self.rows()
        if rows is None:
            return
        table = folder / f"{self.name}.json"
        table.write_text("".join(json.dumps(row) + "\n" for row in rows))
        yield f"CREATE EXTERNAL TABLE t_{self.name} STORED AS JSON LOCATION '{table}'"
        outputs = ", ".join(f'"{name}"' for name in self.expected)
        yield f"SELECT '{self.name}' AS case_name, {outputs} FROM predict(m_{self.name}, (SELECT * FROM t_{self.name})) ORDER BY \"row\""


def computed(path, feeds):
    """The outputs of onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds)))


def predicted(folder, cases):
    """The rows of `predict` by case, and the error of a file by its path. One process runs all cases."""
    statements = (text for case in cases for text in case.statements(folder))
    library = ["--onnxruntime", str(LIBRARY)] if LIBRARY else []
    rows, done = vatic.run(folder, statements, *library, "--continue-on-error", timeout_s=1800)
    errors = {}
    for line in done.stderr.splitlines():
        found = re.match(r"error\[(\w+)\]: (.*?\.onnx): (.*)", line)
        if found:
            errors[found[2]] = f"{found[1]} {found[3]}"
    return rows, errors, done.stderr


def check(case, rows, tolerance=TOLERANCE):
    assert set(rows[0]) == set(case.expected)
    for name, values in case.expected.items():
        assert len(rows) == len(values)
        for row, of_row in zip(rows, values):
            if isinstance(of_row, dict):
                probabilities = {entry["label"]: entry["prob"] for entry in row[name]}
                assert probabilities == pytest.approx(of_row, abs=tolerance)
                continue
            found, of_row = np.array(row[name]).reshape(-1), np.array(of_row).reshape(-1)
            assert found.shape == of_row.shape
            if of_row.dtype.kind in "OUS":
                assert list(found) == list(of_row)
                continue
            # JSON has no NaN.
            found = found.astype(float)
            is_close = np.abs(found - of_row) <= tolerance * np.maximum(1, np.abs(of_row))
            assert np.all(is_close | (np.isnan(found) & np.isnan(of_row))), (name, found, of_row)


def of_file(path):
    return numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes()))


def inputs_of(graph):
    """The inputs without those that have a value in the file."""
    known = {tensor.name for tensor in graph.initializer}
    return [port for port in graph.input if port.name not in known]


def operators():
    """The files of operators, with the inputs and outputs that lie beside them."""
    for folder in sorted(path.parent for path in DATA.glob("*/*/model.onnx")):
        graph = onnx.load(folder / "model.onnx").graph
        beside = folder / "test_data_set_0"
        feeds = {port.name: of_file(beside / f"input_{at}.pb") for at, port in enumerate(inputs_of(graph))}
        expected = {port.name: of_file(beside / f"output_{at}.pb") for at, port in enumerate(graph.output)}
        yield Case(folder.name.removeprefix("test_").lower(), folder / "model.onnx", feeds, expected)


def networks():
    """The networks whose weights are made of constants, with the outputs that lie beside them for one image of rising numbers."""
    for path in sorted(DATA.glob("light/*.onnx")):
        graph = onnx.load(path).graph
        (port,) = inputs_of(graph)
        shape = [of.dim_value or 1 for of in port.type.tensor_type.shape.dim]
        image = np.arange(np.prod(shape)).reshape(shape) / np.prod(shape)
        expected = {port.name: of_file(path.with_name(f"{path.stem}_output_{at}.pb")) for at, port in enumerate(graph.output)}
        yield Case(path.stem, path, {port.name: image.astype(np.float32)}, expected)


def of_onnxruntime():
    """The files in the package onnxruntime, which take numbers of any rows or of three."""
    for path in sorted((Path(onnxruntime.__file__).parent / "datasets").glob("*.onnx")):
        (port,) = inputs_of(onnx.load(path).graph)
        shape = [of.dim_value or 3 for of in port.type.tensor_type.shape.dim]
        yield Case(path.stem, path, {port.name: draw(7).random(shape, np.float32) * 6})


def draw(seed):
    return np.random.default_rng(seed)


def tokens(seed, lengths):
    """Rows of ids, of these lengths, as texts of BERT."""
    return [draw(seed + at).integers(1000, 30_000, length) for at, length in enumerate(lengths)]


def texts_of(path, name, model_format=None):
    """A model of texts: rows of several lengths, whose expected vectors onnxruntime computes one by one."""
    rows = tokens(5, [3, 9, 9, 31])
    feeds = [{"input_ids": row, "attention_mask": np.ones_like(row), "token_type_ids": np.zeros_like(row)} for row in rows]
    expected = [computed(path, {name: of[None] for name, of in feed.items()}) for feed in feeds]
    case = Case(name, path, {}, {"last_hidden_state": [of["last_hidden_state"][0] for of in expected]}, model_format)
    case.rows = lambda: [{"row": at} | {name: of.tolist() for name, of in feed.items()} for at, feed in enumerate(feeds)]
    return case


def files_of_packages():
    """The files by their names; a `model.onnx` by the name of its package."""
    files = MODELS.rglob("*.onnx")
    return {f"{path.relative_to(MODELS).parts[0]}.onnx" if path.name == "model.onnx" else path.name: path for path in files}


def numbers(shape, seed=1):
    return draw(seed).random(shape, np.float32)


def fetched():
    """The models of other packages: file → a case, for tract and for the library."""
    files = files_of_packages()
    for model_format in (None, "onnxruntime") if LIBRARY else (None,):
        suffix = "_library" if model_format else ""
        of = lambda name, feeds: Case(re.sub(r"\W", "_", name[:-5].lower()) + suffix, files[name], feeds, model_format=model_format)
        if "open-nsfw.onnx" in files:
            yield of("open-nsfw.onnx", {"input:0": numbers((2, 224, 224, 3)) * 255 - 110})
        if "all-minilm-l6-v2.onnx" in files:
            yield texts_of(files["all-minilm-l6-v2.onnx"], f"minilm{suffix}", model_format)
        if "e5-small-v2-q.onnx" in files:
            yield texts_of(files["e5-small-v2-q.onnx"], f"e5{suffix}", model_format)
        if "magika.onnx" in files and model_format:
            yield of("magika.onnx", {"bytes": draw(3).integers(0, 257, (3, 2048)).astype(np.int32)})


# Files that are no model for rows, or whose operators are not known, by name → what the error says.
NO_ROWS = "its first dimension must be the rows"
DIFFERENT = "the inputs take different numbers of rows"
CANNOT = "this build cannot run the model: "
UNKNOWN = "uses operators that this build does not know: "
REFUSED = (
    dict.fromkeys(
        ["operator_add_broadcast", "operator_add_size1_right_broadcast", "operator_add_size1_singleton_broadcast", "operator_addmm",
         "operator_mm", *(f"expand_shape_model{number}" for number in range(1, 5))],
        DIFFERENT,
    )
    # A slope for each channel, as it was written before opset 7.
    | dict.fromkeys([f"prelu_{rank}d_multiparam" for rank in (1, 2, 3)], CANNOT)
    | {"operator_chunk": NO_ROWS}
    | dict.fromkeys(["gradient_of_add", "gradient_of_add_and_mul"], f"{UNKNOWN}ai.onnx.preview.training.Gradient (opset 1)")
    | dict.fromkeys([f"sequence_model{number}" for number in range(1, 9)], UNKNOWN)
    | dict.fromkeys(
        [f"strnorm_model_{name}" for name in
         ("monday_casesensintive_lower", "monday_casesensintive_nochangecase", "monday_casesensintive_upper", "monday_empty_output",
          "monday_insensintive_upper_twodim", "nostopwords_nochangecase")],
        f"{UNKNOWN}StringNormalizer (opset 10)",
    )
)
# The models of other packages that tract or no runner takes → what the error says.
REFUSED_FETCHED = {
    "magika.onnx": CANNOT,
    "silero_vad.onnx": f"{UNKNOWN}If (opset 16)",
    "silero_vad_16k_sequence.onnx": DIFFERENT,
    "PP-OCRv6_rec_small.onnx": "has no fixed size in dimension 3; export the model with one",
}
OPERATORS = {case.name: case for case in operators()}
NETWORKS = {case.name: case for case in [*networks(), *of_onnxruntime()]}
FETCHED = {case.name: case for case in fetched()}


@pytest.fixture(scope="module")
def of_operators(tmp_path_factory):
    return predicted(tmp_path_factory.mktemp("operators"), OPERATORS.values())


@pytest.fixture(scope="module")
def of_networks(tmp_path_factory):
    return predicted(tmp_path_factory.mktemp("networks"), NETWORKS.values())


@pytest.fixture(scope="module")
def of_fetched(tmp_path_factory):
    return predicted(tmp_path_factory.mktemp("fetched"), FETCHED.values())


def test_the_packages_have_these_files():
    assert len(OPERATORS) >= 140 and len(NETWORKS) >= 9 + 3
    assert set(REFUSED) <= set(OPERATORS)


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_computes_what_its_file_says(of_operators, name):
    rows, errors, told = of_operators
    case = OPERATORS[name]
    if name in REFUSED:
        assert errors[str(case.path)].startswith("0A000 ") and REFUSED[name] in errors[str(case.path)]
        return
    assert str(case.path) not in errors, errors[str(case.path)]
    assert name in rows, told
    check(case, rows[name])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_computes_what_its_file_says(of_networks, name):
    rows, _, told = of_networks
    assert name in rows, told
    check(NETWORKS[name], rows[name])


# Numbers on both sides of each bend, and those whose exponential is too large for a number.
FUNCTION_INPUTS = np.array([0.0, 1.0, -1.0, 2.5, -2.5, 0.5, 3.5, -4.5, 100.0, -100.0, 800.0, -800.0])
# Operator with attributes → the opset, and the types in which onnxruntime has the function.
SINGLE, BOTH = ["single"], ["single", "double"]
FUNCTIONS = [
    ("Erf", {}, 13, SINGLE), ("Gelu", {}, 20, SINGLE), ("Gelu", {"approximate": "tanh"}, 20, BOTH), ("HardSwish", {}, 14, SINGLE),
    ("LeakyRelu", {}, 16, BOTH), ("LeakyRelu", {"alpha": 0.3}, 16, BOTH), ("Mish", {}, 18, BOTH), ("Round", {}, 11, BOTH),
    ("Sigmoid", {}, 13, BOTH), ("Softplus", {}, 22, SINGLE), ("Swish", {}, 24, BOTH), ("Swish", {"alpha": 1.7}, 24, BOTH),
    ("IsInf", {}, 20, BOTH), ("IsInf", {"detect_negative": 0}, 20, BOTH),
]


def of_function(folder, at, of, in_reference):
    """A function of numbers in a precision. What onnxruntime computes in another one is cast."""
    operator, attributes, opset, _ = FUNCTIONS[at]
    element = {"single": TensorProto.FLOAT, "double": TensorProto.DOUBLE}
    is_test = operator.startswith("Is")

    def saved(precision):
        x = helper.make_tensor_value_info("x", element[precision], ["rows"])
        y = helper.make_tensor_value_info("y", TensorProto.BOOL if is_test else element[precision], ["rows"])
        # JSON has no infinity: 1 / 0 and -1 / 0 are among the quotients.
        nodes = [helper.make_node("Reciprocal", ["x"], ["from"])] if is_test else []
        nodes.append(helper.make_node(operator, ["from" if is_test else "x"], ["y"], **attributes))
        graph = helper.make_graph(nodes, "function", [x], [y])
        path = folder / f"function_{at}_{precision}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10), path)
        return path

    types = {"single": np.float32, "double": np.float64}
    inputs = np.append(FUNCTION_INPUTS, -0.0) if is_test else FUNCTION_INPUTS
    # A relative error of single precision at -800 may be more than the tolerance; the hyperbolic tangent of tract ends 6e-7 before 1,
    # which Gelu multiplies by its input.
    largest = 10 if attributes.get("approximate") == "tanh" else 100
    inputs = inputs[np.abs(inputs) <= largest] if of == "single" else inputs
    expected = computed(saved(in_reference), {"x": inputs.astype(types[in_reference])})
    return Case(f"function_{at}_{of}", saved(of), {"x": inputs.astype(types[of])}, expected)


@pytest.fixture(scope="module")
def of_functions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("functions")
    cases = [of_function(folder, at, of, of if of in FUNCTIONS[at][3] else "single") for at in range(len(FUNCTIONS)) for of in BOTH]
    return {case.name: case for case in cases}, *predicted(folder, cases)


@pytest.mark.parametrize("of", BOTH)
@pytest.mark.parametrize("at", range(len(FUNCTIONS)))
def test_a_function_computes_in_both_precisions(of_functions, at, of):
    cases, rows, _, told = of_functions
    name = f"function_{at}_{of}"
    assert name in rows, told
    check(cases[name], rows[name])


def test_an_operator_that_does_not_compute_in_its_types_is_named_at_create(tmp_path):
    port = lambda name: helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["rows", 3])
    nodes = [helper.make_node("Neg", ["x"], ["negative"]), helper.make_node("QuickGelu", ["negative"], ["y"], domain="com.microsoft")]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    path = tmp_path / "double.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "double", [port("x")], [port("y")]), opset_imports=opsets, ir_version=8), path)
    case = Case("double", path, {}, {"none": []})
    case.rows = lambda: None
    _, errors, told = predicted(tmp_path, [case])
    error = errors.get(str(path), told)
    assert error.startswith("0A000 ") and "onnxruntime may run it" in error
    assert f'{CANNOT}com.microsoft.QuickGelu (opset 1), output "y", cannot compute in the types of the graph: ' in error


def endless():
    """A graph with a loop whose condition stays true."""
    port = lambda name, element, shape: helper.make_tensor_value_info(name, element, shape)
    number = lambda name: port(name, TensorProto.FLOAT, ["rows", 1])
    goes_on = lambda name: port(name, TensorProto.BOOL, [])
    same = [helper.make_node("Identity", [before], [after]) for before, after in (("condition", "goes_on"), ("value", "next"))]
    body = helper.make_graph(
        same, "body", [port("turn", TensorProto.INT64, []), goes_on("condition"), number("value")], [goes_on("goes_on"), number("next")]
    )
    loop = helper.make_node("Loop", ["", "yes", "x"], ["y"], body=body)
    yes = numpy_helper.from_array(np.array(True), "yes")
    graph = helper.make_graph([loop], "endless", [number("x")], [number("y")], [yes])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.skipif(not LIBRARY, reason="the package onnxruntime has no library")
def test_a_loop_that_never_ends_is_cancelled(tmp_path):
    path = tmp_path / "endless.onnx"
    onnx.save(endless(), path)
    # The statement runs the model on example rows.
    process = vatic.start(tmp_path, [f"CREATE MODEL endless FROM '{path}' OPTIONS (format = 'onnxruntime')"], "--onnxruntime", str(LIBRARY))
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert out == "" and "error[57014]" in err, err


WITHOUT = "there are no models of other packages; tests/clients/run install fetches them"


@pytest.mark.skipif(not FETCHED, reason=WITHOUT)
@pytest.mark.parametrize("name", FETCHED or ["none"])
def test_a_model_of_another_package_computes_what_onnxruntime_does(of_fetched, name):
    rows, _, told = of_fetched
    assert name in rows, told
    if name != "e5":
        return check(FETCHED[name], rows[name])
    # Its layers round to 8 bits: a difference of 1e-6 before may be a step behind, also between two settings of onnxruntime.
    for row, expected in zip(rows[name], FETCHED[name].expected["last_hidden_state"], strict=True):
        found, expected = np.array(row["last_hidden_state"]), expected.reshape(-1)
        assert found @ expected > 0.98 * np.linalg.norm(found) * np.linalg.norm(expected)


@pytest.mark.skipif(not FETCHED, reason=WITHOUT)
def test_what_no_model_can_be_is_named(tmp_path):
    refused = [(Case(f"refused_{at}", path, {}, {"none": []}), REFUSED_FETCHED[name])
               for at, (name, path) in enumerate(files_of_packages().items()) if name in REFUSED_FETCHED]
    if not refused:
        pytest.skip(WITHOUT)
    for case, _ in refused:
        case.rows = lambda: None
    _, errors, told = predicted(tmp_path, [case for case, _ in refused])
    for case, expected in refused:
        error = errors.get(str(case.path), told)
        assert error.startswith("0A000 ") and expected in error
        # What this build does not run, the other library may.
        assert expected not in (CANNOT, REFUSED_FETCHED["silero_vad.onnx"]) or "onnxruntime" in error
