"""Spark's TorchDistributor: the same network on the same rows, one process per core, gradients over gloo."""

import time

STARTED = time.perf_counter()

import sys  # noqa: E402
from pathlib import Path  # noqa: E402

from common import FEATURES, arguments, mark  # noqa: E402


def train(options):
    """Runs in each process: reads its share of the files, trains with the others, returns the results of rank 0."""
    import os
    import time
    from pathlib import Path

    import numpy as np
    import pyarrow.parquet as pq
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    features = options["features"]
    started = time.perf_counter()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()

    def load(paths):
        tables = [pq.read_table(path, columns=features + ["label"], use_threads=False) for path in paths]
        x = np.concatenate(
            [np.stack([table[name].to_numpy() for name in features], axis=1) for table in tables]
        )
        y = np.concatenate([table["label"].to_numpy() for table in tables])
        return torch.from_numpy(x), torch.from_numpy(y)

    paths = sorted(str(path) for path in Path(options["data"]).glob("*.parquet"))
    x, y = load(paths[rank::world])
    sums = torch.stack([x.sum(0, dtype=torch.float64), (x.double() ** 2).sum(0)])
    count = torch.tensor(float(len(x)), dtype=torch.float64)
    dist.all_reduce(sums)
    dist.all_reduce(count)
    mean = sums[0] / count
    std = (sums[1] / count - mean**2).sqrt()
    x = ((x - mean.float()) / std.float()).contiguous()
    read_s = time.perf_counter() - started

    layers = []
    widths = [len(features), *options["hidden"], 2]
    for inputs, outputs in zip(widths, widths[1:]):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers[:-1])
    model = DistributedDataParallel(network)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options["learn_rate"], weight_decay=0.0)
    loss_of = torch.nn.CrossEntropyLoss()
    batch = options["batch_rows"] // world
    steps = int(count) // options["batch_rows"]
    epochs_s = []
    for epoch in range(options["epochs"]):
        began = time.perf_counter()
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch * world + rank))
        for step in range(steps):
            rows = order[step * batch : (step + 1) * batch]
            optimizer.zero_grad()
            loss_of(model(x[rows]), y[rows]).backward()
            optimizer.step()
        epochs_s.append(time.perf_counter() - began)
    if rank == 0:
        torch.save({"network": network.state_dict(), "mean": mean, "std": std}, options["model_file"])
    dist.barrier()
    dist.destroy_process_group()
    return {"read": read_s, "epochs": epochs_s}


def accuracy(options):
    import numpy as np
    import pyarrow.parquet as pq
    import torch

    saved = torch.load(options["model_file"])
    widths = [len(FEATURES), *options["hidden"], 2]
    layers = []
    for inputs, outputs in zip(widths, widths[1:]):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers[:-1])
    network.load_state_dict(saved["network"])
    table = pq.read_table(options["evaluation"])
    x = torch.from_numpy(np.stack([table[name].to_numpy() for name in FEATURES], axis=1))
    x = (x - saved["mean"].float()) / saved["std"].float()
    with torch.inference_mode():
        predicted = network(x).argmax(1).numpy()
    return float((predicted == table["label"].to_numpy()).mean())


def main():
    options = arguments() | {"features": FEATURES}
    from pyspark.ml.torch.distributor import TorchDistributor
    from pyspark.sql import SparkSession

    spark = (
        SparkSession.builder.master(f"local[{options['cores']}]")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    distributor = TorchDistributor(num_processes=options["cores"], local_mode=True, use_gpu=False)
    times = distributor.run(train, options)
    mark("all", STARTED)
    print(f"MARK read {times['read']:.6f}")
    for seconds in times["epochs"]:
        print(f"MARK epoch {seconds:.6f}")
    print(f"MARK accuracy {accuracy(options):.6f}", flush=True)
    spark.stop()


if __name__ == "__main__":
    sys.exit(main())
