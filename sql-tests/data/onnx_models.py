"""Makes the files below onnx/: models of scikit-learn 1.9, XGBoost 3.2, LightGBM 4.7 and PyTorch 2.15 in ONNX, broken ones, and
the outputs of onnxruntime 1.32: python3 sql-tests/data/onnx_models.py

It needs skl2onnx 1.20, onnxmltools 1.16, onnxscript and pandas besides."""

import pathlib
import shutil
import warnings

import numpy as np
import onnx
import onnxruntime
import pandas as pd
from onnx import TensorProto, helper, numpy_helper
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as Floats
from skl2onnx import convert_sklearn, to_onnx
from skl2onnx.common import _container
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier, GradientBoostingRegressor, HistGradientBoostingClassifier, RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC, SVR

warnings.filterwarnings("ignore")
onnxruntime.set_default_logger_severity(4)
HERE = pathlib.Path(__file__).parent
ONNX = HERE / "onnx"
OPSETS = {"": 18, "ai.onnx.ml": 3}
# Every fifth flower or penguin: small files.
STEP = 5

# skl2onnx 1.20 hands numbers of numpy and booleans to protobuf 7, which refuses them.
add_node = _container.ModelComponentContainer.add_node


def add_plain_node(self, *args, **attributes):
    def plain(value):
        value = value.item() if isinstance(value, np.generic) else value
        return int(value) if isinstance(value, bool) else value
    for name, value in attributes.items():
        if isinstance(value, np.ndarray):
            value = list(value)
        attributes[name] = [plain(item) for item in value] if isinstance(value, list) else plain(value)
    return add_node(self, *args, **attributes)


_container.ModelComponentContainer.add_node = add_plain_node


def save(name, model):
    path = ONNX / f"{name}.onnx"
    # Some exporters draw a name.
    model.graph.name = name
    path.write_bytes(model.SerializeToString())
    print(path.name, path.stat().st_size)


def run(model, inputs):
    session = onnxruntime.InferenceSession(model if isinstance(model, str) else model.SerializeToString())
    return session.run(None, inputs)


def iris():
    return pd.read_csv(HERE / "iris.csv")


def classifiers():
    table = iris()
    features = table.drop(columns=["id", "species"]).to_numpy(np.float32)
    numbers = table.species.astype("category").cat.codes.to_numpy(np.int64)
    models = {
        "forest": RandomForestClassifier(5, max_depth=4, random_state=0),
        "boosting": GradientBoostingClassifier(n_estimators=5, max_depth=2, random_state=0),
        "histogram": HistGradientBoostingClassifier(max_iter=5, max_leaf_nodes=4),
        "svc": SVC(probability=True, random_state=0),
        "neighbors": KNeighborsClassifier(5),
        "mlp": make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=300, random_state=0)),
    }
    lines = []
    for name, model in models.items():
        # Class names for one of them, numbers for the others.
        model.fit(features, table.species.to_numpy(object) if name == "boosting" else numbers)
        exported = to_onnx(model, features[:1], target_opset=OPSETS)
        lines += of_classifier(name, exported, table.id, features)
    import lightgbm
    import xgboost
    trees = {
        "xgboost": (xgboost.XGBClassifier(n_estimators=4, max_depth=3), convert_xgboost),
        "lightgbm": (lightgbm.LGBMClassifier(n_estimators=4, max_depth=3, verbose=-1), convert_lightgbm),
    }
    for name, (model, convert) in trees.items():
        model.fit(features, numbers)
        exported = convert(model, initial_types=[("X", Floats([None, 4]))], target_opset=15)
        lines += of_classifier(name, exported, table.id, features)
    columns = ["model", "id", "label", "class", "p"]
    pd.DataFrame(lines, columns=columns).to_csv(ONNX / "classifiers.csv", index=False)


def of_classifier(name, model, ids, features):
    save(name, model)
    labels, maps = run(model, {model.graph.input[0].name: features})
    # XGBoost's probabilities are a matrix, all others maps.
    maps = [p if isinstance(p, dict) else dict(enumerate(p)) for p in maps]
    rows = zip(ids[::STEP], labels[::STEP], maps[::STEP])
    return [[name, id, label, key, f"{p[key]:.8g}"] for id, label, p in rows for key in sorted(p)]


def regressors():
    table = iris()
    features = table[["sepal_length", "sepal_width", "petal_length"]].to_numpy(np.float32)
    target = table.petal_width.to_numpy()
    import lightgbm
    import xgboost
    models = {
        "linear": LinearRegression(),
        "forest_width": RandomForestRegressor(5, max_depth=4, random_state=0),
        "boosting_width": GradientBoostingRegressor(n_estimators=5, max_depth=2, random_state=0),
        "svr": SVR(),
        "xgboost_width": xgboost.XGBRegressor(n_estimators=5, max_depth=3),
        "lightgbm_width": lightgbm.LGBMRegressor(n_estimators=5, max_depth=3, verbose=-1),
    }
    # The last row has a missing value, which only trees take.
    features = np.vstack([features, [[np.nan, 3.0, np.nan]]]).astype(np.float32)
    lines = []
    for name, model in models.items():
        model.fit(features[:-1], target)
        if name.startswith("xgboost"):
            exported = convert_xgboost(model, initial_types=[("X", Floats([None, 3]))], target_opset=15)
        elif name.startswith("lightgbm"):
            exported = convert_lightgbm(model, initial_types=[("X", Floats([None, 3]))], target_opset=15)
        else:
            exported = to_onnx(model, features[:1], target_opset=OPSETS)
        save(name, exported)
        numbers = run(exported, {"X": features})[0].ravel()
        ids = list(table.id[::STEP]) + ([-1] if "xgboost" in name or "lightgbm" in name else [])
        lines += [[name, id, f"{numbers[id]:.8g}"] for id in ids]
    pd.DataFrame(lines, columns=["model", "id", "y"]).to_csv(ONNX / "regressors.csv", index=False)


def pipelines():
    """Columns of numbers and of texts, with and without missing ones."""
    table = pd.read_csv(HERE / "penguins.csv")
    numbers = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
    texts = ["island", "sex"]
    columns = [(name, FloatTensorType([None, 1])) for name in numbers]
    columns += [(name, StringTensorType([None, 1])) for name in texts]
    table[texts] = table[texts].fillna("unknown")
    filled = make_pipeline(SimpleImputer(), StandardScaler())
    encoders = {
        "penguins": OneHotEncoder(handle_unknown="ignore"),
        "penguins_strict": OneHotEncoder(handle_unknown="error"),
    }
    rows = []
    for name, encoder in encoders.items():
        prepare = ColumnTransformer([("numbers", filled, numbers), ("texts", encoder, texts)])
        model = make_pipeline(prepare, LogisticRegression(max_iter=1000)).fit(table[numbers + texts], table.species)
        exported = convert_sklearn(model, initial_types=columns, target_opset=OPSETS)
        save(name, exported)
        if name == "penguins":
            rows = of_penguins(exported, table, numbers, texts)
    pd.DataFrame(rows, columns=["id", "species", "p"]).to_csv(ONNX / "penguins.csv", index=False)
    prepare = ColumnTransformer([("numbers", StandardScaler(), numbers), ("texts", OrdinalEncoder(), texts)])
    known = table.dropna()
    forest = make_pipeline(prepare, RandomForestClassifier(3, max_depth=3, random_state=0))
    forest.fit(known[numbers + texts], known.species)
    save("penguins_ordinal", convert_sklearn(forest, initial_types=columns, target_opset=OPSETS))


def of_penguins(model, table, numbers, texts):
    inputs = {name: table[[name]].to_numpy(np.float32) for name in numbers}
    inputs |= {name: table[[name]].to_numpy(object) for name in texts}
    labels, maps = run(model, inputs)
    return [[id, label, f"{p[label]:.8g}"] for id, label, p in zip(table.id, labels, maps)][::STEP]


def networks():
    """A network for images with its weights in a second file, one that takes four rows at once, and one that takes lists."""
    import torch
    from torch import nn
    torch.manual_seed(0)
    image = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(32, 10),
    ).eval()
    directory = ONNX / "image_network"
    directory.mkdir(exist_ok=True)
    path = directory / "model.onnx"
    torch.onnx.export(image, (torch.zeros(2, 1, 8, 8),), path, input_names=["image"], output_names=["scores"],
                      dynamic_shapes=({0: "batch"},), dynamo=True)
    model = onnx.load(path, load_external_data=False)
    for node in model.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    path.write_bytes(model.SerializeToString())
    pixels = np.stack(pd.read_parquet(HERE / "digits.parquet").pixels[:20]).astype(np.float32)
    scores = run(str(path), {"image": pixels.reshape(-1, 1, 8, 8)})[0]
    lines = [[id, *(f"{score:.8g}" for score in row)] for id, row in enumerate(scores)]
    pd.DataFrame(lines, columns=["id"] + [f"s{i}" for i in range(10)]).to_csv(ONNX / "image_network.csv", index=False)
    fixed = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).eval()
    torch.onnx.export(fixed, (torch.zeros(4, 4),), ONNX / "four_rows.onnx", input_names=["x"], output_names=["y"], dynamo=False)
    features = iris().drop(columns=["id", "species"]).to_numpy(np.float32)[:7]
    print("four_rows", fixed(torch.tensor(features)).detach().numpy().round(6).tolist())
    torch.onnx.export(mean_of_vectors().eval(), (torch.zeros(2, 5, dtype=torch.long),), ONNX / "lists.onnx", input_names=["ids"],
                      output_names=["embedding"], dynamic_axes={"ids": {0: "batch", 1: "length"}}, dynamo=False)
    for ids in ([1], [1, 2, 3], [4, 4]):
        print("lists", ids, run(str(ONNX / "lists.onnx"), {"ids": np.array([ids])})[0].round(6).tolist())


def mean_of_vectors():
    from torch import nn

    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.vectors, self.layer = nn.Embedding(10, 4), nn.Linear(4, 3)

        def forward(self, ids):
            return self.layer(self.vectors(ids)).mean(1)

    return Mean()


def graph(nodes, inputs, outputs, tensors=()):
    graph = helper.make_graph(nodes, "graph", inputs, outputs, list(tensors))
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def broken():
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    linear = (ONNX / "linear.onnx").read_bytes()
    (ONNX / "truncated.onnx").write_bytes(linear[: len(linear) // 2])
    (ONNX / "text.onnx").write_text("hello world\n")
    (ONNX / "pointer.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    weights = numpy_helper.from_array(np.ones((4, 2), np.float32), "w")
    matmul = helper.make_node("MatMul", ["x", "w"], ["y"])
    save("shapes", graph([matmul], [x], [y], [weights]))
    outside = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3, 2], data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="../iris.csv")
    save("outside", graph([matmul], [x], [y], [outside]))
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Relu", ["a"], ["b"])], "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("c", TensorProto.BOOL, []),
         helper.make_tensor_value_info("a", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("d", TensorProto.BOOL, []), helper.make_tensor_value_info("b", TensorProto.FLOAT, ["N", 3])])
    forever = helper.make_node("Loop", ["", "yes", "x"], ["y"], body=body)
    yes = numpy_helper.from_array(np.array(True), "yes")
    vectorizer = helper.make_node("DictVectorizer", ["x"], ["z"], domain="ai.onnx.ml", string_vocabulary=["a"])
    save("loop", graph([forever, vectorizer], [x], [y], [yes]))
    save("shape_of_rows", graph([helper.make_node("Transpose", ["x"], ["y"])], [x], [y]))


if __name__ == "__main__":
    shutil.rmtree(ONNX, ignore_errors=True)
    ONNX.mkdir()
    classifiers()
    regressors()
    pipelines()
    networks()
    broken()
