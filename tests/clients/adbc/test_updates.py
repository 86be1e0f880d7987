"""Statements that change data, bulk ingest, and the files that SQL may access."""

from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness import (
    ALREADY_EXISTS,
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NOT_FOUND,
    PERMISSION_DENIED,
    check_error,
    code_of,
    execute,
    query,
    rows,
    update,
    value,
)


def ids(connection, table):
    """The sorted column `a` of a table."""
    return sorted(query(connection, f"SELECT a FROM {table}")["a"].to_pylist())


# Statements


def test_create_table_by_execute_needs_no_fetch(connection, other, name):
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {name} AS SELECT 1 AS a")
        assert ids(other, name) == [1]


def test_failing_create_table_raises_at_execute(connection, name):
    execute(connection, f"CREATE TABLE {name} (a INT)")
    with connection.cursor() as cursor:
        check_error(lambda: cursor.execute(f"CREATE TABLE {name} (a INT)"), ALREADY_EXISTS, "42P07")


def test_failing_insert_raises_at_execute_and_writes_nothing(connection, name):
    execute(connection, f"CREATE TABLE {name} (a BIGINT)")
    with connection.cursor() as cursor, pytest.raises(connection.Error):
        cursor.execute(f"INSERT INTO {name} SELECT 10 / (value - 5) FROM generate_series(1, 9)")
    assert ids(connection, name) == []


def test_insert_by_execute_runs_once_though_it_is_fetched(connection, name):
    execute(connection, f"CREATE TABLE {name} (a INT)")
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {name} VALUES (1)").fetch_arrow_table()
    assert ids(connection, name) == [1]


def test_statement_by_execute_runs_again_if_it_is_executed_again(connection, name):
    execute(connection, f"CREATE TABLE {name} (a INT)")
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {name} VALUES (1)")
        cursor.execute(f"INSERT INTO {name} VALUES (1)")
    assert ids(connection, name) == [1, 1]


def test_preparing_an_insert_writes_nothing(connection, name):
    execute(connection, f"CREATE TABLE {name} (a INT)")
    with connection.cursor() as cursor:
        cursor.adbc_prepare(f"INSERT INTO {name} VALUES (1)")
    assert ids(connection, name) == []


def test_insert_as_an_update_counts_rows(connection, name):
    assert update(connection, f"CREATE TABLE {name} (a INT)") in (0, -1)
    assert update(connection, f"INSERT INTO {name} VALUES (1), (2), (3)") == 3
    assert update(connection, f"INSERT INTO {name} SELECT a + 10 FROM {name} WHERE a > 1") == 2
    assert update(connection, f"DROP TABLE {name}") in (0, -1)


def test_failing_update_raises(connection, name):
    check_error(lambda: update(connection, f"INSERT INTO {name} VALUES (1)"), NOT_FOUND, "42P01")


def test_script_runs_in_order(connection, name):
    with connection.cursor() as cursor:
        cursor.executescript(
            f"CREATE TABLE {name} (a INT); INSERT INTO {name} VALUES (1); INSERT INTO {name} VALUES (2);"
        )
    assert ids(connection, name) == [1, 2]


def test_script_ends_at_its_first_error(connection, name):
    with connection.cursor() as cursor:
        script = f"CREATE TABLE {name} (a INT); INSERT INTO nowhere VALUES (1); INSERT INTO {name} VALUES (2)"
        check_error(lambda: cursor.executescript(script), NOT_FOUND, "42P01")
    assert ids(connection, name) == []


def test_update_of_a_query_is_no_crash(connection):
    update(connection, "SELECT 1")
    assert value(connection, "SELECT 2") == 2


def test_insert_by_many_clients_loses_nothing(server, connection, name):
    execute(connection, f"CREATE TABLE {name} (a INT)")

    def work(number):
        with server.connect(username=f"user{number}", password="x") as one:
            for at in range(5):
                execute(one, f"INSERT INTO {name} VALUES ({number * 5 + at})")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert ids(connection, name) == list(range(20))


# Many rows of parameters


def test_executemany_inserts_and_counts_all_rows(connection, name):
    execute(connection, f"CREATE TABLE {name} (a INT, b VARCHAR)")
    with connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {name} VALUES (?, ?)", [(number, f"s{number}") for number in range(100)])
        assert cursor.rowcount == 100
    assert rows(connection, f"SELECT count(*), sum(a), max(b) FROM {name}") == [(100, 4950, "s99")]


def test_executemany_is_one_write(connection, name, server):
    execute(connection, f"CREATE TABLE {name} (a INT)")

    def files():
        return len(list(server.data_dir.rglob("*.parquet")))

    before = files()
    with connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {name} VALUES (?)", [(number,) for number in range(1000)])
    assert ids(connection, name) == list(range(1000))
    assert files() - before < 10


def test_failing_executemany_writes_nothing(connection, name):
    execute(connection, f"CREATE TABLE {name} (a INT)")
    with connection.cursor() as cursor, pytest.raises(connection.Error):
        cursor.executemany(f"INSERT INTO {name} VALUES (CAST(? AS INT))", [("1",), ("2",), ("x",)])
    assert ids(connection, name) == []


def test_executemany_takes_arrow_data(connection, name):
    execute(connection, f"CREATE TABLE {name} (a BIGINT, b VARCHAR)")
    with connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {name} VALUES (?, ?)", pa.table({"x": [1, 2], "y": ["a", None]}))
        assert cursor.rowcount == 2
    assert rows(connection, f"SELECT * FROM {name} ORDER BY a") == [(1, "a"), (2, None)]


# Ingest


def ingest(connection, name, data, mode, **options):
    with connection.cursor() as cursor:
        return cursor.adbc_ingest(name, data, mode=mode, **options)


def small(*numbers):
    return pa.table({"a": pa.array(numbers, pa.int64()), "b": [f"s{number}" for number in numbers]})


def large():
    """20 MB in one batch, which is one message: larger than the default limits of servers and clients."""
    count = 200000
    table = pa.table({"a": pa.array(range(count), pa.int64()), "b": [f"{number:090d}" for number in range(count)]})
    [batch] = table.combine_chunks().to_batches()
    assert batch.nbytes > 20_000_000
    return pa.Table.from_batches([batch])


MODES = {"create": [], "append": [-1], "replace": [-1], "create_append": [-1]}


@pytest.mark.parametrize("mode", MODES)
def test_ingest_of_20_mb_arrives_whole(server, connection, name, mode):
    for number in MODES[mode]:
        assert ingest(connection, name, small(number), "create") == 1
    options = {"adbc.flight.sql.client_option.with_max_msg_size": str(64 << 20)}
    with server.connect(username="a", password="b", **options) as patient:
        assert ingest(patient, name, large(), mode) == 200000
    kept = 0 if mode == "replace" else len(MODES[mode])
    [(count, total, length)] = rows(connection, f"SELECT count(*), sum(a), sum(length(b)) FROM {name} WHERE a >= 0")
    assert (count, total, length) == (200000, 199999 * 100000, 200000 * 90)
    assert value(connection, f"SELECT count(*) FROM {name} WHERE a < 0") == kept


def test_ingest_creates_what_is_not_there(connection, name):
    assert ingest(connection, name, small(1), "create_append") == 1
    assert ids(connection, name) == [1]


def test_ingest_replaces_also_what_is_not_there(connection, name):
    ingest(connection, name, small(1), "replace")
    assert ids(connection, name) == [1]


def test_ingest_replaces_a_table_of_other_columns(connection, name):
    execute(connection, f"CREATE TABLE {name} (z DATE)")
    ingest(connection, name, small(1), "replace")
    assert rows(connection, f"SELECT * FROM {name}") == [(1, "s1")]


def test_ingest_cannot_create_what_exists(connection, name):
    ingest(connection, name, small(1), "create")
    text = check_error(lambda: ingest(connection, name, small(2), "create"), ALREADY_EXISTS, "42P07")
    assert name in text
    assert ids(connection, name) == [1]


def test_ingest_cannot_append_to_what_is_not_there(connection, name):
    text = check_error(lambda: ingest(connection, name, small(1), "append"), NOT_FOUND, "42P01")
    assert name in text


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()], ids=str)
def test_ingest_refuses_texts_of_other_bytes(connection, name, kind):
    offset = pa.int32() if kind == pa.string() else pa.int64()
    offsets = pa.array([0, 2, 5], offset).buffers()[1]
    texts = pa.Array.from_buffers(kind, 2, [None, offsets, pa.py_buffer(b"ok\xff\x00\xfe")])
    codes = (INVALID_ARGUMENT, FAILED_PRECONDITION)
    text = check_error(lambda: ingest(connection, name, pa.table({"a": texts}), "create"), codes)
    assert "UTF" in text.upper(), text
    check_error(lambda: query(connection, f"SELECT * FROM {name}"), NOT_FOUND, "42P01")
    assert value(connection, "SELECT 1") == 1


@pytest.mark.parametrize("mode", ["append", "create_append"])
@pytest.mark.parametrize(
    "data",
    [
        pa.table({"a": ["not a number"], "b": ["x"]}),
        pa.table({"a": [1], "z": ["x"]}),
        pa.table({"a": [1], "b": ["x"], "c": [1]}),
    ],
    ids=["type", "name", "extra"],
)
def test_ingest_of_other_columns_is_refused_and_writes_nothing(connection, name, mode, data):
    ingest(connection, name, small(1), "create")
    check_error(lambda: ingest(connection, name, data, mode), INVALID_ARGUMENT)
    assert ids(connection, name) == [1]


def test_ingest_of_no_rows_creates_the_table(connection, name):
    # For a table without batches the driver sends nothing, not even the schema.
    assert ingest(connection, name, small(1).to_batches()[0].slice(0, 0), "create") == 0
    result = query(connection, f"SELECT * FROM {name}")
    assert (result.num_rows, result.column_names) == (0, ["a", "b"])


def test_ingest_of_no_rows_appends_none(connection, name):
    ingest(connection, name, small(1), "create")
    assert ingest(connection, name, small(1).to_batches()[0].slice(0, 0), "append") == 0
    assert ids(connection, name) == [1]


def test_ingest_without_a_batch_says_what_to_send(connection, name):
    text = check_error(lambda: ingest(connection, name, pa.table({"a": pa.array([], pa.int64())}), "create"), INVALID_ARGUMENT)
    assert "send a batch without rows" in text


@pytest.mark.parametrize("mode", ["create", "create_append", "replace"])
def test_ingest_of_two_columns_of_one_name_is_refused_and_leaves_nothing(connection, name, mode):
    twice = pa.table([[1], [2]], names=["a", "a"])
    text = check_error(lambda: ingest(connection, name, twice, mode), INVALID_ARGUMENT, "42701")
    assert '"a" comes twice' in text
    check_error(lambda: query(connection, f"SELECT * FROM {name}"), NOT_FOUND, "42P01")


def test_ingest_of_20_mb_in_batches_needs_no_option(connection, name):
    assert ingest(connection, name, large().to_reader(max_chunksize=20000), "create") == 200000
    assert value(connection, f"SELECT sum(a) FROM {name}") == 199999 * 100000


def test_ingest_of_many_batches_arrives_whole(connection, name):
    batches = [small(*range(at, at + 10)).to_batches()[0] for at in range(0, 500, 10)]
    reader = pa.RecordBatchReader.from_batches(batches[0].schema, batches)
    assert ingest(connection, name, reader, "create") == 500
    assert ids(connection, name) == list(range(500))


def test_ingest_that_fails_on_the_way_leaves_nothing(connection, name):
    def batches():
        yield small(1).to_batches()[0]
        raise ValueError("the source broke")

    reader = pa.RecordBatchReader.from_batches(small(1).schema, batches())
    with pytest.raises(Exception, match="the source broke"):
        ingest(connection, name, reader, "create")
    check_error(lambda: ids(connection, name), NOT_FOUND, "42P01")


def test_ingest_into_a_schema_that_is_named(connection, name):
    ingest(connection, name, small(1), "create", catalog_name="vatic", db_schema_name="public")
    assert ids(connection, f"vatic.public.{name}") == [1]


def test_ingest_into_an_unknown_schema_is_not_found(connection, name):
    check_error(lambda: ingest(connection, name, small(1), "create", db_schema_name="nowhere"), NOT_FOUND)


def test_name_of_an_ingested_table_keeps_its_case(connection, name):
    ingest(connection, f"{name} Mixed", small(1), "create")
    assert ids(connection, f'"{name} Mixed"') == [1]


@pytest.mark.parametrize("mode", MODES)
def test_temporary_table_is_ingested_in_every_mode(connection, name, mode):
    ingest(connection, name, small(-5, -6), "create")
    ingest(connection, name, small(-1), "create", temporary=True)
    if mode == "create":
        check_error(lambda: ingest(connection, name, small(1), mode, temporary=True), ALREADY_EXISTS, "42P07")
    else:
        assert ingest(connection, name, small(1, 2), mode, temporary=True) == 2
        assert ids(connection, name) == ([1, 2] if mode == "replace" else [-1, 1, 2])
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {name}")
    assert ids(connection, name) == [-6, -5]


def test_temporary_table_is_seen_by_its_session_only(start, name):
    server = start()
    cookies = {"adbc.flight.sql.rpc.with_cookie_middleware": "true"}
    with server.connect(**cookies) as one, server.connect(**cookies) as other:
        ingest(one, name, small(1, 2), "create", temporary=True)
        assert ids(one, name) == [1, 2]
        check_error(lambda: ids(other, name), NOT_FOUND, "42P01")
        ingest(one, name, small(3), "append")
        assert ids(one, name) == [1, 2, 3]


COLUMNS = {
    "int8": pa.array([1, None], pa.int8()),
    "uint32": pa.array([1, None], pa.uint32()),
    "float32": pa.array([1.5, None], pa.float32()),
    "boolean": pa.array([True, None]),
    "decimal": pa.array([None, 5], pa.decimal128(12, 2)),
    "date": pa.array([19000, None], pa.date32()),
    "timestamp": pa.array([1709210096789000, None], pa.timestamp("us")),
    "timestamp_tz": pa.array([1709210096789000, None], pa.timestamp("us", "UTC")),
    "large_string": pa.array(["x", None], pa.large_string()),
    "string_view": pa.array(["longer than twelve bytes", None], pa.string_view()),
    "dictionary": pa.array(["x", None]).dictionary_encode(),
    "binary": pa.array([b"\x00", None]),
    "list": pa.array([[1, None], None]),
    "fixed_size_list": pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2)),
    "struct": pa.array([{"a": 1, "b": "x"}, None]),
    "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_ingested_column_comes_back_as_it_went(connection, name, kind):
    table = pa.table({"i": [0, 1], "v": COLUMNS[kind]})
    assert ingest(connection, name, table, "create") == 2
    assert query(connection, f"SELECT v FROM {name} ORDER BY i")["v"].to_pylist() == COLUMNS[kind].to_pylist()


# Files


@pytest.fixture
def files(tmp_path):
    """A directory with a Parquet table, and a secret file beside it."""
    (tmp_path / "root").mkdir()
    pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "root" / "t.parquet")
    pq.write_table(pa.table({"a": [42]}), tmp_path / "secret.parquet")
    (tmp_path / "root" / "link.parquet").symlink_to(tmp_path / "secret.parquet")
    return tmp_path


def external(location):
    return f"CREATE EXTERNAL TABLE e STORED AS PARQUET LOCATION '{location}'"


FILE_STATEMENTS = [
    external("{file}"),
    external("file://{file}"),
    external("http://127.0.0.1:1/t.parquet"),
    "COPY (SELECT 1 AS a) TO '{folder}/out.parquet'",
    "COPY (SELECT 1 AS a) TO '{folder}/out.csv'",
    "SELECT * FROM '{file}'",
]


@pytest.mark.parametrize("statement", FILE_STATEMENTS)
def test_without_a_root_no_file_is_touched(start, files, statement):
    sql = statement.format(file=files / "root" / "t.parquet", folder=files)
    with start().connect() as connection:
        # A quoted path is a table name unless paths are allowed, so the error may also be an unknown table.
        codes = (PERMISSION_DENIED, NOT_FOUND) if sql.startswith("SELECT") else PERMISSION_DENIED
        check_error(lambda: execute(connection, sql), codes)
    assert not list(files.glob("out.*"))


def test_permission_error_has_its_code(start, files):
    with start().connect() as connection:
        check_error(lambda: execute(connection, external(files / "secret.parquet")), PERMISSION_DENIED, "42501")


def test_file_below_a_root_is_read(start, files):
    with start("--root", files / "root").connect() as connection:
        execute(connection, external(files / "root" / "t.parquet"))
        assert ids(connection, "e") == [1, 2]


def test_roots_may_be_many(start, files):
    (files / "more").mkdir()
    pq.write_table(pa.table({"a": [3]}), files / "more" / "t.parquet")
    with start("--root", files / "root", "--root", files / "more").connect() as connection:
        execute(connection, external(files / "more" / "t.parquet"))
        assert ids(connection, "e") == [3]


@pytest.mark.parametrize("path", ["secret.parquet", "root/../secret.parquet", "root/link.parquet", "", "root-beside"])
def test_file_beside_a_root_is_not_read(start, files, path):
    (files / "root-beside").mkdir()
    pq.write_table(pa.table({"a": [42]}), files / "root-beside" / "t.parquet")
    with start("--root", files / "root").connect() as connection:

        def read():
            execute(connection, external(files / path))
            ids(connection, "e")

        check_error(read, PERMISSION_DENIED)


def test_link_out_of_a_root_is_not_followed_in_a_folder(start, files):
    """A table over a folder must not read a file outside through a link in the folder."""
    with start("--root", files / "root").connect() as connection:
        try:
            execute(connection, external(f"{files / 'root'}/"))
            assert 42 not in ids(connection, "e")
        except connection.Error as error:
            assert code_of(error) == PERMISSION_DENIED, error
