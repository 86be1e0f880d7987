"""The cell magic, in IPython."""

import os

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

import vatic
from vatic._magic import statements


@pytest.fixture
def shell(folder):
    """IPython with the extension, connected to the server that all tests share."""
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "vatic")
    shell.run_line_magic("vatic", str(folder))
    yield shell
    shell.run_line_magic("vatic", "").close()
    InteractiveShell.clear_instance()


def cell(shell, text, line=""):
    """Runs a cell; returns its value, and what it wrote and displayed."""
    with capture_output() as captured:
        value = shell.run_cell_magic("vatic", line, text)
    return value, captured


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1;\nSELECT 2;\n", ["SELECT 1", "SELECT 2"]),
        ("SELECT ';', \"a;b\", 'it''s;' -- ;\n; /* ; */", ["SELECT ';', \"a;b\", 'it''s;' -- ;"]),
        ("SELECT $$;$$, $x$;$$;$x$; SELECT 4 - 2 / 1", ["SELECT $$;$$, $x$;$$;$x$", "SELECT 4 - 2 / 1"]),
        (" ; -- nothing\n;", []),
    ],
)
def test_a_cell_is_cut_at_semicolons(script, expected):
    assert statements(script) == expected


def test_a_cell_runs_its_statements_and_shows_tables(shell):
    value, captured = cell(shell, "CREATE TEMPORARY TABLE t AS SELECT 1 AS a;\nSELECT a FROM t;\nSELECT a + 1 AS b FROM t;")
    assert value.to_pydict() == {"b": [2]}
    [shown] = captured.outputs
    assert "<th>a</th>" in shown.data["text/html"]
    assert cell(shell, "CREATE TEMPORARY TABLE u AS SELECT 1 AS a")[0] is None


def test_a_cell_shows_the_progress_of_a_training(shell):
    train = (
        "TRAIN OR REPLACE MODEL m TARGET y OPTIONS (model_type = 'dnn_regressor', hidden_units = [64], epochs = 15) AS "
        "SELECT value AS x, value * 2.0 AS y FROM generate_series(1, 20000)"
    )
    value, captured = cell(shell, train)
    assert value.column_names[:2] == ["model", "version"]
    assert "m: epoch " in captured.stdout
    assert captured.stdout.endswith("\n")


def test_a_cell_takes_the_connection_of_a_variable(shell, folder):
    with vatic.connect(folder) as con:
        con.sql("CREATE TEMPORARY TABLE only_here AS SELECT 7 AS a")
        shell.user_ns["con"] = con
        assert cell(shell, "SELECT a FROM only_here", "con")[0].to_pydict() == {"a": [7]}
    with pytest.raises(ValueError, match="nothing is not a connection"):
        cell(shell, "SELECT 1", "nothing")


def test_without_a_connection_a_cell_has_tables_that_are_not_kept(shell):
    shell.run_line_magic("reload_ext", "vatic")
    assert cell(shell, "SELECT 1 AS a")[0].to_pydict() == {"a": [1]}
    assert os.listdir() == []
