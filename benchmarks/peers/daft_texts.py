"""Daft's embed_text with sentence-transformers: texts of Parquet files to (id, v) in Parquet files, several times."""

import shutil
import time

import daft
from common import arguments, mark
from daft.functions import embed_text

options = arguments()
for attempt in range(options["repeats"]):
    shutil.rmtree(options["output"], ignore_errors=True)
    started = time.perf_counter()
    rows = daft.read_parquet(f"{options['data']}/*.parquet")
    vectors = embed_text(rows["body"], provider="transformers", model=options["model"])
    rows.select(rows["id"], vectors.alias("v")).write_parquet(options["output"])
    mark("warm" if attempt else "first", started)
