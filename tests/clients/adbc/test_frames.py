"""Data frames of pandas and polars, through these libraries' own calls."""

import datetime
import warnings

import pandas
import polars
import polars.testing
import pytest

from harness import execute, query, value

# Polars opens its own connections and does not pass autocommit.
pytestmark = pytest.mark.filterwarnings("ignore:Cannot disable autocommit")


@pytest.fixture
def line(connection, name):
    """A model of y = 2 x + 1."""
    select = "SELECT value AS x, value * 2.0 + 1 AS y FROM generate_series(1, 200)"
    query(connection, f"TRAIN MODEL {name} TARGET y OPTIONS (model_type = 'linear_reg') AS {select}")
    return name


@pytest.fixture
def uri(server):
    """The address of the driver for polars, which supports only this transport parameter."""
    return f"flightsql://127.0.0.1:{server.port}?transport=tcp"


PANDAS = pandas.DataFrame(
    {
        "i": pandas.array([1, 2, 3], dtype="int64"),
        "f": [1.5, 2.5, None],
        "s": ["x", None, "grüße"],
        "t": pandas.to_datetime(["2024-02-29 12:34:56", "1969-01-01 00:00:00", None]),
        "b": [True, False, True],
    }
)


# pandas


def test_pandas_reads_a_query(connection):
    frame = pandas.read_sql(
        "SELECT value AS i, value * 0.5 AS f, concat(value) AS s FROM generate_series(1, 3)", connection
    )
    assert frame["i"].tolist() == [1, 2, 3]
    assert frame["f"].tolist() == [0.5, 1.0, 1.5]
    assert frame["s"].tolist() == ["1", "2", "3"]


def test_pandas_reads_with_arrow_types(connection):
    frame = pandas.read_sql("SELECT 1 AS i, 'x' AS s, NULL::INT AS n", connection, dtype_backend="pyarrow")
    assert [str(kind) for kind in frame.dtypes] == ["int64[pyarrow]", "string[pyarrow]", "int32[pyarrow]"]


def test_pandas_reads_a_whole_table(connection, name):
    execute(connection, f"CREATE TABLE {name} AS SELECT 1 AS a, 'x' AS b")
    assert pandas.read_sql_table(name, connection).to_dict("records") == [{"a": 1, "b": "x"}]


def test_pandas_frame_comes_back_as_it_went(connection, name):
    assert PANDAS.to_sql(name, connection, index=False) == 3
    back = pandas.read_sql(f"SELECT * FROM {name} ORDER BY i", connection)
    pandas.testing.assert_frame_equal(back, PANDAS, check_dtype=False)


def test_pandas_writes_its_index(connection, name):
    PANDAS.set_index("i")[["s"]].to_sql(name, connection)
    assert query(connection, f"SELECT * FROM {name}").column_names == ["s", "i"]


def test_pandas_does_not_overwrite_unasked(connection, name):
    PANDAS.to_sql(name, connection, index=False)
    with pytest.raises(ValueError, match="already exists"):
        PANDAS.to_sql(name, connection, index=False)


def test_pandas_replaces(connection, name):
    PANDAS.to_sql(name, connection, index=False)
    PANDAS.head(1).to_sql(name, connection, index=False, if_exists="replace")
    assert value(connection, f"SELECT count(*) FROM {name}") == 1


def test_pandas_appends(connection, name):
    for _ in range(2):
        PANDAS.to_sql(name, connection, index=False, if_exists="append")
    assert value(connection, f"SELECT count(*) FROM {name}") == 6


def test_pandas_reports_errors_of_the_server(connection):
    with pytest.raises(pandas.errors.DatabaseError, match=r"\[42P01\]"):
        pandas.read_sql("SELECT * FROM nowhere", connection)


def test_pandas_reads_predictions(connection, line):
    sql = f"SELECT * FROM predict({line}, (SELECT value AS x FROM generate_series(1, 3))) ORDER BY x"
    frame = pandas.read_sql(sql, connection)
    assert frame["predicted_y"].tolist() == pytest.approx([3, 5, 7])


def test_cursor_gives_a_pandas_frame(cursor):
    assert cursor.execute("SELECT 1 AS a").fetch_df().to_dict("records") == [{"a": 1}]


# polars


POLARS = polars.DataFrame(
    {
        "i": [1, 2, 3],
        "f": [1.5, 2.5, None],
        "s": ["x", None, "grüße"],
        "d": [datetime.date(2024, 2, 29), None, datetime.date(1969, 1, 1)],
        "t": [datetime.datetime(2024, 2, 29, 12, 34, 56), None, datetime.datetime(1969, 1, 1)],
        "l": [[1, 2], None, []],
        "r": [{"a": 1}, {"a": None}, {"a": 3}],
    }
)


def test_polars_reads_by_uri(uri):
    frame = polars.read_database_uri(
        "SELECT value AS i, concat(value) AS s FROM generate_series(1, 3)", uri, engine="adbc"
    )
    assert frame.to_dict(as_series=False) == {"i": [1, 2, 3], "s": ["1", "2", "3"]}


def test_polars_reads_with_parameters_by_uri(uri):
    options = {"parameters": (7,)}
    frame = polars.read_database_uri("SELECT ? + 1 AS a", uri, engine="adbc", execute_options=options)
    assert frame["a"].to_list() == [8]


def test_polars_reads_by_connection(connection):
    frame = polars.read_database("SELECT 1 AS a, 'x' AS b", connection)
    assert frame.schema == {"a": polars.Int64, "b": polars.String}


def test_polars_reads_in_batches(connection):
    batches = polars.read_database(
        "SELECT value FROM generate_series(1, 100000)", connection, iter_batches=True, batch_size=1000
    )
    assert sum(batch["value"].sum() for batch in batches) == 5000050000


def test_polars_frame_comes_back_as_it_went(connection, name):
    assert POLARS.write_database(name, connection, engine="adbc") == 3
    back = polars.read_database(f"SELECT * FROM {name} ORDER BY i", connection)
    polars.testing.assert_frame_equal(back, POLARS, check_dtypes=False)


def test_polars_categories_are_written_as_strings(connection, name):
    frame = polars.DataFrame({"c": polars.Series(["x", "y", "x"], dtype=polars.Categorical)})
    frame.write_database(name, connection, engine="adbc")
    assert query(connection, f"SELECT c FROM {name} ORDER BY c")["c"].to_pylist() == ["x", "x", "y"]


def test_polars_writes_by_uri(uri, connection, name):
    with warnings.catch_warnings(action="ignore"):
        assert POLARS.write_database(f"public.{name}", uri, engine="adbc") == 3
    assert value(connection, f"SELECT count(*) FROM {name}") == 3


def test_polars_does_not_overwrite_unasked(connection, name):
    POLARS.write_database(name, connection, engine="adbc")
    with pytest.raises(connection.Error, match=r"\[42P07\]"):
        POLARS.write_database(name, connection, engine="adbc")


def test_polars_replaces(connection, name):
    POLARS.write_database(name, connection, engine="adbc")
    POLARS.head(1).write_database(name, connection, engine="adbc", if_table_exists="replace")
    assert value(connection, f"SELECT count(*) FROM {name}") == 1


def test_polars_appends_also_to_what_is_not_there(connection, name):
    for _ in range(2):
        POLARS.write_database(name, connection, engine="adbc", if_table_exists="append")
    assert value(connection, f"SELECT count(*) FROM {name}") == 6


def test_polars_reads_predictions_by_uri(uri, line):
    sql = f"SELECT * FROM predict({line}, (SELECT value AS x FROM generate_series(1, 3))) ORDER BY x"
    frame = polars.read_database_uri(sql, uri, engine="adbc")
    assert frame["predicted_y"].to_list() == pytest.approx([3, 5, 7])


def test_cursor_gives_a_polars_frame(cursor):
    assert cursor.execute("SELECT 1 AS a").fetch_polars().to_dicts() == [{"a": 1}]
