"""Spark's predict_batch_udf with torch: rows of Parquet files to (id, predicted) in Parquet files, several times."""

import shutil
import sys
import time
from pathlib import Path

STARTED = time.perf_counter()

from common import FEATURES, arguments, mark, vatic_model  # noqa: E402
from pyspark.ml.functions import predict_batch_udf  # noqa: E402
from pyspark.sql import SparkSession  # noqa: E402
from pyspark.sql.functions import array  # noqa: E402
from pyspark.sql.types import LongType  # noqa: E402


def main():
    options = arguments()
    spark = (
        SparkSession.builder.master(f"local[{options['cores']}]")
        .config("spark.driver.memory", "6g")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", options["arrow_rows"])
        .config("spark.sql.parquet.compression.codec", "zstd")
        .config("spark.executorEnv.PYTHONPATH", str(Path(__file__).parent))
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    model_directory = options["model"]

    def make_predict_fn():
        import torch
        from common import vatic_model

        # One torch thread per Python worker: there is a worker for each core, so more threads would slow each other down.
        torch.set_num_threads(1)
        model = vatic_model(model_directory)

        def predict(inputs):
            with torch.inference_mode():
                logits = model(torch.from_numpy(inputs))
            return (logits[:, 0] >= 0).to(torch.int64).numpy()

        return predict

    predict = predict_batch_udf(
        make_predict_fn,
        return_type=LongType(),
        batch_size=options["batch_rows"],
        input_tensor_shapes=[[len(FEATURES)]],
    )
    for attempt in range(options["repeats"]):
        shutil.rmtree(options["output"], ignore_errors=True)
        started = time.perf_counter()
        rows = spark.read.parquet(options["data"])
        rows.select("id", predict(array(*FEATURES)).alias("predicted")).write.parquet(options["output"])
        mark("warm" if attempt else "first", started)
        if attempt == 0:
            mark("cold", STARTED)
    spark.stop()


if __name__ == "__main__":
    sys.exit(main())
