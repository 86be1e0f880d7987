"""Calls of JDBC and ODBC drivers that the ADBC driver never makes, by pyarrow.flight and hand-written protobuf."""

from dataclasses import dataclass

import pyarrow as pa
from pyarrow import flight

TYPE_URL = b"type.googleapis.com/arrow.flight.protocol.sql."


def varint(number):
    """A number encoded as a protobuf varint."""
    coded = bytearray()
    while number > 0x7F:
        coded.append(number & 0x7F | 0x80)
        number >>= 7
    coded.append(number)
    return bytes(coded)


def field(number, content):
    """A field of a message: text, bytes or a whole number."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def any_of(kind, body=b""):
    """A message of Flight SQL in the envelope with its type."""
    return field(1, TYPE_URL + kind.encode()) + field(2, body)


def fields(message):
    """The fields of a message by number."""
    found, at = {}, 0

    def number():
        nonlocal at
        result = shift = 0
        while True:
            byte = message[at]
            at += 1
            result |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return result

    while at < len(message):
        key = number()
        if key & 7 == 2:
            size = number()
            found.setdefault(key >> 3, []).append(message[at : at + size])
            at += size
        else:
            assert key & 7 == 0, f"wire type {key & 7}"
            found.setdefault(key >> 3, []).append(number())
    return found


@dataclass
class Prepared:
    """The server's reply to CreatePreparedStatement."""

    handle: bytes
    result_schema: bytes
    parameter_schema: bytes
    is_update: int | None


class Wire:
    """A client that sends single Flight SQL messages."""

    def __init__(self, server, user=("someone", "secret")):
        self.client = flight.FlightClient(server.uri.replace("grpc://", "grpc+tcp://"))
        headers = [self.client.authenticate_basic_token(*user)] if user else []
        self.options = flight.FlightCallOptions(headers=headers, timeout=30)

    def info(self, kind, body=b""):
        descriptor = flight.FlightDescriptor.for_command(any_of(kind, body))
        return self.client.get_flight_info(descriptor, self.options)

    def schema(self, kind, body=b""):
        descriptor = flight.FlightDescriptor.for_command(any_of(kind, body))
        return self.client.get_schema(descriptor, self.options).schema

    def read(self, ticket):
        return self.client.do_get(ticket, self.options).read_all()

    def table(self, kind, body=b""):
        """The whole result of a command."""
        [endpoint] = self.info(kind, body).endpoints
        return self.read(endpoint.ticket)

    def action(self, kind, body=b""):
        """The only reply to an action."""
        [answer] = self.client.do_action(flight.Action(kind, body), self.options)
        return answer.body.to_pybytes()

    def prepare(self, sql):
        answer = self.action(
            "CreatePreparedStatement",
            any_of("ActionCreatePreparedStatementRequest", field(1, sql)),
        )
        found = fields(fields(answer)[2][0])
        return Prepared(
            handle=found[1][0],
            result_schema=found.get(2, [b""])[0],
            parameter_schema=found.get(3, [b""])[0],
            is_update=found.get(4, [None])[0],
        )

    def put(self, kind, body, batch):
        """Sends a batch with a command; returns the reply's bytes."""
        descriptor = flight.FlightDescriptor.for_command(any_of(kind, body))
        writer, reader = self.client.do_put(descriptor, batch.schema, self.options)
        with writer:
            writer.write_batch(batch)
            writer.done_writing()
            return reader.read().to_pybytes()

    def run_update(self, prepared, batch=None):
        """Runs a prepared update in the way of JDBC; returns its count of rows."""
        if batch is None:
            batch = pa.RecordBatch.from_arrays([], schema=pa.schema([]))
        answer = self.put("CommandPreparedStatementUpdate", field(1, prepared.handle), batch)
        return fields(answer).get(1, [0])[0]

    def run_query(self, prepared):
        """The result of a prepared query."""
        return self.table("CommandPreparedStatementQuery", field(1, prepared.handle))


def schema_of(coded):
    """Decodes a schema in the encoding of Flight SQL."""
    return pa.ipc.read_schema(pa.py_buffer(coded))
