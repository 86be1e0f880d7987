"""Decodes, resizes and normalises the JPEG files of a folder with Pillow in Daft, as a column of arrays."""

import io
import time

import daft
import numpy as np
from common import arguments, mark

options = arguments()
mean, std = (np.array(options[name], dtype=np.float32) for name in ("mean", "std"))


def numbers(content: bytes):
    from PIL import Image

    image = Image.open(io.BytesIO(content)).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(((np.asarray(image, dtype=np.float32) / 255 - mean) / std).transpose(2, 0, 1))


array = daft.DataType.tensor(daft.DataType.float32(), (3, 224, 224))
decoded = daft.func(return_dtype=array, use_process=options["use_process"])(numbers)
sums = np.zeros(2)
for attempt in range(options["repeats"]):
    started = time.perf_counter()
    rows = daft.from_glob_path(f"{options['files']}/**/*.jpg")
    sums[:] = 0
    count = 0
    for part in rows.select(decoded(rows["path"].download()).alias("pixels")).iter_partitions():
        for chunk in part.to_arrow().column("pixels").chunks:
            pixels = chunk.storage.flatten().to_numpy().reshape(len(chunk), -1)
            sums += pixels[:, [0, options["middle"]]].sum(axis=0, dtype=np.float64)
            count += len(chunk)
    mark("warm" if attempt else "first", started)
for name, total in zip(["corner", "middle"], sums):
    print(f"MARK {name} {total / count:.6f}")
