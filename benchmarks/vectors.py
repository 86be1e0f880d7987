"""Measures the search of nearest vectors beside DuckDB's array functions and NumPy in one run, and checks that the answers agree.

Started by `./benchmarks/run vectors`. The sizes are small, for trying; benchmarks/README.md has those of published figures.
Results go to <work>/results-vectors: table.md, results.json, bars.svg.
"""

import argparse
import csv
import datetime
import io
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench import Vatic, external, hardware, line, publish, run

BENCHMARKS = ["one", "many"]
TOP_K = 10
PARTS = 10
CLUSTERS = 1_000
REPEATS = 4


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vatic", type=Path, required=True, help="the release binary")
    parser.add_argument("--work", type=Path, required=True, help="the directory of data and results")
    parser.add_argument("--vectors", type=int, default=100_000, help="vectors to search in")
    parser.add_argument("--width", type=int, default=384, help="numbers of a vector")
    parser.add_argument("--queries", type=int, default=1_000, help="queries of the search for many")
    parser.add_argument("--rounds", type=int, default=1, help="the number of runs of each side, in turn")
    parser.add_argument("--only", nargs="*", choices=BENCHMARKS, default=BENCHMARKS)
    parser.add_argument("--no-peers", action="store_true", help="only vatic, while tuning it")
    return parser.parse_args()


# ---- data ----------------------------------------------------------------------------------------------------------


def draw(count, width, seed):
    """Vectors around some centres, as embeddings of texts are."""
    centres = np.random.default_rng(1).standard_normal((CLUSTERS, width), dtype=np.float32)
    random = np.random.default_rng(seed)
    noise = random.standard_normal((count, width), dtype=np.float32)
    return centres[random.integers(0, CLUSTERS, count)] + noise


def table(name, vectors, first_id):
    ids = pa.array(np.arange(first_id, first_id + len(vectors), dtype=np.int64))
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    return pa.table({name: ids, "v": lists})


def make_data(work, count, width, queries):
    directory = work / f"vectors-{count}-{width}-{queries}"
    if not (directory / "done").exists():
        shutil.rmtree(directory, ignore_errors=True)
        (directory / "items").mkdir(parents=True)
        (directory / "queries").mkdir()
        part = count // PARTS
        for at in range(PARTS):
            items = table("id", draw(part, width, 100 + at), at * part)
            pq.write_table(items, directory / "items" / f"part-{at}.parquet", compression="none", use_dictionary=False)
        pq.write_table(table("query", draw(queries, width, 7), 0), directory / "queries" / "part-0.parquet")
        (directory / "done").touch()
    return directory


def read(directory):
    """The vectors of a folder as a matrix, in the order of their ids, which are their numbers."""
    lists = pq.read_table(directory)["v"].combine_chunks()
    return np.asarray(lists.values, dtype=np.float32).reshape(len(lists), -1)


# ---- sides ---------------------------------------------------------------------------------------------------------


def nearest_by_numpy(items, queries):
    """The ids of the nearest items of each query, by blocks of items; lengths are part of the work."""
    queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    scores, ids = [], []
    block = max(TOP_K, min(len(items), 100_000_000 // max(1, len(queries))))
    for start in range(0, len(items), block):
        some = items[start : start + block]
        found = queries @ (some / np.linalg.norm(some, axis=1, keepdims=True)).T
        best = np.argpartition(-found, min(TOP_K, found.shape[1]) - 1, axis=1)[:, :TOP_K]
        scores.append(np.take_along_axis(found, best, axis=1))
        ids.append(best + start)
    scores, ids = np.concatenate(scores, axis=1), np.concatenate(ids, axis=1)
    order = np.argsort(-scores, axis=1)[:, :TOP_K]
    return np.take_along_axis(ids, order, axis=1)


def duckdb(statements):
    """Runs statements in DuckDB's shell; returns the output and the seconds of each."""
    program = Path(sys.executable).parent / "duckdb"
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(".mode csv\n.headers off\n.timer on\n" + "\n".join(f"{statement};" for statement in statements) + "\n")
        file.flush()
        with open(file.name) as script:
            out, err, *_ = run([str(program), ":memory:"], stdin=script)
    return out, [float(seconds) for seconds in re.findall(r"Run Time \(s\): real ([0-9.]+)", out + err)]


def same_ids(name, ours, theirs):
    """The share of neighbours that both sides found. Rounding decides between neighbours of almost one distance."""
    common = sum(len(set(left) & set(right)) for left, right in zip(ours, theirs))
    share = common / (len(theirs) * TOP_K)
    assert share > 0.9999, f"{name}: the sides agree in {share:.4%} of the neighbours only"
    return share


# ---- benchmarks ----------------------------------------------------------------------------------------------------


def bench_one(context):
    """The nearest of one query: the rows of a table in order of a distance, with a limit."""
    vatic, data = context["vatic"], context["data"]
    query = read(data / "queries")[:1]
    numbers = ", ".join(str(number) for number in query[0].tolist())
    ours, of_duckdb, of_numpy, memory, notes = [], [], [], 0, []
    statement = f"SELECT id FROM items ORDER BY cosine_distance(v, arrow_cast([{numbers}], 'List(Float32)')) LIMIT {TOP_K}"
    for _ in range(context["rounds"]):
        out, times, _, peak = vatic.sql(external("items", data / "items"), *[statement] * REPEATS)
        ours += times[2:]
        memory = max(memory, peak)
        found = [int(word) for word in out.split() if word.isdigit()][-TOP_K:]
        if not context["peers"]:
            continue
        width = query.shape[1]
        load = f"CREATE TABLE items AS SELECT id, v::FLOAT[{width}] AS v FROM read_parquet('{data}/items/*.parquet')"
        search = f"SELECT id FROM items ORDER BY array_cosine_distance(v, [{numbers}]::FLOAT[{width}]) LIMIT {TOP_K}"
        out, times = duckdb([load, *[search] * REPEATS])
        of_duckdb += times[2:]
        rows = [int(word) for word in out.split("\n") if word.strip().isdigit()][-TOP_K:]
        same_ids("DuckDB", [found], [rows])
        items = read(data / "items")
        nearest_by_numpy(items, query)
        for _ in range(REPEATS - 1):
            started = time.perf_counter()
            best = nearest_by_numpy(items, query)
            of_numpy.append(time.perf_counter() - started)
        notes = [f"one query: {same_ids('NumPy', [found], best.tolist()):.2%} of the neighbours are those of NumPy"]
    name = f"{TOP_K} nearest of one query"
    lines = [line(name, ours, of_duckdb, memory, None, "DuckDB, rows in memory")]
    return [*lines, line(name, ours, of_numpy, memory, None, "NumPy, rows in memory")], notes


def bench_many(context):
    """The nearest of many queries: `nearest` from Parquet, beside products of matrices in memory."""
    vatic, data = context["vatic"], context["data"]
    ours, theirs, memory, notes = [], [], 0, []
    tables = [external("items", data / "items"), external("queries", data / "queries")]
    statement = f"SELECT query, id, distance FROM nearest(queries, items, top_k => {TOP_K}) ORDER BY query, distance, id"
    for _ in range(context["rounds"]):
        out, times, _, peak = vatic.sql(*tables, *[statement] * 2)
        ours.append(times[-1])
        memory = max(memory, peak)
        if not context["peers"]:
            continue
        items, queries = read(data / "items"), read(data / "queries")
        started = time.perf_counter()
        best = nearest_by_numpy(items, queries)
        theirs.append(time.perf_counter() - started)
        found = {}
        for row in csv.reader(io.StringIO(out)):
            if len(row) == 3 and row[0].isdigit():
                found.setdefault(int(row[0]), set()).add(int(row[1]))
        of_queries = [found[query] for query in range(len(queries))]
        share = same_ids("NumPy", of_queries, best.tolist())
        notes = [f"{len(queries)} queries: {share:.3%} of the neighbours are those of NumPy"]
    name = f"{TOP_K} nearest of {context['queries']} queries"
    return [line(name, ours, theirs, memory, None, "NumPy, rows in memory")], notes


def main():
    arguments = parse()
    arguments.work.mkdir(parents=True, exist_ok=True)
    data = make_data(arguments.work, arguments.vectors, arguments.width, arguments.queries)
    vatic_dir = arguments.work / "vatic-vectors"
    shutil.rmtree(vatic_dir, ignore_errors=True)
    context = {
        "vatic": Vatic(arguments.vatic, vatic_dir),
        "data": data,
        "queries": arguments.queries,
        "rounds": arguments.rounds,
        "peers": not arguments.no_peers,
    }
    lines, notes = [], []
    for name in arguments.only:
        print(f"... {name}", file=sys.stderr, flush=True)
        of_one, notes_of_one = globals()[f"bench_{name}"](context)
        lines += of_one
        notes += notes_of_one
    head = f"{datetime.date.today()}, {hardware()}. {arguments.vectors} vectors of {arguments.width} numbers, exact."
    publish(arguments.work / "results-vectors", head, lines, notes)


if __name__ == "__main__":
    main()
