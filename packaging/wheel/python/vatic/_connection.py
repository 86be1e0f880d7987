"""Connections: those of ADBC's DB-API, with a few methods more."""

import contextlib
import json
import os
import threading
import uuid
import weakref
from pathlib import Path

import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi
import adbc_driver_manager
import pyarrow
from pyarrow import flight

from ._result import Result
from ._server import Server

SCHEMES = ("grpc://", "grpc+tcp://", "grpc+tls://")
STATEMENT = adbc_driver_flightsql.StatementOptions
ASK_S = 0.3

_servers = weakref.WeakValueDictionary()
_starting = threading.Lock()


def connect(target=":memory:", *, user=None, password=None, token=None, ca=None, roots=("/",), flags=()):
    """A connection to the tables and models of a folder, or to a server.

    `target` is a folder, which is created if it does not exist, `s3://bucket/prefix`, or `:memory:`: this process starts a server for it,
    which ends with this process; connections to one folder share one. SQL may read and write the files below `roots`; `flags` are further flags
    of `vatic serve`. Or `target` is the address of a server, `grpc://host:port` or `grpc+tls://host:port`, with `user` and `password` or a
    `token`, and with the file of the `ca` of the server's certificate.
    """
    target = os.fspath(target)
    if target.startswith(SCHEMES):
        name = user or f"python-{uuid.uuid4()}"  # A server without users takes any name, for a session of its own.
        return Connection(None, target, name, password or "", token, ca)
    if user or password or token or ca:
        raise ValueError("user, password, token and ca are for the address of a server, not for a folder")
    if target != ":memory:" and "://" not in target:
        target = os.path.abspath(target)
    key = (target, tuple(map(os.fspath, roots)), tuple(flags))
    with _starting:
        server = _servers.get(key)
        if server is None:
            server = Server(*key)
            if target != ":memory:":
                _servers[key] = server
    return Connection(server, server.uri, server.user, server.password)


class Connection(adbc_driver_flightsql.dbapi.Connection):
    """A connection of ADBC's DB-API (PEP 249), which `connect` makes."""

    def __init__(self, server, uri, user, password, token=None, ca=None):
        self._closed = True  # Until it is open.
        certificates = Path(ca).read_text() if ca else None
        self._flight = flight.FlightClient(uri, tls_root_certs=certificates)
        header = f"Bearer {token}" if token else self._flight.authenticate_basic_token(user, password)[1].decode()
        self._call = flight.FlightCallOptions(headers=[(b"authorization", header.encode())])
        options = adbc_driver_flightsql.DatabaseOptions
        login = {options.AUTHORIZATION_HEADER.value: header}
        if ca:
            login[options.TLS_ROOT_CERTS.value] = certificates
        database = adbc_driver_flightsql.connect(uri, db_kwargs=login)
        super().__init__(database, adbc_driver_manager.AdbcConnection(database), autocommit=True)
        self._server = server

    def sql(self, statement, parameters=None, *, progress=None):
        """Runs a statement and returns its rows. `progress` is called with a line of text whenever there is news of it."""
        name = str(uuid.uuid4())
        header = STATEMENT.RPC_CALL_HEADER_PREFIX.value + "vatic-statement"
        watch = self._watched(name, progress) if progress else contextlib.nullcontext()
        with watch, self.cursor(adbc_stmt_kwargs={header: name}) as cursor:
            return Result(cursor.execute(statement, parameters).fetch_arrow_table())

    def register(self, name, data):
        """Makes a temporary table of a table or batches of Arrow or a frame of pandas or polars, or replaces it."""
        with self.cursor() as cursor:
            cursor.adbc_ingest(name, _arrow(data), mode="replace", temporary=True)

    def close(self):
        """Closes the connection, and with the last one to its folder the server."""
        super().close()
        self._flight.close()
        self._server = None

    @contextlib.contextmanager
    def _watched(self, name, progress):
        over = threading.Event()

        def ask():
            told, is_over = None, False
            while not is_over:
                is_over = over.wait(ASK_S)  # A last time after the end, which the answer may tell.
                with contextlib.suppress(pyarrow.ArrowException, OSError):
                    [answer] = self._flight.do_action(("VaticProgress", name.encode()), self._call)
                    line = _told(json.loads(answer.body.to_pybytes()))
                    if line and line != told:
                        told = line
                        progress(line)

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        try:
            yield
        finally:
            over.set()
            asking.join()


def _arrow(data):
    """The table or the batches of what is registered."""
    library, kind = type(data).__module__.split(".")[0], type(data).__name__
    if library == "polars" and kind == "LazyFrame":
        data = data.collect()
    if library == "pandas" and kind == "DataFrame":
        data = pyarrow.Table.from_pandas(data, preserve_index=False)
    elif library == "polars" and kind != "Series":
        data = data.to_arrow()
    is_column = kind == "Series" or isinstance(data, (pyarrow.Array, pyarrow.ChunkedArray))
    if is_column or not any(hasattr(data, f"__arrow_c_{form}__") for form in ("stream", "array")):
        raise TypeError(f"a {kind} is no table of Arrow and no frame of pandas or polars")
    if isinstance(data, (pyarrow.Table, Result)) and data.num_rows == 0:
        return pyarrow.RecordBatch.from_pylist([], schema=data.schema)  # The driver sends nothing for no batches.
    return data


def _told(events):
    """A line about the last events of a statement."""
    parts = {}
    for event in events:
        [(kind, news)] = event.items() if isinstance(event, dict) else [(event, {})]
        if kind == "Reading":
            parts["reading"] = f"{news['model']}: {news['rows']} rows read"
        elif kind == "Waiting":
            parts["reading"] = f"waiting for {news['what']}"
        elif kind == "Stages":
            parts["reading"] = f"stage {news['stages_done']} of {news['stages']}, task {news['tasks_done']} of {news['tasks']}"
        elif kind == "Training":
            [(step, of)] = news["progress"].items()
            if step == "Epoch":
                losses = f"loss {of['train_loss']:.4g}"
                if of["eval_loss"] is not None:
                    losses += f", evaluation loss {of['eval_loss']:.4g}"
                parts["losses"] = losses
                parts.setdefault("epoch", f"{news['model']}: epoch {of['epoch']}")
            elif step == "Step":
                parts["epoch"] = f"{news['model']}: epoch {of['epoch']} of {of['epochs']}"
                parts["left"] = f"{of['remaining_s']:.0f} s left"
    if "epoch" in parts:
        parts.pop("reading", None)
    return ", ".join(parts[part] for part in ("reading", "epoch", "losses", "left") if part in parts)
