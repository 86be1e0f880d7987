"""Starts `vatic serve`, connects to it and runs SQL, for all tests."""

import contextlib
import os
import re
import select
import subprocess
import threading
import time
from pathlib import Path

import adbc_driver_flightsql.dbapi
import pytest

REPOSITORY = Path(__file__).parents[3]
DATA = REPOSITORY / "sql-tests" / "data"

START_S = 30
STOP_S = 30

# gRPC codes in the spelling of the driver.
CANCELLED = "Canceled"
INVALID_ARGUMENT = "InvalidArgument"
DEADLINE_EXCEEDED = "DeadlineExceeded"
NOT_FOUND = "NotFound"
ALREADY_EXISTS = "AlreadyExists"
PERMISSION_DENIED = "PermissionDenied"
RESOURCE_EXHAUSTED = "ResourceExhausted"
FAILED_PRECONDITION = "FailedPrecondition"
UNIMPLEMENTED = "Unimplemented"
UNAVAILABLE = "Unavailable"
UNAUTHENTICATED = "Unauthenticated"


def binary():
    """The program under test."""
    path = os.environ.get("VATIC_BIN")
    assert path, "set VATIC_BIN to the path of the vatic binary"
    return path


def environment(folder):
    """An environment without the user's own configuration."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("VATIC_")}
    return kept | {"XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}


def run(folder, *arguments, text=None):
    """Runs the program to its end; returns exit code and output."""
    return subprocess.run(
        [binary(), *(str(argument) for argument in arguments)],
        input=text,
        capture_output=True,
        check=False,
        text=True,
        timeout=START_S,
        env=environment(folder),
    )


class Server:
    """A running `vatic serve`, which logs to `self.log`."""

    def __init__(self, folder, *flags, data_dir=None, listen="127.0.0.1:0"):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.flags = flags
        self.data_dir = data_dir or folder / "data"
        self.log = folder / "log"
        self.launch(listen)

    def launch(self, listen):
        """Starts the process and waits until it accepts connections."""
        arguments = ["serve", "--listen", listen, "--data-dir", self.data_dir, *self.flags]
        self.process = subprocess.Popen(
            [binary(), *(str(argument) for argument in arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log.open("wb"),
            text=True,
            env=environment(self.folder),
        )
        self.is_meant_to_run = True
        self.first_line = self._first_line()
        self.uri = self.first_line.split()[-1]
        self.port = int(self.uri.rsplit(":", 1)[1])

    def _first_line(self):
        ready, _, _ = select.select([self.process.stdout], [], [], START_S)
        line = self.process.stdout.readline() if ready else ""
        if " listens at " not in line:
            self.kill()
            pytest.fail(f"vatic serve does not start: {line!r}\n{self.log.read_text()}")
        return line.strip()

    def relaunch(self):
        """Restarts the server at the same address, for the tests after one in which it died."""
        self.kill()
        self.launch(f"127.0.0.1:{self.port}")

    def connect(self, **options):
        """A connection with options of the database, by default with its own session."""
        return connect(self.uri, **(options or {"username": "someone", "password": "secret"}))

    def check_alive(self):
        """Fails if the process has ended, or a thread of it panicked."""
        if self.is_meant_to_run:
            code = self.process.poll()
            assert code is None, f"the server ended with code {code}\n{self.log.read_text()}"
        assert "panicked at" not in self.log.read_text(), self.log.read_text()

    def stop(self):
        """Asks the process to end; returns its exit code."""
        self.is_meant_to_run = False
        self.process.terminate()
        return self.process.wait(STOP_S)

    def kill(self):
        """Kills the process at once, as a power failure would."""
        self.is_meant_to_run = False
        self.process.kill()
        self.process.wait()

    def cpu_s(self):
        """Seconds of processor time used by the process."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wait_until_busy(self):
        """Waits until the process has computed for a while."""
        start_s = self.cpu_s()
        wait_until(lambda: self.cpu_s() - start_s > 0.3, "the server computes")

    def cpu_s_until_idle(self):
        """Waits until the process stops computing; returns the processor time used until then."""
        start_s = self.cpu_s()

        def is_idle():
            before_s = self.cpu_s()
            time.sleep(0.3)
            return self.cpu_s() - before_s < 0.06

        wait_until(is_idle, "the server stops computing", 10)
        return self.cpu_s() - start_s


class Users:
    """A users file for `--users`."""

    def __init__(self, path):
        self.path = path

    def _user(self, action, *arguments, text=None):
        done = run(self.path.parent, "user", action, "--users", self.path, *arguments, text=text)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def add(self, name, password, *flags):
        self._user("add", name, *flags, text=f"{password}\n")

    def token(self, name):
        return self._user("token", name)


def connect(uri, **options):
    """A connection; `options` are options of an ADBC database."""
    return adbc_driver_flightsql.dbapi.connect(uri, db_kwargs=options, autocommit=True)


@contextlib.contextmanager
def cursor_of(connection):
    """A cursor that may outlive its server or session."""
    cursor = connection.cursor()
    try:
        yield cursor
    finally:
        try:
            cursor.close()
        except connection.Error as error:
            cursor._closed = True  # Otherwise the garbage collector closes it again and complains.
            if code_of(error) not in (UNAVAILABLE, UNAUTHENTICATED):
                raise


def query(connection, sql, parameters=None):
    """The whole result as an Arrow table."""
    with cursor_of(connection) as cursor:
        return cursor.execute(sql, parameters).fetch_arrow_table()


def rows(connection, sql, parameters=None):
    """The whole result as a list of tuples."""
    with cursor_of(connection) as cursor:
        return cursor.execute(sql, parameters).fetchall()


def value(connection, sql, parameters=None):
    """The only value of a result."""
    [(only,)] = rows(connection, sql, parameters)
    return only


def execute(connection, sql, parameters=None):
    """Runs a statement and ignores its result."""
    with cursor_of(connection) as cursor:
        cursor.execute(sql, parameters)


def update(connection, sql):
    """Runs a statement as an update, without preparing it; returns its count of rows."""
    with cursor_of(connection) as cursor:
        cursor.adbc_statement.set_sql_query(sql)
        return cursor.adbc_statement.execute_update()


def code_of(error):
    """The gRPC code of an error, which the driver appends to the server's text: `text (NotFound; Prepare)`."""
    found = re.findall(r" \((\w+); ", str(error))
    of_client = {"CANCELLED": CANCELLED, "TIMEOUT": DEADLINE_EXCEEDED}
    return found[-1] if found else of_client.get(error.status_code.name, error.status_code.name)


def check_error(call, code, state=None):
    """Calls, expects an error with this gRPC code (or one of them) and SQLSTATE; returns its text."""
    with pytest.raises(adbc_driver_flightsql.dbapi.Error) as caught:
        call()
    error = caught.value
    codes = code if isinstance(code, tuple) else (code,)
    assert code_of(error) in codes, f"the code is not in {codes}: {error}"
    if state:
        assert f"[{state}] (" in str(error), str(error)
    return str(error)


def wait_until(is_true, what, limit_s=20):
    """Polls until `is_true` returns true."""
    end = time.monotonic() + limit_s
    while not is_true():
        assert time.monotonic() < end, f"not within {limit_s} s: {what}"
        time.sleep(0.02)


def within(limit_s, call):
    """Returns the result of the call or raises its error; fails if the call takes longer."""
    outcome = {}

    def work():
        try:
            outcome["value"] = call()
        except BaseException as error:  # noqa: BLE001, it is raised again below
            outcome["error"] = error

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(limit_s)
    assert not thread.is_alive(), f"hangs for {limit_s} s"
    if "error" in outcome:
        raise outcome["error"]
    return outcome["value"]
