"""Models of texts that EXPORT MODEL writes as directories, read by others: transformers and sentence-transformers predict what `predict`
predicts, to 1e-5. An imported directory is exported byte for byte.

To run the tests: pip install transformers sentence-transformers beside the requirements; without them, they are skipped. One process trains
and exports all models.
"""

from pathlib import Path

import numpy as np
import pytest
import vatic

TOLERANCE = 1e-5
DATA = Path(__file__).parents[3] / "sql-tests" / "data"
WORDS = ["good cats", "poor dogs", "small birds sing", "the green trees", "a fine day", "", "no one knows what the day will bring"]
TWO = "CASE id % 2 WHEN 0 THEN 'up' ELSE 'down' END"
THREE = "id % 3 - 1"
NUMBER = "id % 7 * 11.0 + 1000"
TAGS = "CASE WHEN id % 3 = 0 THEN ['new', 'old'] WHEN id % 3 = 1 THEN ['new'] ELSE ['red', 'old'] END"
TUNED = "freeze = 'none', learn_rate = 0.02"
# What the head of the families is made of.
TANH = f"{TUNED}, pooling = 'cls', activation = 'tanh', hidden_units"

# Case → encoder, label, options. Those of the first list become modules of sentence-transformers, those of the second a head of transformers.
SENTENCE = {
    "frozen": ("text_encoder", TWO, "learn_rate = 0.05"),
    "hidden": ("text_encoder", THREE, "hidden_units = [6, 4], activation = 'leaky_relu'"),
    "number": ("text_encoder", NUMBER, TUNED),
    "tags": ("text_encoder", TAGS, TUNED),
    "json": ("text_models/bert", TWO, f"{TUNED}, pooling = 'cls'"),
    "parts": ("text_models/minilm", THREE, TUNED),
    "halves": ("text_models/roberta", TWO, "pooling = 'mean', hidden_units = [5], activation = 'silu'"),
    "folder": ("text_models/dense", THREE, TUNED),
    "prompt": ("text_models/xlm_roberta", THREE, "freeze = 'embeddings', learn_rate = 0.02"),
}
HEADS = {
    "bert": ("text_encoder", THREE, f"{TANH} = [8]", "BertForSequenceClassification"),
    "score": ("text_encoder", NUMBER, f"{TANH} = [8]", "BertForSequenceClassification"),
    "roberta": ("text_models/roberta", TWO, f"{TANH} = [12]", "RobertaForSequenceClassification"),
    "mpnet": ("text_models/mpnet", THREE, f"{TANH} = [12]", "MPNetForSequenceClassification"),
    "distilbert": (
        "text_models/distilbert", TWO, "pooling = 'cls', hidden_units = [12], activation = 'relu'", "DistilBertForSequenceClassification",
    ),
}
IMPORTED = ["text_encoder", "text_models/dense", "text_models/minilm", "task_models/sentiment", "models/clip", "writers/llama", "writers/t5"]


def statements(folder):
    words = ", ".join(f"'{words}'" for words in WORDS)
    yield f"CREATE TABLE t AS SELECT value AS id, make_array({words})[value % {len(WORDS)} + 1] AS body FROM generate_series(1, 40)"
    encoders = sorted({case[0] for case in (SENTENCE | HEADS).values()})
    for at, encoder in enumerate(encoders):
        yield f"CREATE MODEL e{at} FROM '{DATA / encoder}'"
    for name, (encoder, label, options, *_) in (SENTENCE | HEADS).items():
        model_type = "text_regressor" if label == NUMBER else "text_classifier"
        yield (
            f"TRAIN MODEL m_{name} TARGET y OPTIONS (model_type = '{model_type}', base_model = 'e{encoders.index(encoder)}', {options}, "
            f"epochs = 2, batch_size = 16, data_split_method = 'none', seed = 7) AS SELECT body, {label} AS y FROM t"
        )
        yield f"EXPORT MODEL m_{name} TO '{folder}/{name}/'"
        probs = "" if label == NUMBER else ", predicted_y_probs"
        yield f"SELECT '{name}' AS case_name, body, predicted_y{probs} FROM predict(m_{name}, (SELECT id, body FROM t)) ORDER BY id"
    for at, source in enumerate(IMPORTED):
        yield f"CREATE MODEL i{at} FROM '{DATA / source}'"
        yield f"EXPORT MODEL i{at} TO '{folder}/imported/{at}/'"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder of the exports, and the rows of `predict` for each case."""
    folder = tmp_path_factory.mktemp("texts")
    rows, done = vatic.run(folder, statements(folder))
    assert done.returncode == 0, done.stderr
    return folder, rows


def check(label, names, outputs, rows):
    """Compares outputs `[rows, names]`, which are numbers or logits."""
    assert len(rows) == len(outputs) == 40
    outputs = np.asarray(outputs, np.float64)
    if label == NUMBER:
        assert names == ["y"]
        expected = [row["predicted_y"] for row in rows]
        assert outputs[:, 0] == pytest.approx(expected, rel=TOLERANCE)
        return
    raised = np.exp(outputs)
    found = raised / (1 + raised) if label == TAGS else raised / raised.sum(1, keepdims=True)
    for row, probabilities in zip(rows, found):
        expected = {str(entry["label"]): entry["prob"] for entry in row["predicted_y_probs"]}
        assert dict(zip(names, probabilities)) == pytest.approx(expected, abs=TOLERANCE)


def names_of(config):
    return [config.id2label[at] for at in range(len(config.id2label))]


@pytest.mark.parametrize("name", SENTENCE)
def test_layers_are_modules_of_sentence_transformers(exported, name):
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    folder, rows = exported
    model = library.SentenceTransformer(str(folder / name), device="cpu")
    outputs = model.encode([row["body"] for row in rows[name]], show_progress_bar=False)
    check(SENTENCE[name][1], names_of(model[0].auto_model.config), outputs, rows[name])


@pytest.mark.parametrize("name", SENTENCE)
def test_transformers_opens_the_encoder(exported, name):
    library = pytest.importorskip("transformers", reason="transformers is not installed")
    model, report = library.AutoModel.from_pretrained(exported[0] / name, output_loading_info=True)
    assert str(model.dtype) == "torch.float32"
    # Nothing is drawn at random. A layer that a model does not have for the task is no part of it.
    assert not [key for key in report["missing_keys"] if not key.startswith("pooler.")]


@pytest.mark.parametrize("name", HEADS)
def test_layers_are_a_head_of_transformers(exported, name):
    library = pytest.importorskip("transformers", reason="transformers is not installed")
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    folder, rows = exported
    _, label, _, architecture = HEADS[name]
    tokenizer = library.AutoTokenizer.from_pretrained(folder / name)
    model, report = library.AutoModelForSequenceClassification.from_pretrained(folder / name, output_loading_info=True)
    assert type(model).__name__ == architecture
    assert not report["missing_keys"] and not report["unexpected_keys"]
    outputs = []
    with torch.no_grad():
        for row in rows[name]:
            tokens = tokenizer(row["body"], truncation=True, return_tensors="pt")
            outputs.append(model.eval()(**tokens).logits[0].numpy())
    check(label, names_of(model.config), outputs, rows[name])


@pytest.mark.parametrize("at", range(len(IMPORTED)))
def test_an_imported_directory_is_exported_as_it_was(exported, at):
    source, folder = DATA / IMPORTED[at], exported[0] / "imported" / str(at)
    files = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert files.pop(Path("manifest.json"))
    assert files == {path.relative_to(source): path.read_bytes() for path in source.rglob("*") if path.is_file()}
