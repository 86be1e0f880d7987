"""Images in Spark with torch: the mode in the options says what is measured. `predict` is predict_batch_udf on arrays of Parquet files,
`train` is TorchDistributor with a process for each core."""

import shutil
import sys
import time
from pathlib import Path

STARTED = time.perf_counter()

from common import arguments, mark  # noqa: E402


def session(options):
    from pyspark.sql import SparkSession

    spark = (
        SparkSession.builder.master(f"local[{options['cores']}]")
        .config("spark.driver.memory", "6g")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", options.get("arrow_rows", 10_000))
        .config("spark.sql.parquet.compression.codec", "zstd")
        .config("spark.executorEnv.PYTHONPATH", str(Path(__file__).parent))
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def predict(options):
    """Images of Parquet files to (id, predicted) in Parquet files, several times."""
    from pyspark.ml.functions import predict_batch_udf
    from pyspark.sql.functions import col
    from pyspark.sql.types import LongType

    spark = session(options)
    directory = options["model"]

    def make_predict_fn():
        import torch
        from images import standardised, vatic_network

        # One torch thread per Python worker: there is a worker for each core.
        torch.set_num_threads(1)
        model, mean, std = vatic_network(directory)

        def predict(inputs):
            with torch.inference_mode():
                x = torch.from_numpy(inputs).float().reshape(-1, 784)
                return model(standardised(x, mean, std)).argmax(1).numpy()

        return predict

    predict = predict_batch_udf(
        make_predict_fn, return_type=LongType(), batch_size=options["batch_rows"], input_tensor_shapes=[[1, 28, 28]]
    )
    for attempt in range(options["repeats"]):
        shutil.rmtree(options["output"], ignore_errors=True)
        started = time.perf_counter()
        rows = spark.read.parquet(options["data"])
        pixels = col("pixels").cast("array<float>")
        rows.select("id", predict(pixels).alias("predicted")).write.parquet(options["output"])
        mark("warm" if attempt else "first", started)
    spark.stop()


def fit(options):
    """Runs in each process: reads its share of the files, trains with the others, and saves the model of rank 0; returns the seconds of the epochs."""
    import os
    import sys
    import time

    sys.path.insert(0, options["peers"])

    import torch
    import torch.distributed as dist
    from images import network, read, standardised
    from torch.nn.parallel import DistributedDataParallel

    torch.manual_seed(0)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    paths = sorted(os.path.join(options["data"], name) for name in os.listdir(options["data"]))
    parts = [read(path) for path in paths[rank::world]]
    x, y = (torch.cat([part[at] for part in parts]) for at in (0, 1))
    sums, squares = x.sum(0, dtype=torch.float64), (x.double() ** 2).sum()
    count = torch.tensor(float(len(x)), dtype=torch.float64)
    for total in (sums, squares, count):
        dist.all_reduce(total)
    mean = sums / count
    std = (squares / (count * x.shape[1]) - (mean**2).mean()).sqrt()
    x = standardised(x, mean.float(), std.float())
    model = network()
    parallel = DistributedDataParallel(model.train())
    optimizer = torch.optim.AdamW(parallel.parameters(), lr=options["learn_rate"], weight_decay=0.0)
    loss_of = torch.nn.CrossEntropyLoss()
    batch = options["batch_rows"] // world
    steps = int(count) // options["batch_rows"]
    epochs = []
    for epoch in range(options["epochs"]):
        began = time.perf_counter()
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch * world + rank))
        for step in range(steps):
            rows = order[step * batch : (step + 1) * batch]
            optimizer.zero_grad()
            loss_of(parallel(x[rows]), y[rows]).backward()
            optimizer.step()
        epochs.append(time.perf_counter() - began)
    if rank == 0:
        torch.save({"network": model.state_dict(), "mean": mean.float(), "std": std.float()}, options["model_file"])
    dist.barrier()
    dist.destroy_process_group()
    return epochs


def train(options):
    """Data to model with a process for each core, and the accuracy on other images."""
    from pyspark.ml.torch.distributor import TorchDistributor

    spark = session(options)
    distributor = TorchDistributor(num_processes=options["cores"], local_mode=True, use_gpu=False)
    epochs = distributor.run(fit, options | {"peers": str(Path(__file__).parent)})
    mark("all", STARTED)
    for seconds in epochs:
        print(f"MARK epoch {seconds:.6f}")
    spark.stop()

    import torch
    from images import network, read, standardised

    saved = torch.load(options["model_file"])
    model = network()
    model.load_state_dict(saved["network"])
    x, y = read(options["evaluation"])
    with torch.inference_mode():
        right = (model.eval()(standardised(x, saved["mean"], saved["std"])).argmax(1) == y).float().mean()
    print(f"MARK accuracy {right.item():.6f}", flush=True)


MODES = {"predict": predict, "train": train}

if __name__ == "__main__":
    chosen = arguments()
    sys.exit(MODES[chosen["mode"]](chosen))
