"""The cost of a server: rows fetched by ADBC, compared with a server that only sends the same batches; and load.

Needs release builds of vatic and vatic-load, and the Python environment of the clients:

    cargo build --release -p vatic -p vatic-load && tests/clients/run install
    ~/.cache/vatic-ci/clients/venv/bin/python benchmarks/serve.py --vatic target/release/vatic
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
from adbc_driver_flightsql import dbapi

ROWS = 1_000_000
ROUNDS = 7
MADE = f"SELECT value AS i, value * 0.5 AS f, concat('row ', value) AS s FROM generate_series(1, {ROWS})"
FETCHED = "SELECT * FROM fetched"


def start(command):
    """Starts a process and returns it with the address from its first line of output."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return process, process.stdout.readline().split()[-1]


def fetch(uri):
    """Seconds from the statement to its last row, and the rows."""
    with dbapi.connect(uri, autocommit=True) as connection, connection.cursor() as cursor:
        began = time.perf_counter()
        cursor.execute(FETCHED)
        table = cursor.fetch_arrow_table()
        return time.perf_counter() - began, table


def fetch_alone(uri):
    """Fetches in a separate process, as the two drivers would share threads."""
    seconds = subprocess.run([sys.executable, __file__, "--fetch", uri], check=True, capture_output=True, text=True)
    return float(seconds.stdout)


def fetching(uri, load, directory):
    with dbapi.connect(uri, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE fetched AS {MADE}")
        cursor.execute(FETCHED)
        reader = cursor.fetch_record_batch()
        file = str(directory / "fetched.arrow")
        with pa.OSFile(file, "wb") as sink, pa.ipc.new_file(sink, reader.schema) as writer:
            batches = 0
            for batch in reader:
                writer.write_batch(batch)
                batches += 1
    process, bare = start([load, "bare", file])
    try:
        ours, theirs = [], []
        for _ in range(ROUNDS):
            theirs.append(fetch_alone(bare))
            ours.append(fetch_alone(uri))
        # Fetch once more from both and compare the rows.
        assert fetch(uri)[1].sort_by("i").equals(fetch(bare)[1].sort_by("i"))
    finally:
        process.kill()
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"{ROWS} rows in {batches} batches by ADBC: vatic {a:.3f} s {spread(ours)}, a server that only sends {b:.3f} s {spread(theirs)}, "
          f"share {b / a:.2f}")


def spread(values):
    return f"({min(values):.3f} to {max(values):.3f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vatic", type=Path, help="the release binary; vatic-load lies beside it")
    parser.add_argument("--fetch", metavar="URI", help="only fetch once, and print the seconds")
    arguments = parser.parse_args()
    if arguments.fetch:
        print(fetch(arguments.fetch)[0])
        return
    load = arguments.vatic.parent / "vatic-load"
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        command = [arguments.vatic, "serve", "--listen", "127.0.0.1:0", "--data-dir", directory / "data"]
        process, uri = start(command)
        try:
            fetching(uri, load, directory)
            for work in (["small", uri], ["probe", uri], ["readers", uri, str(process.pid)]):
                subprocess.run([load, *work], check=True)
        finally:
            process.kill()


main()
