"""Answers queries with DuckDB: `duckdb_answers.py FOLDER`, a JSON list of queries on standard input.

The tables are the Parquet files of the folder. Prints a JSON list with each query's rows, or its error as text.
"""

import json
import pathlib
import sys

import duckdb


def opened(folder):
    connection = duckdb.connect()
    for file in pathlib.Path(folder).glob("*.parquet"):
        connection.execute(f"CREATE TABLE {file.stem} AS SELECT * FROM '{file}'")
    return connection


def main():
    connection = opened(sys.argv[1])
    answers = []
    for query in json.load(sys.stdin):
        try:
            answers.append(connection.execute(query).fetchall())
        except duckdb.Error as error:
            answers.append(f"{type(error).__name__}: {error}")
            # After an internal error, DuckDB refuses every further query on the connection.
            if isinstance(error, (duckdb.InternalException, duckdb.FatalException)):
                connection = opened(sys.argv[1])
    # Dates and other types that JSON lacks become text.
    json.dump(answers, sys.stdout, default=str)


if __name__ == "__main__":
    main()
