"""Checks vatic on a GPU against its own results on the CPU, and measures it beside PyTorch on the same GPU.

Started by scripts/gpu-check. Prints each result when it is known, and writes all of them to gpu.md in $OUT or the directory of data.
"""

import argparse
import csv
import datetime
import io
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
from common import FEATURES, make_columns

COLUMNS = ", ".join(FEATURES)
TRAIN_BATCH = 2_048
EPOCHS = 2
LEARN_RATE = 0.001
HIDDEN = [256, 128]
IMAGE_BATCH = 128
# The network of PyTorch's MNIST example, without its second dropout.
CONVOLUTIONS = ["conv2d(32, 3)", "relu", "conv2d(64, 3)", "relu", "max_pool2d(2)", "dropout(0.25)", "flatten", "linear(128)", "relu", "linear(classes)"]


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vatic", type=Path, required=True, help="a release binary with the feature cuda")
    parser.add_argument("--work", type=Path, default=Path("/dev/shm/vatic-gpu"), help="the directory of data")
    parser.add_argument("--rows", type=int, default=20_000_000, help="rows to predict")
    parser.add_argument("--train-rows", type=int, default=4_000_000)
    parser.add_argument("--images", type=int, default=1_000_000, help="images to predict; a fifth of them is trained on")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", default="cuda", help="the device to check; cpu tries the script itself")
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    return parser.parse_args()


class Report:
    def __init__(self, file):
        self.file, self.lines, self.failed = file, [], 0

    def say(self, text):
        print(text, flush=True)
        self.lines.append(text)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text("\n".join(self.lines) + "\n")

    def check(self, name, passed, detail=""):
        self.failed += not passed
        self.say(f"{'ok    ' if passed else 'FAILED'} {name} {detail}".rstrip())


class Vatic:
    def __init__(self, binary, directory):
        self.binary, self.directory = str(binary), str(directory)

    def run(self, *statements, environment=None, before=(), flags=(), timeout=200):
        """Runs statements in one process; returns standard output, standard error, seconds and the exit status."""
        script = "\n".join(statement + ";" for statement in statements)
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
            file.write(script)
            file.flush()
            command = [*before, self.binary, "--no-rc", "--data-dir", self.directory, "--format", "csv", "--timing", *flags]
            started = time.perf_counter()
            done = subprocess.run(
                [*command, "-f", file.name],
                capture_output=True,
                text=True,
                env=os.environ | {"RUST_LOG": "vatic=info,vatic_ml=info"} | (environment or {}),
                timeout=timeout,
            )
        return done.stdout, done.stderr, time.perf_counter() - started, done.returncode

    def rows(self, *statements, **options):
        """The rows of the last statement, as dictionaries."""
        out, err, _, status = self.run(*statements, **options)
        if status:
            raise RuntimeError(f"{statements[-1][:200]}\n{err[-1500:]}")
        return list(csv.DictReader(io.StringIO(out.strip().split("\n\n")[-1])))

    def weights(self):
        """The bytes of the newest weights."""
        return (self.model_directory() / "model.safetensors").read_bytes()

    def model_directory(self):
        found = Path(self.directory).rglob("model.safetensors")
        return max(found, key=lambda path: path.stat().st_mtime_ns).parent


# ---- data ----------------------------------------------------------------------------------------------------------


def write_part(arguments):
    path, rows, seed, first_id = arguments
    columns, score = make_columns(rows, seed, first_id)
    columns["label"] = (score > 0).astype(np.int64)
    # Four row groups a file: with 16 files, every core finds work.
    pq.write_table(pa.table(columns), path, compression="none", use_dictionary=False, row_group_size=max(rows // 4, 1))


def make_data(directory, rows, parts=16, write=write_part):
    done = directory.with_suffix(".done")
    if not done.exists():
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        size = rows // parts
        work = [(directory / f"part-{part}.parquet", size, 100 + part, part * size) for part in range(parts)]
        with ProcessPoolExecutor(min(parts, os.cpu_count())) as pool:
            list(pool.map(write, work))
        done.touch()
    return directory


def write_images(arguments):
    path, rows, seed, first_id = arguments
    draw = np.random.default_rng(seed)
    pixels = draw.random((rows, 784), dtype=np.float32)
    # The label is where the brightest of ten stripes is.
    labels = draw.integers(0, 10, rows)
    for row, label in enumerate(labels):
        pixels[row].reshape(28, 28)[label * 2 + 4 : label * 2 + 6] += 0.7
    lists = pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32) * 784), pa.array(pixels.reshape(-1)))
    table = pa.table({"id": np.arange(first_id, first_id + rows), "label": labels, "pixels": lists})
    pq.write_table(table, path, compression="none", use_dictionary=False, row_group_size=max(rows // 4, 1))


def make_mixed(path, rows):
    """Numbers, categories and several labels, for the checks."""
    columns, score = make_columns(rows, 5, 0)
    columns |= {"label": (score > 0).astype(np.int64), "score": score}
    draw = np.random.default_rng(6)
    colours = draw.integers(0, 300, rows)
    columns["colour"] = pa.array([f"c{colour}" for colour in colours])
    columns["size"] = pa.array(np.array(["s", "m", "l", "xl"])[draw.integers(0, 4, rows)])
    edges = np.quantile(columns["score"], [0.2, 0.4, 0.6, 0.8])
    columns["class"] = np.searchsorted(edges, columns["score"] + colours / 600).astype(np.int64)
    columns["steps"] = pa.array(np.outer(columns["score"], [1.0, -2.0, 0.5]).tolist())
    columns["tags"] = pa.array([["high"] * label + [size] for label, size in zip(columns["label"], columns["size"].to_pylist())])
    pq.write_table(pa.table(columns), path)


def table(name, path):
    return f"CREATE EXTERNAL TABLE IF NOT EXISTS {name} STORED AS PARQUET LOCATION '{path}'"


# ---- checks --------------------------------------------------------------------------------------------------------

KINDS = {
    "binary, relu": ("label", "dnn_classifier", "activation = 'relu', hidden_units = [256, 128]", COLUMNS),
    "five classes, gelu": ("class", "dnn_classifier", "activation = 'gelu', hidden_units = [64]", f"{COLUMNS}, colour, size"),
    "five classes, only categories": ("class", "dnn_classifier", "activation = 'tanh', hidden_units = [40]", "colour, size"),
    "number, silu": ("score", "dnn_regressor", "activation = 'silu', hidden_units = [64, 33]", f"{COLUMNS}, size"),
    "number, sigmoid": ("score", "dnn_regressor", "activation = 'sigmoid', hidden_units = [17]", COLUMNS),
    "logistic": ("label", "logistic_reg", "", f"{COLUMNS}, colour"),
    "linear": ("score", "linear_reg", "data_split_method = 'none'", COLUMNS),
}

# The networks that predict in types with fewer bits too, and the largest differences from the CPU.
TYPED = ["binary, relu", "five classes, gelu"]
TYPES = {"tf32": 5e-3, "bf16": 1e-2, "f16": 1e-2}

# The other losses; labels and hidden units matter little to them.
LOSSES = {
    loss: (target, model_type, f"hidden_units = [32], {loss}", COLUMNS)
    for target, model_type, losses in [
        ("label", "dnn_classifier", ["label_smoothing = 0.2", "loss = 'focal'"]),
        ("class", "dnn_classifier", ["label_smoothing = 0.1", "loss = 'focal', focal_gamma = 0.5"]),
        ("score", "dnn_regressor", ["loss = 'mae'", "loss = 'huber', huber_delta = 0.5", "loss = 'quantile', quantile = 0.9"]),
        ("class", "dnn_regressor", ["loss = 'poisson'"]),
    ]
    for loss in losses
}

# Lists as labels, and several targets.
TARGETS = {
    target: (target, model_type, f"hidden_units = [32]{extra}", COLUMNS)
    for target, model_type, extra in [
        ("steps", "dnn_regressor", ""),
        ("tags", "dnn_classifier", ""),
        ("score, class, size, steps", "dnn_regressor", ", target_weights = [('class', 2)]"),
        ("label, tags, class, score", "dnn_classifier", ", auto_class_weights = true"),
    ]
}


def options(kind, extra):
    model_type, own = kind[1], kind[2]
    epochs = "" if model_type.endswith("_reg") else ", epochs = 2, early_stop = false"
    return ", ".join(part for part in [f"model_type = '{model_type}'", own, extra] if part) + epochs


def check_device(context):
    vatic, report = context["vatic"], context["report"]
    out, err, seconds, _ = vatic.run("SELECT * FROM ml.devices")
    report.say(f"ml.devices, in {seconds:.2f} s from start to end:\n{out.strip()}\n{err.strip()[-600:]}")


def check_parity(context):
    vatic, report, device = context["vatic"], context["report"], context["device"]
    mixed, cpu = table("mixed", context["mixed"]), "device = 'cpu'"
    for index, (name, kind) in enumerate(KINDS.items()):
        target, model_type, _, features = kind
        model = f"parity{index}"
        value = f"predicted_{target}" if "reg" in model_type and model_type != "logistic_reg" else f"predicted_{target}_probs[1]['prob']"

        def answer(arguments):
            return f"SELECT id, {value} AS p FROM predict({model}, (SELECT id, {features} FROM mixed), {arguments})"

        def compare(title, arguments, limit):
            expected = answer("device => 'cpu'")
            found = vatic.rows(
                mixed,
                f"SELECT count(*) AS n, max(abs(a.p - b.p)) AS worst, avg(abs(a.p)) AS mean "
                f"FROM ({expected}) a JOIN ({answer(arguments)}) b ON a.id = b.id",
            )[0]
            is_close = float(found["worst"]) < limit and found["n"] == str(context["mixed_rows"])
            report.check(f"{title}: {name}", is_close, str(found))

        try:
            vatic.rows(
                mixed,
                f"TRAIN OR REPLACE MODEL {model} TARGET {target} OPTIONS ({options(kind, cpu)}) "
                f"AS SELECT {features}, {target} FROM mixed",
            )
            compare("predict on the GPU as on the CPU", f"device => '{device}'", 1e-4)
            # The CPU, which tries the script itself, has no other types.
            for dtype, limit in TYPES.items() if name in TYPED and device != "cpu" else []:
                compare(f"predict in {dtype} as on the CPU", f"device => '{device}', dtype => '{dtype}'", limit)
        except Exception as error:
            report.check(f"predict on the GPU as on the CPU: {name}", False, str(error))


def check_training(context):
    vatic, report, device = context["vatic"], context["report"], context["device"]
    mixed = table("mixed", context["mixed"])

    def train(kind, extra):
        target, features = kind[0], kind[3]
        found = vatic.rows(
            mixed,
            f"TRAIN OR REPLACE MODEL trained TARGET {target} OPTIONS ({options(kind, extra)}) AS SELECT {features}, {target} FROM mixed",
        )[0]
        return found, vatic.weights()

    for name, kind in {**KINDS, **LOSSES, **TARGETS}.items():
        try:
            shards = "" if kind[1] == "linear_reg" else ", shards = 1"
            ours, weights = train(kind, f"device = '{device}'{shards}")
            again, same = train(kind, f"device = '{device}'{shards}")
            theirs, _ = train(kind, f"device = 'cpu'{shards}")
            losses = [float(run["train_loss"]) for run in (ours, theirs)]
            is_close = abs(losses[0] - losses[1]) <= 2e-3 * abs(losses[1]) + 1e-6
            report.check(f"training as on the CPU: {name}", is_close and ours["device"].startswith(device), f"losses {losses}, device {ours['device']}, {ours['duration_ms']} and {theirs['duration_ms']} ms")
            report.check(f"the same weights again: {name}", weights == same)
        except Exception as error:
            report.check(f"training: {name}", False, str(error))
    kind = KINDS["five classes, gelu"]
    for extra in ["dropout = 0.3", "clip_norm = 0.5", "optimizer = 'sgd'", "l1_reg = 0.001", "weight_decay = 0.01", "auto_class_weights = true, batch_size = 100"]:
        try:
            ours, _ = train(kind, f"device = '{device}', {extra}")
            theirs, _ = train(kind, f"device = 'cpu', shards = 1, {extra}")
            losses = [float(run["train_loss"]) for run in (ours, theirs)]
            close = 0.05 if "dropout" in extra else 2e-3
            report.check(f"training with {extra}", abs(losses[0] - losses[1]) <= close * abs(losses[1]), str(losses))
        except Exception as error:
            report.check(f"training with {extra}", False, str(error))
    try:
        one, weights = train(kind, f"device = '{device}', shards = 8, workers = 1")
        two, same = train(kind, f"device = '{device}', shards = 8, workers = 2")
        report.check("8 shards: the same weights with 1 and 2 workers", weights == same and two["workers"] == "2", f"{one['duration_ms']} and {two['duration_ms']} ms")
    except Exception as error:
        report.check("8 shards", False, str(error))


def layers(texts):
    return "layers = [" + ", ".join(f"'{text}'" for text in texts) + "]"


NETWORKS = {
    "convolutions": CONVOLUTIONS[:5] + CONVOLUTIONS[6:],
    "groups and norms": [
        "conv2d(8, 3, padding=same)", "group_norm(4)", "gelu", "conv2d(16, 3, stride=2, padding=1, groups=8)", "silu",
        "residual(conv2d(16, 3, padding=same, groups=16), layer_norm, tanh)", "avg_pool2d(3, stride=2, padding=1)", "leaky_relu",
        "conv2d(12, 1)", "sigmoid", "global_max_pool", "linear(20)", "tanh", "linear(classes)",
    ],
    "batch norm": [
        "conv2d(8, 3, stride=2)", "batch_norm", "relu", "conv2d(8, 3)", "batch_norm", "gelu", "global_avg_pool", "linear(16)", "batch_norm", "tanh", "linear(classes)",
    ],
    "lstm and gru": ["reshape(28, 28)", "lstm(12, sequences=true)", "transpose", "gru(10, bidirectional=true)", "linear(classes)"],
    "sequences": [
        "reshape(7, 112)", "conv1d(12, 5, stride=2, padding=2)", "relu", "max_pool1d(3, padding=1)", "conv1d(9, 3, groups=3)", "tanh",
        "avg_pool1d(2)", "group_norm(3)", "flatten", "linear(classes)",
    ],
}


def check_images(context):
    """Networks over images: predictions and trainings on the GPU beside those of the CPU."""
    vatic, report, device = context["vatic"], context["report"], context["device"]
    data = make_data(context["work"] / "images-4000", 4_000, write=write_images)
    source = table("images", data)
    for name, texts in NETWORKS.items():
        network = f"model_type = 'sequential', input_shape = [1, 28, 28], {layers(texts)}, batch_size = 100, epochs = 2, early_stop = false, shards = 1"
        runs = {}
        try:
            for where in [device, device, "cpu"]:
                trained = vatic.rows(source, f"TRAIN OR REPLACE MODEL images TARGET label OPTIONS ({network}, device = '{where}') AS SELECT pixels, label FROM images")[0]
                runs.setdefault(where, []).append((float(trained["train_loss"]), vatic.weights(), trained))
            losses = [runs[device][0][0], runs["cpu"][0][0]]
            close = abs(losses[0] - losses[1]) <= 5e-3 * abs(losses[1]) + 1e-6
            report.check(f"training as on the CPU: {name}", close and runs[device][0][2]["device"].startswith(device), f"losses {losses}, {runs[device][1][2]['duration_ms']} and {runs['cpu'][0][2]['duration_ms']} ms")
            report.check(f"the same weights again: {name}", runs[device][0][1] == runs[device][1][1])
            for dtype, most in [("f32", 1e-4), ("tf32", 1e-2), ("bf16", 5e-2), ("f16", 1e-2)]:
                answers = [
                    f"SELECT id, predicted_label_probs[1]['prob'] AS p FROM predict(images, (SELECT id, pixels FROM images), device => '{where}', dtype => '{type}')"
                    for where, type in [("cpu", "f32"), (device, dtype)]
                ]
                found = vatic.rows(source, f"SELECT count(*) AS n, max(abs(a.p - b.p)) AS worst, avg(abs(a.p - b.p)) AS mean FROM ({answers[0]}) a JOIN ({answers[1]}) b ON a.id = b.id")[0]
                report.check(f"predict in {dtype} as on the CPU: {name}", float(found["worst"]) < most and found["n"] == "4000", str(found))
        except Exception as error:
            report.check(f"images: {name}", False, str(error))


def check_load(context):
    """LOAD MODEL and UNLOAD MODEL: the memory of the GPU, as the driver counts it."""
    vatic, report, device = context["vatic"], context["report"], context["device"]
    mixed = table("mixed", context["mixed"])
    train = f"TRAIN OR REPLACE MODEL large TARGET label OPTIONS (model_type = 'dnn_classifier', hidden_units = [12288, 12288], epochs = 1, device = '{device}') AS SELECT {COLUMNS}, label FROM mixed WHERE id < 2000"
    vatic.rows(mixed, train)
    free = "SELECT free_bytes, models FROM ml.devices WHERE device = 'cuda:0'"
    statements = [
        free, f"LOAD MODEL large OPTIONS (device = '{device}')", f"LOAD MODEL large OPTIONS (device = '{device}', dtype = 'bf16')", free,
        "SELECT model, device, dtype, bytes, pinned FROM ml.model_cache", "UNLOAD MODEL large", free,
    ]
    out, err, seconds, status = vatic.run(*statements)
    counts = [int(line.split(",")[0]) for line in out.splitlines() if line[:6].isdigit()]
    passed = status == 0 and len(counts) == 3 and counts[0] - counts[1] > 0.8e9 and counts[2] - counts[1] > 0.8e9
    report.check("LOAD and UNLOAD MODEL", passed, f"free bytes {counts}, {seconds:.1f} s\n{out.strip()}\n{err[-600:] if status else ''}")


def check_cluster(context):
    """Two executors on one GPU: the same rows as in one process."""
    vatic, report, device = context["vatic"], context["report"], context["device"]
    mixed, port = table("mixed", context["mixed"]), 51_000
    executors = [
        subprocess.Popen([vatic.binary, "executor", "--scheduler", f"127.0.0.1:{port}", "--slots", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    try:
        answer = f"SELECT count(*) AS n, sum(predicted_label) AS ones FROM predict(parity0, mixed, device => '{device}')"
        here = vatic.rows(mixed, answer)
        statements = [mixed, f"LOAD MODEL parity0 OPTIONS (device = '{device}')", answer, "SELECT device, models FROM ml.executors", answer]
        there = vatic.rows(*statements, flags=["--cluster", f"127.0.0.1:{port}"])
        report.check("predict on two executors with one GPU", here == there, f"{here} and {there}")
        kind = KINDS["binary, relu"]
        two, one = (options(kind, f"device = '{device}', shards = 4, workers = {workers}") for workers in [2, 1])
        trained = vatic.rows(
            mixed,
            f"TRAIN OR REPLACE MODEL trained TARGET {kind[0]} OPTIONS ({two}) AS SELECT {kind[3]}, {kind[0]} FROM mixed",
            flags=["--cluster", f"127.0.0.1:{port}"],
        )[0]
        weights = vatic.weights()
        vatic.rows(
            mixed,
            f"TRAIN OR REPLACE MODEL trained TARGET {kind[0]} OPTIONS ({one}) AS SELECT {kind[3]}, {kind[0]} FROM mixed",
        )
        report.check("training on two executors with one GPU", weights == vatic.weights(), f"{trained['device']}, {trained['workers']} workers, {trained['duration_ms']} ms")
    finally:
        for executor in executors:
            executor.kill()


def check_faults(context):
    vatic, report, device = context["vatic"], context["report"], context["device"]
    mixed = table("mixed", context["mixed"])
    count = "SELECT count(predicted_label) AS n FROM predict(parity0, mixed, device => '{}')"
    cases = [
        ("auto without a GPU works on the CPU", "auto", {"CUDA_VISIBLE_DEVICES": ""}, 0),
        ("cuda without a GPU", "cuda", {"CUDA_VISIBLE_DEVICES": ""}, 1),
        ("a GPU that is not there", "cuda:7", {}, 1),
        ("a broken library is passed over", "cuda", {"VATIC_CUDA_PATH": str(context["broken"])}, 0),
    ]
    for name, where, environment, expected in cases:
        out, err, _, status = vatic.run(mixed, count.format(where), environment=environment)
        report.check(name, (status != 0) == bool(expected), f"status {status}: {(out.strip().splitlines() or [''])[-1]} {' '.join(err.split())[-300:]}")
    # Another process fills the GPU.
    hold = (
        "import sys, torch; free, _ = torch.cuda.mem_get_info(); left = int(sys.argv[1]);"
        "held = torch.empty(free - left, dtype=torch.uint8, device='cuda'); print('held', flush=True); sys.stdin.read()"
    )
    for left in [3 << 30, 600 << 20]:
        holder = subprocess.Popen([sys.executable, "-c", hold, str(left)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            holder.stdout.readline()
            large = f"SELECT count(predicted_label) AS n FROM predict(parity0, mixed, device => '{device}', batch_size => 1000000)"
            out, err, seconds, status = vatic.run(mixed, large)
            answer = (out.strip().splitlines() or [""])[-1]
            passed = answer == str(context["mixed_rows"]) or (status != 0 and "memory" in err)
            report.check(f"another process leaves {left >> 20} MiB", passed, f"status {status}, {seconds:.1f} s: {answer} {' '.join(err.split())[-250:]}")
        finally:
            holder.communicate()
    check_fault_in_a_kernel(context)


def check_fault_in_a_kernel(context):
    """The GPU is lost to the process, and the processor takes over."""
    vatic, report, device = context["vatic"], context["report"], context["device"]
    count = "SELECT count(predicted_label) AS n FROM predict(parity0, mixed, device => '{}')"
    statements = [count.format(where) for where in [device, "cpu", "auto", device]]
    out, err, _, status = vatic.run(
        table("mixed", context["mixed"]),
        *statements,
        "SELECT device, failure FROM ml.devices",
        environment={"VATIC_INJECT_GPU_FAULT": "1"},
        flags=["--continue-on-error"],
    )
    # The results follow each other: the header and the row of two counts, then the devices.
    lines = out.strip().splitlines()
    counted, expected = lines[:4], ["n", str(context["mixed_rows"])] * 2
    devices = dict(csv.reader(lines[5:]))
    failed = err.count("error[53000]: the GPU failed (")
    report.check("a fault in a kernel fails statements on the GPU", failed == 2 and status == 1, f"status {status}: {' '.join(err.split())[-400:]}")
    report.check("after a fault, cpu and auto work on the CPU", counted == expected, str(counted))
    report.check("after a fault, ml.devices has the cause", "the GPU failed (" in devices.get("cuda:0", ""), str(devices))


def check_sanitizer(context):
    vatic, report, device = context["vatic"], context["report"], context["device"]
    tool = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not Path(tool).exists():
        report.say("skipped: compute-sanitizer is not here")
        return
    statements = [
        table("mixed", context["mixed"]),
        f"TRAIN OR REPLACE MODEL checked TARGET class OPTIONS (model_type = 'dnn_classifier', hidden_units = [40, 33], epochs = 1, dropout = 0.2, "
        f"device = '{device}') AS SELECT f0, f1, f2, colour, size, class FROM mixed WHERE id < 3000",
        f"SELECT count(predicted_class) AS n FROM predict(checked, (SELECT * FROM mixed WHERE id < 3000), device => '{device}')",
        table("images", make_data(context["work"] / "images-4000", 4_000, write=write_images)),
    ]
    for name, texts in NETWORKS.items():
        statements += [
            f"TRAIN OR REPLACE MODEL checked TARGET label OPTIONS (model_type = 'sequential', input_shape = [1, 28, 28], {layers(texts)}, batch_size = 32, epochs = 1, device = '{device}') "
            "AS SELECT pixels, label FROM images WHERE id < 100",
            f"SELECT count(predicted_label) AS n FROM predict(checked, (SELECT * FROM images WHERE id < 100), device => '{device}', dtype => 'bf16')",
        ]
    for name in ["memcheck", "racecheck"]:
        try:
            out, err, seconds, status = vatic.run(*statements, before=[tool, "--tool", name, "--error-exitcode", "9", "--print-limit", "3"], timeout=60)
            found = [line for line in (out + err).splitlines() if line.startswith("=========")]
            report.check(f"compute-sanitizer {name}", status == 0, f"{seconds:.0f} s, {found[-1:]} {'' if status == 0 else err[-700:]}")
        except subprocess.TimeoutExpired:
            report.say(f"compute-sanitizer {name}: not done in 60 s")


# ---- benchmarks ----------------------------------------------------------------------------------------------------


class Busy(threading.Thread):
    """The share of time in which the GPU runs a kernel, as nvidia-smi samples it."""

    def __init__(self):
        super().__init__(daemon=True)
        command = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits", "-lms", "100"]
        self.samples, self.process = [], None
        if shutil.which("nvidia-smi"):
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def run(self):
        for line in self.process.stdout if self.process else []:
            self.samples.append(tuple(float(value) for value in line.split(",")))

    def stop(self):
        if self.process:
            self.process.terminate()
        shares = [share for share, _ in self.samples]
        return f"busy {statistics.mean(shares):.0f} %, at most {max(shares):.0f} %" if shares else "busy share unknown"


TORCH_PREDICT = """
import sys, time
sys.path.insert(0, sys.argv[1])
import numpy as np, pyarrow as pa, pyarrow.dataset as ds, pyarrow.parquet as pq, torch
from common import FEATURES, vatic_model
data, model_dir, output, batch, device = sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]), sys.argv[6]
model = vatic_model(model_dir, device)
def predict():
    started = time.perf_counter()
    rows = 0
    writer = None
    with torch.inference_mode():
        for piece in ds.dataset(data, format='parquet').to_batches(columns=['id', *FEATURES], batch_size=batch):
            if piece.num_rows == 0: continue
            x = np.stack([piece.column(name).to_numpy() for name in FEATURES], axis=1)
            labels = (model(torch.from_numpy(x).to(device))[:, 0] >= 0).to(torch.int64).cpu().numpy()
            table = pa.table({'id': piece.column('id'), 'predicted': labels})
            writer = writer or pq.ParquetWriter(output, table.schema, compression='zstd')
            writer.write_table(table)
            rows += piece.num_rows
    writer.close()
    return time.perf_counter() - started, rows
def resident():
    # Device time only: rows are on the GPU already.
    if device == 'cpu': return
    x = torch.randn(1 << 20, len(FEATURES), device=device)
    with torch.inference_mode():
        for _ in range(3): model(x)
        torch.cuda.synchronize(); began = time.perf_counter()
        for _ in range(20): model(x)
        torch.cuda.synchronize()
    print('RESIDENT', 20 * (1 << 20) / (time.perf_counter() - began))
predict()
for _ in range(int(sys.argv[7])): print('WARM', *predict())
resident()
"""


def bench_predict(context):
    vatic, report, device = context["vatic"], context["report"], context["device"]
    data = make_data(context["work"] / f"rows-{context['rows']}", context["rows"])
    rows = context["rows"] // 16 * 16
    report.say(f"data: {rows} rows in 16 files, {sum(p.stat().st_size for p in data.iterdir()) / 1e9:.1f} GB")
    output = context["work"] / "out"
    source = table("rows", data)
    vatic.rows(
        source,
        f"TRAIN OR REPLACE MODEL bench TARGET label OPTIONS (model_type = 'dnn_classifier', hidden_units = {HIDDEN}, epochs = 2, device = '{device}') "
        f"AS SELECT {COLUMNS}, label FROM rows WHERE id % {max(rows // 500_000, 1)} = 0",
    )
    directory = vatic.model_directory()
    results = {}
    for where in [device, "cpu"]:
        shutil.rmtree(output, ignore_errors=True)
        # Each statement writes its own folder.
        statements = [
            f"COPY (SELECT id, predicted_label FROM predict(bench, (SELECT id, {COLUMNS} FROM rows), device => '{where}')) TO '{output}/{attempt}/' STORED AS PARQUET"
            for attempt in range(1 + context["rounds"])
        ]
        unwritten = f"SELECT sum(predicted_label) FROM predict(bench, (SELECT {COLUMNS} FROM rows), device => '{where}')"
        busy = Busy()
        busy.start()
        out, err, seconds, status = vatic.run(source, *statements, unwritten, unwritten)
        times = [float(line.split()[-2]) for line in err.splitlines() if "Elapsed" in line]
        if status or len(times) < 2:
            report.say(f"FAILED predict on {where}: {err[-1500:]}")
            continue
        results[where] = min(times[2:-2])
        report.say(f"without writing: {rows / times[-1] / 1e6:.1f} M rows/s")
        report.say(f"predict, vatic on {where}: {rows / results[where] / 1e6:.1f} M rows/s ({results[where]:.2f} s; all {times}), GPU {busy.stop()}")
    plan, *_ = vatic.run(source, f"EXPLAIN ANALYZE {statements[0].replace('cpu', device).replace('/0/', '/analysed/')}")
    report.say("\n".join(line for line in plan.splitlines() if "Exec" in line or "Sink" in line))
    best = 0
    for batch in [65_536, 524_288]:
        done = subprocess.run(
            [sys.executable, "-c", TORCH_PREDICT, str(Path(__file__).parent / "peers"), str(data), str(directory), str(context["work"] / "torch.parquet"), str(batch), device, str(context["rounds"])],
            capture_output=True,
            text=True,
            timeout=300,
        )
        warm = [line.split() for line in done.stdout.splitlines() if line.startswith("WARM")]
        if not warm:
            report.say(f"FAILED torch: {done.stderr[-1500:]}")
            continue
        seconds = min(float(line[1]) for line in warm)
        best = max(best, rows / seconds)
        report.say(f"predict, torch on {device} fed by pyarrow, batch {batch}: {rows / seconds / 1e6:.1f} M rows/s; rows already on the GPU: {[line.split()[1] for line in done.stdout.splitlines() if line.startswith('RESIDENT')]} rows/s")
    if device in results and best:
        report.say(f"RESULT predict, Parquet to Parquet: vatic {rows / results[device] / best:.2f} times torch")


TORCH_TRAIN = """
import sys, time
STARTED = time.perf_counter()
sys.path.insert(0, sys.argv[1])
import numpy as np, pyarrow.parquet as pq, torch
from common import FEATURES
data, device, epochs, batch, hidden = sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), eval(sys.argv[6])
began = time.perf_counter()
table = pq.read_table(data, columns=[*FEATURES, 'label'])
x = torch.from_numpy(np.stack([table[name].to_numpy() for name in FEATURES], axis=1)).to(device)
y = torch.from_numpy(table['label'].to_numpy()).to(device)
mean, std = x.mean(0), x.std(0)
x = (x - mean) / std
if device != 'cpu': torch.cuda.synchronize()
print('READ', time.perf_counter() - began)
torch.manual_seed(0)
layers, widths = [], [len(FEATURES), *hidden, 2]
for i, o in zip(widths, widths[1:]): layers += [torch.nn.Linear(i, o), torch.nn.ReLU()]
network = torch.nn.Sequential(*layers[:-1]).to(device)
optimizer = torch.optim.AdamW(network.parameters(), lr=float(sys.argv[7]), weight_decay=0.0)
loss_of = torch.nn.CrossEntropyLoss()
for epoch in range(epochs):
    began = time.perf_counter()
    order = torch.randperm(len(x), device=device)
    for step in range(len(x) // batch):
        rows = order[step * batch:(step + 1) * batch]
        optimizer.zero_grad()
        loss = loss_of(network(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
    print('LOSS', loss.item())
    print('EPOCH', time.perf_counter() - began)
torch.save(network.state_dict(), sys.argv[8])
print('ALL', time.perf_counter() - STARTED)
"""


def bench_train(context):
    vatic, report, device = context["vatic"], context["report"], context["device"]
    data = make_data(context["work"] / f"train-{context['train_rows']}", context["train_rows"])
    rows = context["train_rows"] // 16 * 16
    train = (
        f"TRAIN OR REPLACE MODEL trained TARGET label OPTIONS (model_type = 'dnn_classifier', hidden_units = {HIDDEN}, batch_size = {TRAIN_BATCH}, "
        f"epochs = {EPOCHS}, learn_rate = {LEARN_RATE}, early_stop = false, data_split_method = 'none', l2_reg = 0, ema_decay = 0, device = '{{}}'{{}}) AS SELECT {COLUMNS}, label FROM train_rows"
    )
    ours = []
    for where, extra in [(device, ""), (device, ""), (device, ", shards = 8"), ("cpu", "")]:
        busy = Busy()
        busy.start()
        out, err, seconds, status = vatic.run(table("train_rows", data), train.format(where, extra), "SELECT m.epoch, m.duration_ms FROM ml.training_metrics m JOIN ml.training_runs r USING (run_id) ORDER BY r.started_at DESC, 1 DESC LIMIT 2")
        if status:
            report.say(f"FAILED training on {where}: {err[-1500:]}")
            continue
        stages = [line.split("INFO")[-1].strip() for line in err.splitlines() if "duration_ms" in line]
        epochs = out.strip().splitlines()[-2:]
        report.say(f"train, vatic on {where}{extra}: {seconds:.2f} s from start to end; epochs {epochs}, GPU {busy.stop()}")
        report.say("\n".join(stages))
        if where == device and not extra:
            ours.append(seconds)
    theirs = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", TORCH_TRAIN, str(Path(__file__).parent / "peers"), str(data), device, str(EPOCHS), str(TRAIN_BATCH), str(HIDDEN), str(LEARN_RATE), str(context["work"] / "torch.pt")],
            capture_output=True,
            text=True,
            timeout=300,
        )
        report.say(f"train, torch on {device}, eager: {' '.join(done.stdout.split())} {done.stderr[-500:]}")
        theirs += [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("ALL")]
    if ours and theirs:
        report.say(f"RESULT train, data to model, {rows} rows, {EPOCHS} epochs: vatic {min(theirs) / min(ours):.2f} times torch ({min(ours):.2f} and {min(theirs):.2f} s)")


TORCH_IMAGES = """
import sys, time
STARTED = time.perf_counter()
import numpy as np, pyarrow as pa, pyarrow.dataset as ds, pyarrow.parquet as pq, torch
data, output, batch, device, rounds, mode = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5]), sys.argv[6]
nn = torch.nn
def network(dropout):
    layers = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Dropout(0.25)] if dropout else []
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Linear(128, 10)).to(device)
def pixels(column):
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return torch.from_numpy(column.flatten().to_numpy()).reshape(-1, 1, 28, 28)
def predict(model):
    started, rows, writer = time.perf_counter(), 0, None
    with torch.inference_mode():
        for piece in ds.dataset(data, format='parquet').to_batches(columns=['id', 'pixels'], batch_size=batch):
            if piece.num_rows == 0: continue
            labels = model(pixels(piece.column('pixels')).to(device)).argmax(1).cpu().numpy()
            table = pa.table({'id': piece.column('id'), 'predicted': labels})
            writer = writer or pq.ParquetWriter(output, table.schema, compression='zstd')
            writer.write_table(table)
            rows += piece.num_rows
    writer.close()
    print('WARM', time.perf_counter() - started, rows)
if mode == 'predict':
    model = network(False).eval()
    for _ in range(rounds + 1): predict(model)
    for dtype in [torch.float32, torch.bfloat16]:
        model, x = model.to(dtype), torch.rand(batch, 1, 28, 28, device=device, dtype=dtype)
        with torch.inference_mode():
            for attempt in range(2):
                torch.cuda.synchronize(); began = time.perf_counter()
                for _ in range(20): model(x)
                torch.cuda.synchronize()
        print('RESIDENT', str(dtype), 20 * batch / (time.perf_counter() - began))
else:
    table = pq.read_table(data, columns=['pixels', 'label'])
    x, y = pixels(table['pixels']).to(device), torch.from_numpy(table['label'].to_numpy()).to(device)
    model = network(True)
    optimizer, loss_of = torch.optim.AdamW(model.parameters(), lr=0.001, weight_decay=0.0), nn.CrossEntropyLoss()
    print('READ', time.perf_counter() - STARTED)
    for epoch in range(2):
        began = time.perf_counter()
        order = torch.randperm(len(x), device=device)
        for step in range(len(x) // batch):
            rows = order[step * batch:(step + 1) * batch]
            optimizer.zero_grad()
            loss = loss_of(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
        print('LOSS', loss.item(), 'EPOCH', time.perf_counter() - began)
    torch.save(model.state_dict(), output)
    print('ALL', time.perf_counter() - STARTED)
"""


def torch_images(context, data, batch, mode):
    done = subprocess.run(
        [sys.executable, "-c", TORCH_IMAGES, str(data), str(context["work"] / "torch.out"), str(batch), context["device"], str(context["rounds"]), mode],
        capture_output=True, text=True, timeout=300,
    )
    context["report"].say(f"{mode}, torch, batch {batch}: {' '.join(done.stdout.split())} {done.stderr[-500:]}")
    return [line.split() for line in done.stdout.splitlines()]


def bench_images(context):
    """A convolutional network: images from Parquet to Parquet, and training, beside PyTorch."""
    vatic, report, device = context["vatic"], context["report"], context["device"]
    rows = context["images"] // 16 * 16
    data = make_data(context["work"] / f"images-{rows}", rows, write=write_images)
    part = make_data(context["work"] / f"images-{rows // 5}", rows // 5, write=write_images)
    source, train_source = table("all_images", data), table("train_images", part)
    report.say(f"data: {rows} images in 16 files, {sum(p.stat().st_size for p in data.iterdir()) / 1e9:.1f} GB")
    ours = []
    for texts, name in [(CONVOLUTIONS, "trained_images"), (CONVOLUTIONS[:5] + CONVOLUTIONS[6:], "bench_images")]:
        out, err, seconds, status = vatic.run(
            train_source,
            f"TRAIN OR REPLACE MODEL {name} TARGET label OPTIONS (model_type = 'sequential', input_shape = [1, 28, 28], {layers(texts)}, batch_size = {IMAGE_BATCH}, "
            f"epochs = 2, learn_rate = 0.001, early_stop = false, data_split_method = 'none', device = '{device}') AS SELECT pixels, label FROM train_images",
        )
        stages = [line.split("INFO")[-1].strip() for line in err.splitlines() if "duration_ms" in line]
        report.say(f"train, vatic, {rows // 5 // 16 * 16} images, 2 epochs: {seconds:.2f} s from start to end, status {status}\n" + "\n".join(stages) + (err[-800:] if status else ""))
        ours += [seconds] if status == 0 else []
    theirs = [float(line[1]) for _ in range(2) for line in torch_images(context, part, IMAGE_BATCH, "train") if line[0] == "ALL"]
    if ours and theirs:
        report.say(f"RESULT train images, data to model: vatic {min(theirs) / ours[0]:.2f} times torch")
    results = {}
    output = context["work"] / "out-images"
    for extra in ["", ", batch_size => 4096", ", dtype => 'tf32', batch_size => 4096", ", dtype => 'bf16', batch_size => 4096"]:
        shutil.rmtree(output, ignore_errors=True)
        statements = [
            f"COPY (SELECT id, predicted_label FROM predict(bench_images, (SELECT id, pixels FROM all_images), device => '{device}'{extra})) TO '{output}/{attempt}/' STORED AS PARQUET"
            for attempt in range(1 + context["rounds"])
        ]
        busy = Busy()
        busy.start()
        out, err, seconds, status = vatic.run(source, *statements)
        times = [float(line.split()[-2]) for line in err.splitlines() if "Elapsed" in line]
        if status or len(times) < 2:
            report.say(f"FAILED predict images{extra}: {err[-800:]}")
            continue
        results[extra] = min(times[2:])
        report.say(f"predict images{extra}, vatic: {rows / results[extra] / 1e6:.2f} M images/s (all {times}), GPU {busy.stop()}")
    out, *_ = vatic.run(source, "SELECT sum(cardinality(pixels)) FROM all_images", f"EXPLAIN ANALYZE {statements[0].replace('/0/', '/analysed/')}")
    report.say("\n".join(line for line in out.splitlines() if "Exec" in line or "Sink" in line))
    theirs = [rows / float(line[1]) for batch in [8_192, 65_536] for line in torch_images(context, data, batch, "predict")[1:] if line[0] == "WARM"]
    for extra, seconds in results.items():
        if theirs:
            report.say(f"RESULT predict images{extra}, Parquet to Parquet: vatic {rows / seconds / max(theirs):.2f} times torch")


PARTS = {
    "device": check_device,
    "parity": check_parity,
    "training": check_training,
    "images": check_images,
    "load": check_load,
    "cluster": check_cluster,
    "faults": check_faults,
    "predict": bench_predict,
    "train": bench_train,
    "bench_images": bench_images,
    "sanitizer": check_sanitizer,
}


def main():
    arguments = parse()
    work = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    report = Report(Path(os.environ.get("OUT", work)) / "gpu.md")
    name = ""
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        name = subprocess.run(query, capture_output=True, text=True).stdout.strip()
    report.say(f"{datetime.date.today()}, {name or 'no GPU'}, {os.cpu_count()} cores")
    context = {
        "vatic": Vatic(arguments.vatic, work / "data"),
        "report": report,
        "device": arguments.device,
        "work": work,
        "rows": arguments.rows,
        "train_rows": arguments.train_rows,
        "images": arguments.images,
        "rounds": arguments.rounds,
        "mixed": work / "mixed.parquet",
        "mixed_rows": 60_000,
    }
    shutil.rmtree(work / "data", ignore_errors=True)
    make_mixed(context["mixed"], context["mixed_rows"])
    context["broken"] = work / "broken"
    context["broken"].mkdir(exist_ok=True)
    (context["broken"] / "libcublasLt.so.13").write_text("not a library")
    for part in arguments.only:
        began = time.perf_counter()
        report.say(f"\n== {part}")
        try:
            PARTS[part](context)
        except Exception as error:
            report.check(part, False, repr(error)[-1500:])
        report.say(f"== {part} took {time.perf_counter() - began:.0f} s")
    report.say(f"{report.failed} failures")
    sys.exit(bool(report.failed))


if __name__ == "__main__":
    main()
