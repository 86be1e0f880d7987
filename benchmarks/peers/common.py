"""Code shared by the peers: the network in torch, with the weights of a vatic model or with fresh weights."""

import json
import struct
import sys
import time
from pathlib import Path

import numpy as np

FEATURES = [f"f{index}" for index in range(32)]


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


def vatic_model(directory):
    """The model of a vatic directory as a torch module: standardised numbers, layers, one logit."""
    import torch

    config = json.loads((Path(directory) / "config.json").read_text())
    scalers = [encoder["numbers"][0] for encoder in config["encoders"]]
    mean = torch.tensor([scaler["mean"] for scaler in scalers], dtype=torch.float32)
    std = torch.tensor([scaler["std"] for scaler in scalers], dtype=torch.float32)
    tensors = read_safetensors(Path(directory) / "model.safetensors")
    layers = []
    depth = sum(name.endswith(".bias") for name in tensors)
    for index in range(depth):
        weight = torch.from_numpy(tensors[f"layer{index}.weight"]).T.contiguous()
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight.data.copy_(weight)
        layer.bias.data.copy_(torch.from_numpy(tensors[f"layer{index}.bias"]))
        layers += [layer, torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers[:-1])

    class Model(torch.nn.Module):
        def forward(self, x):
            return network((x - mean) / std)

    return Model().eval()


def arguments():
    return json.loads(sys.argv[1])
