"""Measures vatic beside Pillow, Daft, Spark, torch and onnxruntime on images, in one run, and checks that their answers agree.

Started by `./benchmarks/run images`. The sizes are small, for trying; benchmarks/README.md has those of published figures.
Results go to <work>/results-images: table.md, results.json, bars.svg.
"""

import argparse
import datetime
import os
import re
import shutil
import statistics
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench import HERE, Vatic, agreement, chosen, external, hardware, line, machine_peaks, measure, peer, pinned, publish

BENCHMARKS = ["decode", "predict", "threads", "forward", "train", "digits"]
BATCH = 128
FORWARD_BATCH = 256
# The peer is given batches of both sizes, and the faster one counts.
PREDICT_BATCHES = [256, 2_048]
EPOCHS = 2
LEARN_RATE = 0.001
REPEATS = 4
# The digits that the example leaves out, since the tests run it in a debug build; and the accuracy that all of them reach.
LEFT_OUT = "\nWHERE id % 4 = 0"
ACCURACY_ASKED = 0.97
DECODERS = {"pillow": "Pillow", "daft": "Pillow in Daft"}
FORMATS = {"nchw": "torch", "channels_last": "torch, channels_last"}
SPARK_PREDICT = {"spark": "Spark predict_batch_udf, torch"}
SPARK_TRAIN = {"spark": "Spark TorchDistributor"}
# The batch of predict_batch_udf, as Spark's documentation of this network has it.
SPARK_BATCH = 1_000
LAYERS = ["conv2d(32, 3)", "relu", "conv2d(64, 3)", "relu", "max_pool2d(2)", "dropout(0.25)", "flatten", "linear(128)", "relu", "linear(classes)"]
FLOPS_FORWARD = 2 * (26 * 26 * 32 * 9 + 24 * 24 * 64 * 32 * 9 + 9_216 * 128 + 128 * 10)
# The size of the files, that of the decoded images, and the levels of ImageNet.
WIDTH, HEIGHT = 500, 375
SIDE = 224
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
# The number in the middle of the second channel, counted from 0.
MIDDLE = SIDE * SIDE + SIDE // 2 * SIDE + SIDE // 2


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vatic", type=Path, required=True, help="the release binary")
    parser.add_argument("--work", type=Path, required=True, help="the directory of data and results")
    parser.add_argument("--files", type=int, default=200, help="JPEG files to decode")
    parser.add_argument("--images", type=int, default=6_000, help="images to predict, and to train on with all cores")
    parser.add_argument("--step-images", type=int, default=2_560, help="images to train on with one thread and with two")
    parser.add_argument("--forward-images", type=int, default=2_560)
    parser.add_argument("--rounds", type=int, default=1, help="the number of runs of each side, in turn")
    parser.add_argument("--only", nargs="*", choices=BENCHMARKS, default=BENCHMARKS)
    parser.add_argument("--no-peers", action="store_true", help="only vatic, while tuning it")
    parser.add_argument("--without", nargs="*", choices=["daft", "spark", "onnx"], default=[], help="peers that are not there")
    return parser.parse_args()


# ---- data ----------------------------------------------------------------------------------------------------------


def write_photo(arguments):
    """A JPEG with what a photograph has: slow changes of colour, larger shapes without sharp edges, and fine noise."""
    from PIL import Image

    path, seed = arguments
    draw = np.random.default_rng(seed)
    across, down = np.linspace(0, 1, WIDTH)[None, :, None], np.linspace(0, 1, HEIGHT)[:, None, None]
    left, right, low = (draw.uniform(0, 255, 3) for _ in range(3))
    levels = (left * (1 - across) + right * across) * (1 - down) + low * down
    for cells, strength in [(5, 60), (24, 30)]:
        coarse = Image.fromarray(draw.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        shapes = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), dtype=np.float32)
        levels = levels + (shapes - 128) / 128 * strength
    levels = levels + draw.normal(0, 5, (HEIGHT, WIDTH, 3))
    Image.fromarray(levels.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def make_photos(work, files):
    """Files in folders of 100."""
    directory = work / f"photos-{files}"
    if not (directory / "done").exists():
        shutil.rmtree(directory, ignore_errors=True)
        paths = [directory / "files" / f"{number // 100:03}" / f"{number:05}.jpg" for number in range(files)]
        for folder in {path.parent for path in paths}:
            folder.mkdir(parents=True)
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(write_photo, zip(paths, range(files)), chunksize=16))
        (directory / "done").touch()
    return directory / "files"


def digits(table, rows, seed, first_id):
    """Digits of the example, moved by up to two pixels and written in another strength."""
    draw = np.random.default_rng(seed)
    images = table["pixels"].combine_chunks().flatten().to_numpy().reshape(-1, 28, 28)
    labels = table["label"].to_numpy().astype(np.int64)
    chosen = draw.integers(0, len(images), rows)
    pixels, moves = images[chosen], draw.integers(-2, 3, (rows, 2))
    for move in np.unique(moves, axis=0):
        moved = (moves == move).all(axis=1)
        pixels[moved] = np.roll(pixels[moved], move, axis=(1, 2))
    pixels = (pixels * draw.uniform(0.7, 1, (rows, 1, 1))).astype(np.uint8)
    return image_table(np.arange(first_id, first_id + rows, dtype=np.int64), labels[chosen], pixels)


def image_table(ids, labels, pixels):
    lists = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(pixels).reshape(-1)), 784)
    return pa.table({"id": ids, "label": labels, "pixels": lists})


def make_images(work, rows):
    """Four files of images, and one of digits that no side trains on."""
    directory = work / f"images-{rows}"
    if not (directory / "done").exists():
        shutil.rmtree(directory, ignore_errors=True)
        (directory / "rows").mkdir(parents=True)
        table = pq.read_table(HERE.parent / "examples/data/mnist.parquet")
        is_kept = table["id"].to_numpy() % 5 == 0
        kept, others = table.filter(pa.array(is_kept)), table.filter(pa.array(~is_kept))
        for part in range(4):
            begin, end = (rows * at // 4 for at in (part, part + 1))
            images = digits(others, end - begin, 100 + part, begin)
            pq.write_table(images, directory / "rows" / f"part-{part}.parquet", compression="zstd")
        pixels = kept["pixels"].combine_chunks().flatten().to_numpy()
        kept = image_table(kept["id"].to_numpy().astype(np.int64), kept["label"].to_numpy().astype(np.int64), pixels)
        pq.write_table(kept, directory / "evaluation.parquet", compression="zstd")
        (directory / "done").touch()
    return directory


# ---- vatic ---------------------------------------------------------------------------------------------------------


def train_sql(name, epochs, where=""):
    layers = ", ".join(f"'{layer}'" for layer in LAYERS)
    return (
        f"TRAIN MODEL {name} TARGET label OPTIONS (model_type = 'sequential', input_shape = [1, 28, 28], layers = [{layers}], "
        f"batch_size = {BATCH}, epochs = {epochs}, learn_rate = {LEARN_RATE}, optimizer = 'adamw', early_stop = false, "
        f"data_split_method = 'none') AS SELECT pixels, label FROM images{where}"
    )


def prepare_model(context):
    """Trains a model on a part of the images, whose directory the peers load."""
    if "model" not in context:
        vatic = context["vatic"]
        every = max(1, context["images"] // 5_000)
        vatic.sql(external("images", f"{context['data']}/rows/"), train_sql("bench", EPOCHS, f" WHERE id % {every} = 0"))
        context["model"] = next(path.parent for path in Path(vatic.data_dir).rglob("model.safetensors"))
    return str(context["model"])


def trained(context, rows, threads, evaluation=None):
    """A training in a process with so many cores: seconds of the process and of the epochs, its memory, and the accuracy."""
    directory = context["work"] / "vatic-train"
    shutil.rmtree(directory, ignore_errors=True)
    vatic = Vatic(context["vatic"].binary, directory, before=pinned(threads))
    _, _, seconds, memory = vatic.sql(external("images", f"{rows}/"), train_sql("trained", EPOCHS))
    statements = ["SELECT duration_ms FROM ml.training_metrics ORDER BY epoch"]
    if evaluation:
        statements = [
            external("evaluation", evaluation),
            "SELECT accuracy FROM evaluate(trained, (SELECT pixels, label FROM evaluation))",
            *statements,
        ]
    out, *_ = vatic.sql(*statements)
    found = out.split()
    epochs = [int(value) / 1000 for value in found[found.index("duration_ms") + 1 :]]
    accuracy = float(found[found.index("accuracy") + 1]) if evaluation else None
    return seconds, epochs, memory, accuracy


# ---- benchmarks ----------------------------------------------------------------------------------------------------


def bench_decode(context):
    """JPEG files to arrays of f32 of 3 x 224 x 224."""
    files = make_photos(context["work"], context["files"])
    source = f"read_images('{files}/')"
    pixels = f"normalize_image(resize_image(bytes, {SIDE}, {SIDE}), {MEAN}, {STD}) AS pixels"
    statement = f"SELECT count(*) AS files, avg(pixels[1]) AS corner, avg(pixels[{MIDDLE + 1}]) AS middle FROM (SELECT {pixels} FROM {source})"
    sides = chosen(context, DECODERS)
    seconds = {side: [] for side in ["vatic", *sides]}
    memory = dict.fromkeys(seconds, 0)
    notes = [f"decode: {sum(path.stat().st_size for path in files.rglob('*.jpg')) / context['files'] / 1000:.0f} KB a file"]
    for _ in range(context["rounds"]):
        out, times, _, peak = context["vatic"].sql(*[statement] * REPEATS)
        seconds["vatic"].append(min(times[1:]))
        memory["vatic"] = max(memory["vatic"], peak)
        count, *numbers = out.split()[-1].split(",")
        assert int(count) == context["files"], f"vatic decoded {count} files"
        for side in sides:
            options = {"mode": "decode", "files": str(files), "cores": os.cpu_count(), "repeats": REPEATS}
            options |= {"mean": MEAN, "std": STD, "middle": MIDDLE}
            if side == "daft":
                runs = [peer("daft_images.py", options | {"use_process": use_process}) for use_process in (False, True)]
            else:
                runs = [peer("images.py", options)]
            seconds[side].append(min(min(marks["warm"]) for marks, *_ in runs))
            memory[side] = max(memory[side], *(peak for *_, peak in runs))
            differences = [abs(float(a) - marks[name][0]) for marks, *_ in runs for name, a in zip(["corner", "middle"], numbers)]
            assert max(differences) < 0.02, f"the mean levels differ by {differences}"
            notes.append(f"decode: means of a number over all files differ by {max(differences):.5f}; a level is {1 / 255 / STD[1]:.5f}")
    return beside(f"decode, resize and normalise {context['files']:,} JPEG, warm (best of 3)", seconds, sides, memory), notes


def bench_predict(context):
    """Images from Parquet to (id, label) in Parquet, with all cores."""
    model, rows = prepare_model(context), context["data"] / "rows"
    ours, theirs, of_spark = (context["work"] / name for name in ("out-vatic", "out-torch", "out-spark"))
    theirs.mkdir(exist_ok=True)
    sides = chosen(context, FORMATS | SPARK_PREDICT)
    seconds = {side: [] for side in ["vatic", *sides]}
    memory = dict.fromkeys(seconds, 0)
    statements = [
        f"COPY (SELECT id, predicted_label FROM predict(bench, (SELECT id, pixels FROM images))) TO '{ours}/{attempt}/' STORED AS PARQUET"
        for attempt in range(REPEATS)
    ]
    agreements = []
    for _ in range(context["rounds"]):
        shutil.rmtree(ours, ignore_errors=True)
        _, times, _, peak = context["vatic"].sql(*statements)
        seconds["vatic"].append(min(times[1:]))
        memory["vatic"] = max(memory["vatic"], peak)
        for layout in chosen(context, FORMATS):
            options = {"mode": "predict", "model": model, "data": str(rows), "output": str(theirs / "part.parquet"), "format": layout}
            options |= {"cores": os.cpu_count(), "repeats": REPEATS}
            runs = [peer("images.py", options | {"batch_rows": batch}) for batch in PREDICT_BATCHES]
            seconds[layout].append(min(min(marks["warm"]) for marks, *_ in runs))
            memory[layout] = max(memory[layout], *(peak for *_, peak in runs))
            agreements.append(agreement(ours / "0", theirs))
        if "spark" in sides:
            options = {"mode": "predict", "model": model, "data": str(rows), "output": str(of_spark), "cores": os.cpu_count()}
            marks, _, peak = peer("spark_images.py", options | {"batch_rows": SPARK_BATCH, "repeats": REPEATS})
            seconds["spark"].append(min(marks["warm"]))
            memory["spark"] = max(memory["spark"], peak)
            agreements.append(agreement(ours / "0", of_spark))
    name = f"predict {context['images']:,} images, Parquet to Parquet, warm (best of 3)"
    notes = [f"predict: predictions that agree with torch: {min(agreements):.4%}"] if agreements else []
    return beside(name, seconds, sides, memory), notes


def bench_threads(context):
    """An epoch with one thread and with two."""
    rows = make_images(context["work"], context["step_images"]) / "rows"
    lines, notes = [], []
    for threads in (1, 2):
        seconds = {side: [] for side in ["vatic", *FORMATS]}
        for _ in range(context["rounds"]):
            seconds["vatic"] += trained(context, rows, threads)[1]
            for layout in chosen(context, FORMATS):
                seconds[layout] += train_torch(context, rows, threads, layout)["epoch"]
        name = f"train, an epoch of {context['step_images']:,} images, {threads} thread{'s' * (threads > 1)}"
        lines += beside(name, seconds, FORMATS)
        notes.append(f"{name}: {rates(seconds, 3 * FLOPS_FORWARD * context['step_images'])}")
    return lines, notes


def train_torch(context, rows, threads, layout):
    options = {"mode": "train", "data": str(rows), "evaluation": str(context["data"] / "evaluation.parquet"), "format": layout}
    options |= {"cores": threads, "epochs": EPOCHS, "batch_rows": BATCH, "learn_rate": LEARN_RATE}
    marks, _, peak = peer("images.py", options | {"model_file": str(context["work"] / "torch.pt")}, before=pinned(threads))
    return marks | {"memory": peak}


def bench_forward(context):
    """The network on one thread. vatic also reads the images from Parquet; the peers have them in memory."""
    model, rows = prepare_model(context), make_images(context["work"], context["forward_images"]) / "rows"
    sides = chosen(context, FORMATS | {"onnx": "onnxruntime"})
    seconds = {side: [] for side in ["vatic", *sides]}
    sums = {}
    statement = f"SELECT sum(predicted_label) AS labels FROM predict(bench, (SELECT pixels FROM forward), batch_size => {FORWARD_BATCH})"
    vatic = Vatic(context["vatic"].binary, context["vatic"].data_dir, before=pinned(1))
    for _ in range(context["rounds"]):
        out, times, *_ = vatic.sql(external("forward", f"{rows}/"), *[statement] * REPEATS)
        seconds["vatic"].append(min(times[2:]))
        sums["vatic"] = int(out.split()[-1])
        for layout in sides:
            options = {"mode": "forward", "model": model, "data": str(rows), "format": layout, "onnx": str(context["work"] / "torch.onnx")}
            marks, *_ = peer("images.py", options | {"batch_rows": FORWARD_BATCH, "repeats": REPEATS}, before=pinned(1))
            seconds[layout].append(min(marks["warm"]))
            sums[layout] = int(marks["sum"][0])
    # An image for which two classes are as probable as each other may get either label.
    assert max(sums.values()) - min(sums.values()) <= 9, f"not the same labels: {sums}"
    name = f"forward of {context['forward_images']:,} images, batch {FORWARD_BATCH}, 1 thread (best of 3)"
    return beside(name, seconds, sides), [f"{name}: {rates(seconds, FLOPS_FORWARD * context['forward_images'])}"]


def bench_train(context):
    """From files to a saved model, with all cores, and what it is worth on other digits."""
    rows, evaluation, cores = context["data"] / "rows", context["data"] / "evaluation.parquet", os.cpu_count()
    sides = chosen(context, FORMATS | SPARK_TRAIN)
    seconds = {side: [] for side in ["vatic", *sides]}
    memory, accuracy = dict.fromkeys(seconds, 0), {}
    for _ in range(context["rounds"]):
        took, _, peak, accuracy["vatic"] = trained(context, rows, cores, evaluation)
        seconds["vatic"].append(took)
        memory["vatic"] = max(memory["vatic"], peak)
        for layout in chosen(context, FORMATS):
            marks = train_torch(context, rows, cores, layout)
            seconds[layout] += marks["all"]
            memory[layout] = max(memory[layout], marks["memory"])
            accuracy[layout] = marks["accuracy"][0]
        if "spark" in sides:
            options = {"mode": "train", "data": str(rows), "evaluation": str(evaluation), "cores": cores, "epochs": EPOCHS}
            options |= {"batch_rows": BATCH, "learn_rate": LEARN_RATE, "model_file": str(context["work"] / "spark.pt")}
            marks, _, peak = peer("spark_images.py", options)
            seconds["spark"] += marks["all"]
            memory["spark"] = max(memory["spark"], peak)
            accuracy["spark"] = marks["accuracy"][0]
    name = f"train, {context['images']:,} images, {EPOCHS} epochs, data to model"
    return beside(name, seconds, sides, memory), [f"train: accuracy on digits that no side trained on: {accuracy}"]


def bench_digits(context):
    """The training of examples/mnist.sql with all 5,000 digits, and the share of the held-out ones that it recognises."""
    script = re.sub(r"--.*", "", (HERE.parent / "examples/mnist.sql").read_text())
    digits, view, training = (statement.strip() for statement in script.split(";")[:3])
    if LEFT_OUT not in view or "epochs = 5," not in training:
        raise SystemExit("examples/mnist.sql is not as expected: a quarter of the digits, and 5 epochs")
    digits = digits.replace("'examples/", f"'{HERE.parent.resolve()}/examples/")
    directory = context["work"] / "vatic-digits"
    shutil.rmtree(directory, ignore_errors=True)
    vatic = Vatic(context["vatic"].binary, directory)
    _, _, seconds, memory = vatic.sql(digits, view.replace(LEFT_OUT, ""), training)
    out, *_ = vatic.sql("SELECT accuracy FROM evaluate(digits)")
    accuracy = float(out.split()[-1])
    notes = [f"digits: accuracy {accuracy:.3f} on the digits of examples/mnist.sql that are held out, after 5 epochs"]
    if accuracy < ACCURACY_ASKED:
        notes.append(f"MISSED: an accuracy of {ACCURACY_ASKED} on the held-out digits")
    return [line("train on the digits of examples/mnist.sql, 5 epochs", [seconds], [], memory, None, None)], notes


def beside(name, seconds, sides, memory=None):
    """A line for each of the sides that was measured, or one of vatic alone."""
    memory = memory or {}
    measured = [side for side in sides if seconds[side]]
    if not measured:
        return [line(name, seconds["vatic"], [], memory.get("vatic"), None, None)]
    return [line(name, seconds["vatic"], seconds[side], memory.get("vatic"), memory.get(side), sides[side]) for side in measured]


def rates(seconds, flops):
    rate = {side: flops / statistics.median(values) / 1e9 for side, values in seconds.items() if values}
    return ", ".join(f"{side} {value:.0f} GFLOP/s" for side, value in rate.items())


def main():
    arguments = parse()
    arguments.work.mkdir(parents=True, exist_ok=True)
    data = make_images(arguments.work, arguments.images)
    vatic_dir = arguments.work / "vatic-images"
    shutil.rmtree(vatic_dir, ignore_errors=True)
    context = {
        "vatic": Vatic(arguments.vatic, vatic_dir),
        "data": data,
        "work": arguments.work,
        "files": arguments.files,
        "images": arguments.images,
        "step_images": arguments.step_images,
        "forward_images": arguments.forward_images,
        "rounds": arguments.rounds,
        "peers": not arguments.no_peers,
        "without": arguments.without,
    }
    peaks = machine_peaks(data)
    lines, notes = measure(arguments.only, globals(), context)
    head = (
        f"{datetime.date.today()}, {hardware()}. "
        f"In this run the machine multiplied matrices at {peaks['gemm'] / 1e9:.0f} GFLOP/s (the faster of torch and NumPy)."
    )
    publish(arguments.work / "results-images", head, lines, notes)


if __name__ == "__main__":
    main()
