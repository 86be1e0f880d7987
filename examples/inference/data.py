"""Makes data/, the files of the scripts: pip install pyarrow && python3 examples/inference/data.py

Nothing in them is real. What the networks learn is drawn by the rules below, with chance added. data/qwen is the checkpoint of
random weights in sql-tests/data/writers/qwen2 with the names that Qwen gives to the tokens of a chat, and with more positions.
"""

import csv
import json
import math
import pathlib
import random
import shutil

import pyarrow
import pyarrow.parquet

HERE = pathlib.Path(__file__).parent
FOLDER = HERE / "data"


def write(name, header, rows):
    with open(FOLDER / f"{name}.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


PARTS = ["plot", "cast", "music", "ending", "dialogue", "pace", "camera work", "first hour", "humour", "script"]
GOOD = ["great", "wonderful", "moving", "clever", "gripping", "funny", "lovely", "fresh", "superb"]
BAD = ["awful", "dull", "clumsy", "tedious", "stale", "weak", "boring", "hollow", "terrible"]
LIKED = ["I would watch it again.", "Go and see it!", "A treat from start to finish.", "We left the cinema smiling."]
DISLIKED = ["I want my evening back.", "Save your money.", "A waste of a good idea.", "Half of the audience left."]
NEUTRAL = ["We saw it on a Tuesday.", "It runs for two hours.", "The story is set in a small town.", "My brother chose it.", "It is based on a book."]


def opinion(chance, is_good):
    """A sentence with an opinion. One in four says it with a negation, which single words do not show."""
    part = chance.choice(PARTS)
    if chance.random() < 0.25:
        return f"The {part} is {chance.choice(['not', 'never'])} {chance.choice(BAD if is_good else GOOD)}."
    return f"The {part} is {chance.choice(GOOD if is_good else BAD)}."


def reviews(chance):
    rows = []
    for number in range(500):
        is_good = chance.random() < 0.5
        sentences = [opinion(chance, is_good), opinion(chance, is_good), chance.choice(NEUTRAL)]
        # Not all that one says of a film is of one mind.
        sentences.append(opinion(chance, not is_good) if chance.random() < 0.15 else chance.choice(LIKED if is_good else DISLIKED))
        chance.shuffle(sentences)
        rows.append((number + 1, ("<br />" if number % 7 == 0 else " ").join(sentences), "positive" if is_good else "negative"))
    write("reviews", ["id", "text", "label"], rows)


QUESTIONS = [
    "how many pens are in nine boxes of twelve",
    "a train runs two hours at sixty. how far",
    "what is half of the sum of ten and six",
    "ann has five cats, bob has two. how many",
    "which is larger: nine tenths or a whole",
    "three cakes cost nine. what do five cost",
    "a farmer has seventeen sheep, of which all but nine run away; how many sheep has the farmer got then",
    "if a ladder with twelve steps stands in water that rises by one step an hour, when does it reach the sixth step",
]
PROGRAMS = [
    "what does f(3) give? def f(x): return x * x",
    "what does this print? print(len('cat'))",
    "is this true? sorted([3, 1, 2])[0] == 1",
    "what is s[1]? s = 'mat'",
    "which error has this? [1, 2][5]",
    "what does sum(range(4)) give?",
]
ABSTRACTS = [
    "We ask whether shade keeps streets cool. For two summers we measured the air in 48 streets of one town, half of them with trees. Streets with trees were 1.9 degrees cooler at noon "
    "and 0.4 at night. The width of a street mattered less than its trees. Towns that plant in narrow streets lose nothing.",
    "Bees find their way by landmarks. We moved the hives of 20 colonies by 300 metres at night and followed 400 bees with tags. Of the bees that had flown for a week, 71 of 100 came back "
    "within an hour; of young bees, 38. Bees that saw a church tower from both places came back soonest.",
    "A network that forgets is of little use. We train networks on ten tasks one after the other, and keep 1 of 100 rows of each task. With these rows the accuracy on the first task falls by "
    "2 points instead of 31. Which rows are kept matters less than their number. The memory is 4 megabytes.",
    "We study why parcels are late. In a log of 2.1 million parcels, the depot explains most of the delay and the weather little. A rule that sends parcels of the three slowest depots by "
    "night train would make 6 of 10 late parcels arrive in time. We tested the rule for a month in one region and saw 5 of 10.",
]


def texts():
    write("questions", ["id", "question"], enumerate(QUESTIONS, 1))
    write("programs", ["id", "prompt"], enumerate(PROGRAMS, 1))
    write("abstracts", ["id", "abstract"], enumerate(ABSTRACTS, 1))


def districts(chance):
    """Districts with the columns of the California housing data; the value counts in 100,000 dollars."""
    rows = []
    for number in range(800):
        latitude, longitude = chance.uniform(32.5, 42), chance.uniform(-124, -114.5)
        income = min(chance.lognormvariate(1.2, 0.45), 15)
        age = chance.randint(1, 52)
        rooms = 2 + income * 0.8 + chance.uniform(0, 2.5)
        occupants = chance.uniform(1.8, 4.2)
        coast = math.hypot(latitude - 34, longitude + 119)
        value = 0.45 * income + 0.006 * age - 0.25 * occupants - 0.12 * coast + 0.05 * rooms + 1.4 + chance.gauss(0, 0.2)
        features = [round(x, 2) for x in (income, age, rooms, rooms * 0.19 + chance.gauss(0, 0.05), chance.randint(300, 3500), occupants, latitude, longitude)]
        rows.append([number + 1, *features, round(min(max(value, 0.15), 5), 3)])
    write("districts", ["id", "med_inc", "house_age", "ave_rooms", "ave_bedrms", "population", "ave_occup", "latitude", "longitude", "med_house_val"], rows)


def pets(chance):
    """Pets with the columns of PetFinder. Whether a pet is adopted depends on its age, health, photos and fee."""
    rows = []
    for number in range(700):
        kind = chance.choice(["Cat", "Dog"])
        age = min(int(chance.expovariate(0.08)), 120)
        breed = chance.choice(["Tabby", "Siamese", "Persian"] if kind == "Cat" else ["Beagle", "Terrier", "Poodle", "Mixed Breed"])
        colours = chance.sample(["Black", "White", "Brown", "Golden", "Gray"], 2)
        health = chance.choices(["Healthy", "Minor Injury", "Serious Injury"], [90, 8, 2])[0]
        answers = [chance.choices(["Yes", "No", "Not Sure"], weights)[0] for weights in ([40, 45, 15], [25, 65, 10])]
        fee = chance.choice([0, 0, 0, 20, 50, 100, 200])
        photos = min(int(chance.expovariate(0.3)), 30)
        odds = 1.3 - 0.04 * age - (0 if health == "Healthy" else 1.5) + 0.25 * min(photos, 8) - 0.008 * fee + (0.5 if breed == "Poodle" else 0) - 0.3
        rows.append([
            number + 1, kind, age, breed, chance.choice(["Male", "Female"]), *colours, chance.choice(["Small", "Medium", "Large"]),
            chance.choice(["Short", "Medium", "Long"]), *answers, health, fee, photos, str(chance.random() < 1 / (1 + math.exp(-odds))).lower(),
        ])
    header = "id type age breed1 gender color1 color2 maturity_size fur_length vaccinated sterilized health fee photo_amt adopted"
    write("pets", header.split(), rows)


# The outlines of garments in a square from 0 to 1, upright, some of several parts.
OUTLINES = {
    "T-shirt": [[(0.3, 0.1), (0.7, 0.1), (0.98, 0.3), (0.85, 0.45), (0.72, 0.35), (0.72, 0.95), (0.28, 0.95), (0.28, 0.35), (0.15, 0.45), (0.02, 0.3)]],
    "trouser": [[(0.32, 0.05), (0.68, 0.05), (0.74, 0.95), (0.56, 0.95), (0.5, 0.3), (0.44, 0.95), (0.26, 0.95)]],
    "pullover": [[(0.32, 0.1), (0.68, 0.1), (0.9, 0.25), (0.98, 0.88), (0.82, 0.9), (0.74, 0.4), (0.74, 0.92), (0.26, 0.92), (0.26, 0.4), (0.18, 0.9), (0.02, 0.88), (0.1, 0.25)]],
    "dress": [[(0.4, 0.03), (0.6, 0.03), (0.62, 0.4), (0.8, 0.97), (0.2, 0.97), (0.38, 0.4)]],
    "coat": [
        [(0.3, 0.05), (0.48, 0.05), (0.48, 0.97), (0.24, 0.97), (0.24, 0.4), (0.16, 0.85), (0.02, 0.82), (0.1, 0.22)],
        [(0.52, 0.05), (0.7, 0.05), (0.9, 0.22), (0.98, 0.82), (0.84, 0.85), (0.76, 0.4), (0.76, 0.97), (0.52, 0.97)],
    ],
    "sandal": [[(0.02, 0.8), (0.98, 0.7), (0.98, 0.8), (0.02, 0.9)], [(0.2, 0.78), (0.45, 0.4), (0.52, 0.44), (0.3, 0.8)], [(0.6, 0.76), (0.9, 0.3), (0.97, 0.34), (0.7, 0.76)]],
    "shirt": [
        [(0.34, 0.05), (0.49, 0.15), (0.49, 0.95), (0.28, 0.95), (0.28, 0.35), (0.12, 0.6), (0.03, 0.5), (0.2, 0.15)],
        [(0.51, 0.15), (0.66, 0.05), (0.8, 0.15), (0.97, 0.5), (0.88, 0.6), (0.72, 0.35), (0.72, 0.95), (0.51, 0.95)],
    ],
    "sneaker": [[(0.02, 0.75), (0.05, 0.55), (0.4, 0.52), (0.65, 0.4), (0.95, 0.42), (0.98, 0.75)]],
    "bag": [[(0.1, 0.4), (0.9, 0.4), (0.95, 0.9), (0.05, 0.9)], [(0.3, 0.4), (0.35, 0.15), (0.65, 0.15), (0.7, 0.4), (0.63, 0.4), (0.6, 0.22), (0.4, 0.22), (0.37, 0.4)]],
    "ankle boot": [[(0.02, 0.88), (0.04, 0.68), (0.4, 0.6), (0.5, 0.1), (0.95, 0.1), (0.98, 0.88)]],
}
SIDE = 28


def is_inside(outline, x, y):
    found = False
    for (x0, y0), (x1, y1) in zip(outline, outline[1:] + outline[:1]):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
            found = not found
    return found


def image(chance, outlines):
    """A garment of one brightness with darker stripes or none, somewhat wider, higher, shifted and turned."""
    width, height = chance.uniform(0.75, 1.0), chance.uniform(0.75, 1.0)
    left, top = chance.uniform(0, 1 - width), chance.uniform(0, 1 - height)
    angle, level, stripes = chance.gauss(0, 0.06), chance.randint(8, 15) * 16, chance.choice([0, 0, 3, 5])
    pixels = []
    for row in range(SIDE):
        for column in range(SIDE):
            x, y = ((column + 0.5) / SIDE - left) / width - 0.5, ((row + 0.5) / SIDE - top) / height - 0.5
            x, y = x * math.cos(angle) - y * math.sin(angle) + 0.5, x * math.sin(angle) + y * math.cos(angle) + 0.5
            is_dark = stripes and row // stripes % 2
            pixels.append((level // 2 if is_dark else level) if any(is_inside(outline, x, y) for outline in outlines) else 0)
    return pixels


def garments(chance):
    names = [name for name in OUTLINES for _ in range(40)]
    chance.shuffle(names)
    pixels = [level for name in names for level in image(chance, OUTLINES[name])]
    table = pyarrow.table(
        {
            "id": pyarrow.array(range(1, len(names) + 1), pyarrow.int16()),
            "label": names,
            "pixels": pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(pixels, pyarrow.uint8()), SIDE * SIDE),
        }
    )
    pyarrow.parquet.write_table(table, FOLDER / "garments.parquet", compression="zstd", compression_level=19)


def qwen():
    """A checkpoint with the template and the tokens of Qwen's chats, and room for prompts of 4,000 letters."""
    source, target = HERE.parents[1] / "sql-tests" / "data" / "writers" / "qwen2", FOLDER / "qwen"
    target.mkdir(exist_ok=True)
    for name in ["tokenizer.json", "tokenizer_config.json"]:
        text = (source / name).read_text(encoding="utf-8")
        for ours, theirs in [("<|turn|>", "<|im_start|>"), ("<|done|>", "<|im_end|>"), ("message.role + ':'", "message.role + '\\n'"), ("assistant:", "assistant\\n")]:
            # In JSON, a line break within a text of Jinja has two backslashes.
            text = text.replace(ours, theirs.replace("\\", "\\\\"))
        (target / name).write_text(text, encoding="utf-8")
    config = json.loads((source / "config.json").read_text())
    config["max_position_embeddings"] = 4096
    config["rope_parameters"] = {"rope_theta": 1000000.0, "rope_type": "default"}
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for name in ["generation_config.json", "model.safetensors"]:
        shutil.copyfile(source / name, target / name)


def main():
    FOLDER.mkdir(exist_ok=True)
    reviews(random.Random(1))
    texts()
    districts(random.Random(2))
    pets(random.Random(3))
    garments(random.Random(4))
    qwen()


main()
