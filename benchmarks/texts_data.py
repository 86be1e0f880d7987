"""The texts of benchmarks/texts.py: descriptions of packages, texts of exact numbers of tokens, and texts of topics to learn; and the
directories of the encoder that take more or fewer tokens."""

import hashlib
import json
import shutil
import subprocess
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer

PARTS = 4
TOPICS = 8
# The words of a drawn description, which are a token each: the mean and the deviation of the tokens of Debian's descriptions.
WORDS_MEAN, WORDS_DEVIATION = 10.1, 3.7
# The descriptions of its topic in a text; the others are of any topic, so that no side learns all of them.
OWN_DESCRIPTIONS = 6


def tokenizer(directory):
    """The tokenizer of an encoder as it is, without the padding and the limit that its file may have."""
    found = Tokenizer.from_file(str(Path(directory) / "tokenizer.json"))
    found.no_padding()
    found.no_truncation()
    return found


def count_tokens(directory, texts):
    return np.array([len(encoding.ids) for encoding in tokenizer(directory).encode_batch(texts)], dtype=np.int32)


def home(work, directory):
    """The folder of all that is made from an encoder, named by its weights."""
    with open(Path(directory) / "model.safetensors", "rb") as file:
        digest = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else hashlib.sha256(file.read())
    folder = work / f"minilm-{digest.hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def encoder(folder, directory, tokens=None):
    """A copy of an encoder, or one that takes so many tokens of a text."""
    copy = folder / f"encoder-{tokens or 'as-it-is'}"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(directory, copy, ignore=shutil.ignore_patterns("*.md", ".*", "data_config.json"))
    if tokens:
        file = copy / "sentence_bert_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"max_seq_length": tokens}))
    return copy


# ---- descriptions --------------------------------------------------------------------------------------------------


def of_packages(folder):
    """The descriptions that the package manager knows, one line each, with their sections, without repetition, in an order by chance."""
    file = folder / "descriptions.json"
    if file.exists():
        return json.loads(file.read_text())
    try:
        listing = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, errors="replace").stdout
    except FileNotFoundError:
        return []
    found, text = {}, ""
    for row in listing.splitlines():
        if row.startswith(("Description: ", "Description-en: ")):
            text = row.split(": ", 1)[1].strip()
        elif row.startswith("Section: ") and text:
            found.setdefault(text, row[9:].split("/")[-1])
        elif not row:
            text = ""
    pairs = sorted(found.items())
    pairs = [pairs[at] for at in np.random.default_rng(1).permutation(len(pairs))]
    file.write_text(json.dumps(pairs))
    return pairs


def descriptions(folder, directory, count):
    """Different descriptions with their topics, and where they are from."""
    pairs = of_packages(folder)
    if len(pairs) >= count:
        return pairs[:count], f"descriptions of packages (apt-cache dumpavail has {len(pairs):,} that differ)"
    words, draw = whole_words(directory), np.random.default_rng(1)
    lengths = draw.normal(WORDS_MEAN, WORDS_DEVIATION, count).clip(2, 30).astype(int)
    topics = draw.integers(0, TOPICS, count)
    pairs = []
    for length, topic in zip(lengths, topics):
        # Each topic prefers an eighth of the words.
        chosen = draw.integers(0, len(words) // TOPICS, length) * TOPICS
        own = draw.random(length) < 0.3
        chosen += np.where(own, topic, draw.integers(0, TOPICS, length))
        pairs.append((" ".join(words[at] for at in chosen), f"topic {topic}"))
    return pairs, "drawn words, as apt-cache dumpavail has too few descriptions here"


def whole_words(directory):
    """The words that are a token each."""
    vocabulary = tokenizer(directory).get_vocab()
    return sorted(word for word in vocabulary if word.isascii() and word.isalpha() and word.islower() and len(word) > 2)


def exact(directory, lengths, seed):
    """Texts of words that are a token each, with so many tokens including the two around them."""
    words, draw = whole_words(directory), np.random.default_rng(seed)
    texts = [" ".join(words[at] for at in draw.integers(0, len(words), length - 2)) for length in lengths]
    counted = count_tokens(directory, texts)
    assert (counted == lengths).all(), "texts do not have the tokens that they should have"
    return texts


# ---- files ---------------------------------------------------------------------------------------------------------


def write(path, texts, tokens, first_id=0, **columns):
    ids = np.arange(first_id, first_id + len(texts), dtype=np.int64)
    table = pa.table({"id": ids, "body": pa.array(texts, pa.string()), "tokens": tokens, **columns})
    pq.write_table(table, path, compression="zstd")


def make(work, name, directory, texts_of):
    """A folder with four files of texts, made by a function once."""
    folder = work / name
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "rows").mkdir(parents=True)
        texts, source = texts_of()
        tokens = count_tokens(directory, texts)
        for part in range(PARTS):
            begin, end = (len(texts) * at // PARTS for at in (part, part + 1))
            write(folder / "rows" / f"part-{part}.parquet", texts[begin:end], tokens[begin:end], begin)
        (folder / "done").write_text(source)
    return folder / "rows", (folder / "done").read_text()


def make_descriptions(work, directory, count):
    def texts_of():
        pairs, source = descriptions(work, directory, count)
        return [text for text, _ in pairs], source

    return make(work, f"texts-{count}", directory, texts_of)


def make_repeated(work, directory, count, times):
    """Descriptions of which each stands so many times, in an order by chance."""

    def texts_of():
        pairs, source = descriptions(work, directory, count)
        texts = [text for text, _ in pairs] * times
        return [texts[at] for at in np.random.default_rng(2).permutation(len(texts))], source

    return make(work, f"texts-{count}-{times}-times", directory, texts_of)


def make_exact(work, directory, count, low, high):
    """Texts of `low` to `high` tokens, each number as probable as the others."""

    def texts_of():
        return exact(directory, np.random.default_rng(3).integers(low, high + 1, count), 4), "drawn words"

    return make(work, f"texts-{count}-of-{low}-{high}", directory, texts_of)


def make_topics(work, directory, count, check, tokens):
    """Texts of at least so many tokens, with the topic of a part of each, to train on and to check with."""
    folder = work / f"topics-{count}-{check}"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        pairs, source = descriptions(work, directory, 20_000)
        largest = [topic for topic, _ in Counter(topic for _, topic in pairs).most_common(TOPICS)]
        of_topic = {topic: [text for text, of_text in pairs if of_text == topic] for topic in largest}
        texts, labels = [], []
        draw = np.random.default_rng(5)
        for _ in range(count + check):
            topic = largest[draw.integers(TOPICS)]
            chosen = [of_topic[topic][draw.integers(len(of_topic[topic]))] for _ in range(OWN_DESCRIPTIONS)]
            # Each word is a token or more.
            while sum(len(text.split()) for text in chosen) < tokens:
                chosen.append(pairs[draw.integers(len(pairs))][0])
            texts.append("; ".join(chosen))
            labels.append(topic)
        sizes = count_tokens(directory, texts)
        assert sizes.min() >= tokens, "a text is shorter than what both sides read of it"
        write(folder / "train.parquet", texts[:count], sizes[:count], label=labels[:count])
        write(folder / "check.parquet", texts[count:], sizes[count:], label=labels[count:])
        (folder / "done").write_text(source)
    return folder


def snippets(archive):
    """Sentences about films, and whether people judged them as good; those between both are left out."""
    with tarfile.open(archive) as source:
        inner = next(name for name in source.getnames() if name.endswith("/hutto_ICWSM_2014.tar.gz"))
        with tarfile.open(fileobj=source.extractfile(inner)) as files:
            content = files.extractfile("hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt").read().decode()
    rows = [row.rstrip("\r").split("\t") for row in content.split("\n") if row]
    return [(text, "good" if float(rating) > 0 else "poor") for _, rating, text in rows if float(rating) != 0]


def make_snippets(work, directory, archive):
    """Sentences with their judgements: four fifths to train on, and the others to check with."""
    folder = work / "snippets"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        pairs = snippets(archive)
        pairs = [pairs[at] for at in np.random.default_rng(6).permutation(len(pairs))]
        texts, labels = [text for text, _ in pairs], [label for _, label in pairs]
        sizes, split = count_tokens(directory, texts), len(pairs) * 4 // 5
        write(folder / "train.parquet", texts[:split], sizes[:split], label=labels[:split])
        write(folder / "check.parquet", texts[split:], sizes[split:], label=labels[split:])
        (folder / "done").touch()
    return folder
