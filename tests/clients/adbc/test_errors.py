"""Codes and texts of errors, cancelling, and limits of time and memory."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import (
    ALREADY_EXISTS,
    CANCELLED,
    DEADLINE_EXCEEDED,
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NOT_FOUND,
    RESOURCE_EXHAUSTED,
    UNIMPLEMENTED,
    check_error,
    execute,
    query,
    rows,
    value,
    wait_until,
    within,
)

# Codes

BAD_DATA = (INVALID_ARGUMENT, FAILED_PRECONDITION)

ERRORS = [
    ("SELEC 1", INVALID_ARGUMENT, "42601", "ProgrammingError"),
    ("SELECT 1 +", INVALID_ARGUMENT, "42601", "ProgrammingError"),
    ("SELECT * FROM nowhere", NOT_FOUND, "42P01", "ProgrammingError"),
    ("INSERT INTO nowhere VALUES (1)", NOT_FOUND, "42P01", "ProgrammingError"),
    ("DROP TABLE nowhere", NOT_FOUND, "42P01", "ProgrammingError"),
    ("SELECT b FROM (SELECT 1 AS a)", INVALID_ARGUMENT, "42703", "ProgrammingError"),
    ("SELECT * FROM predict(nobody, (SELECT 1 AS a))", NOT_FOUND, "42704", "ProgrammingError"),
    ("DROP MODEL nobody", NOT_FOUND, "42704", "ProgrammingError"),
    ("TRAIN MODEL m OPTIONS (model_type = 'oracle') AS SELECT 1 AS label, 2 AS a", INVALID_ARGUMENT, "22023", "ProgrammingError"),
    ("TRAIN MODEL m OPTIONS (model_type = 'linear_reg') AS SELECT 1 AS label, NULL::INT AS a", BAD_DATA, "22004", None),
    ("MERGE INTO existing USING (SELECT 1 AS b) AS e ON a = b WHEN MATCHED THEN DELETE", UNIMPLEMENTED, "0A000", "NotSupportedError"),
    ("CREATE TABLE existing (a INT)", ALREADY_EXISTS, "42P07", "ProgrammingError"),
    ("SELECT CAST(concat('x', value) AS INT) FROM generate_series(1, 2)", BAD_DATA, "22018", None),
    ("SELECT 1 / (value - 1) FROM generate_series(1, 2)", BAD_DATA, "22012", None),
    ("SELECT value + 9223372036854775807 FROM generate_series(1, 2)", BAD_DATA, "22003", None),
    ("SET vatic.batch_size = many", INVALID_ARGUMENT, "22023", "ProgrammingError"),
]  # fmt: skip


@pytest.fixture(scope="module")
def existing(server):
    """A table that exists already."""
    with server.connect() as connection:
        execute(connection, "CREATE TABLE existing (a INT)")


@pytest.mark.parametrize("sql, code, state, kind", ERRORS, ids=[sql for sql, *_ in ERRORS])
def test_error_has_its_codes_and_kind(connection, existing, sql, code, state, kind):
    check_error(lambda: rows(connection, sql), code, state)
    if kind:
        with pytest.raises(getattr(connection, kind)):
            rows(connection, sql)


def test_error_names_what_is_missing(connection):
    assert "nowhere" in check_error(lambda: rows(connection, "SELECT * FROM nowhere"), NOT_FOUND)


def test_model_that_exists_already_exists(connection, name):
    train = f"TRAIN MODEL {name} OPTIONS (model_type = 'linear_reg') AS SELECT value AS a, value AS label FROM generate_series(1, 50)"
    query(connection, train)
    check_error(lambda: query(connection, train), ALREADY_EXISTS, "42710")


def test_error_has_no_internals(connection):
    text = check_error(lambda: rows(connection, "SELECT * FROM nowhere"), NOT_FOUND)
    assert not any(word in text for word in ["DataFusionError", "backtrace", "Context(", "src/"])


def test_text_of_an_error_is_cut_before_it_breaks_the_protocol(connection):
    """The text travels in a header, whose size is limited."""
    text = check_error(
        lambda: rows(connection, f"SELECT {'n' * 200000} FROM (SELECT 1 AS a)"), INVALID_ARGUMENT, "42703"
    )
    assert len(text) < 10000


def test_table_with_a_name_too_long_for_a_file_is_not_found(connection, server):
    text = check_error(lambda: rows(connection, f"SELECT * FROM {'n' * 1000}"), NOT_FOUND, "42P01")
    assert str(server.data_dir) not in text


def test_text_of_an_error_keeps_letters_beyond_ascii(connection):
    assert "größe" in check_error(lambda: rows(connection, 'SELECT * FROM "größe"'), NOT_FOUND)


def test_connection_and_cursor_work_after_an_error(connection):
    with connection.cursor() as cursor:
        check_error(lambda: cursor.execute("SELECT * FROM nowhere"), NOT_FOUND)
        assert cursor.execute("SELECT 1").fetchall() == [(1,)]


def test_error_amid_the_stream_arrives_after_rows(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 / (value - 4000000) FROM generate_series(1, 5000000)")
        reader = cursor.fetch_record_batch()
        assert reader.read_next_batch().num_rows > 0

        def read_all():
            for _ in reader:
                pass

        with pytest.raises(Exception, match=r"division by zero.*\[22012\]"):
            read_all()
    assert value(connection, "SELECT 1") == 1


# Cancelling

# Statements that would compute for days, and one that would return rows for days.
ENDLESS = "SELECT sum(value % 7) FROM generate_series(1, 1000000000000)"
ENDLESS_QUERIES = {
    "aggregate": ENDLESS,
    "group": "SELECT value % 10, count(*) FROM generate_series(1, 1000000000000) GROUP BY 1",
    "hash_join": """
        SELECT count(*) FROM generate_series(1, 100) a JOIN generate_series(1, 1000000000000) b ON a.value = b.value""",
    "nested_loop_join": """
        SELECT count(*) FROM generate_series(1, 1000000) a CROSS JOIN generate_series(1, 1000000) b
        WHERE a.value * b.value = -1""",
    "cross_join": "SELECT count(a.value + b.value) FROM generate_series(1, 1000000) a CROSS JOIN generate_series(1, 1000000) b",
}
ENDLESS_ROWS = "SELECT value FROM generate_series(1, 1000000000000)"
ENDLESS_TRAINING = """
    TRAIN MODEL {name} TARGET y
    OPTIONS (model_type = 'dnn_regressor', epochs = 1000000, early_stop = false)
    AS SELECT value AS x, value * value AS y FROM generate_series(1, 20000)"""

# Processor time that may pass until all work has stopped: one second on two cores.
STOP_CPU_S = 2.0


def check_stopped(server):
    """Checks that all work ends soon, and that the server answers."""
    try:
        assert server.cpu_s_until_idle() < STOP_CPU_S
    except AssertionError:
        server.relaunch()  # Work that still runs would disturb later tests.
        raise
    with server.connect() as connection:
        assert within(10, lambda: value(connection, "SELECT 1")) == 1


def cancel_when_busy(server, cursor):
    """Cancels from another thread once the server computes."""

    def work():
        server.wait_until_busy()
        cursor.adbc_cancel()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def check_cancelled(server, connection, sql):
    with connection.cursor() as cursor:
        thread = cancel_when_busy(server, cursor)
        check_error(lambda: within(30, lambda: cursor.execute(sql).fetchall()), CANCELLED)
        thread.join()
        check_stopped(server)


@pytest.mark.parametrize("kind", ENDLESS_QUERIES)
def test_cancelled_query_stops(server, connection, kind):
    check_cancelled(server, connection, ENDLESS_QUERIES[kind])


@pytest.mark.parametrize("kind", ENDLESS_QUERIES)
def test_long_query_leaves_room_for_others(server, connection, other, kind):
    with connection.cursor() as cursor:

        def ask_when_busy():
            server.wait_until_busy()
            try:
                return within(10, lambda: value(other, "SELECT 1"))
            finally:
                cursor.adbc_cancel()

        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(ask_when_busy)
            check_error(lambda: within(40, lambda: cursor.execute(ENDLESS_QUERIES[kind]).fetchall()), CANCELLED)
        try:
            assert asking.result() == 1
        finally:
            check_stopped(server)


def test_cancelled_statement_that_writes_stops_and_writes_nothing(server, connection, name):
    execute(connection, f"CREATE TABLE {name} (a BIGINT)")
    check_cancelled(server, connection, f"INSERT INTO {name} {ENDLESS}")
    assert value(connection, f"SELECT count(*) FROM {name}") == 0


def test_cancelled_training_stops_and_leaves_a_record_alone(server, connection, name):
    check_cancelled(server, connection, ENDLESS_TRAINING.format(name=name))
    assert query(connection, f"SHOW MODELS LIKE '{name}'").num_rows == 0
    runs = f"SELECT * FROM ml.training_runs WHERE model_name = '{name}'"
    wait_until(lambda: "cancel" in str(query(connection, runs).to_pylist()).lower(), "the run is on record")


def test_cancel_amid_a_fetch_stops(server, connection):
    with connection.cursor() as cursor:
        reader = cursor.execute(ENDLESS_ROWS).fetch_record_batch()
        reader.read_next_batch()
        cursor.adbc_cancel()

        def read_all():
            for _ in reader:
                pass

        with pytest.raises(Exception, match="(?i)cancel"):
            within(30, read_all)
        check_stopped(server)


def test_closing_a_cursor_amid_a_fetch_stops(server, connection):
    with connection.cursor() as cursor:
        cursor.execute(ENDLESS_ROWS)
        assert cursor.fetchone() == (1,)
    check_stopped(server)


def test_closing_a_connection_amid_a_fetch_stops(server):
    with server.connect() as connection:
        cursor = connection.cursor()
        cursor.execute(ENDLESS_ROWS)
        assert cursor.fetchone() == (1,)
    check_stopped(server)


def test_client_that_does_not_read_does_not_make_the_server_compute(server, connection):
    with connection.cursor() as cursor:
        cursor.execute(ENDLESS_ROWS)
        server.cpu_s_until_idle()
        assert cursor.fetchone() == (1,)


def test_cancelled_connection_can_go_on(server, connection):
    check_cancelled(server, connection, ENDLESS)
    assert value(connection, "SELECT 5") == 5


# Time

TIMEOUTS = {f"adbc.flight.sql.rpc.timeout_seconds.{what}": "1.0" for what in ["fetch", "query", "update"]}


@pytest.mark.parametrize("sql", [ENDLESS, ENDLESS_TRAINING], ids=["query", "training"])
def test_timeout_of_the_client_stops_the_server(server, name, sql):
    with server.connect(username="a", password="b", **TIMEOUTS) as connection:
        call = lambda: within(30, lambda: rows(connection, sql.format(name=name)))
        check_error(call, (DEADLINE_EXCEEDED, CANCELLED))
        check_stopped(server)


def test_timeout_of_an_update_stops_the_server(server, name):
    with server.connect(username="a", password="b", **TIMEOUTS) as connection, connection.cursor() as cursor:
        sql = ENDLESS_TRAINING.format(name=name)
        check_error(lambda: within(30, lambda: cursor.executescript(sql)), (DEADLINE_EXCEEDED, CANCELLED))
        check_stopped(server)


@pytest.fixture
def impatient(start):
    """A server with a time limit of one second for statements."""
    return start("--statement-timeout", 1, "--training-timeout", 1)


@pytest.mark.parametrize(
    "sql", [ENDLESS, ENDLESS_TRAINING, f"CREATE TABLE t AS {ENDLESS}"], ids=["query", "training", "write"]
)
def test_timeout_of_the_server_is_an_error_that_says_so(impatient, name, sql):
    with impatient.connect() as connection:
        call = lambda: within(30, lambda: rows(connection, sql.format(name=name)))
        check_error(call, (DEADLINE_EXCEEDED, CANCELLED), "57014")
        assert value(connection, "SELECT 1") == 1
    check_stopped(impatient)


def test_timeout_of_the_server_ends_a_stream(impatient):
    with impatient.connect() as connection, connection.cursor() as cursor:
        reader = cursor.execute(ENDLESS_ROWS).fetch_record_batch()

        def read_all():
            for _ in reader:
                pass

        with pytest.raises(Exception, match=r"\[57014\]"):
            within(30, read_all)
    check_stopped(impatient)


# Memory

# The join needs about 12 MB, briefly or for ever.
JOIN = "SELECT count(*) FROM generate_series(1, 500000) a JOIN generate_series(1, {rows}) b ON a.value = b.value"
SHORT_JOIN = JOIN.format(rows=500000)
ENDLESS_JOIN = JOIN.format(rows=1000000000000)


def test_statement_beyond_the_memory_limit_is_an_error(start):
    with start("--memory-limit", "4M").connect() as connection:
        check_error(lambda: rows(connection, SHORT_JOIN), RESOURCE_EXHAUSTED, "53200")
        assert value(connection, "SELECT 1") == 1


def test_cancelled_statement_gives_its_memory_back(start):
    server = start("--memory-limit", "16M", "--statement-memory", "16M")
    with server.connect() as connection, server.connect(username="b", password="b") as other:
        assert value(other, SHORT_JOIN) == 500000
        with connection.cursor() as cursor:
            thread = threading.Thread(
                target=lambda: pytest.raises(connection.Error, lambda: cursor.execute(ENDLESS_JOIN).fetchall())
            )
            thread.start()
            server.wait_until_busy()
            # The endless join holds its memory now.
            check_error(lambda: rows(other, SHORT_JOIN), RESOURCE_EXHAUSTED, "53200")
            cursor.adbc_cancel()
            thread.join(20)
            check_stopped(server)
        assert value(other, SHORT_JOIN) == 500000
