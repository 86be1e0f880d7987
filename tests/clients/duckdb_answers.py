"""Answers queries with DuckDB: `duckdb_answers.py FOLDER`, a JSON list of queries on standard input.

The tables are the Parquet files of the folder. Prints a list: of each query its rows, or a text that says why not.
"""

import json
import pathlib
import sys

import duckdb


def answer(connection, query):
    try:
        return connection.execute(query).fetchall()
    except duckdb.Error as error:
        return f"{type(error).__name__}: {error}"


def main():
    connection = duckdb.connect()
    for file in pathlib.Path(sys.argv[1]).glob("*.parquet"):
        connection.execute(f"CREATE TABLE {file.stem} AS SELECT * FROM '{file}'")
    answers = [answer(connection, query) for query in json.load(sys.stdin)]
    # Dates, and what else JSON does not know, as text.
    json.dump(answers, sys.stdout, default=str)


if __name__ == "__main__":
    main()
