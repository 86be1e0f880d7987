"""The Python module: connections, results, tables of other libraries, and the end of its servers."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pandas
import polars
import pyarrow
import pytest

import vatic
from vatic import _server

END_S = 20


def servers(data_dir):
    """The processes of `vatic serve` for a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        # The program may be started by an interpreter.
        if b"serve" in words and str(data_dir).encode() in words:
            found.append(int(process.name))
    return found


def wait_until(is_true, what):
    """Polls until `is_true` returns true."""
    end = time.monotonic() + END_S
    while not is_true():
        assert time.monotonic() < end, f"not within {END_S} s: {what}"
        time.sleep(0.05)


def test_the_program_is_installed():
    said = subprocess.run([_server.program(), "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("vatic ")


def test_a_result_is_an_arrow_table_that_other_libraries_read(con):
    rows = con.sql("SELECT value AS i, value * 0.5 AS f, 'row ' || value AS s FROM generate_series(1, 3)")
    arrow = rows.arrow()
    assert isinstance(arrow, pyarrow.Table)
    assert (rows.num_rows, len(rows), rows.column_names) == (3, 3, ["i", "f", "s"])
    columns = {"i": [1, 2, 3], "f": [0.5, 1.0, 1.5], "s": ["row 1", "row 2", "row 3"]}
    assert isinstance(rows.df(), pandas.DataFrame)
    assert rows.df().to_dict("list") == columns
    assert isinstance(rows.pl(), polars.DataFrame)
    assert rows.pl().to_dict(as_series=False) == columns
    # DuckDB finds both by the names of the variables.
    assert duckdb.sql("SELECT sum(i), max(s) FROM arrow").fetchall() == [(6, "row 3")]
    assert duckdb.sql("SELECT sum(i), max(s) FROM rows").fetchall() == [(6, "row 3")]
    assert polars.DataFrame(rows).equals(rows.pl())


def test_a_result_shows_its_first_rows_as_text_and_as_html(con):
    rows = con.sql("SELECT value AS i, NULL AS n, '<b>' AS s, 1 / 3.0 AS f FROM generate_series(1, 50)")
    lines = repr(rows).splitlines()
    assert lines[0].split() == ["i", "n", "s", "f"]
    assert lines[2].split() == ["1", "NULL", "<b>", "0.333333"]
    assert lines[-1] == "10 more rows"
    assert len(lines) == 43
    shown = rows._repr_html_()
    assert "<td>&lt;b&gt;</td>" in shown
    assert "<b>" not in shown
    assert shown.count("<tr>") == 41


@pytest.mark.parametrize(
    "data",
    [
        pandas.DataFrame({"i": [1, 2], "s": ["x", None]}, index=[7, 8]),
        polars.DataFrame({"i": [1, 2], "s": ["x", None]}),
        polars.LazyFrame({"i": [1, 2], "s": ["x", None]}),
        pyarrow.table({"i": [1, 2], "s": ["x", None]}),
        pyarrow.RecordBatch.from_pydict({"i": [1, 2], "s": ["x", None]}),
    ],
    ids=["pandas", "polars", "polars-lazy", "arrow", "arrow-batch"],
)
def test_frames_and_tables_are_registered(con, data):
    con.register("t", data)
    assert con.sql("SELECT * FROM t ORDER BY i").to_pydict() == {"i": [1, 2], "s": ["x", None]}


def test_a_registered_table_is_replaced_and_may_have_no_rows(con):
    con.register("t", pyarrow.table({"i": [1]}))
    con.register("t", con.sql("SELECT 5 AS j"))
    assert con.sql("SELECT * FROM t").to_pydict() == {"j": [5]}
    con.register("t", pyarrow.table({"k": pyarrow.array([], pyarrow.int64())}))
    assert con.sql("SELECT * FROM t").to_pydict() == {"k": []}


def test_a_registered_table_is_seen_by_its_connection_only(con, folder):
    con.register("t", pyarrow.table({"i": [1]}))
    with vatic.connect(folder) as other, pytest.raises(other.Error, match=r"\[42P01\]"):
        other.sql("SELECT * FROM t")


def test_other_things_are_not_registered(con):
    for other in ([1, 2], pandas.Series([1]), polars.Series([1]), pyarrow.array([1])):
        with pytest.raises(TypeError, match=f"a {type(other).__name__} is no table"):
            con.register("t", other)


def test_statements_without_rows_and_with_parameters(con):
    assert con.sql("CREATE TEMPORARY TABLE t (a BIGINT)").num_columns == 0
    con.sql("INSERT INTO t VALUES (?)", (3,))
    assert con.sql("SELECT a + ? AS b FROM t", (4,)).to_pydict() == {"b": [7]}


def test_an_error_has_the_message_of_the_server(con):
    with pytest.raises(con.ProgrammingError, match=r'table "nowhere" does not exist.*\[42P01\]'):
        con.sql("SELECT * FROM nowhere")
    assert con.sql("SELECT 1 AS a").to_pydict() == {"a": [1]}


def test_it_is_a_connection_of_the_db_api(con):
    with con.cursor() as cursor:
        assert cursor.execute("SELECT 1 AS a").fetchall() == [(1,)]
    assert pandas.read_sql("SELECT 2 AS b", con).to_dict("list") == {"b": [2]}


def test_files_are_read_by_relative_paths(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n3,4\n")
    with vatic.connect() as con:  # Paths are relative to the working directory in which the server started.
        con.sql("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION 'x.csv' OPTIONS ('format.has_header' 'true')")
        assert con.sql("SELECT sum(a) AS s FROM x").to_pydict() == {"s": [4]}


def test_a_training_tells_its_progress_and_predicts(con):
    told = []
    con.register("line", pyarrow.table({"x": list(range(20_000)), "y": [2.0 * x for x in range(20_000)]}))
    con.sql(
        "TRAIN OR REPLACE MODEL m TARGET y OPTIONS (model_type = 'dnn_regressor', hidden_units = [64], epochs = 15) AS SELECT x, y FROM line",
        progress=told.append,
    )
    assert any(line.startswith("m: epoch ") and "loss " in line for line in told), told
    [row] = con.sql("SELECT x, predicted_y FROM predict(m, (SELECT 3 AS x))").to_pylist()
    assert row["x"] == 3
    assert isinstance(row["predicted_y"], float)


def test_the_data_sets_of_the_program(con):
    assert con.sql("SELECT species, count(*) AS n FROM examples.penguins GROUP BY 1 ORDER BY 1").to_pydict() == {
        "species": ["Adelie", "Chinstrap", "Gentoo"],
        "n": [152, 68, 124],
    }


def test_connections_to_a_folder_share_a_server_until_the_last_is_closed(tmp_path):
    folder = tmp_path / "data"
    first, second = vatic.connect(folder), vatic.connect("data")
    assert first._server is second._server
    assert servers(folder)
    first.sql("CREATE TABLE t AS SELECT 5 AS a")
    first.close()
    assert second.sql("SELECT a FROM t").to_pydict() == {"a": [5]}
    second.close()
    wait_until(lambda: not servers(folder), "the server ends")
    # The table is in the folder.
    with vatic.connect(str(folder)) as third:
        assert third.sql("SELECT a FROM t").to_pydict() == {"a": [5]}


# Ends without closing its connection, after a statement that Ctrl-C ends.
PROGRAM = """
import sys, vatic
con = vatic.connect(sys.argv[1])
print("ready", flush=True)
try:
    con.sql("SELECT count(*) FROM generate_series(1, 100000000000) a")
except (KeyboardInterrupt, con.OperationalError):
    print(con.sql("SELECT 5 AS a").to_pydict(), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("is_killed", [False, True])
def test_ctrl_c_ends_a_statement_and_the_end_of_the_process_the_server(tmp_path, is_killed):
    folder = str(tmp_path / "data")
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, folder], stdin=-1, stdout=-1, start_new_session=True)
    with process:
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.5)  # By then, the statement runs; if it does not, the interrupt comes before it, and nothing is printed.
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout.readline() == b"{'a': [5]}\n"
        assert servers(folder)
        if is_killed:
            process.kill()
    wait_until(lambda: not servers(folder), "the server ends")


def test_a_fork_leaves_the_server_alone(con):
    child = multiprocessing.get_context("fork").Process(target=con._server._end)
    child.start()
    child.join(END_S)
    assert child.exitcode == 0
    assert con.sql("SELECT 1 AS a").to_pydict() == {"a": [1]}


def test_a_server_is_reached_by_its_address(con):
    server = con._server
    with vatic.connect(server.uri, user=server.user, password=server.password) as other:
        assert other.sql("SELECT 1 AS a").to_pydict() == {"a": [1]}
    for user, password in [(server.user, "wrong"), (None, None)]:
        with pytest.raises(Exception, match="password"):
            vatic.connect(server.uri, user=user, password=password)


def test_flags_take_the_place_of_those_that_a_server_has_by_default():
    with vatic.connect(flags=["--statement-timeout", "1", "--token-idle=600"]) as con:
        with pytest.raises(con.Error, match=r"\[57014\]"):
            con.sql("SELECT count(*) FROM generate_series(1, 100000000000) a")


def test_a_server_that_does_not_start_says_why(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeError, match="vatic serve does not start: .*file"):
        vatic.connect(tmp_path / "file")
    with pytest.raises(ValueError, match="for the address of a server"):
        vatic.connect(tmp_path, user="ada")
