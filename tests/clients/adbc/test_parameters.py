"""Values for `?` and `$1`."""

import datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from harness import FAILED_PRECONDITION, INVALID_ARGUMENT, check_error, execute, query, rows, value

NUMBERS = "SELECT value FROM generate_series(1, 10)"


@pytest.mark.parametrize(
    "parameter",
    [
        *[True, 7, -(2**63), 1.25, "text", "", "it's; -- 'quoted' ?", "grüße 🦀", b"\x00\xff"],
        *[datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 12, 34, 56, 789000)],
        *[datetime.time(12, 34, 56), Decimal("1.25")],
    ],
    ids=repr,
)
def test_parameter_comes_back_as_it_went(connection, parameter):
    assert value(connection, "SELECT ?", (parameter,)) == parameter


def test_parameter_takes_the_type_that_its_place_wants(connection):
    assert rows(connection, f"{NUMBERS} WHERE value > ? ORDER BY value LIMIT 1", (7,)) == [(8,)]
    assert value(connection, "SELECT DATE '2024-02-29' = ?", (datetime.date(2024, 2, 29),)) is True


def test_twelve_parameters_keep_their_order(connection):
    sql = f"SELECT {', '.join(['?'] * 12)}"
    assert rows(connection, sql, tuple(range(12))) == [tuple(range(12))]


def test_numbered_parameters_are_by_number(connection):
    sql = "SELECT " + ", ".join(f"${number}" for number in range(12, 0, -1))
    assert rows(connection, sql, tuple(range(1, 13))) == [tuple(range(12, 0, -1))]


def test_numbered_parameter_stands_in_two_places(connection):
    assert rows(connection, "SELECT $1 + 1, $2, $1 + 2", (10, "x")) == [(11, "x", 12)]


def test_schema_of_twelve_parameters_is_in_their_order(cursor):
    kinds = ["INT", "DOUBLE", "VARCHAR"]
    sql = "SELECT " + ", ".join(f"CAST(${number} AS {kinds[number % 3]})" for number in range(1, 13))
    schema = cursor.adbc_prepare(sql)
    assert len(schema) == 12
    assert all(field.nullable for field in schema)


def test_types_of_parameters_are_known_before_they_are_bound(cursor):
    schema = cursor.adbc_prepare("SELECT value FROM generate_series(1, 10) WHERE value = ? AND concat(value) LIKE ?")
    assert schema.types == [pa.int64(), pa.string()]


def test_parameter_without_a_type_can_be_prepared(cursor):
    assert len(cursor.adbc_prepare("SELECT ?")) == 1


def test_statement_without_parameters_has_no_schema_of_them_or_an_empty_one(cursor):
    assert not cursor.adbc_prepare("SELECT 1")


def test_null_parameter_is_null(connection):
    assert rows(connection, "SELECT ? IS NULL, ?", (None, 1)) == [(True, 1)]


def test_null_parameter_in_a_comparison_matches_nothing(connection):
    assert rows(connection, f"{NUMBERS} WHERE value = ?", (None,)) == []


def test_null_parameter_is_inserted(connection, name):
    execute(connection, f"CREATE TABLE {name} (a INT, b VARCHAR)")
    with connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {name} VALUES (?, ?)", [(1, None), (None, "x")])
    assert rows(connection, f"SELECT * FROM {name} ORDER BY a") == [(1, None), (None, "x")]


def test_question_mark_in_a_literal_comment_or_name_is_no_parameter(connection):
    sql = """SELECT '?', ? AS "what?" -- ?
        /* ? */"""
    assert rows(connection, sql, (5,)) == [("?", 5)]


@pytest.mark.parametrize(
    "sql, expected",
    [
        (f"{NUMBERS} WHERE value IN (?, ?) ORDER BY value", [(2,), (5,)]),
        (f"{NUMBERS} WHERE value BETWEEN ? AND ? ORDER BY value", [(2,), (3,), (4,), (5,)]),
        (f"{NUMBERS} ORDER BY value LIMIT ? OFFSET ?", [(6,), (7,)]),
        ("WITH t AS (SELECT ? AS a) SELECT a + ? FROM t", [(7,)]),
        ("SELECT CASE WHEN true THEN ? ELSE ? END", [(2,)]),
        ("SELECT (SELECT max(value) FROM generate_series(1, ?)) + ?", [(7,)]),
    ],
    ids=["in", "between", "limit", "with", "case", "subquery"],
)
def test_parameter_stands_where_a_value_may(connection, sql, expected):
    assert rows(connection, sql, (2, 5)) == expected


def test_list_is_a_parameter(connection):
    batch = pa.record_batch({"0": pa.array([[3.0, 4.0]])})
    assert value(connection, "SELECT l2_distance(?, [0.0, 0.0])", batch) == pytest.approx(5)


def test_parameters_are_bound_by_position_whatever_their_names(connection):
    batch = pa.record_batch({"z": [1], "a": [2]})
    assert rows(connection, "SELECT $1, $2", batch) == [(1, 2)]


def test_every_row_of_parameters_runs_the_query(connection):
    batch = pa.record_batch({"0": [1, 2, 3]})
    assert rows(connection, "SELECT ? * 10", batch) == [(10,), (20,), (30,)]


def test_parameters_can_be_bound_again(connection):
    with connection.cursor() as cursor:
        for number in [1, 2, 3]:
            assert cursor.execute("SELECT ? + 1", (number,)).fetchall() == [(number + 1,)]


def test_type_of_a_parameter_may_change_between_bindings(connection):
    with connection.cursor() as cursor:
        assert cursor.execute("SELECT ? AS a", (1,)).fetchall() == [(1,)]
        assert cursor.execute("SELECT ? AS a", ("x",)).fetchall() == [("x",)]


@pytest.mark.parametrize("parameters", [(), (1,), (1, 2, 3)])
def test_wrong_number_of_parameters_is_refused(connection, parameters):
    check_error(lambda: rows(connection, "SELECT ? + ?", parameters), INVALID_ARGUMENT)


def test_two_kinds_of_parameters_in_one_statement_are_refused(connection):
    check_error(lambda: rows(connection, "SELECT ?, $1", (1, 2)), INVALID_ARGUMENT)


def test_parameter_that_does_not_fit_is_refused(connection):
    call = lambda: rows(connection, f"{NUMBERS} WHERE value = CAST(? AS INT)", ("x",))
    check_error(call, (INVALID_ARGUMENT, FAILED_PRECONDITION), "22018")


def test_parameter_is_no_sql(connection, name):
    execute(connection, f"CREATE TABLE {name} AS SELECT 1 AS a")
    attack = f"1; DROP TABLE {name}; --"
    assert rows(connection, f"SELECT a FROM {name} WHERE concat(a) = ?", (attack,)) == []
    assert value(connection, f"SELECT count(*) FROM {name}") == 1


def test_dictionary_of_strings_is_a_parameter(connection):
    batch = pa.record_batch({"0": pa.array(["a", "b", "a"]).dictionary_encode()})
    assert rows(connection, "SELECT upper(?)", batch) == [("A",), ("B",), ("A",)]


def test_parameter_in_create_table_as(connection, name):
    execute(connection, f"CREATE TABLE {name} AS SELECT value FROM generate_series(1, 10) WHERE value > ?", (8,))
    assert query(connection, f"SELECT * FROM {name} ORDER BY value")["value"].to_pylist() == [9, 10]
