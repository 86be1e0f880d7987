"""What belongs to one session, and what other sessions see."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import INVALID_ARGUMENT, NOT_FOUND, check_error, connect, execute, query, rows, value
from wire import Wire, field, fields

OPTION = "adbc.flight.sql.session.option."


def setting(connection, name):
    """The value of a setting, from SHOW."""
    [shown] = query(connection, f"SHOW {name}")["value"].to_pylist()
    return shown


def set_option(connection, name, text):
    connection.adbc_connection.set_options(**{OPTION + name: text})


def options(connection):
    return json.loads(connection.adbc_connection.get_option("adbc.flight.sql.session.options"))


def test_setting_lasts_for_the_session(connection):
    execute(connection, "SET vatic.batch_size = 17")
    assert setting(connection, "vatic.batch_size") == "17"


def test_setting_of_one_session_is_not_in_another(connection, other):
    execute(connection, "SET datafusion.execution.batch_size = 19")
    execute(other, "SET datafusion.execution.batch_size = 23")
    assert setting(connection, "datafusion.execution.batch_size") == "19"
    assert setting(other, "datafusion.execution.batch_size") == "23"


def test_two_sessions_of_one_user_do_not_mix(start, users):
    server = start("--users", users.path)
    credentials = {"username": "ada", "password": "lovelace"}
    with server.connect(**credentials) as one, server.connect(**credentials) as two:
        execute(one, "SET vatic.batch_size = 17")
        assert setting(two, "vatic.batch_size") == "8192"


def test_cookies_keep_sessions_without_handshake_apart(server):
    cookies = {"adbc.flight.sql.rpc.with_cookie_middleware": "true"}
    with connect(server.uri, **cookies) as one, connect(server.uri, **cookies) as two:
        execute(one, "SET vatic.batch_size = 17")
        assert setting(one, "vatic.batch_size") == "17"
        assert setting(two, "vatic.batch_size") == "8192"


def test_connections_without_handshake_or_cookies_have_sessions_of_their_own(server):
    with connect(server.uri) as one, connect(server.uri) as two:
        execute(one, "SET vatic.batch_size = 17")
        execute(one, "CREATE TEMPORARY TABLE mine AS SELECT 1 AS a")
        execute(two, "CREATE TEMPORARY TABLE mine AS SELECT 2 AS a")
        assert (setting(one, "vatic.batch_size"), value(one, "SELECT a FROM mine")) == ("17", 1)
        assert (setting(two, "vatic.batch_size"), value(two, "SELECT a FROM mine")) == ("8192", 2)


def test_connection_that_closes_ends_nothing_of_others(server, name):
    def insert(number):
        with connect(server.uri) as own:
            for row in range(10):
                execute(own, f"INSERT INTO {name} VALUES ({number * 100 + row})")

    with connect(server.uri) as stays, ThreadPoolExecutor(8) as pool:
        execute(stays, f"CREATE TABLE {name} (a BIGINT)")
        execute(stays, "CREATE TEMPORARY TABLE mine AS SELECT 1 AS a")
        with stays.cursor() as cursor:
            slow = "SELECT count(*) FROM generate_series(1, 20000) a, generate_series(1, 10000) b WHERE a.value % 7 = b.value % 11"
            counting = pool.submit(lambda: cursor.execute(slow).fetchone())
            list(pool.map(insert, range(7)))
            assert counting.result()[0] > 0
        assert value(stays, f"SELECT count(*) FROM {name}") == 70
        assert value(stays, "SELECT a FROM mine") == 1


def test_table_of_one_client_is_seen_by_another(connection, other, name):
    execute(connection, f"CREATE TABLE {name} AS SELECT 5 AS a")
    assert value(other, f"SELECT a FROM {name}") == 5
    execute(other, f"INSERT INTO {name} VALUES (6)")
    assert rows(connection, f"SELECT a FROM {name} ORDER BY a") == [(5,), (6,)]


def test_dropped_table_is_gone_for_another_client(connection, other, name):
    execute(connection, f"CREATE TABLE {name} AS SELECT 5 AS a")
    assert value(other, f"SELECT a FROM {name}") == 5
    execute(connection, f"DROP TABLE {name}")
    check_error(lambda: value(other, f"SELECT a FROM {name}"), NOT_FOUND, "42P01")


def test_current_catalog_and_schema_are_known(connection):
    assert connection.adbc_current_catalog == "vatic"
    assert connection.adbc_current_db_schema == "public"


def test_schema_of_the_session_is_where_names_are_looked_up(connection):
    connection.adbc_current_db_schema = "information_schema"
    assert connection.adbc_current_db_schema == "information_schema"
    assert value(connection, "SELECT count(*) FROM schemata WHERE schema_name = 'public'") == 1


def test_schema_of_one_session_is_not_that_of_another(connection, other):
    connection.adbc_current_db_schema = "ml"
    assert other.adbc_current_db_schema == "public"


def test_catalog_can_be_set_to_itself(connection):
    connection.adbc_current_catalog = "vatic"
    assert value(connection, "SELECT 1") == 1


def test_unknown_catalog_is_an_error(connection):
    with pytest.raises(connection.Error):
        connection.adbc_current_catalog = "nowhere"
    assert connection.adbc_current_catalog == "vatic"


def test_unknown_schema_is_an_error(connection):
    with pytest.raises(connection.Error):
        connection.adbc_current_db_schema = "nowhere"
    assert connection.adbc_current_db_schema == "public"


@pytest.mark.parametrize("name", ["vatic.batch_size", "datafusion.execution.batch_size"])
def test_session_option_is_a_setting(connection, name):
    set_option(connection, name, "29")
    assert setting(connection, name) == "29"
    assert str(options(connection)[name]) == "29"


def test_session_option_tells_what_set_did(connection):
    execute(connection, "SET vatic.batch_size = 31")
    assert str(options(connection)["vatic.batch_size"]) == "31"


@pytest.mark.parametrize("compression", ["lz4", "zstd", "none"])
def test_results_are_compressed_on_request(connection, compression):
    assert options(connection)["compression"] == "none"
    set_option(connection, "compression", compression)
    assert options(connection)["compression"] == compression
    numbers = query(connection, "SELECT value % 7 AS n, 'always the same' AS t FROM generate_series(1, 100000) ORDER BY value")
    assert numbers["n"].to_pylist() == [number % 7 for number in range(1, 100001)]
    assert set(numbers["t"].to_pylist()) == {"always the same"}


def test_unknown_compression_is_a_wrong_value(server):
    assert option_error(server, "compression", "gzip") == [2]


def test_boolean_session_option_is_a_setting(connection):
    key = "adbc.flight.sql.session.optionbool.datafusion.optimizer.prefer_hash_join"
    connection.adbc_connection.set_options(**{key: "false"})
    assert setting(connection, "datafusion.optimizer.prefer_hash_join") == "false"


def test_erased_session_option_has_its_default(connection):
    set_option(connection, "vatic.batch_size", "29")
    connection.adbc_connection.set_options(**{"adbc.flight.sql.session.optionerase.vatic.batch_size": ""})
    assert setting(connection, "vatic.batch_size") == "8192"


def option_error(server, name, text):
    """The error code of the server for an option: 1 is a wrong name, 2 a wrong value."""
    entry = field(1, name) + field(2, field(1, text))
    answer = Wire(server).action("SetSessionOptions", field(1, entry))
    [error] = fields(answer)[1]
    found = fields(error)
    assert found[1] == [name.encode()]
    return fields(found[2][0])[1]


def test_unknown_session_option_is_a_wrong_name(server):
    assert option_error(server, "vatic.nonsense", "1") == [1]
    assert option_error(server, "nonsense", "1") == [1]


def test_session_option_that_is_no_number_is_a_wrong_value(server):
    assert option_error(server, "vatic.batch_size", "many") == [2]


def test_unknown_catalog_is_a_wrong_value(server):
    assert option_error(server, "catalog", "nowhere") == [2]


def test_set_of_an_unknown_setting_is_an_error(connection):
    check_error(lambda: execute(connection, "SET vatic.nonsense = 1"), INVALID_ARGUMENT)


def test_closed_session_answers_that_it_is_closed(server):
    assert fields(Wire(server).action("CloseSession"))[1] == [1]


def test_session_of_a_connection_answers_that_it_ends_with_that(server):
    assert fields(Wire(server, user=None).action("CloseSession"))[1] == [2]


def test_eight_clients_at_once_get_their_own_results(server):
    def work(number):
        with server.connect(username=f"user{number}", password="x") as connection:
            execute(connection, f"SET vatic.batch_size = {number + 1}")
            sums = {value(connection, f"SELECT sum(value * {number}) FROM generate_series(1, 1000)") for _ in range(10)}
            return sums, setting(connection, "vatic.batch_size")

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(8)))
    assert results == [({500500 * number}, str(number + 1)) for number in range(8)]


def test_two_results_of_one_connection_are_read_alternately(connection):
    with connection.cursor() as one, connection.cursor() as two:
        first = one.execute("SELECT value FROM generate_series(1, 50000)").fetch_record_batch()
        second = two.execute("SELECT value FROM generate_series(100001, 150000)").fetch_record_batch()
        pairs = list(zip(first, second))
        assert sum(a.num_rows for a, _ in pairs) == sum(b.num_rows for _, b in pairs) == 50000
        assert all(max(a["value"].to_pylist()) < min(b["value"].to_pylist()) for a, b in pairs)
