"""Spark's predict_batch_udf with sentence-transformers: texts of Parquet files to (id, v) in Parquet files, several times."""

import shutil
import sys
import time

STARTED = time.perf_counter()

from common import arguments, mark  # noqa: E402
from spark_images import session  # noqa: E402


def main():
    options = arguments()
    from pyspark.ml.functions import predict_batch_udf
    from pyspark.sql.types import ArrayType, FloatType

    spark = session(options)
    directory = options["model"]

    def make_predict_fn():
        import torch
        from sentence_transformers import SentenceTransformer

        # One torch thread per Python worker: there is a worker for each core.
        torch.set_num_threads(1)
        model = SentenceTransformer(directory, device="cpu")
        return lambda texts: model.encode(texts.tolist(), show_progress_bar=False)

    embed = predict_batch_udf(make_predict_fn, return_type=ArrayType(FloatType()), batch_size=options["batch_rows"])
    for attempt in range(options["repeats"]):
        shutil.rmtree(options["output"], ignore_errors=True)
        started = time.perf_counter()
        rows = spark.read.parquet(options["data"])
        rows.select("id", embed("body").alias("v")).write.parquet(options["output"])
        mark("warm" if attempt else "first", started)
        if attempt == 0:
            mark("cold", STARTED)
    spark.stop()


if __name__ == "__main__":
    sys.exit(main())
