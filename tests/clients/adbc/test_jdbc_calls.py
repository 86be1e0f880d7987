"""Single calls of the JDBC driver that differ from the calls of the ADBC driver."""

import datetime

import pyarrow as pa
import pytest
from pyarrow import flight

from harness import execute, rows, value
from wire import Wire, any_of, field, fields, schema_of


@pytest.fixture(scope="module")
def wire(server):
    return Wire(server)


UPDATES = [
    "CREATE TABLE t (a INT)",
    "CREATE TABLE t AS SELECT 1 AS a",
    "CREATE VIEW v AS SELECT 1 AS a",
    "DROP TABLE IF EXISTS t",
    "SET vatic.batch_size = 17",
    "DROP MODEL IF EXISTS m",
]
QUERIES = [
    "SELECT 1",
    "EXPLAIN SELECT 1",
    "SHOW TABLES",
    "SHOW vatic.batch_size",
    "SHOW MODELS",
    "VALUES (1)",
    "TRAIN MODEL m OPTIONS (model_type = 'linear_reg') AS SELECT value AS a, value AS label FROM generate_series(1, 9)",
]


@pytest.mark.parametrize("sql", UPDATES)
def test_statement_without_result_is_prepared_as_an_update(wire, sql):
    prepared = wire.prepare(sql)
    assert prepared.result_schema == b"" or len(schema_of(prepared.result_schema)) == 0
    assert prepared.is_update in (1, None)


def test_insert_is_prepared_as_an_update(wire, connection, name):
    execute(connection, f"CREATE TABLE {name} (a INT)")
    prepared = wire.prepare(f"INSERT INTO {name} VALUES (?)")
    assert prepared.result_schema == b"" or len(schema_of(prepared.result_schema)) == 0
    assert len(schema_of(prepared.parameter_schema)) == 1


@pytest.mark.parametrize("sql", QUERIES)
def test_statement_with_result_is_prepared_as_a_query(wire, sql):
    prepared = wire.prepare(sql)
    assert len(schema_of(prepared.result_schema)) > 0
    assert prepared.is_update in (0, None)


def test_prepared_update_without_parameters_runs_once(wire, connection, name):
    assert wire.run_update(wire.prepare(f"CREATE TABLE {name} (a INT)")) == 0
    assert wire.run_update(wire.prepare(f"INSERT INTO {name} VALUES (1), (2)")) == 2
    assert rows(connection, f"SELECT a FROM {name} ORDER BY a") == [(1,), (2,)]


def test_batch_of_prepared_updates_gives_one_count(wire, connection, name):
    execute(connection, f"CREATE TABLE {name} (a INT, b VARCHAR)")
    prepared = wire.prepare(f"INSERT INTO {name} VALUES (?, ?)")
    batch = pa.record_batch({"first": pa.array([1, 2, 3], pa.int32()), "second": ["x", None, "z"]})
    assert wire.run_update(prepared, batch) == 3
    assert rows(connection, f"SELECT * FROM {name} ORDER BY a") == [(1, "x"), (2, None), (3, "z")]


def test_bound_query_keeps_its_handle(wire):
    """The driver closes only the last handle, so a new handle would leak the old one."""
    prepared = wire.prepare("SELECT ? + 1 AS a")
    batch = pa.record_batch({"p": pa.array([41])})
    answer = wire.put("CommandPreparedStatementQuery", field(1, prepared.handle), batch)
    [handle] = fields(answer).get(1, [prepared.handle])
    assert handle == prepared.handle
    assert wire.run_query(prepared).to_pydict() == {"a": [42]}


def test_timestamp_in_milliseconds_is_bound_to_a_finer_column(wire, connection, name):
    """The driver supports no other unit."""
    execute(connection, f"CREATE TABLE {name} (t TIMESTAMP)")
    moment = datetime.datetime(2024, 2, 29, 12, 34, 56, 789000)
    prepared = wire.prepare(f"INSERT INTO {name} VALUES (?)")
    wire.run_update(prepared, pa.record_batch({"p": pa.array([moment], pa.timestamp("ms"))}))
    assert value(connection, f"SELECT t FROM {name}") == moment


def test_type_of_a_bare_parameter_is_one_that_can_be_bound(wire):
    [parameter] = schema_of(wire.prepare("SELECT ?").parameter_schema)
    assert parameter.type == pa.string() and parameter.nullable


def test_column_of_the_type_null_is_bound(wire):
    prepared = wire.prepare("SELECT value FROM generate_series(1, 3) WHERE value = ? OR ? IS NULL")
    batch = pa.record_batch({"0": pa.nulls(1), "1": pa.nulls(1)})
    wire.put("CommandPreparedStatementQuery", field(1, prepared.handle), batch)
    assert sorted(wire.run_query(prepared)["value"].to_pylist()) == [1, 2, 3]


def test_closing_a_statement_twice_is_fine(wire):
    prepared = wire.prepare("SELECT 1")
    request = any_of("ActionClosePreparedStatementRequest", field(1, prepared.handle))
    for _ in range(2):
        list(wire.client.do_action(flight.Action("ClosePreparedStatement", request), wire.options))


def test_closed_statement_is_not_found(wire):
    prepared = wire.prepare("SELECT 1")
    request = any_of("ActionClosePreparedStatementRequest", field(1, prepared.handle))
    list(wire.client.do_action(flight.Action("ClosePreparedStatement", request), wire.options))
    with pytest.raises(KeyError):  # pyarrow's NOT_FOUND
        wire.run_query(prepared)


def test_prepared_statement_of_another_user_is_not_found(start, users):
    users.add("eve", "apple")
    server = start("--users", users.path)
    prepared = Wire(server, ("ada", "lovelace")).prepare("SELECT 42 AS secret")
    with pytest.raises((flight.FlightError, pa.ArrowException)):
        Wire(server, ("eve", "apple")).run_query(prepared)


@pytest.mark.parametrize(
    "ticket", [b"", b"nonsense", any_of("TicketStatementQuery", field(1, "nonsense")), any_of("Nonsense")]
)
def test_nonsense_in_a_ticket_is_an_error(wire, ticket):
    with pytest.raises((flight.FlightError, pa.ArrowException)):
        wire.read(flight.Ticket(ticket))


def test_statement_with_an_effect_runs_once_however_often_its_result_is_read(wire, connection, name):
    execute(connection, f"CREATE TABLE {name} (a INT)")
    info = wire.info("CommandStatementQuery", field(1, f"INSERT INTO {name} VALUES (1)"))
    for endpoint in info.endpoints * 2:
        try:
            wire.read(endpoint.ticket)
        except (flight.FlightError, pa.ArrowException):
            pass  # The server may remove a result once it is read.
    assert value(connection, f"SELECT count(*) FROM {name}") == 1


def test_cancelled_flight_is_gone(wire):
    info = wire.info("CommandStatementQuery", field(1, "SELECT value FROM generate_series(1, 1000000000000)"))
    status = fields(wire.action("CancelFlightInfo", field(1, info.serialize())))[1]
    assert status in ([1], [2])  # cancelled, cancelling
    [endpoint] = info.endpoints
    with pytest.raises((flight.FlightError, pa.ArrowException)):
        wire.read(endpoint.ticket)
