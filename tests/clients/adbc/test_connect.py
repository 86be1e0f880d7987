"""Handshakes, passwords, tokens, TLS, and start and end of a server."""

import re
import shutil
import stat
import subprocess
import time

import pyarrow as pa
import pytest
from adbc_driver_flightsql import dbapi
from pyarrow import flight

from harness import (
    NOT_FOUND,
    UNAUTHENTICATED,
    UNAVAILABLE,
    check_error,
    code_of,
    connect,
    cursor_of,
    execute,
    query,
    rows,
    run,
    value,
    within,
)
from wire import Wire, any_of, field


def login(server, name, password):
    """Connects and runs a query; the driver logs in with the query at the latest."""
    with server.connect(username=name, password=password) as connection:
        return value(connection, "SELECT 1")


def with_token(server, token):
    """A connection with a token, which makes no handshake."""
    return server.connect(**{"adbc.flight.sql.authorization_header": f"Bearer {token}"})


# Without users


def test_first_line_names_version_and_address(server, tmp_path):
    version = run(tmp_path, "--version").stdout.split()[-1]
    assert re.fullmatch(rf"vatic {re.escape(version)} listens at grpc://127\.0\.0\.1:\d+", server.first_line)


def test_without_users_no_handshake_is_needed(server):
    with connect(server.uri) as connection:
        assert value(connection, "SELECT 1") == 1


def test_without_users_any_handshake_will_do(server):
    assert login(server, "whoever", "whatever") == 1


def test_address_that_others_reach_needs_users(tmp_path):
    done = run(tmp_path, "serve", "--listen", "0.0.0.0:0", "--data-dir", tmp_path / "data")
    assert done.returncode > 0
    assert "users" in done.stderr


# Passwords


def test_file_of_users_is_private_and_has_no_password(users):
    assert stat.S_IMODE(users.path.stat().st_mode) == 0o600
    assert "lovelace" not in users.path.read_text()


@pytest.mark.parametrize("password", ["lovelace1", "lovelace12", "lovelace123"])
def test_login_works_whatever_base64_padding_is_missing(start, users, password):
    users.add("bob", password)
    assert login(start("--users", users.path), "bob", password) == 1


def test_password_may_have_colons_and_umlauts(start, users):
    users.add("bob", "pass:wörd: ")
    assert login(start("--users", users.path), "bob", "pass:wörd: ") == 1


def test_wrong_password_is_unauthenticated(start, users):
    server = start("--users", users.path)
    check_error(lambda: login(server, "ada", "wrong"), UNAUTHENTICATED)


def test_unknown_user_gets_the_words_of_a_wrong_password(start, users):
    server = start("--users", users.path)
    wrong = check_error(lambda: login(server, "ada", "wrong"), UNAUTHENTICATED)
    unknown = check_error(lambda: login(server, "eve", "wrong"), UNAUTHENTICATED)
    assert unknown == wrong


def test_empty_password_is_unauthenticated(start, users):
    server = start("--users", users.path)
    check_error(lambda: login(server, "ada", ""), UNAUTHENTICATED)


def test_no_handshake_is_unauthenticated(start, users):
    server = start("--users", users.path)
    with connect(server.uri) as connection:
        check_error(lambda: value(connection, "SELECT 1"), UNAUTHENTICATED)


CALLS = {
    "get_flight_info": lambda wire: wire.info("CommandStatementQuery", field(1, "SELECT 1")),
    "get_schema": lambda wire: wire.schema("CommandStatementQuery", field(1, "SELECT 1")),
    "do_get": lambda wire: wire.read(flight.Ticket(any_of("CommandGetTableTypes"))),
    "do_put": lambda wire: wire.put(
        "CommandStatementUpdate",
        field(1, "CREATE TABLE stolen (a INT)"),
        pa.RecordBatch.from_arrays([], schema=pa.schema([])),
    ),
    "do_action": lambda wire: wire.prepare("SELECT 1"),
    "list_actions": lambda wire: list(wire.client.list_actions(wire.options)),
    "list_flights": lambda wire: list(wire.client.list_flights(b"", wire.options)),
}


@pytest.mark.parametrize("call", CALLS)
def test_no_call_works_without_a_token(start, users, call):
    wire = Wire(start("--users", users.path), user=None)
    # pyarrow raises its own exception for some calls, and OSError for others.
    with pytest.raises((flight.FlightError, OSError), match="(?i)unauthenticated"):
        CALLS[call](wire)


# Tokens


def test_static_token_needs_no_handshake(start, users):
    token = users.token("ada")
    with with_token(start("--users", users.path), token) as connection:
        assert value(connection, "SELECT 1") == 1


def test_static_token_is_printed_alone(users):
    assert re.fullmatch(r"\S{20,}", users.token("ada"))


@pytest.mark.parametrize(
    "change", [lambda token: "", lambda token: token[:-1], lambda token: token + "x", str.swapcase]
)
def test_changed_token_is_unauthenticated(start, users, change):
    token = users.token("ada")
    with with_token(start("--users", users.path), change(token)) as connection:
        check_error(lambda: value(connection, "SELECT 1"), UNAUTHENTICATED)


def test_token_of_a_handshake_lives_while_it_is_used_and_expires_idle(start, users):
    server = start("--users", users.path, "--token-idle", 2)
    credentials = {"username": "ada", "password": "lovelace"}
    with server.connect(**credentials) as used, server.connect(**credentials) as idle:
        assert value(idle, "SELECT 1") == 1
        for _ in range(8):
            assert value(used, "SELECT 1") == 1
            time.sleep(0.5)
        check_error(lambda: value(idle, "SELECT 1"), UNAUTHENTICATED)


def test_static_token_does_not_expire_idle(start, users):
    token = users.token("ada")
    with with_token(start("--users", users.path, "--token-idle", 1), token) as connection:
        assert value(connection, "SELECT 1") == 1
        time.sleep(2)
        assert value(connection, "SELECT 1") == 1


def test_ticket_is_useless_to_another_user(start, users):
    users.add("eve", "apple")
    server = start("--users", users.path)
    ada, eve = Wire(server, ("ada", "lovelace")), Wire(server, ("eve", "apple"))
    [endpoint] = ada.info("CommandStatementQuery", field(1, "SELECT 42 AS secret")).endpoints
    with pytest.raises((flight.FlightError, pa.ArrowException)):
        eve.read(endpoint.ticket)
    assert ada.read(endpoint.ticket).to_pydict() == {"secret": [42]}


# TLS


@pytest.fixture
def certificates(tmp_path):
    """Certificates of a root, of a server at 127.0.0.1 and of a client, created as files by openssl."""
    if not shutil.which("openssl"):
        pytest.skip("there is no openssl to make certificates with")
    folder = tmp_path / "certificates"
    folder.mkdir()

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *key, "-days", "2", "-subj", "/CN=root", "-keyout", "root.key", "-out", "root.pem")
    for who, extension in [
        ("server", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
        ("client", "extendedKeyUsage=clientAuth"),
    ]:
        openssl("req", *key, "-subj", f"/CN={who}", "-keyout", f"{who}.key", "-out", f"{who}.csr")
        (folder / f"{who}.ext").write_text(f"basicConstraints=CA:FALSE\n{extension}\n")
        openssl(
            *["x509", "-req", "-in", f"{who}.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial"],
            *["-days", "2", "-extfile", f"{who}.ext", "-out", f"{who}.pem"],
        )
    return folder


def tls_flags(certificates):
    return ["--tls-cert", certificates / "server.pem", "--tls-key", certificates / "server.key"]


def root_of(certificates):
    return {"adbc.flight.sql.client_option.tls_root_certs": (certificates / "root.pem").read_text()}


def test_tls_works_with_the_root_certificate(start, users, certificates):
    server = start("--users", users.path, *tls_flags(certificates))
    assert server.uri.startswith("grpc+tls://")
    with server.connect(username="ada", password="lovelace", **root_of(certificates)) as connection:
        assert value(connection, "SELECT 1") == 1


def test_tls_without_the_root_certificate_is_refused_by_the_client(start, certificates):
    server = start(*tls_flags(certificates))
    text = check_error(lambda: within(20, lambda: login(server, "a", "b")), UNAVAILABLE)
    assert "certificate" in text


def test_tls_without_verification_works(start, certificates):
    server = start(*tls_flags(certificates))
    options = {"adbc.flight.sql.client_option.tls_skip_verify": "true"}
    with server.connect(**options) as connection:
        assert value(connection, "SELECT 1") == 1


def test_plaintext_client_of_a_tls_server_gets_an_error(start, certificates):
    server = start(*tls_flags(certificates))

    def attempt():
        with connect(server.uri.replace("grpc+tls://", "grpc://"), username="a", password="b") as connection:
            value(connection, "SELECT 1")

    check_error(lambda: within(20, attempt), UNAVAILABLE)


def test_client_without_certificate_is_refused_where_one_is_asked_for(start, certificates):
    server = start(*tls_flags(certificates), "--tls-client-ca", certificates / "root.pem")

    def attempt():
        with server.connect(**root_of(certificates)) as connection:
            value(connection, "SELECT 1")

    check_error(lambda: within(20, attempt), UNAVAILABLE)


def test_client_certificate_is_accepted(start, certificates):
    server = start(*tls_flags(certificates), "--tls-client-ca", certificates / "root.pem")
    options = root_of(certificates) | {
        "adbc.flight.sql.client_option.mtls_cert_chain": (certificates / "client.pem").read_text(),
        "adbc.flight.sql.client_option.mtls_private_key": (certificates / "client.key").read_text(),
    }
    with server.connect(**options) as connection:
        assert value(connection, "SELECT 1") == 1


# Begin and end


def test_sigterm_ends_with_code_0_though_a_client_is_connected(start):
    server = start()
    with server.connect() as connection:
        assert value(connection, "SELECT 1") == 1
        assert server.stop() == 0


def test_result_that_is_being_read_arrives_whole_after_sigterm(start):
    server = start()
    with server.connect() as connection, cursor_of(connection) as cursor:
        cursor.execute("SELECT value FROM generate_series(1, 3000000)")
        reader = cursor.fetch_record_batch()
        count = reader.read_next_batch().num_rows
        server.is_meant_to_run = False
        server.process.terminate()
        count += sum(batch.num_rows for batch in reader)
        assert count == 3000000
        # The connection is open, but no statement runs.
        assert server.process.wait(30) == 0


def test_new_call_to_a_server_that_has_ended_is_unavailable(start):
    server = start()
    with server.connect() as connection:
        assert value(connection, "SELECT 1") == 1
        server.stop()
        check_error(lambda: within(30, lambda: value(connection, "SELECT 1")), UNAVAILABLE)


def restart(start, server, *flags):
    """A server on the same data directory at the same address."""
    return start(*flags, data_dir=server.data_dir, listen=f"127.0.0.1:{server.port}")


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_tables_are_there_after_a_restart(start, end):
    server = start()
    with server.connect() as connection:
        execute(connection, "CREATE TABLE kept AS SELECT 7 AS a")
        execute(connection, "INSERT INTO kept VALUES (8)")
    getattr(server, end)()
    with restart(start, server).connect() as connection:
        assert rows(connection, "SELECT a FROM kept ORDER BY a") == [(7,), (8,)]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_token_from_before_a_restart_works(start, users, end):
    flags = ["--users", users.path]
    server = start(*flags)
    client = flight.FlightClient(server.uri.replace("grpc://", "grpc+tcp://"))
    _, bearer = client.authenticate_basic_token("ada", "lovelace")
    getattr(server, end)()
    server = restart(start, server, *flags)
    options = {"adbc.flight.sql.authorization_header": bearer.decode()}
    with server.connect(**options) as connection:
        assert value(connection, "SELECT 1") == 1


def test_connection_from_before_a_restart_does_not_hang(start):
    server = start()
    with server.connect() as connection:
        assert value(connection, "SELECT 1") == 1
        server.stop()
        restart(start, server)
        try:
            assert within(30, lambda: value(connection, "SELECT 1")) == 1
        except dbapi.Error as error:
            assert code_of(error) in (UNAUTHENTICATED, UNAVAILABLE, NOT_FOUND), error


def test_static_token_works_after_a_restart(start, users):
    flags = ["--users", users.path]
    server = start(*flags)
    token = users.token("ada")
    server.stop()
    with with_token(restart(start, server, *flags), token) as connection:
        assert value(connection, "SELECT 1") == 1


# Settings of the command line


def test_set_gives_every_session_a_setting(start):
    server = start("--set", "datafusion.execution.batch_size=33", "--set", "vatic.batch_size=44")
    for user in ["a", "b"]:
        with server.connect(username=user, password="c") as connection:
            assert query(connection, "SHOW datafusion.execution.batch_size")["value"].to_pylist() == ["33"]
            assert query(connection, "SHOW vatic.batch_size")["value"].to_pylist() == ["44"]
