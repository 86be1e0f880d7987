"""Texts in sentence-transformers, torch, onnxruntime and fastembed; the mode in the options says what is done."""

import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
from common import arguments, mark

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]


def read(path):
    """Ids, texts and numbers of tokens of a file or a folder, in the order of the ids."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["id", "body", "tokens"]).sort_by("id")
    return table["id"].to_numpy(), table["body"].to_pylist(), table["tokens"].to_numpy()


def batches_of(order, size):
    return [order[at : at + size] for at in range(0, len(order), size)]


def tokens_max(directory):
    return json.loads((Path(directory) / "sentence_bert_config.json").read_text())["max_seq_length"]


# ---- the machine ---------------------------------------------------------------------------------------------------


def rate(options):
    """The rate of products of matrices of f32 on so many threads: the faster of torch and NumPy, neither of which is the best everywhere."""
    import torch

    torch.set_num_threads(options["threads"])
    side = 2_048
    left, right = torch.rand(side, side), torch.rand(side, side)
    products, best, end = [lambda: left @ right, lambda: left.numpy() @ right.numpy()], 0, time.perf_counter() + options["seconds"]
    while best == 0 or time.perf_counter() < end:
        for product in products:
            started = time.perf_counter()
            product()
            best = max(best, 2 * side**3 / (time.perf_counter() - started))
    print(f"MARK rate {best:.0f}")


# ---- embedding -----------------------------------------------------------------------------------------------------


def sentence_transformer(options):
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(options["threads"])
    return SentenceTransformer(options["model"], device="cpu")


def as_users_call_it(options):
    """All texts in one call, in the order in which they arrive; the library itself sorts them by characters."""
    model = sentence_transformer(options)
    return lambda texts, _: model.encode(texts, batch_size=options["batch_rows"], show_progress_bar=False)


def in_batches(options, orders):
    """Texts in batches of an order."""
    model = sentence_transformer(options)

    def embed(texts, tokens):
        vectors = np.empty((len(texts), model.get_embedding_dimension()), dtype=np.float32)
        for rows in batches_of(orders(tokens), options["batch_rows"]):
            vectors[rows] = model.encode([texts[row] for row in rows], batch_size=len(rows), show_progress_bar=False)
        return vectors

    return embed


def by_tokens(tokens):
    return np.argsort(tokens, kind="stable")


def sorted_by_tokens(options):
    return in_batches(options, by_tokens)


def padded(options):
    """Batches in the order in which texts arrive, each as long as its longest text."""
    return in_batches(options, lambda tokens: np.arange(len(tokens)))


def onnxruntime(options):
    """The exported graph with tokenizer, mean and length around it, in batches of an order by tokens."""
    import onnxruntime
    from tokenizers import Tokenizer

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = options["threads"], 1
    session = onnxruntime.InferenceSession(str(Path(options["graph"]) / "model.onnx"), settings, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(Path(options["model"]) / "tokenizer.json"))
    tokenizer.enable_truncation(tokens_max(options["model"]))
    tokenizer.enable_padding()

    def embed(texts, tokens):
        vectors = []
        order = by_tokens(tokens)
        for rows in batches_of(order, options["batch_rows"]):
            encoded = tokenizer.encode_batch([texts[row] for row in rows])
            ids, mask, types = (
                np.array([getattr(text, field) for text in encoded], dtype=np.int64) for field in ("ids", "attention_mask", "type_ids")
            )
            (hidden,) = session.run(None, dict(zip(INPUTS, (ids, mask, types))))
            sums = (hidden * mask[:, :, None].astype(np.float32)).sum(axis=1)
            vectors.append(sums / np.linalg.norm(sums, axis=1, keepdims=True))
        return np.concatenate(vectors)[np.argsort(order)]

    return embed


def fastembed(options):
    """The exported graph in fastembed, in batches of an order by tokens."""
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    width = json.loads((Path(options["model"]) / "config.json").read_text())["hidden_size"]
    TextEmbedding.add_custom_model(
        model="bench/minilm", pooling=PoolingType.MEAN, normalization=True, sources=ModelSource(hf="bench/minilm"), dim=width, model_file="model.onnx"
    )
    model = TextEmbedding("bench/minilm", threads=options["threads"], specific_model_path=options["graph"])

    def embed(texts, tokens):
        order = by_tokens(tokens)
        vectors = list(model.embed([texts[row] for row in order], batch_size=options["batch_rows"]))
        return np.array(vectors, dtype=np.float32)[np.argsort(order)]

    return embed


SIDES = {"users": as_users_call_it, "sorted": sorted_by_tokens, "padded": padded, "onnx": onnxruntime, "fastembed": fastembed}


def embed(options):
    """Vectors of texts that are in memory, several times; writes those of the last time in the order of the ids."""
    _, texts, tokens = read(options["data"])
    run = SIDES[options["side"]](options)
    for attempt in range(options["repeats"]):
        started = time.perf_counter()
        vectors = run(texts, tokens)
        mark("warm" if attempt else "first", started)
    np.save(options["output"], vectors)


def export(options):
    """Writes the encoder as a graph for any number of texts and tokens, with the files that fastembed reads beside it."""
    import torch
    from transformers import AutoModel

    directory = Path(options["graph"])
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    model = AutoModel.from_pretrained(options["model"], attn_implementation="eager").eval()

    class States(torch.nn.Module):
        """The layers with the mask as numbers, so that the graph computes it for any texts."""

        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask, token_type_ids):
            states = self.model.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)
            mask = (1.0 - attention_mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
            for layer in self.model.encoder.layer:
                states = layer(states, mask)
                states = states[0] if isinstance(states, tuple) else states
            return states

    rows, tokens = torch.export.Dim("rows", min=1, max=65_536), torch.export.Dim("tokens", min=1, max=512)
    # Three tensors: the exporter takes one that is there several times for one input.
    example = (torch.full((3, 7), 1012), torch.ones(3, 7, dtype=torch.long), torch.zeros(3, 7, dtype=torch.long))
    torch.onnx.export(
        States().eval(), example, str(directory / "model.onnx"), dynamo=True, external_data=False, verbose=False,
        input_names=INPUTS, output_names=["last_hidden_state"], dynamic_shapes=({0: rows, 1: tokens},) * 3,
    )
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]:
        shutil.copy(Path(options["model"]) / name, directory / name)
    (directory / "done").touch()


# ---- fine-tuning ---------------------------------------------------------------------------------------------------


def tune(options):
    """Trains the whole encoder with a linear layer behind it: the time of each epoch, and the accuracy on other texts."""
    import pyarrow.parquet as pq
    import torch
    from transformers import AutoModel, AutoTokenizer

    torch.manual_seed(0)
    torch.set_num_threads(options["threads"])
    tokenizer = AutoTokenizer.from_pretrained(options["model"])
    labels = sorted(set(pq.read_table(options["train"])["label"].to_pylist()))

    def load(path):
        table = pq.read_table(path, columns=["body", "label"])
        texts = tokenizer(table["body"].to_pylist(), truncation=True, padding=True, max_length=options["tokens"], return_tensors="pt")
        return texts["input_ids"], texts["attention_mask"], torch.tensor([labels.index(label) for label in table["label"].to_pylist()])

    encoder = AutoModel.from_pretrained(
        options["model"], add_pooling_layer=False, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    head = torch.nn.Linear(encoder.config.hidden_size, len(labels))
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)

    def logits(ids, mask):
        states = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask[:, :, None].float()
        means = (states * weights).sum(1) / weights.sum(1)
        return head(torch.nn.functional.normalize(means))

    ids, mask, classes = load(options["train"])
    assert bool(mask.all()), "a text has less than all tokens"
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=options["learn_rate"], weight_decay=0.0)
    encoder.train()
    for _ in range(options["epochs"]):
        began = time.perf_counter()
        for rows in torch.randperm(len(ids)).split(options["batch_rows"]):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits(ids[rows], mask[rows]), classes[rows]).backward()
            optimizer.step()
        mark("epoch", began)
    encoder.eval()
    ids, mask, classes = load(options["check"])
    with torch.inference_mode():
        found = torch.cat([logits(ids[rows], mask[rows]).argmax(1) for rows in torch.arange(len(ids)).split(64)])
    print(f"MARK accuracy {(found == classes).float().mean().item():.6f}", flush=True)


def judge(options):
    """Learns labels from the vectors of texts as scikit-learn does by default: the time, and how good it is on other texts."""
    import pyarrow.parquet as pq
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, roc_auc_score

    model = sentence_transformer(options)

    def load(path):
        table = pq.read_table(path, columns=["body", "label"])
        vectors = model.encode(table["body"].to_pylist(), batch_size=options["batch_rows"], show_progress_bar=False)
        return vectors, np.array(table["label"].to_pylist())

    started = time.perf_counter()
    found = LogisticRegression(max_iter=1_000).fit(*load(options["train"]))
    mark("judged", started)
    vectors, labels = load(options["check"])
    print(f"MARK accuracy {accuracy_score(labels, found.predict(vectors)):.6f}", flush=True)
    print(f"MARK auc {roc_auc_score(labels == found.classes_[1], found.predict_proba(vectors)[:, 1]):.6f}", flush=True)


MODES = {"rate": rate, "embed": embed, "export": export, "tune": tune, "judge": judge}

if __name__ == "__main__":
    chosen = arguments()
    sys.exit(MODES[chosen["mode"]](chosen))
