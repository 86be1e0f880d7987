"""Networks of images and boosted trees, as directories and as graphs, in torch and onnxruntime; the mode in the options says what is done."""

import json
import sys
import time
from pathlib import Path

import numpy as np
from common import FEATURES, arguments, make_columns, mark

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def images(path):
    """The images of a Parquet file, normalised: [rows, 3, 224, 224]."""
    import pyarrow.parquet as pq

    pixels = pq.read_table(path)["image"].combine_chunks().field("pixels").flatten().to_numpy()
    levels = pixels.reshape(-1, 224, 224, 3).astype(np.float32) / 255
    return np.ascontiguousarray(((levels - MEAN) / STD).transpose(0, 3, 1, 2), dtype=np.float32)


def make_networks(options):
    """ResNet-18 and MobileNet v2 with random weights, as directories of Hugging Face and as graphs for any number of images."""
    import torch
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification, ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    names = {index: str(index) for index in range(1_000)}
    labels = {"id2label": names, "label2id": {name: index for index, name in names.items()}}
    small = ResNetConfig(depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic", embedding_size=64, **labels)
    networks = {
        "resnet18": ResNetForImageClassification(small),
        "mobilenet_v2": MobileNetV2ForImageClassification(MobileNetV2Config(tf_padding=False, **labels)),
    }
    x = torch.from_numpy(images(options["images"])[:32])
    treatment = {"do_resize": False, "do_center_crop": False, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
    treatment |= {"size": {"height": 224, "width": 224}, "image_mean": MEAN, "image_std": STD}
    for name, network in networks.items():
        settle(network, x)
        directory = Path(options["directory"]) / name
        network.save_pretrained(directory)
        (directory / "preprocessor_config.json").write_text(json.dumps(treatment))
        rows = torch.export.Dim("rows", min=1, max=65_536)
        torch.onnx.export(
            Logits(network), (x[:2],), str(directory.with_suffix(".onnx")), dynamo=True, external_data=False, verbose=False,
            input_names=["pixels"], output_names=["logits"], dynamic_shapes=({0: rows},),
        )


def Logits(network):
    """The network with one array as its result."""
    import torch

    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, pixels):
            return self.network(pixels).logits

    return Module().eval()


def settle(network, x):
    """Gives random weights and the statistics of batch norm the sizes that a training gives them, so that numbers neither grow nor
    vanish from layer to layer, and makes the classes differ."""
    import torch

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight)
    with torch.no_grad():
        network.train()(x)
        network.eval()
        # The features that all images share would decide the class of all of them.
        (*_, head) = (module for module in network.modules() if isinstance(module, torch.nn.Linear))
        features = []
        hook = head.register_forward_hook(lambda _, inputs, __: features.append(inputs[0].mean(0)))
        network(x)
        hook.remove()
        head.bias.copy_(-(head.weight @ features[0]))


def forward(options):
    """A network on images in memory, several times, and the class of each image."""
    import torch

    torch.set_num_threads(options["threads"])
    batches = np.array_split(images(options["images"]), options["batches"])
    run = graph(options) if options["side"] == "onnx" else module(options)
    for attempt in range(options["repeats"]):
        started = time.perf_counter()
        logits = [run(batch) for batch in batches]
        mark("warm" if attempt else "first", started)
    for label in np.concatenate(logits).argmax(1):
        print(f"MARK label {label}")


def module(options):
    import torch
    from transformers import AutoModelForImageClassification

    network = Logits(AutoModelForImageClassification.from_pretrained(options["network"]).eval()).to(memory_format=torch.channels_last)

    def run(batch):
        with torch.inference_mode():
            return network(torch.from_numpy(batch).contiguous(memory_format=torch.channels_last)).numpy()

    return run


def session(path, threads):
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])


def graph(options):
    opened = session(f"{options['network']}.onnx", options["threads"])
    return lambda batch: opened.run(["logits"], {"pixels": batch})[0]


def make_trees(options):
    """Boosted trees of scikit-learn and of LightGBM, as graphs with an array of all features as input."""
    import lightgbm
    import onnxmltools
    import skl2onnx
    from onnxmltools.convert.common.data_types import FloatTensorType
    from sklearn.ensemble import HistGradientBoostingClassifier

    take_numbers_of_numpy()
    columns, score = make_columns(options["rows"], 5, 0)
    x, y = np.column_stack([columns[name] for name in FEATURES]), (score > 0).astype(np.int64)
    directory = Path(options["directory"])
    model = HistGradientBoostingClassifier(max_iter=options["trees"], early_stopping=False, random_state=0).fit(x, y)
    exported = skl2onnx.to_onnx(model, x[:1], options={"zipmap": False})
    (directory / "scikit-learn.onnx").write_bytes(exported.SerializeToString())
    model = lightgbm.LGBMClassifier(n_estimators=options["trees"], random_state=0, verbose=-1).fit(x, y)
    exported = onnxmltools.convert_lightgbm(model, initial_types=[("X", FloatTensorType([None, x.shape[1]]))], zipmap=False)
    (directory / "lightgbm.onnx").write_bytes(exported.SerializeToString())


def take_numbers_of_numpy():
    """Newer versions of onnx refuse numbers of numpy and booleans as integers, which skl2onnx makes of trees."""
    from skl2onnx.common._container import ModelComponentContainer

    add_node = ModelComponentContainer.add_node

    def of_python(value):
        if not isinstance(value, (list, np.ndarray)):
            return value
        items = value.tolist() if isinstance(value, np.ndarray) else [item.item() if isinstance(item, np.generic) else item for item in value]
        return [int(item) if isinstance(item, bool) else item for item in items]

    def add(self, *arguments, **attributes):
        return add_node(self, *arguments, **{name: of_python(value) for name, value in attributes.items()})

    ModelComponentContainer.add_node = add


def predict_trees(options):
    """Rows of Parquet files, fed by pyarrow, to (id, predicted) in a Parquet file."""
    import pyarrow as pa
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    opened = session(options["model"], options["cores"])
    label = opened.get_outputs()[0].name
    for attempt in range(options["repeats"]):
        started, writer = time.perf_counter(), None
        for batch in ds.dataset(options["data"], format="parquet").to_batches(columns=["id", *FEATURES], batch_size=options["batch_rows"]):
            if batch.num_rows == 0:
                continue
            x = np.column_stack([batch.column(name).to_numpy() for name in FEATURES])
            (labels,) = opened.run([label], {"X": x})
            table = pa.table({"id": batch.column("id"), "predicted": labels})
            writer = writer or pq.ParquetWriter(options["output"], table.schema, compression="zstd")
            writer.write_table(table)
        writer.close()
        mark("warm" if attempt else "first", started)


MODES = {"make_networks": make_networks, "forward": forward, "make_trees": make_trees, "predict_trees": predict_trees}

if __name__ == "__main__":
    chosen = arguments()
    sys.exit(MODES[chosen["mode"]](chosen))
