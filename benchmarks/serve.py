"""What a server costs: fetching beside a bare Arrow Flight server, small queries, idle connections, slow readers.

Needs a release build, and a Python with adbc-driver-flightsql and pyarrow (tests/clients/run install makes one):
    VATIC=target/release/vatic python benchmarks/serve.py
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import adbc_driver_flightsql
import adbc_driver_manager
import pyarrow as pa
import pyarrow.flight as flight
from adbc_driver_flightsql import dbapi

VATIC = os.environ.get("VATIC", "target/release/vatic")
ROWS = 1_000_000
ROUNDS = 5
FETCHED = f"SELECT value AS i, value * 0.5 AS f, concat('row ', value) AS s FROM generate_series(1, {ROWS})"


class Bare(flight.FlightServerBase):
    """Sends the same batches and does nothing else."""

    def __init__(self, table):
        super().__init__("grpc://127.0.0.1:0")
        self.table = table

    def get_flight_info(self, context, descriptor):
        endpoint = flight.FlightEndpoint(b"all", [])
        return flight.FlightInfo(self.table.schema, descriptor, [endpoint], self.table.num_rows, -1)

    def do_get(self, context, ticket):
        return flight.RecordBatchStream(self.table)


def start(*flags):
    process = subprocess.Popen(
        [VATIC, "serve", "--listen", "127.0.0.1:0", "--data-dir", tempfile.mkdtemp(), *flags],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return process, process.stdout.readline().split()[-1]


def connect(uri):
    return dbapi.connect(uri, db_kwargs={"username": str(time.time_ns()), "password": "x"}, autocommit=True)


def fetch(uri, sql):
    """Seconds to fetch all rows without preparing, which the bare server does not know."""
    database = adbc_driver_flightsql.connect(uri)
    with database, adbc_driver_manager.AdbcConnection(database) as connection:
        with adbc_driver_manager.AdbcStatement(connection) as statement:
            statement.set_sql_query(sql)
            began = time.perf_counter()
            stream, _ = statement.execute_query()
            table = pa.RecordBatchReader._import_from_c(stream.address).read_all()
            seconds = time.perf_counter() - began
    assert table.num_rows == ROWS, table.num_rows
    return seconds


def resident_mb(process):
    for line in open(f"/proc/{process.pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def fetching(uri):
    # From a table, so that both sides only send.
    with connect(uri) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE fetched AS {FETCHED}")
        cursor.execute("SELECT * FROM fetched")
        table = cursor.fetch_arrow_table()
    bare = Bare(table.combine_chunks())
    threading.Thread(target=bare.serve, daemon=True).start()
    ours, theirs = [], []
    for _ in range(ROUNDS):
        theirs.append(fetch(f"grpc://127.0.0.1:{bare.port}", "x"))
        ours.append(fetch(uri, "SELECT * FROM fetched"))
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"fetch {ROWS} rows, scan of Parquet included: vatic {a:.3f} s, bare server {b:.3f} s, share {b / a:.2f}")


def small_queries(uri, connections=64, queries=200):
    times, errors = [], []

    def client():
        try:
            with connect(uri) as connection, connection.cursor() as cursor:
                for at in range(queries):
                    began = time.perf_counter()
                    cursor.execute(f"SELECT {at} + 1 AS a")
                    cursor.fetchall()
                    times.append(time.perf_counter() - began)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=client) for _ in range(connections)]
    began = time.perf_counter()
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    seconds = time.perf_counter() - began
    print(f"{connections} connections, {queries} queries each (3 calls a query): p50 {percentile(times, .5) * 1e3:.0f} ms, "
          f"p99 {percentile(times, .99) * 1e3:.0f} ms, {len(times) / seconds:.0f} queries/s, {len(errors)} errors")


def idle_connections(uri, process, count=1_000):
    host, port = uri.split("//")[1].split(":")
    before = resident_mb(process)
    sockets = []
    for at in range(count):
        sockets.append(socket.create_connection((host, int(port))))
        if at % 2:
            sockets[-1].sendall(b"PRI * HTTP/2.0\r\n")
    times = []
    with connect(uri) as connection, connection.cursor() as cursor:
        until = time.perf_counter() + 8
        while time.perf_counter() < until:
            began = time.perf_counter()
            cursor.execute("SELECT 1 AS a")
            cursor.fetchall()
            times.append(time.perf_counter() - began)
            time.sleep(0.01)
    print(f"{count} silent and half-open connections: probe p50 {percentile(times, .5) * 1e3:.1f} ms, "
          f"p99 {percentile(times, .99) * 1e3:.1f} ms, {resident_mb(process) - before:.0f} MB more")
    [each.close() for each in sockets]


def slow_readers(uri, process, readers=50, seconds=15):
    connections, streams = [], []
    before = resident_mb(process)
    for _ in range(readers):
        connection = connect(uri)
        cursor = connection.cursor()
        cursor.execute("SELECT value AS i, value * 0.5 AS f, concat('row ', value) AS s FROM generate_series(1, 10000000)")
        connections.append((connection, cursor))
        streams.append(cursor.fetch_record_batch())
    highest = before
    for _ in range(seconds):
        began = time.perf_counter()
        for stream in streams:
            stream.read_next_batch()
        highest = max(highest, resident_mb(process))
        time.sleep(max(0.0, 1 - (time.perf_counter() - began)))
    more = highest - before
    print(f"{readers} readers of one batch a second: {more:.0f} MB more, {more / readers:.1f} MB a reader")
    for connection, cursor in connections:
        cursor.close()
        connection.close()


def main():
    process, uri = start()
    try:
        fetching(uri)
        small_queries(uri)
        idle_connections(uri, process)
        slow_readers(uri, process)
    finally:
        process.terminate()
        print(f"exit code {process.wait(timeout=40)}")


sys.exit(main())
