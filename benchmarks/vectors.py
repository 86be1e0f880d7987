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
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench import Vatic, chosen, external, hardware, line, measure, peer, publish, run

BENCHMARKS = ["one", "many"]
TOP_K = 10
PEERS = {"duckdb": "DuckDB, rows in memory", "numpy": "NumPy, rows in memory"}
# The peer that reads the same files for each search, as vatic does.
OF_FILES = "DuckDB, the same files"
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
    parser.add_argument("--without", nargs="*", choices=["duckdb"], default=[], help="peers that are not there")
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
        for at in range(PARTS):
            begin, end = (count * part // PARTS for part in (at, at + 1))
            items = table("id", draw(end - begin, width, 100 + at), begin)
            pq.write_table(items, directory / "items" / f"part-{at}.parquet", compression="none", use_dictionary=False)
        pq.write_table(table("query", draw(queries, width, 7), 0), directory / "queries" / "part-0.parquet")
        (directory / "done").touch()
    return directory


def first_query(directory):
    lists = pq.read_table(directory)["v"].combine_chunks()
    return lists[0].as_py()


# ---- sides ---------------------------------------------------------------------------------------------------------


def numpy(context, count, repeats):
    """Searches in a process of NumPy; returns the ids of the items of each query, and the seconds of each search but the first."""
    data, output = context["data"], context["work"] / "nearest.npy"
    options = {"items": str(data / "items"), "queries": str(data / "queries"), "count": count, "top_k": TOP_K}
    marks, *_ = peer("vectors.py", options | {"repeats": repeats, "output": str(output)})
    return np.load(output).tolist(), marks["warm"]


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
    vatic, data, peers = context["vatic"], context["data"], chosen(context, PEERS)
    query = first_query(data / "queries")
    numbers = ", ".join(map(str, query))
    seconds, memory, notes = {side: [] for side in ["vatic", *PEERS, OF_FILES]}, 0, []
    statement = f"SELECT id FROM items ORDER BY cosine_distance(v, arrow_cast([{numbers}], 'List(Float32)')) LIMIT {TOP_K}"
    for _ in range(context["rounds"]):
        out, times, _, peak = vatic.sql(external("items", data / "items"), *[statement] * REPEATS)
        seconds["vatic"] += times[2:]
        memory = max(memory, peak)
        found = [int(word) for word in out.split() if word.isdigit()][-TOP_K:]
        if "duckdb" in peers:
            width = len(query)
            files = f"read_parquet('{data}/items/*.parquet')"
            load = f"CREATE TABLE items AS SELECT id, v::FLOAT[{width}] AS v FROM {files}"
            order = f"ORDER BY array_cosine_distance(v::FLOAT[{width}], [{numbers}]::FLOAT[{width}]) LIMIT {TOP_K}"
            for side, before, items in [("duckdb", [load], "items"), (OF_FILES, [], files)]:
                out, times = duckdb([*before, *[f"SELECT id FROM {items} {order}"] * REPEATS])
                seconds[side] += times[len(before) + 1 :]
                rows = [int(word) for word in out.split("\n") if word.strip().isdigit()][-TOP_K:]
                same_ids(side, [found], [rows])
        if "numpy" in peers:
            best, times = numpy(context, 1, REPEATS)
            seconds["numpy"] += times
            notes = [f"one query: {same_ids('NumPy', [found], best):.2%} of the neighbours are those of NumPy"]
    lines = beside(f"{TOP_K} nearest of one query", seconds, memory)
    if seconds[OF_FILES]:
        # scripts/figures looks for "one query", which is the row beside the peers in memory.
        lines.append(line(f"{TOP_K} nearest of one vector, from files on both sides", seconds["vatic"], seconds[OF_FILES], memory, None, OF_FILES))
    return lines, notes


def bench_many(context):
    """The nearest of many queries: `nearest` from Parquet, beside a join in DuckDB and products of matrices in NumPy, both over memory."""
    vatic, data, peers = context["vatic"], context["data"], chosen(context, PEERS)
    seconds, memory, shares = {side: [] for side in ["vatic", *PEERS]}, 0, {}
    tables = [external("items", data / "items"), external("queries", data / "queries")]
    statement = f"SELECT query, id, distance FROM nearest(queries, items, top_k => {TOP_K}) ORDER BY query, distance, id"
    for _ in range(context["rounds"]):
        out, times, _, peak = vatic.sql(*tables, *[statement] * 2)
        seconds["vatic"].append(times[-1])
        memory = max(memory, peak)
        found = {}
        for row in csv.reader(io.StringIO(out)):
            if len(row) == 3 and row[0].isdigit():
                found.setdefault(int(row[0]), set()).add(int(row[1]))
        of_queries = [found[query] for query in range(context["queries"])]
        for side in peers:
            best, times = many_by_duckdb(context) if side == "duckdb" else numpy(context, context["queries"], 2)
            seconds[side] += times
            shares[side] = f"{same_ids(PEERS[side], of_queries, best):.3%}"
    notes = [f"{context['queries']} queries: the shares of neighbours that are those of the peers: {shares}"] if shares else []
    return beside(f"{TOP_K} nearest of {context['queries']} queries", seconds, memory), notes


def beside(name, seconds, memory):
    """A line for each of the peers that was measured, or one of vatic alone."""
    lines = [line(name, seconds["vatic"], seconds[side], memory, None, of_peer) for side, of_peer in PEERS.items() if seconds[side]]
    return lines or [line(name, seconds["vatic"], [], memory, None, None)]


def many_by_duckdb(context):
    """The ids of the items of each query in order of the queries, and the seconds."""
    load = [
        f"CREATE TABLE {name} AS SELECT {id}, v::FLOAT[{context['width']}] AS v FROM read_parquet('{context['data']}/{name}/*.parquet')"
        for name, id in [("items", "id"), ("queries", "query")]
    ]
    distances = "SELECT query, id, array_cosine_distance(queries.v, items.v) AS distance FROM queries, items"
    search = f"SELECT query, unnest(arg_min(id, distance, {TOP_K})) AS id FROM ({distances}) GROUP BY query ORDER BY query"
    out, times = duckdb([*load, search])
    found = {}
    for row in csv.reader(io.StringIO(out)):
        if len(row) == 2 and row[0].isdigit() and row[1].isdigit():
            found.setdefault(int(row[0]), set()).add(int(row[1]))
    return [found[query] for query in range(context["queries"])], times[-1:]


def main():
    arguments = parse()
    arguments.work.mkdir(parents=True, exist_ok=True)
    data = make_data(arguments.work, arguments.vectors, arguments.width, arguments.queries)
    vatic_dir = arguments.work / "vatic-vectors"
    shutil.rmtree(vatic_dir, ignore_errors=True)
    context = {
        "vatic": Vatic(arguments.vatic, vatic_dir),
        "data": data,
        "work": arguments.work,
        "width": arguments.width,
        "queries": arguments.queries,
        "rounds": arguments.rounds,
        "peers": not arguments.no_peers,
        "without": arguments.without,
    }
    lines, notes = measure(arguments.only, globals(), context)
    head = f"{datetime.date.today()}, {hardware()}. {arguments.vectors} vectors of {arguments.width} numbers, exact."
    publish(arguments.work / "results-vectors", head, lines, notes)


if __name__ == "__main__":
    main()
