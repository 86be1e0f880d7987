"""Measures vatic beside Spark, PyTorch and DuckDB in one run, checks that their answers agree, and prints one table.

Started by ./benchmarks/run, which brings everything. Results go to <work>/results: table.md, results.json, bars.svg.
"""

import argparse
import datetime
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common import FEATURES, make_columns

HERE = Path(__file__).parent
HIDDEN = [256, 128]
TRAIN_BATCH = 2_048
EPOCHS = 2
LEARN_RATE = 0.001
# The other side of a line that shows the share of the machine's own rate that a work reaches.
PRODUCTS = "its products alone, at the machine's rate"
FLOPS_FORWARD = 2 * (32 * 256 + 256 * 128 + 128 * 2)
BENCHMARKS = ["predict", "train", "memory", "start", "small", "cores", "cluster"]
CLUSTER_ADDRESS = "127.0.0.1:46100"
TASKS = 2_000
# The rows and the runs of the predict that should keep two cores busy.
CORES_ROWS = 100_000
CORES_RUNS = 20


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vatic", type=Path, required=True, help="the release binary")
    parser.add_argument("--work", type=Path, required=True, help="the directory of data and results")
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--rounds", type=int, default=3, help="the number of runs of each side, in turn")
    parser.add_argument("--only", nargs="*", choices=BENCHMARKS, default=BENCHMARKS)
    parser.add_argument("--no-peers", action="store_true", help="only vatic, while tuning it")
    return parser.parse_args()


# ---- data ----------------------------------------------------------------------------------------------------------


def make_rows(rows, seed, first_id):
    columns, score = make_columns(rows, seed, first_id)
    return pa.table(columns | {"label": (score > 0).astype(np.int64)})


def make_data(work, rows):
    """Writes four files of rows, and one of evaluation rows that no side trains on."""
    directory = work / f"data-{rows}"
    if not (directory / "done").exists():
        shutil.rmtree(directory, ignore_errors=True)
        (directory / "rows").mkdir(parents=True)
        quarter = rows // 4
        for part in range(4):
            table = make_rows(quarter, 100 + part, part * quarter)
            pq.write_table(table, directory / "rows" / f"part-{part}.parquet", compression="zstd")
        pq.write_table(make_rows(200_000, 999, 0), directory / "evaluation.parquet", compression="zstd")
        (directory / "done").touch()
    return directory


# ---- processes -----------------------------------------------------------------------------------------------------


class PeakMemory(threading.Thread):
    """The peak memory of a process and its descendants; shared pages count once."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.bytes, self.is_done = pid, 0, threading.Event()

    def run(self):
        while not self.is_done.wait(0.1):
            self.bytes = max(self.bytes, sum(map(self.of, self.tree(self.pid))))

    def tree(self, pid):
        yield pid
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                    yield from self.tree(int(child))
        except OSError:
            return

    @staticmethod
    def of(pid):
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
        except OSError:
            pass
        return 0


def run(command, **options):
    """Runs a process to its end; returns its output, seconds and peak memory."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    memory = PeakMemory(process.pid)
    memory.start()
    out, err = process.communicate()
    seconds = time.perf_counter() - started
    memory.is_done.set()
    memory.join()
    if process.returncode:
        raise SystemExit(f"{command[:3]} failed:\n{out[-4000:]}\n{err[-4000:]}")
    return out, err, seconds, memory.bytes


class Vatic:
    def __init__(self, binary, data_dir, *flags, before=()):
        """`before` is a command that starts the process, such as taskset with its arguments."""
        self.binary, self.data_dir, self.flags, self.before = str(binary), str(data_dir), flags, before

    def sql(self, *statements, form="csv"):
        """Runs statements in one process; returns output, seconds of each, seconds in all and peak memory."""
        command = [*self.before, self.binary, "--no-rc", "--data-dir", self.data_dir, "--format", form, "--timing", *self.flags]
        script = "\n".join(statement + ";" for statement in statements)
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
            file.write(script)
            file.flush()
            out, err, seconds, memory = run([*command, "-f", file.name])
        times = [float(line.split()[-2]) for line in err.splitlines() if "Elapsed" in line]
        return out, times, seconds, memory


def pinned(threads):
    """A command that gives a process so many cores. Both sides then have no more threads that compute."""
    return ["taskset", "-c", ",".join(str(core) for core in sorted(os.sched_getaffinity(0))[:threads])]


def peer_environment():
    environment = os.environ | {"PYTHONPATH": str(HERE / "peers"), "PYSPARK_PYTHON": sys.executable}
    # Some machines set these for old builds of OpenBLAS; they slow a current build.
    for name in ["OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"]:
        environment.pop(name, None)
    return environment


def peer(script, options, before=()):
    """Runs a Python program; returns the times that it marked, and its peak memory."""
    program = [*before, sys.executable, str(HERE / "peers" / script), json.dumps(options)]
    out, _, seconds, memory = run(program, env=peer_environment())
    marks = {}
    for line in out.splitlines():
        if line.startswith("MARK "):
            _, name, value = line.split()
            marks.setdefault(name, []).append(float(value))
    return marks, seconds, memory


# ---- the machine ---------------------------------------------------------------------------------------------------


def machine_peaks(data):
    """The peak rates of the cores: products of large matrices, and decoding of these Parquet files."""
    # The faster of two libraries counts, as neither is the best on every processor.
    code = (
        "import json, sys, time, numpy, torch, pyarrow.parquet as pq, pathlib\n"
        "cores, data = json.loads(sys.argv[1])\n"
        "torch.set_num_threads(cores)\n"
        "a = torch.rand(3072, 3072); n = a.numpy(); best = 0; end = time.perf_counter() + 8\n"
        "while best == 0 or time.perf_counter() < end:\n"
        "    for square in (lambda: a @ a, lambda: n @ n):\n"
        "        t = time.perf_counter(); square(); best = max(best, 2 * 3072**3 / (time.perf_counter() - t))\n"
        "print('MARK gemm', best)\n"
        "paths = sorted(pathlib.Path(data).glob('*.parquet')); best = 0\n"
        "for _ in range(3):\n"
        "    t = time.perf_counter(); n = sum(pq.read_table(p, use_threads=True).nbytes for p in paths)\n"
        "    best = max(best, n / (time.perf_counter() - t))\n"
        "print('MARK parquet', best)\n"
    )
    arguments = json.dumps([os.cpu_count(), str(data / "rows")])
    out, *_ = run([sys.executable, "-c", code, arguments], env=peer_environment())
    return {line.split()[1]: float(line.split()[2]) for line in out.splitlines() if line.startswith("MARK")}


def hardware():
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{os.cpu_count()} cores of {model}, {pages / 2**30:.0f} GiB"


# ---- benchmarks ----------------------------------------------------------------------------------------------------


def chosen(context, sides):
    """The sides that are measured: all, those that `--without` does not name, or none."""
    return {side: name for side, name in sides.items() if context["peers"] and side not in context["without"]}


def external(name, location):
    return f"CREATE EXTERNAL TABLE IF NOT EXISTS {name} STORED AS PARQUET LOCATION '{location}'"


def network_options(extra=""):
    return (
        f"model_type = 'dnn_classifier', hidden_units = {HIDDEN}, batch_size = {TRAIN_BATCH}, epochs = {EPOCHS}, "
        f"learn_rate = {LEARN_RATE}, optimizer = 'adamw', early_stop = false, data_split_method = 'none', "
        f"l2_reg = 0, ema_decay = 0{extra}"
    )


COLUMNS = ", ".join(FEATURES)


def prepare_model(vatic, data, rows):
    """Trains a model on a part of the rows for the predict benchmarks; the peers load its directory."""
    vatic.sql(
        external("rows", data / "rows/"),
        external("evaluation", data / "evaluation.parquet"),
        f"TRAIN MODEL IF NOT EXISTS bench TARGET label OPTIONS ({network_options()}) "
        f"AS SELECT {COLUMNS}, label FROM rows WHERE id % 16 = 0",
    )
    found = [path.parent for path in Path(vatic.data_dir).rglob("model.safetensors")]
    return found[0]


def bench_predict(context):
    vatic, data, work = context["vatic"], context["data"], context["work"]
    ours, theirs = work / "out-vatic", work / "out-spark"
    results = {"vatic": [], "spark": []}
    cold = {"vatic": [], "spark": []}
    memory = {"vatic": 0, "spark": 0}
    # COPY adds files to a folder, so each run has its own folder.
    statements = [
        f"COPY (SELECT id, predicted_label FROM predict(bench, (SELECT id, {COLUMNS} FROM rows))) "
        f"TO '{ours}/{attempt}/' STORED AS PARQUET"
        for attempt in range(4)
    ]
    for _ in range(context["rounds"]):
        shutil.rmtree(ours, ignore_errors=True)
        _, _, seconds, peak = vatic.sql(statements[0])
        cold["vatic"].append(seconds)
        memory["vatic"] = max(memory["vatic"], peak)
        shutil.rmtree(ours, ignore_errors=True)
        _, times, _, peak = vatic.sql(*statements)
        results["vatic"].append(min(times[1:]))
        memory["vatic"] = max(memory["vatic"], peak)
        if not context["peers"]:
            continue
        marks, _, peak = peer(
            "spark_predict.py",
            {
                "cores": os.cpu_count(),
                "data": str(data / "rows"),
                "model": str(context["model"]),
                "output": str(theirs),
                "arrow_rows": 10_000,
                "batch_rows": 8_192,
                "repeats": 4,
            },
        )
        cold["spark"].append(marks["cold"][0])
        results["spark"].append(min(marks["warm"]))
        memory["spark"] = max(memory["spark"], peak)
    lines = [
        line("predict, warm (best of 3)", results["vatic"], results["spark"], memory["vatic"], memory["spark"], "spark"),
        line("predict, cold (process start to end)", cold["vatic"], cold["spark"], None, None, "spark"),
    ]
    seconds = statistics.median(results["vatic"])
    share = context["rows"] * FLOPS_FORWARD / seconds / context["peaks"]["gemm"]
    notes = [f"predict, warm: products alone take {share:.0%} of the time at the machine's own peak"]
    if context["peers"]:
        notes.append(f"predictions that agree with torch: {agreement(ours / '3', theirs):.6%}")
    notes += stages(vatic, statements[0], ours)
    return lines, notes


def agreement(ours, theirs):
    def sorted_by_id(directory, column):
        table = pa.concat_tables(
            pq.read_table(path, columns=["id", column]) for path in sorted(directory.rglob("*.parquet"))
        )
        ids = table["id"].to_numpy()
        order = np.argsort(ids)
        return ids[order], table[column].to_numpy()[order]

    (left_ids, left), (right_ids, right) = sorted_by_id(ours, "predicted_label"), sorted_by_id(theirs, "predicted")
    assert len(left_ids) == len(right_ids) and (left_ids == right_ids).all(), "not the same rows"
    share = float((left == right).mean())
    assert share > 0.9999, f"predictions agree in {share:.4%} only"
    return share


def stages(vatic, statement, output):
    """The time of each operator over all cores, as EXPLAIN ANALYZE reports it."""
    shutil.rmtree(output, ignore_errors=True)
    out, *_ = vatic.sql(f"EXPLAIN ANALYZE {statement}", form="nd-json")
    plan = json.loads(out.splitlines()[0])["plan"]
    return ["EXPLAIN ANALYZE of that predict:", *plan.splitlines()]


def bench_train(context):
    data, work = context["data"], context["work"]
    ours, theirs, memory = [], [], {"vatic": 0, "spark": 0}
    epochs = {"vatic": [], "spark": []}
    accuracy = {}
    for _ in range(context["rounds"]):
        directory = work / "vatic-train"
        shutil.rmtree(directory, ignore_errors=True)
        vatic = Vatic(context["vatic"].binary, directory)
        out, _, seconds, peak = vatic.sql(
            external("rows", data / "rows/"),
            f"TRAIN MODEL trained TARGET label OPTIONS ({network_options()}) AS SELECT {COLUMNS}, label FROM rows",
        )
        ours.append(seconds)
        memory["vatic"] = max(memory["vatic"], peak)
        out, *_ = vatic.sql(
            external("evaluation", data / "evaluation.parquet"),
            f"SELECT accuracy FROM evaluate(trained, (SELECT {COLUMNS}, label FROM evaluation))",
            "SELECT duration_ms FROM ml.training_metrics ORDER BY epoch",
        )
        found = out.split()
        accuracy["vatic"] = float(found[found.index("accuracy") + 1])
        epochs["vatic"] += [int(value) / 1000 for value in found[found.index("duration_ms") + 1 :]]
        if not context["peers"]:
            continue
        marks, _, peak = peer(
            "spark_train.py",
            {
                "cores": os.cpu_count(),
                "data": str(data / "rows"),
                "evaluation": str(data / "evaluation.parquet"),
                "hidden": HIDDEN,
                "batch_rows": TRAIN_BATCH,
                "epochs": EPOCHS,
                "learn_rate": LEARN_RATE,
                "model_file": str(work / "torch.pt"),
            },
        )
        theirs.append(marks["all"][0])
        epochs["spark"] += marks["epoch"]
        accuracy["spark"] = marks["accuracy"][0]
        memory["spark"] = max(memory["spark"], peak)
    lines = [
        line("train, data to model (process start to end)", ours, theirs, memory["vatic"], memory["spark"], "spark"),
        line("train, one epoch", epochs["vatic"], epochs["spark"], None, None, "spark"),
    ]
    products = context["rows"] * 3 * FLOPS_FORWARD / context["peaks"]["gemm"]
    lines.append(line("train, one epoch", epochs["vatic"], [products], None, None, PRODUCTS))
    share = products / statistics.median(epochs["vatic"])
    notes = [
        f"train, one epoch: products alone take {share:.0%} of the time at the machine's own peak",
        f"accuracy on rows that no side trained on: {accuracy}",
    ]
    if context["peers"] and abs(accuracy["vatic"] - accuracy["spark"]) >= 0.003:
        notes.append("MISSED: the accuracies differ by 0.3 points or more")
    return lines, notes


def bench_memory(context):
    """Peak memory of the same predict over ten times the rows: each file under ten names."""
    directory = context["work"] / "ten-times"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for path in (context["data"] / "rows").glob("*.parquet"):
        for copy in range(10):
            os.link(path, directory / f"{path.stem}-{copy}.parquet")
    output = context["work"] / "out-vatic"
    shutil.rmtree(output, ignore_errors=True)
    _, _, seconds, peak = context["vatic"].sql(
        external("rows_ten_times", f"{directory}/"),
        f"COPY (SELECT id, predicted_label FROM predict(bench, (SELECT id, {COLUMNS} FROM rows_ten_times))) "
        f"TO '{output}/' STORED AS PARQUET",
    )
    return [line("predict, ten times the rows", [seconds], [], peak, None, None)], []


def bench_start(context):
    ours, theirs = [], []
    duckdb = Path(sys.executable).parent / "duckdb"
    for _ in range(context["rounds"] * 5):
        *_, seconds, _ = context["vatic"].sql("SELECT 1")
        ours.append(seconds)
        if context["peers"] and duckdb.exists():
            *_, seconds, _ = run([str(duckdb), "-c", "SELECT 1"])
            theirs.append(seconds)
    return [line('-c "SELECT 1"', ours, theirs, None, None, "duckdb")], []


def bench_small(context):
    """A thousand predicts of one row each, in one process."""
    row = ", ".join(f"CAST(0.5 AS REAL) AS {name}" for name in FEATURES)
    statement = f"SELECT predicted_label FROM predict(bench, (SELECT {row}))"
    _, times, *_ = context["vatic"].sql(*[statement] * 1_000)
    spread = statistics.quantiles(times, n=100)
    return [line("predict of one row", times[1:], [], None, None, None)], [
        f"predict of one row: p99 {spread[98] * 1000:.2f} ms"
    ]


def bench_cores(context):
    """The time of all cores over the time that passes, in predicts of rows that are one row group: cores that are busy at once."""
    file = context["work"] / f"rows-{CORES_ROWS}.parquet"
    if not file.exists():
        pq.write_table(make_rows(CORES_ROWS, 100, 0), file, compression="zstd")
    vatic = Vatic(context["vatic"].binary, context["vatic"].data_dir, before=pinned(2))
    one_file = external("one_file", file)
    vatic.sql(one_file, "CREATE TABLE IF NOT EXISTS managed AS SELECT * FROM one_file")
    lines, notes = [], []
    for name, source in [("a managed table", "managed"), ("one Parquet file", "one_file")]:
        statement = f"SELECT sum(predicted_label) FROM predict(bench, (SELECT {COLUMNS} FROM {source}))"
        real, user = [], []
        for _ in range(context["rounds"]):
            # What a process with one predict takes is its start, which is not measured.
            began = user_seconds()
            vatic.sql(one_file, statement)
            start = user_seconds() - began
            _, times, *_ = vatic.sql(one_file, *[statement] * (CORES_RUNS + 1))
            user.append(user_seconds() - began - 2 * start)
            real.append(sum(times[-CORES_RUNS:]))
        work = f"{CORES_RUNS} predicts of {CORES_ROWS:,} rows of {name}, two cores"
        lines.append(line(work, real, user, None, None, "user time"))
        notes.append(f"{work}: user time over real time {statistics.median(user) / statistics.median(real):.2f}")
    return lines, notes


def user_seconds():
    """The seconds of processors that the ended processes of this one took."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime


def bench_cluster(context):
    """Two executors of one core each against one process with two workers."""
    data, work = context["data"], context["work"]
    binary = context["vatic"].binary
    many = make_tasks(work)
    executors = [
        subprocess.Popen(
            ["taskset", "-c", str(core), binary, "executor", "--scheduler", CLUSTER_ADDRESS, "--slots", "1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for core in range(2)
    ]
    output = work / "out-vatic"
    names = ["predict", "train", "a training of 100 rows", f"{TASKS} tasks of 1,000 rows"]
    seconds = {side: {name: [] for name in names} for side in ["cluster", "embedded"]}
    memory = {"cluster": 0, "embedded": 0}
    answers = {}
    train = f"SELECT {COLUMNS}, label FROM rows"
    small = "model_type = 'dnn_classifier', epochs = 1"
    try:
        for _ in range(context["rounds"]):
            for side, flags in [("cluster", ["--cluster", CLUSTER_ADDRESS]), ("embedded", [])]:
                directory = work / f"vatic-{side}"
                shutil.rmtree(directory, ignore_errors=True)
                shutil.rmtree(output, ignore_errors=True)
                vatic = Vatic(binary, directory, *flags)
                out, times, _, peak = vatic.sql(
                    external("rows", data / "rows/"),
                    external("many", f"{many}/"),
                    f"TRAIN MODEL bench TARGET label OPTIONS ({small}, hidden_units = {HIDDEN}) AS {train} WHERE id < 20000",
                    f"TRAIN MODEL tiny TARGET label OPTIONS ({small}) AS {train} WHERE id < 100",
                    *[
                        f"COPY (SELECT id, predicted_label FROM predict(bench, (SELECT id, {COLUMNS} FROM rows))) "
                        f"TO '{output}/{attempt}/' STORED AS PARQUET"
                        for attempt in range(3)
                    ],
                    f"TRAIN MODEL trained TARGET label OPTIONS ({network_options(', workers = 2')}) AS {train}",
                    f"SET datafusion.execution.target_partitions = {TASKS}",
                    "SELECT sum(x) FROM many",
                    "SELECT sha256 FROM information_schema.model_versions WHERE model_name = 'trained'",
                )
                memory[side] = max(memory[side], peak)
                of_side = seconds[side]
                of_side["a training of 100 rows"].append(times[3])
                of_side["predict"].append(min(times[4:7]))
                of_side["train"].append(times[7])
                of_side[f"{TASKS} tasks of 1,000 rows"].append(times[9])
                answers[side] = out.split()[-1]
    finally:
        for executor in executors:
            executor.kill()
    assert answers["cluster"] == answers["embedded"], f"not the same weights: {answers}"
    lines = [
        line(f"cluster: {name}", seconds["cluster"][name], seconds["embedded"][name], None, None, "embedded")
        for name in names
    ]
    notes = all_reduce(binary)
    tasks = statistics.median(seconds["cluster"][names[3]]) - statistics.median(seconds["embedded"][names[3]])
    return lines, [
        f"cluster: {tasks / TASKS * 1000:.2f} ms more a task than in one process",
        f"cluster: memory of the engine's process at most {memory['cluster'] / 2**20:.0f} MB, "
        f"of one process that does all {memory['embedded'] / 2**20:.0f} MB",
        "cluster: the trained weights have the same SHA-256 as those of one process",
        *notes,
    ]


def all_reduce(binary):
    """All-reduces of 100 MB of f32 between ranks on this machine, against one stream of iperf3 over loopback."""
    try:
        server = subprocess.Popen(
            ["iperf3", "-s", "-1", "-p", "52017", "-B", "127.0.0.1"], stdout=subprocess.DEVNULL
        )
    except FileNotFoundError:
        return ["cluster: iperf3 is not there, so the all-reduce is not measured (Debian: apt install iperf3)"]
    time.sleep(0.5)
    out, *_ = run(["iperf3", "-c", "127.0.0.1", "-p", "52017", "-t", "3", "-J"])
    server.wait()
    rate = json.loads(out)["end"]["sum_received"]["bits_per_second"] / 8
    notes = [f"cluster: iperf3 moves {rate / 1e9:.2f} GB/s over the loopback device"]
    for ranks in [2, 4, 8]:
        out, *_ = run([binary, "all-reduce", str(ranks)])
        seconds = statistics.median(map(float, out.split()))
        # Each rank sends every other rank a part twice: once to be summed, and once the sum.
        ours = 2 * 100e6 * (ranks - 1) / seconds
        notes.append(
            f"cluster: all-reduce of 100 MB of f32, {ranks} ranks: {seconds * 1000:.0f} ms, {ours / 1e9:.2f} GB/s moved, "
            f"{ours / rate:.0%} of iperf3"
        )
    return notes


def make_tasks(work):
    directory = work / f"tasks-{TASKS}"
    if not (directory / f"{TASKS - 1}.parquet").exists():
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        for index in range(TASKS):
            values = np.random.default_rng(index).standard_normal(1_000)
            pq.write_table(pa.table({"x": values}), directory / f"{index}.parquet")
    return directory


# ---- results -------------------------------------------------------------------------------------------------------


def line(name, ours, theirs, our_memory, their_memory, beside):
    return {
        "name": name,
        "beside": beside,
        "vatic_s": ours,
        "peer_s": theirs,
        "vatic_bytes": our_memory,
        "peer_bytes": their_memory,
    }


def seconds_text(values):
    if not values:
        return "-"
    middle = statistics.median(values)
    unit, scale = ("s", 1) if middle >= 1 else ("ms", 1000)
    low, high = min(values) * scale, max(values) * scale
    return f"{middle * scale:.2f} {unit} ({low:.2f}-{high:.2f})"


def bytes_text(value):
    return "-" if not value else f"{value / 1e6:.0f} MB"


def table(lines):
    rows = [["work", "vatic: median (spread)", "peer: median (spread)", "times faster", "vatic memory", "peer memory"]]
    for entry in lines:
        ratio = "-"
        if entry["peer_s"]:
            ratio = f"{statistics.median(entry['peer_s']) / statistics.median(entry['vatic_s']):.1f}"
        peer_text = seconds_text(entry["peer_s"])
        rows.append(
            [
                entry["name"],
                seconds_text(entry["vatic_s"]),
                f"{entry['beside']}: {peer_text}" if entry["peer_s"] else "-",
                ratio,
                bytes_text(entry["vatic_bytes"]),
                bytes_text(entry["peer_bytes"]),
            ]
        )
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def bars(lines):
    """An SVG of the seconds of both sides, each pair with its own scale."""
    pairs = [entry for entry in lines if entry["peer_s"]]
    height = 30 + 66 * len(pairs)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{height}" font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for index, entry in enumerate(pairs):
        top = 20 + 66 * index
        ours, theirs = statistics.median(entry["vatic_s"]), statistics.median(entry["peer_s"])
        longest = max(ours, theirs)
        parts.append(f'<text x="10" y="{top + 4}" font-weight="bold">{entry["name"]}</text>')
        for row, (name, value, colour) in enumerate(
            [("vatic", ours, "#0f766e"), (entry["beside"], theirs, "#94a3b8")]
        ):
            y = top + 12 + 20 * row
            width = max(1, 520 * value / longest)
            text = f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms"
            parts.append(f'<text x="10" y="{y + 12}">{name}</text>')
            parts.append(f'<rect x="70" y="{y}" width="{width:.1f}" height="15" fill="{colour}"/>')
            parts.append(f'<text x="{76 + width:.1f}" y="{y + 12}">{text}</text>')
    return "\n".join([*parts, "</svg>", ""])


def measure(names, functions, context):
    """The lines and the notes of benchmarks, each by its function `bench_NAME`."""
    lines, notes = [], []
    for name in names:
        print(f"... {name}", file=sys.stderr, flush=True)
        of_one, notes_of_one = functions[f"bench_{name}"](context)
        lines += of_one
        notes += notes_of_one
    return lines, notes


def publish(results, head, lines, notes):
    """Prints the table, and writes it to a directory with its numbers and bars."""
    text = "\n".join([head, "", table(lines), "", *notes, ""])
    print(text)
    results.mkdir(parents=True, exist_ok=True)
    (results / "table.md").write_text(text)
    (results / "results.json").write_text(json.dumps({"head": head, "lines": lines, "notes": notes}, indent=1))
    (results / "bars.svg").write_text(bars(lines))


def main():
    arguments = parse()
    arguments.work.mkdir(parents=True, exist_ok=True)
    data = make_data(arguments.work, arguments.rows)
    vatic_dir = arguments.work / "vatic-bench"
    shutil.rmtree(vatic_dir, ignore_errors=True)
    vatic = Vatic(arguments.vatic, vatic_dir)
    context = {
        "vatic": vatic,
        "data": data,
        "work": arguments.work,
        "rows": arguments.rows,
        "rounds": arguments.rounds,
        "peers": not arguments.no_peers,
        "peaks": machine_peaks(data),
        "model": prepare_model(vatic, data, arguments.rows),
    }
    lines, notes = measure(arguments.only, globals(), context)
    peaks = context["peaks"]
    head = (
        f"{datetime.date.today()}, {hardware()}, {arguments.rows:,} rows. "
        f"In this run the machine multiplied matrices at {peaks['gemm'] / 1e9:.0f} GFLOP/s (the faster of torch and NumPy) "
        f"and decoded these Parquet files at {peaks['parquet'] / 1e9:.2f} GB/s (pyarrow)."
    )
    publish(arguments.work / "results", head, lines, notes)


if __name__ == "__main__":
    main()
