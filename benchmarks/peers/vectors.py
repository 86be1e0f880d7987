"""The nearest vectors by NumPy, over a matrix in memory; prints the time of each search and writes the numbers of the items of the last one."""

import time

import numpy as np
import pyarrow.parquet as pq
from common import arguments, mark

# The most scores in memory at once.
SCORES_MAX = 100_000_000


def read(directory):
    """The vectors of a folder as a matrix, in the order of their ids, which are their numbers."""
    lists = pq.read_table(directory)["v"].combine_chunks()
    return np.asarray(lists.values, dtype=np.float32).reshape(len(lists), -1)


def nearest(items, queries, top_k):
    """The ids of the nearest items of each query, by blocks of items; lengths are part of the work."""
    queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    scores, ids = [], []
    block = max(top_k, min(len(items), SCORES_MAX // max(1, len(queries))))
    for start in range(0, len(items), block):
        some = items[start : start + block]
        found = queries @ (some / np.linalg.norm(some, axis=1, keepdims=True)).T
        best = np.argpartition(-found, min(top_k, found.shape[1]) - 1, axis=1)[:, :top_k]
        scores.append(np.take_along_axis(found, best, axis=1))
        ids.append(best + start)
    scores, ids = np.concatenate(scores, axis=1), np.concatenate(ids, axis=1)
    order = np.argsort(-scores, axis=1)[:, :top_k]
    return np.take_along_axis(ids, order, axis=1)


if __name__ == "__main__":
    options = arguments()
    items = read(options["items"])
    queries = read(options["queries"])[: options["count"]]
    for attempt in range(options["repeats"]):
        started = time.perf_counter()
        best = nearest(items, queries, options["top_k"])
        mark("warm" if attempt else "first", started)
    np.save(options["output"], best)
