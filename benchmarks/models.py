"""Measures vatic beside torch and onnxruntime on models that others made, in one run, and checks that their answers agree.

Started by `./benchmarks/run models`. benchmarks/README.md has the sizes of published figures.
Results go to <work>/results-models: table.md, results.json, bars.svg.
"""

import argparse
import datetime
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench import COLUMNS, Vatic, agreement, external, hardware, line, machine_peaks, make_data, measure, peer, pinned, publish

BENCHMARKS = ["forward", "trees"]
NETWORKS = {"resnet18": "ResNet-18", "mobilenet_v2": "MobileNet v2"}
TREES = {"scikit-learn": "HistGradientBoosting of scikit-learn", "lightgbm": "LightGBM"}
PEERS = {"torch": "torch, channels_last", "onnx": "onnxruntime"}
SIDE = 224
# The levels of ImageNet.
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
BATCH = 16
THREADS = 2
REPEATS = 4
# The peer is given batches of both sizes, and the faster one counts.
TREE_BATCHES = [8_192, 65_536]


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vatic", type=Path, required=True, help="the release binary")
    parser.add_argument("--work", type=Path, required=True, help="the directory of data and results")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rows", type=int, default=200_000, help="rows for the trees")
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=1, help="the number of runs of each side, in turn")
    parser.add_argument("--only", nargs="*", choices=BENCHMARKS, default=BENCHMARKS)
    parser.add_argument("--no-peers", action="store_true", help="only vatic, while tuning it")
    return parser.parse_args()


def library():
    """The library of onnxruntime that the package brings."""
    import onnxruntime

    return str(next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.*")))


def make_images(work, rows):
    """Decoded images as `decode_image` gives them: coarse shapes with noise."""
    path = work / f"decoded-{rows}.parquet"
    if not path.exists():
        draw = np.random.default_rng(0)
        coarse = draw.integers(0, 200, (rows, 14, 14, 3)).repeat(16, axis=1).repeat(16, axis=2)
        pixels = (coarse + draw.integers(0, 56, coarse.shape)).astype(np.uint8)
        lists = pa.ListArray.from_arrays(np.arange(rows + 1, dtype=np.int32) * (SIDE * SIDE * 3), pa.array(pixels.reshape(-1)))
        sizes = [pa.array(np.full(rows, size, np.int32)) for size in (SIDE, SIDE, 3)]
        image = pa.StructArray.from_arrays([*sizes, lists], ["height", "width", "channels", "pixels"])
        pq.write_table(pa.table({"id": np.arange(rows, dtype=np.int64), "image": image}), path, compression="zstd")
    return path


def models(context, mode, options, files):
    """Files that a peer makes once."""
    directory = context["work"] / f"models-{mode}"
    if not all((directory / file).exists() for file in files):
        directory.mkdir(exist_ok=True)
        peer("models.py", {"mode": mode, "directory": str(directory), **options})
    return directory


def bench_forward(context):
    """Networks on images that are decoded, as directories and as graphs. The peers have the images in memory, normalised; vatic reads
    them from Parquet and normalises them in the same statement."""
    file = make_images(context["work"], context["images"])
    directory = models(context, "make_networks", {"images": str(file)}, [f"{name}.onnx" for name in NETWORKS])
    vatic = Vatic(context["vatic"].binary, context["vatic"].data_dir, "--onnxruntime", library(), before=pinned(THREADS))
    lines, notes = [], []
    for network, name in NETWORKS.items():
        normalised = f"SELECT id, normalize_image(image, {MEAN}, {STD}) AS pixels FROM decoded"
        of_graph = "array_position(logits, array_max(logits)) - 1"
        ours = {
            "imported": ("", directory / network, "predicted_label", "SELECT id, image FROM decoded"),
            "ONNX": ("", directory / f"{network}.onnx", of_graph, normalised),
            "ONNX on the library": (" OPTIONS (format = 'onnxruntime')", directory / f"{network}.onnx", of_graph, normalised),
        }
        seconds, labels = {side: [] for side in [*ours, *PEERS]}, {}
        for _ in range(context["rounds"]):
            for number, (side, (options, source, label, rows)) in enumerate(ours.items()):
                model = f"{network}_{number}"
                statement = f"SELECT id, {label} AS label FROM predict({model}, ({rows}), batch_size => {BATCH}) ORDER BY id"
                create = f"CREATE MODEL IF NOT EXISTS {model} FROM '{source}'{options}"
                out, times, *_ = vatic.sql(external("decoded", file), create, *[statement] * REPEATS)
                seconds[side].append(min(times[3:]))
                found = [row.split(",") for row in out.splitlines() if row[:1].isdigit() and row.count(",") == 1]
                labels[side] = [int(label) for _, label in found[-context["images"] :]]
            for side in PEERS if context["peers"] else []:
                options = {"mode": "forward", "side": side, "network": str(directory / network), "images": str(file)}
                options |= {"threads": THREADS, "batches": -(-context["images"] // BATCH), "repeats": REPEATS}
                marks, *_ = peer("models.py", options, before=pinned(THREADS))
                seconds[side].append(min(marks["warm"]))
                labels[side] = [int(label) for label in marks["label"]]
        differing = max(sum(a != b for a, b in zip(labels["imported"], of_side, strict=True)) for of_side in labels.values())
        # Two classes may be as probable as each other.
        assert differing <= context["images"] // 100, f"{differing} of the labels of {name} differ"
        classes = len(set(labels["imported"]))
        assert classes > context["images"] // 8, f"{name} gives only {classes} labels, so their agreement says nothing"
        for side in ours:
            work = f"{name} {side}, {context['images']:,} images, batch {BATCH}, {THREADS} threads (best of 3)"
            lines += [line(work, seconds[side], seconds[other], None, None, beside) for other, beside in PEERS.items()]
        rates = ", ".join(f"{side} {context['images'] / min(values):.1f}" for side, values in seconds.items() if values)
        notes.append(f"{name}: images a second: {rates}; labels that differ: {differing} of {context['images']}")
    return lines, notes


def bench_trees(context):
    """Boosted trees, rows of Parquet to (id, label) in Parquet, with all cores."""
    data = make_data(context["work"], context["rows"]) / "rows"
    files = [f"{name}.onnx" for name in TREES]
    directory = models(context, "make_trees", {"rows": 50_000, "trees": context["trees"]}, files)
    lines, notes = [], []
    for model, name in TREES.items():
        ours, theirs = context["work"] / "out-vatic", context["work"] / "out-onnxruntime"
        theirs.mkdir(exist_ok=True)
        table = model.replace("-", "_")
        statements = [
            f"COPY (SELECT id, label AS predicted_label FROM predict({table}, (SELECT id, [{COLUMNS}] AS \"X\" FROM rows))) "
            f"TO '{ours}/{attempt}/' STORED AS PARQUET"
            for attempt in range(REPEATS)
        ]
        setup = [external("rows", f"{data}/"), f"CREATE MODEL IF NOT EXISTS {table} FROM '{directory / model}.onnx'"]
        seconds, memory, shares = ([], []), [0, 0], []
        for _ in range(context["rounds"]):
            shutil.rmtree(ours, ignore_errors=True)
            _, times, _, peak = context["vatic"].sql(*setup, *statements)
            seconds[0].append(min(times[3:]))
            memory[0] = max(memory[0], peak)
            if not context["peers"]:
                continue
            options = {"mode": "predict_trees", "model": f"{directory / model}.onnx", "data": str(data), "cores": os.cpu_count()}
            options |= {"output": str(theirs / "part.parquet"), "repeats": REPEATS}
            runs = [peer("models.py", options | {"batch_rows": batch}) for batch in TREE_BATCHES]
            seconds[1].append(min(min(marks["warm"]) for marks, *_ in runs))
            memory[1] = max(memory[1], *(peak for *_, peak in runs))
            shares.append(agreement(ours / "0", theirs))
        work = f"{name}, {context['trees']} trees, {context['rows']:,} rows, Parquet to Parquet, warm (best of 3)"
        lines.append(line(work, *seconds, *memory, "onnxruntime"))
        notes += [f"{name}: predictions that agree: {min(shares):.4%}"] if shares else []
    return lines, notes


def main():
    arguments = parse()
    arguments.work.mkdir(parents=True, exist_ok=True)
    vatic_dir = arguments.work / "vatic-models"
    shutil.rmtree(vatic_dir, ignore_errors=True)
    context = vars(arguments) | {"vatic": Vatic(arguments.vatic, vatic_dir), "peers": not arguments.no_peers}
    peaks = machine_peaks(make_data(arguments.work, arguments.rows))
    lines, notes = measure(arguments.only, globals(), context)
    head = (
        f"{datetime.date.today()}, {hardware()}. "
        f"In this run the machine multiplied matrices at {peaks['gemm'] / 1e9:.0f} GFLOP/s (the faster of torch and NumPy)."
    )
    publish(arguments.work / "results-models", head, lines, notes)


if __name__ == "__main__":
    main()
