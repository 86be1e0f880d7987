"""The time of an INSERT of a row: of the first and the last thousand of 10,000, in vatic and in SQLite.

    cargo build --release && python3 benchmarks/inserts.py --vatic target/release/vatic

Both make each INSERT durable before the next one. vatic runs a thousand statements per process; its start is subtracted.
Fails if an INSERT of the last thousand takes vatic twice as long as one of the first.
"""

import argparse
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Work that grows with the INSERTs before it makes the last thousand many times as slow.
GROWTH_MAX = 2
CREATE = "CREATE TABLE t (a BIGINT, b VARCHAR)"


def statements(first, count):
    return [f"INSERT INTO t VALUES ({row}, 'row {row}')" for row in range(first, first + count)]


def vatic(program, directory, texts):
    """Seconds of a process that runs these statements."""
    script = directory / "script.sql"
    script.write_text(";\n".join(texts) + ";\n")
    began = time.perf_counter()
    command = [program, "--data-dir", str(directory / "data"), "-f", str(script)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def with_vatic(program, directory, rounds, count):
    vatic(program, directory, [CREATE])
    start = min(vatic(program, directory, ["SELECT 1"]) for _ in range(5))
    seconds = [vatic(program, directory, statements(at * count, count)) - start for at in range(rounds)]
    states = len(list((directory / "data/catalog/public/tables/t").iterdir()))
    read = min(vatic(program, directory, ["SELECT count(*), sum(a) FROM t"]) for _ in range(3)) - start
    print(f"vatic: {states} states of the table are kept; a query of all rows takes {read:.3f} s")
    return seconds


def with_sqlite(directory, rounds, count):
    connection = sqlite3.connect(directory / "t.sqlite", isolation_level=None)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(CREATE)
    seconds = []
    for at in range(rounds):
        began = time.perf_counter()
        for text in statements(at * count, count):
            connection.execute(text)
        seconds.append(time.perf_counter() - began)
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vatic", required=True)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--count", type=int, default=1_000)
    arguments = parser.parse_args()
    program = str(Path(arguments.vatic).resolve())
    for name, run in [("vatic", lambda at: with_vatic(program, at, arguments.rounds, arguments.count)),
                      ("SQLite", lambda at: with_sqlite(at, arguments.rounds, arguments.count))]:
        with tempfile.TemporaryDirectory() as directory:
            seconds = run(Path(directory))
        first, last = (1000 * part / arguments.count for part in (seconds[0], seconds[-1]))
        print(f"{name}: an INSERT of the first {arguments.count}: {first:.2f} ms, of the last: {last:.2f} ms; "
              f"all {arguments.rounds * arguments.count}: {sum(seconds):.2f} s")
        if name == "vatic" and last > GROWTH_MAX * first:
            sys.exit(f"an INSERT of the last {arguments.count} takes over {GROWTH_MAX} times as long as one of the first")


if __name__ == "__main__":
    main()
