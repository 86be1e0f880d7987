"""Images in Pillow, torch and onnxruntime; the mode in the options says what is measured."""

import time

STARTED = time.perf_counter()

import json  # noqa: E402
import sys  # noqa: E402
from functools import partial  # noqa: E402
from multiprocessing import Pool  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
from common import arguments, mark, read_safetensors  # noqa: E402

# The numbers of the layers with weights, as vatic counts LAYERS of benchmarks/images.py from 1, by position in `network`.
WEIGHTS = {0: 1, 2: 3, 7: 8, 9: 10}


def network():
    from torch import nn

    layers = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Linear(128, 10))


def memory_format(options):
    import torch

    return torch.channels_last if options["format"] == "channels_last" else torch.contiguous_format


def vatic_network(directory):
    """The network with the weights of a vatic model, and the model's mean of each pixel and deviation of all."""
    import torch

    tensors = read_safetensors(Path(directory) / "model.safetensors")
    model = network()
    for place, number in WEIGHTS.items():
        weight = torch.from_numpy(tensors[f"layer{number}.weight"])
        model[place].weight.data.copy_(weight.T if weight.dim() == 2 else weight)
        model[place].bias.data.copy_(torch.from_numpy(tensors[f"layer{number}.bias"]))
    config = json.loads((Path(directory) / "config.json").read_text())
    numbers = config["encoders"][0]["numbers"]
    mean, std = (torch.tensor([number[name] for number in numbers]) for name in ("mean", "std"))
    return model.eval(), mean, std


def pixels(column):
    """Lists of 784 u8 as a tensor of f32."""
    import pyarrow as pa
    import torch

    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return torch.from_numpy(column.flatten().to_numpy()).reshape(-1, 784).float()


def read(path):
    """All pixels and labels of a file or a directory."""
    import pyarrow.parquet as pq
    import torch

    table = pq.read_table(path, columns=["pixels", "label"])
    return pixels(table["pixels"]), torch.from_numpy(table["label"].to_numpy())


def standardised(x, mean, std):
    return ((x - mean) / std).reshape(-1, 1, 28, 28)


# ---- the modes -----------------------------------------------------------------------------------------------------


def decode_file(path, mean, std, middle):
    """Two of the numbers that the pixels of a file become, so that both sides can be compared."""
    from PIL import Image

    image = Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
    numbers = ((np.asarray(image, dtype=np.float32) / 255 - mean) / std).transpose(2, 0, 1)
    numbers = np.ascontiguousarray(numbers).reshape(-1)
    return float(numbers[0]), float(numbers[middle])


def decode(options):
    """Decodes, resizes and normalises the files of a folder, a process per core."""
    paths = sorted(str(path) for path in Path(options["files"]).rglob("*.jpg"))
    mean, std = (np.array(options[name], dtype=np.float32) for name in ("mean", "std"))
    numbers_of = partial(decode_file, mean=mean, std=std, middle=options["middle"])
    with Pool(options["cores"]) as pool:
        for attempt in range(options["repeats"]):
            started = time.perf_counter()
            found = list(pool.imap_unordered(numbers_of, paths, chunksize=8))
            mark("warm" if attempt else "first", started)
    for name, values in zip(["corner", "middle"], zip(*found)):
        print(f"MARK {name} {np.mean(values):.6f}")


def predict(options):
    """Images of Parquet files, fed by pyarrow, to (id, predicted) in a Parquet file."""
    import pyarrow as pa
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq
    import torch

    torch.set_num_threads(options["cores"])
    model, mean, std = vatic_network(options["model"])
    model = model.to(memory_format=memory_format(options))
    for attempt in range(options["repeats"]):
        started, writer = time.perf_counter(), None
        with torch.inference_mode():
            source = ds.dataset(options["data"], format="parquet")
            for batch in source.to_batches(columns=["id", "pixels"], batch_size=options["batch_rows"]):
                if batch.num_rows == 0:
                    continue
                x = standardised(pixels(batch.column("pixels")), mean, std)
                labels = model(x.contiguous(memory_format=memory_format(options))).argmax(1).numpy()
                table = pa.table({"id": batch.column("id"), "predicted": labels})
                writer = writer or pq.ParquetWriter(options["output"], table.schema, compression="zstd")
                writer.write_table(table)
        writer.close()
        mark("warm" if attempt else "first", started)


def forward(options):
    """The network alone, on batches that are in memory."""
    import torch

    torch.set_num_threads(1)
    model, mean, std = vatic_network(options["model"])
    x = standardised(read(options["data"])[0], mean, std)
    run = forward_of(options, model)
    batches = [x[at : at + options["batch_rows"]] for at in range(0, len(x), options["batch_rows"])]
    batches = [batch.contiguous(memory_format=memory_format(options)) for batch in batches]
    for attempt in range(options["repeats"]):
        started = time.perf_counter()
        labels = [run(batch) for batch in batches]
        mark("warm" if attempt else "first", started)
    print(f"MARK sum {sum(int(values.sum()) for values in labels)}")


def forward_of(options, model):
    """A function from a batch to its labels, in torch or onnxruntime."""
    import torch

    if options["format"] != "onnx":
        model = model.to(memory_format=memory_format(options))

        def run(batch):
            with torch.inference_mode():
                return model(batch).argmax(1).numpy()

        return run
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(export(options, model), settings, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch.numpy()})[0].argmax(1)


def export(options, model):
    """Writes the network as a graph for batches of any size."""
    import torch

    path = options["onnx"]
    rows = torch.export.Dim("rows", min=1, max=65_536)
    example = (torch.zeros(2, 1, 28, 28),)
    torch.onnx.export(model, example, path, dynamo=True, external_data=False, dynamic_shapes=({0: rows},), verbose=False)
    return path


def fit(options, model, x, y):
    """The epochs of a training, each marked."""
    import torch

    layout = memory_format(options)
    model = model.to(memory_format=layout).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=options["learn_rate"], weight_decay=0.0)
    loss_of = torch.nn.CrossEntropyLoss()
    for _ in range(options["epochs"]):
        began = time.perf_counter()
        for rows in torch.randperm(len(x)).split(options["batch_rows"]):
            optimizer.zero_grad()
            loss_of(model(x[rows].contiguous(memory_format=layout)), y[rows]).backward()
            optimizer.step()
        mark("epoch", began)
    return model.eval()


def train(options):
    """Data to model on so many threads, and the accuracy on other images."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(options["cores"])
    x, y = read(options["data"])
    mean = x.mean(0)
    std = (x - mean).std()
    model = fit(options, network(), standardised(x, mean, std), y)
    torch.save({"network": model.state_dict(), "mean": mean, "std": std}, options["model_file"])
    mark("all", STARTED)
    x, y = read(options["evaluation"])
    with torch.inference_mode():
        right = (model(standardised(x, mean, std)).argmax(1) == y).float().mean()
    print(f"MARK accuracy {right.item():.6f}", flush=True)


MODES = {"decode": decode, "predict": predict, "forward": forward, "train": train}

if __name__ == "__main__":
    chosen = arguments()
    sys.exit(MODES[chosen["mode"]](chosen))
