"""Results: values and types of all SQL expressions, sizes, and schemas that match the rows."""

import contextlib
import datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from harness import (
    DATA,
    INVALID_ARGUMENT,
    RESOURCE_EXHAUSTED,
    check_error,
    execute,
    query,
    rows,
    value,
)
from wire import Wire, field

DAY = datetime.date(2024, 2, 29)
TIME = datetime.time(12, 34, 56, 789000)
MOMENT = datetime.datetime(2024, 2, 29, 12, 34, 56, 789000)
UTC = datetime.UTC

# Expression, type on the wire, value. Drivers of Java and JavaScript cannot read views, dictionaries in nested columns,
# half floats, list views and short decimals, so these arrive as types that all drivers can read.
TYPES = [
    ("CAST(-1 AS TINYINT)", pa.int8(), -1),
    ("CAST(-1 AS SMALLINT)", pa.int16(), -1),
    ("CAST(-1 AS INT)", pa.int32(), -1),
    ("-9223372036854775807 - 1", pa.int64(), -(2**63)),
    ("CAST(255 AS TINYINT UNSIGNED)", pa.uint8(), 255),
    ("CAST(65535 AS SMALLINT UNSIGNED)", pa.uint16(), 65535),
    ("CAST(4294967295 AS INT UNSIGNED)", pa.uint32(), 2**32 - 1),
    ("CAST(18446744073709551615 AS BIGINT UNSIGNED)", pa.uint64(), 2**64 - 1),
    ("CAST(1.5 AS FLOAT)", pa.float32(), 1.5),
    ("CAST(1.1 AS DOUBLE)", pa.float64(), 1.1),
    ("CAST('Infinity' AS DOUBLE)", pa.float64(), float("inf")),
    ("arrow_cast(1.5, 'Float16')", pa.float32(), 1.5),
    ("CAST(-1.25 AS DECIMAL(10, 2))", pa.decimal128(10, 2), Decimal("-1.25")),
    ("CAST('12345678901234567890123456789012345678.12' AS DECIMAL(40, 2))", pa.decimal256(40, 2), Decimal("12345678901234567890123456789012345678.12")),
    ("arrow_cast(1.25, 'Decimal32(5, 2)')", pa.decimal128(5, 2), Decimal("1.25")),
    ("arrow_cast(1.25, 'Decimal64(12, 2)')", pa.decimal128(12, 2), Decimal("1.25")),
    ("DATE '2024-02-29'", pa.date32(), DAY),
    ("arrow_cast(DATE '2024-02-29', 'Date64')", pa.date64(), DAY),
    ("TIME '12:34:56.789'", pa.time64("ns"), TIME),
    ("arrow_cast(TIME '12:34:56', 'Time32(Second)')", pa.time32("s"), TIME.replace(microsecond=0)),
    ("arrow_cast(TIME '12:34:56.789', 'Time32(Millisecond)')", pa.time32("ms"), TIME),
    ("arrow_cast(TIME '12:34:56.789', 'Time64(Microsecond)')", pa.time64("us"), TIME),
    ("TIMESTAMP '2024-02-29 12:34:56.789'", pa.timestamp("ns"), MOMENT),
    ("arrow_cast(TIMESTAMP '2024-02-29 12:34:56', 'Timestamp(Second, None)')", pa.timestamp("s"), MOMENT.replace(microsecond=0)),
    ("arrow_cast(TIMESTAMP '2024-02-29 12:34:56.789', 'Timestamp(Millisecond, None)')", pa.timestamp("ms"), MOMENT),
    ("arrow_cast(TIMESTAMP '2024-02-29 12:34:56.789', 'Timestamp(Microsecond, None)')", pa.timestamp("us"), MOMENT),
    ("arrow_cast(TIMESTAMP '2024-02-29 12:34:56.789', 'Timestamp(Millisecond, Some(\"UTC\"))')", pa.timestamp("ms", "UTC"), MOMENT.replace(tzinfo=UTC)),
    ("TIMESTAMP '2024-02-29 13:34:56.789' AT TIME ZONE 'Europe/Berlin'", pa.timestamp("ns", "Europe/Berlin"), MOMENT.replace(tzinfo=UTC)),
    ("INTERVAL '1 month 2 days 3 seconds'", pa.month_day_nano_interval(), pa.MonthDayNano([1, 2, 3_000_000_000])),
    ("arrow_cast(90, 'Duration(Second)')", pa.duration("s"), datetime.timedelta(seconds=90)),
    ("true", pa.bool_(), True),
    ("'grüße 🦀'", pa.string(), "grüße 🦀"),
    ("''", pa.string(), ""),
    ("arrow_cast('longer than twelve bytes', 'Utf8View')", pa.string(), "longer than twelve bytes"),
    ("arrow_cast('text', 'LargeUtf8')", pa.large_string(), "text"),
    ("X'00ff'", pa.binary(), b"\x00\xff"),
    ("arrow_cast(X'00ff', 'BinaryView')", pa.binary(), b"\x00\xff"),
    ("arrow_cast(X'00ff', 'LargeBinary')", pa.large_binary(), b"\x00\xff"),
    ("arrow_cast(X'00ff', 'FixedSizeBinary(2)')", pa.binary(2), b"\x00\xff"),
    ("[1, 2, NULL]", pa.list_(pa.int64()), [1, 2, None]),
    ("['a', 'b']", pa.list_(pa.string()), ["a", "b"]),
    ("[[1], [2, 3]]", pa.list_(pa.list_(pa.int64())), [[1], [2, 3]]),
    ("arrow_cast([1, 2], 'LargeList(Int64)')", pa.list_(pa.int64()), [1, 2]),
    ("arrow_cast([1, 2], 'ListView(Int64)')", pa.list_(pa.int64()), [1, 2]),
    ("arrow_cast(['a'], 'List(Utf8View)')", pa.list_(pa.string()), ["a"]),
    ("arrow_cast([1.5, 2.5], 'List(Float16)')", pa.list_(pa.float32()), [1.5, 2.5]),
    ("arrow_cast([1.5, 2.5], 'FixedSizeList(2, Float32)')", pa.list_(pa.float32(), 2), [1.5, 2.5]),
    ("arrow_cast([1.5, 2.5], 'FixedSizeList(2, Float16)')", pa.list_(pa.float32(), 2), [1.5, 2.5]),
    ("named_struct('a', 1, 'b', 'x')", pa.struct({"a": pa.int64(), "b": pa.string()}), {"a": 1, "b": "x"}),
    ("named_struct('a', arrow_cast('x', 'Utf8View'))", pa.struct({"a": pa.string()}), {"a": "x"}),
    ("MAP {'a': 1, 'b': 2}", pa.map_(pa.string(), pa.int64()), [("a", 1), ("b", 2)]),
    ("arrow_cast('text', 'Dictionary(Int32, Utf8)')", pa.string(), "text"),
    ("arrow_cast('text', 'Dictionary(Int8, Utf8View)')", pa.string(), "text"),
    ("arrow_cast(['a', 'a'], 'List(Dictionary(Int32, Utf8))')", pa.list_(pa.string()), ["a", "a"]),
]  # fmt: skip


def plain(kind):
    """The type without the names and nullability of nested fields and the width of list offsets, which clients
    ignore."""
    if pa.types.is_map(kind):
        return pa.map_(plain(kind.key_type), plain(kind.item_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(plain(kind.value_type), kind.list_size)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(plain(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(child.name, plain(child.type)) for child in kind])
    return kind


@pytest.mark.parametrize("expression, kind, expected", TYPES, ids=[expression for expression, *_ in TYPES])
def test_value_arrives_with_its_type(connection, expression, kind, expected):
    result = query(connection, f"SELECT {expression} AS v")
    assert plain(result.schema.field("v").type) == kind
    assert result["v"].to_pylist() == [expected]


@pytest.mark.parametrize("expression, kind", [case[:2] for case in TYPES], ids=[case[0] for case in TYPES])
def test_null_of_a_type_arrives_with_its_type(connection, expression, kind):
    sql = f"SELECT CASE WHEN value > 1 THEN {expression} END AS v FROM generate_series(1, 1)"
    result = query(connection, sql)
    assert plain(result.schema.field("v").type) == kind
    assert result["v"].to_pylist() == [None]


def test_column_of_the_type_null_arrives(connection):
    assert query(connection, "SELECT NULL AS v")["v"].to_pylist() == [None]


def test_nan_arrives(connection):
    assert str(value(connection, "SELECT CAST('NaN' AS DOUBLE)")) == "nan"


def test_dictionary_column_keeps_nulls_and_order(connection):
    case = "CASE value % 3 WHEN 0 THEN 'a' WHEN 1 THEN 'b' END"
    sql = f"SELECT arrow_cast({case}, 'Dictionary(Int32, Utf8)') AS v FROM generate_series(0, 29999) ORDER BY value"
    assert query(connection, sql)["v"].to_pylist() == ["a", "b", None] * 10000


# Schemas


def test_empty_result_has_its_schema(connection):
    result = query(connection, "SELECT value AS a, 'x' AS b, [value] AS c FROM generate_series(1, 9) WHERE value > 10")
    assert result.num_rows == 0
    assert result.schema.names == ["a", "b", "c"]
    assert [plain(kind) for kind in result.schema.types] == [pa.int64(), pa.string(), pa.list_(pa.int64())]


def test_empty_table_has_its_schema(connection, name):
    execute(connection, f"CREATE TABLE {name} (a INT, b VARCHAR, c TIMESTAMP)")
    result = query(connection, f"SELECT * FROM {name}")
    assert (result.num_rows, result.schema.names) == (0, ["a", "b", "c"])


def test_columns_of_one_name_are_a_clear_error_or_arrive(connection):
    assert query(connection, "SELECT 1 AS a, 2 AS b, 1 AS c").column_names == ["a", "b", "c"]


@pytest.fixture
def parquet(connection, name, tmp_path):
    """A table of Parquet files, whose statistics answer MIN, MAX and COUNT, and its number of rows."""
    select = "SELECT value AS i, concat('row ', value) AS s, CASE WHEN value % 2 = 0 THEN value END AS n"
    execute(connection, f"CREATE TABLE {name} AS {select} FROM generate_series(1, 100)")
    return name


@pytest.mark.parametrize(
    "aggregates, expected",
    [
        ("min(i)", (1,)),
        ("max(i)", (100,)),
        ("min(s)", ("row 1",)),
        ("count(*)", (100,)),
        ("count(n)", (50,)),
        ("min(i), max(i), min(s), max(s), count(*), count(n), min(n)", (1, 100, "row 1", "row 99", 100, 50, 2)),
    ],
)
def test_aggregate_that_statistics_answer_arrives(connection, parquet, aggregates, expected):
    assert rows(connection, f"SELECT {aggregates} FROM {parquet}") == [expected]


def test_aggregate_over_an_external_file_of_parquet_arrives(connection, name):
    location = DATA / "digits.parquet"
    execute(connection, f"CREATE EXTERNAL TABLE {name} STORED AS PARQUET LOCATION '{location}'")
    [column, *_] = query(connection, f"SELECT * FROM {name} LIMIT 1").column_names
    [(low, high, count)] = rows(connection, f"SELECT min({column}), max({column}), count(*) FROM {name}")
    assert low <= high and count > 1000


def test_strings_of_parquet_are_no_views(connection, parquet):
    result = query(connection, f"SELECT s FROM {parquet} ORDER BY i LIMIT 2")
    assert result.schema.field("s").type == pa.string()
    assert result["s"].to_pylist() == ["row 1", "row 2"]


def test_view_of_strings_arrives(connection, parquet):
    execute(connection, f"CREATE VIEW {parquet}_view AS SELECT upper(s) AS s FROM {parquet} WHERE i < 3")
    assert sorted(rows(connection, f"SELECT * FROM {parquet}_view")) == [("ROW 1",), ("ROW 2",)]


def test_union_and_joins_hold_their_schemas(connection, parquet):
    sql = f"""
        SELECT a.s, b.n, sum(b.i) OVER () AS total FROM {parquet} a LEFT JOIN {parquet} b ON a.i = b.i + 50
        UNION ALL SELECT 'x', 1, NULL ORDER BY 1 LIMIT 3"""
    assert query(connection, sql).column_names == ["s", "n", "total"]


def test_explain_gives_rows(connection):
    result = query(connection, "EXPLAIN SELECT 1")
    assert result["plan_type"].to_pylist()[0] == "logical_plan"


def test_show_tables_gives_rows(connection, parquet):
    assert parquet in query(connection, "SHOW TABLES")["table_name"].to_pylist()


def test_describe_gives_rows(connection, parquet):
    assert query(connection, f"DESCRIBE {parquet}")["column_name"].to_pylist() == ["i", "s", "n"]


def test_statement_may_end_in_a_semicolon_and_a_comment(connection):
    assert value(connection, "/* first */ SELECT 1; -- last\n ;") == 1


def test_two_queries_in_one_text_are_refused(connection):
    check_error(lambda: rows(connection, "SELECT 1; SELECT 2"), INVALID_ARGUMENT)


def test_text_without_a_statement_is_no_crash(connection):
    with contextlib.suppress(connection.Error):
        rows(connection, "-- nothing")
    assert value(connection, "SELECT 1") == 1


def test_query_runs_again_after_tables_changed(connection, name):
    """The cursor keeps the prepared statement of its last text."""
    with connection.cursor() as cursor:
        execute(connection, f"CREATE TABLE {name} AS SELECT 1 AS a")
        assert cursor.execute(f"SELECT * FROM {name}").fetchall() == [(1,)]
        execute(connection, f"DROP TABLE {name}")
        execute(connection, f"CREATE TABLE {name} AS SELECT 'x' AS b, 2 AS c")
        assert cursor.execute(f"SELECT * FROM {name}").fetchall() == [("x", 2)]


def test_partition_can_be_read_apart(connection):
    with connection.cursor() as cursor:
        [partition], schema = cursor.adbc_execute_partitions("SELECT 42 AS a")
        assert schema.names == ["a"]
        cursor.adbc_read_partition(partition)
        assert cursor.fetchall() == [(42,)]


def test_result_has_one_ordered_endpoint_without_an_address(server):
    info = Wire(server).info("CommandStatementQuery", field(1, "SELECT value FROM generate_series(1, 100000)"))
    [endpoint] = info.endpoints
    assert endpoint.locations == []
    assert info.ordered


# Sizes


def test_million_rows_are_right_and_in_order(connection):
    sql = """
        SELECT value AS i, value * 0.5 AS f, concat('row ', value) AS s
        FROM generate_series(1, 1000000) ORDER BY value"""
    result = query(connection, sql)
    assert result.schema.types == [pa.int64(), pa.float64(), pa.string()]
    numbers = pa.chunked_array([pa.array(range(1, 1000001), pa.int64())])
    assert result["i"].equals(numbers)
    assert result["f"].equals(pc.multiply(numbers, 0.5))
    assert result["s"].equals(pc.binary_join_element_wise("row", pc.cast(numbers, pa.string()), " "))


def test_million_unordered_rows_have_the_right_sums(connection):
    sql = "SELECT value AS i, sqrt(value * value) AS f, md5(concat(value)) AS s FROM generate_series(1, 1000000)"
    result = query(connection, sql)
    assert result.num_rows == 1000000
    assert pc.sum(result["i"]).as_py() == 500000500000
    assert pc.sum(result["f"]).as_py() == 500000500000.0
    assert pc.count_distinct(result["s"]).as_py() == 1000000
    assert set(pc.unique(pc.binary_length(result["s"])).to_pylist()) == {32}


def test_large_rows_are_split_into_messages(connection):
    sql = "SELECT value AS i, repeat(concat(value % 10), 1000000) AS s FROM generate_series(1, 40) ORDER BY value"
    result = query(connection, sql)
    assert result["s"].to_pylist() == [str(number % 10) * 1000000 for number in range(1, 41)]


def test_few_columns_of_wide_lists_are_split_into_messages(connection):
    sql = "SELECT value AS i, array_repeat(value, 100000) AS l FROM generate_series(1, 40) ORDER BY value"
    result = query(connection, sql)
    assert pc.sum(result["l"].combine_chunks().flatten()).as_py() == 820 * 100000


GIANT = "SELECT repeat('x', 20000000) AS s"


def test_row_beyond_the_limit_of_clients_is_an_error_that_names_the_option(connection):
    text = check_error(lambda: rows(connection, GIANT), RESOURCE_EXHAUSTED)
    assert "adbc.flight.sql.client_option.with_max_msg_size" in text


def test_connection_works_after_a_row_beyond_the_limit(connection):
    check_error(lambda: rows(connection, GIANT), RESOURCE_EXHAUSTED)
    assert value(connection, "SELECT 1") == 1


def test_thousand_columns_arrive(connection):
    sql = "SELECT " + ", ".join(f"{number} AS c{number}" for number in range(1000))
    assert rows(connection, sql) == [tuple(range(1000))]


def test_statement_of_a_megabyte_runs(connection):
    assert len(value(connection, f"SELECT '{'x' * 1000000}'")) == 1000000
