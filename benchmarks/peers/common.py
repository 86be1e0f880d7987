"""Code shared by the benchmarks and the peers: the rows; the network in torch, with the weights of a vatic model or with fresh weights."""

import json
import struct
import sys
import time
from pathlib import Path

import numpy as np

FEATURES = [f"f{index}" for index in range(32)]


def make_columns(rows, seed, first_id):
    """Ids and normal features by name, and a noisy smooth function of the features, whose sign is the label."""
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((rows, len(FEATURES)), dtype=np.float32)
    weights = np.random.default_rng(7).standard_normal((len(FEATURES), 8)).astype(np.float32) / 5
    hidden = np.tanh(x @ weights)
    score = hidden[:, 0] * hidden[:, 1] * 4 + np.sin(2 * x[:, 0]) + hidden[:, 2:].sum(1)
    score = score + draw.standard_normal(rows, dtype=np.float32) * 0.3
    columns = {"id": np.arange(first_id, first_id + rows, dtype=np.int64)}
    columns |= {name: np.ascontiguousarray(x[:, index]) for index, name in enumerate(FEATURES)}
    return columns, score


def mark(name, started):
    """Reports the time of a step to the benchmark."""
    print(f"MARK {name} {time.perf_counter() - started:.6f}", flush=True)


def read_safetensors(path):
    content = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            flat = np.frombuffer(content[8 + length + begin : 8 + length + end], dtype="<f4")
            tensors[name] = flat.reshape(entry["shape"]).copy()
    return tensors


def vatic_model(directory, device="cpu"):
    """The model of a vatic directory as a torch module on a device: standardised numbers, layers, one logit."""
    import torch

    config = json.loads((Path(directory) / "config.json").read_text())
    scalers = [encoder["numbers"][0] for encoder in config["encoders"]]
    mean = torch.tensor([scaler["mean"] for scaler in scalers], dtype=torch.float32, device=device)
    std = torch.tensor([scaler["std"] for scaler in scalers], dtype=torch.float32, device=device)
    tensors = read_safetensors(Path(directory) / "model.safetensors")
    layers = []
    depth = sum(name.endswith(".bias") for name in tensors)
    for index in range(depth):
        weight = torch.from_numpy(tensors[f"layer{index}.weight"]).T.contiguous()
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight.data.copy_(weight)
        layer.bias.data.copy_(torch.from_numpy(tensors[f"layer{index}.bias"]))
        layers += [layer, torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers[:-1]).to(device)

    class Model(torch.nn.Module):
        def forward(self, x):
            return network((x - mean) / std)

    return Model().eval()


def arguments():
    return json.loads(sys.argv[1])
