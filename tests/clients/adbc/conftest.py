"""Fixtures for servers and connections: real Python clients against `vatic serve`.

To run them: pip install -r requirements.txt, then VATIC_BIN=path/to/vatic pytest.
Every server must survive its test, or the test fails.
"""

import itertools
import threading

import pytest

from harness import DATA, Server, Users

# If a test takes longer, its servers are killed, so that it fails instead of hanging.
TEST_LIMIT_S = 60

SERVERS = []


@pytest.fixture(scope="session", autouse=True)
def end_of_servers():
    """Kills all servers after the tests."""
    yield
    for server in SERVERS:
        server.kill()


@pytest.fixture(autouse=True)
def survival():
    """Fails a test in which a server ends unexpectedly or panics."""
    timer = threading.Timer(TEST_LIMIT_S, lambda: [server.process.kill() for server in SERVERS])
    timer.daemon = True
    timer.start()
    yield
    timer.cancel()
    for server in SERVERS:
        try:
            server.check_alive()
        except AssertionError:
            server.relaunch()
            raise


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A server without users, shared by all tests; it may read the data of the SQL tests."""
    shared = Server(tmp_path_factory.mktemp("shared"), "--root", DATA)
    SERVERS.append(shared)
    return shared


@pytest.fixture
def start(tmp_path):
    """Starts servers with their own flags; they end with the test."""
    started = []

    def start(*flags, **options):
        new = Server(tmp_path / f"server{len(started)}", *flags, **options)
        started.append(new)
        SERVERS.append(new)
        return new

    yield start
    for one in started:
        try:
            one.check_alive()
        finally:
            SERVERS.remove(one)
            one.kill()


@pytest.fixture
def connection(server):
    """A session on the shared server."""
    with server.connect() as connection:
        yield connection


@pytest.fixture
def other(server):
    """A second session on the shared server."""
    with server.connect() as connection:
        yield connection


@pytest.fixture
def cursor(connection):
    """A cursor on the shared server."""
    with connection.cursor() as cursor:
        yield cursor


@pytest.fixture
def users(tmp_path):
    """A file of users with ada, whose password is lovelace."""
    file = Users(tmp_path / "users")
    file.add("ada", "lovelace")
    return file


NUMBERS = itertools.count()


@pytest.fixture
def name():
    """A name for a table or model that no other test uses."""
    return f"name_{next(NUMBERS)}"
