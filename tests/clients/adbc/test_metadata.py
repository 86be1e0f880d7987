"""Metadata calls of tools that show a tree of tables."""

import pyarrow as pa
import pytest

from harness import DATA, NOT_FOUND, check_error, execute, query, run
from wire import Wire, field

STRING, BOOLEAN, INT64, INT32, STRINGS, MAP = range(6)

# The SqlInfo values that drivers read, by the union member that each must have.
SQL_INFO = {
    STRING: [0, 1, 2, 504, 513, 514, 529, 530, 531],
    BOOLEAN: [3, 4, 5, 9, 10, 11, *range(500, 503), 506, *range(515, 517), *range(518, 522), 523, 524, 527, 532]
    + [536, 537, 539, 556, 563, 565, 566, *range(572, 577)],
    INT64: [*range(541, 556), *range(557, 563)],
    INT32: [8, 503, 505, 507, 522, 525, 526, 528, 533, 534, 535, 538, 540, 564, 567],
    STRINGS: [508, 509, 510, 511, 512],
    MAP: [517],
}


@pytest.fixture(scope="module")
def wire(server):
    return Wire(server)


def sql_info(wire, *ids):
    """Values by id, each with its union member."""
    packed = b"".join(field(1, number) for number in ids)
    column = wire.table("CommandGetSqlInfo", packed).combine_chunks()
    names = column["info_name"].to_pylist()
    union = column["value"].chunk(0) if names else pa.array([])
    return {name: (union.type_codes[at].as_py(), union[at].as_py()) for at, name in enumerate(names)}


# The server itself


def test_info_names_the_server_and_its_version(connection, tmp_path):
    info = connection.adbc_get_info()
    version = run(tmp_path, "--version").stdout.split()[-1]
    assert info["vendor_name"].lower() == "vatic"
    assert version in info["vendor_version"]
    assert info["vendor_arrow_version"]


@pytest.mark.parametrize("member", SQL_INFO)
def test_sql_info_is_in_the_right_member_of_the_union(wire, member):
    info = sql_info(wire)
    wrong = {number: info.get(number) for number in SQL_INFO[member] if info.get(number, (None,))[0] != member}
    assert not wrong


def test_sql_info_says_what_the_server_can_do(wire):
    expected = {3: False, 4: True, 8: 0, 9: True, 10: True, 504: '"', 513: "\\", 532: True, 563: False, 573: False}
    assert {number: value for number, (_, value) in sql_info(wire, *expected).items()} == expected


def test_unknown_sql_info_is_skipped(wire):
    assert sql_info(wire, 0, 99999).keys() == {0}


def test_sql_info_lists_functions(wire):
    functions = {name.lower() for number in (509, 510, 511, 512) for name in sql_info(wire)[number][1]}
    assert {"abs", "lower", "now", "cosine_similarity"} <= functions


def test_types_are_listed_for_odbc(wire):
    types = wire.table("CommandGetXdbcTypeInfo")
    assert {"type_name", "data_type", "column_size", "nullable"} <= set(types.column_names)
    # The ODBC codes of BIGINT, DOUBLE and VARCHAR.
    assert {-5, 8, 12} <= set(types["data_type"].to_pylist())


def test_actions_are_listed(wire):
    kinds = {action.type for action in wire.client.list_actions(wire.options)}
    assert {
        "CreatePreparedStatement",
        "ClosePreparedStatement",
        "SetSessionOptions",
        "GetSessionOptions",
        "CloseSession",
        "CancelFlightInfo",
    } <= kinds


def test_list_of_flights_is_empty(wire):
    assert list(wire.client.list_flights(b"", wire.options)) == []


# Trees


def tree(connection, depth="tables", **filters):
    """The names of catalogs, schemas and tables, and the types of tables."""
    found = {}
    for catalog in connection.adbc_get_objects(depth=depth, **filters).read_all().to_pylist():
        schemas = found.setdefault(catalog["catalog_name"], {})
        for schema in catalog["catalog_db_schemas"] or []:
            tables = schema["db_schema_tables"] or []
            schemas[schema["db_schema_name"]] = {table["table_name"]: table["table_type"] for table in tables}
    return found


@pytest.fixture
def objects(connection, name):
    """A table, and a view of it."""
    execute(connection, f"CREATE TABLE {name} AS SELECT 1 AS a, 'x' AS b")
    execute(connection, f"CREATE VIEW {name}_view AS SELECT b, a FROM {name}")
    return name


def test_catalogs_are_vatic_alone(connection):
    assert list(tree(connection, "catalogs")) == ["vatic"]


def test_schemas_are_listed(connection):
    assert {"public", "information_schema", "ml", "examples"} <= tree(connection, "db_schemas")["vatic"].keys()


def test_tables_of_no_given_catalog_are_those_of_all(connection, objects):
    tables = tree(connection)["vatic"]["public"]
    assert tables[objects] == "TABLE"
    assert tables[f"{objects}_view"] == "VIEW"


def test_tables_of_a_catalog_are_listed(connection, objects):
    assert objects in tree(connection, catalog_filter="vatic")["vatic"]["public"]


def test_tables_of_an_unknown_catalog_are_none(connection, objects):
    assert not tree(connection, catalog_filter="nowhere").get("nowhere")


def test_tables_can_be_asked_for_without_views(connection, objects):
    tables = tree(connection, table_types_filter=["TABLE"])["vatic"]["public"]
    assert objects in tables and f"{objects}_view" not in tables


def test_views_can_be_asked_for_without_tables(connection, objects):
    tables = tree(connection, table_types_filter=["VIEW"])["vatic"]["public"]
    assert f"{objects}_view" in tables and objects not in tables


def test_tables_and_views_together_are_the_usual_filter(connection, objects):
    tables = tree(connection, table_types_filter=["TABLE", "VIEW"])["vatic"]["public"]
    assert {objects, f"{objects}_view"} <= tables.keys()


def test_schema_filter_keeps_out_other_schemas(connection, objects):
    assert objects not in tree(connection, db_schema_filter="ml")["vatic"].get("public", {})
    assert "training_runs" in tree(connection, db_schema_filter="ml")["vatic"]["ml"]


def test_table_filter_is_a_pattern_in_which_underscores_can_be_escaped(connection, name):
    for table in [f"{name}_a", f"{name}xa"]:
        execute(connection, f"CREATE TABLE {table} (a INT)")

    def names(pattern):
        return set(tree(connection, table_name_filter=pattern)["vatic"]["public"])

    escaped = name.replace("_", r"\_")
    assert names(f"{escaped}_a") == {f"{name}_a", f"{name}xa"}
    assert names(rf"{escaped}\_a") == {f"{name}_a"}
    assert names(f"{escaped}%") == {f"{name}_a", f"{name}xa"}


def test_table_types_are_those_that_tools_filter_by(connection):
    types = connection.adbc_get_table_types()
    assert {"TABLE", "VIEW"} <= set(types)
    assert not {"BASE TABLE", "Base"} & set(types)


# Columns


def columns(connection, table):
    """Names and types of the columns of a table, as trees show them."""
    found = connection.adbc_get_objects(depth="all", table_name_filter=table).read_all().to_pylist()
    [catalog] = [catalog for catalog in found if catalog["catalog_name"] == "vatic"]
    [public] = [schema for schema in catalog["catalog_db_schemas"] if schema["db_schema_name"] == "public"]
    [table] = public["db_schema_tables"]
    return {column["column_name"]: column["ordinal_position"] for column in table["table_columns"]}


def test_columns_are_listed_in_order(connection, objects):
    assert columns(connection, objects) == {"a": 1, "b": 2}
    assert columns(connection, f"{objects}_view") == {"b": 1, "a": 2}


@pytest.fixture
def parquet(connection, name):
    """An external table of Parquet; digits.parquet has numbers and lists."""
    location = DATA / "digits.parquet"
    execute(connection, f"CREATE EXTERNAL TABLE {name} STORED AS PARQUET LOCATION '{location}'")
    return name


def test_strings_of_a_table_are_no_views(connection, name):
    execute(connection, f"CREATE TABLE {name} AS SELECT 'x' AS s, ['y'] AS l, named_struct('z', 'z') AS r")
    schema = connection.adbc_get_table_schema(name)
    assert schema.field("s").type == pa.string()
    assert schema.field("l").type.value_type == pa.string()
    assert schema.field("r").type.field("z").type == pa.string()


def test_strings_of_a_csv_file_are_no_views(connection, name):
    options = "OPTIONS ('format.has_header' 'true')"
    execute(connection, f"CREATE EXTERNAL TABLE {name} STORED AS CSV LOCATION '{DATA / 'penguins.csv'}' {options}")
    assert connection.adbc_get_table_schema(name).field("species").type == pa.string()


def test_schema_of_a_table_is_that_of_its_rows(connection, parquet):
    schema = connection.adbc_get_table_schema(parquet)
    rows = query(connection, f"SELECT * FROM {parquet} LIMIT 3").schema
    assert schema.remove_metadata() == rows.remove_metadata()


def test_schema_of_a_missing_table_is_not_found(connection, name):
    with pytest.raises(connection.Error) as caught:
        connection.adbc_get_table_schema(name)
    assert caught.value.status_code.name == "NOT_FOUND"


def test_table_whose_file_is_gone_does_not_spoil_the_list(start, tmp_path):
    file = tmp_path / "files" / "gone.csv"
    file.parent.mkdir()
    file.write_text("a\n1\n")
    with start("--root", file.parent).connect() as connection:
        execute(connection, f"CREATE EXTERNAL TABLE gone STORED AS CSV LOCATION '{file}'")
        execute(connection, "CREATE TABLE fine AS SELECT 1 AS a")
        file.unlink()
        assert columns(connection, "fine") == {"a": 1}
        found = connection.adbc_get_objects(depth="all").read_all()
        assert "fine" in str(found.to_pylist())


TABLES = ["catalog_name", "db_schema_name", "table_name", "table_type"]


def test_tables_have_a_column_for_schemas_only_if_asked(wire):
    assert wire.table("CommandGetTables").column_names == TABLES
    assert wire.table("CommandGetTables", field(5, 1)).column_names == [*TABLES, "table_schema"]


REFERENCES = [
    *["pk_catalog_name", "pk_db_schema_name", "pk_table_name", "pk_column_name"],
    *["fk_catalog_name", "fk_db_schema_name", "fk_table_name", "fk_column_name"],
    *["key_sequence", "fk_key_name", "pk_key_name", "update_rule", "delete_rule"],
]
KEYS = {
    "CommandGetPrimaryKeys": [
        *["catalog_name", "db_schema_name", "table_name", "column_name", "key_sequence", "key_name"],
    ],
    "CommandGetImportedKeys": REFERENCES,
    "CommandGetExportedKeys": REFERENCES,
    "CommandGetCrossReference": REFERENCES,
}


@pytest.mark.parametrize("command", KEYS)
def test_keys_are_an_empty_list(wire, objects, command):
    body = field(6, objects) if command == "CommandGetCrossReference" else b""
    keys = wire.table(command, field(3, objects) + body)
    # The protocol specifies the names of columns but not their order.
    assert sorted(keys.column_names) == sorted(KEYS[command])
    assert keys.num_rows == 0


# Schemas of queries


@pytest.mark.parametrize(
    "command",
    ["CommandGetCatalogs", "CommandGetDbSchemas", "CommandGetTables", "CommandGetTableTypes", "CommandGetSqlInfo"],
)
def test_schema_of_metadata_is_that_of_its_rows(wire, command):
    assert wire.schema(command) == wire.info(command).schema == wire.table(command).schema


def test_schema_of_a_query_is_that_of_its_rows(wire):
    body = field(1, "SELECT 1 AS a, 'x' AS b, arrow_cast('x', 'Dictionary(Int32, Utf8)') AS c")
    command = "CommandStatementQuery"
    assert wire.schema(command, body) == wire.info(command, body).schema == wire.table(command, body).schema


def test_schema_of_a_query_is_known_without_running_it(cursor):
    schema = cursor.adbc_execute_schema("SELECT 1 / 0 AS a, 'x' AS b")
    assert schema.names == ["a", "b"]
    assert schema.types == [pa.int64(), pa.string()]


def test_schema_of_a_query_of_a_missing_table_is_an_error(cursor):
    check_error(lambda: cursor.adbc_execute_schema("SELECT * FROM nowhere"), NOT_FOUND, "42P01")


def test_columns_name_their_table(cursor):
    execute(cursor.connection, "CREATE TABLE of_columns AS SELECT 1 AS a, 2 AS b")
    cursor.execute("SELECT x.a, o.b + 1 AS c, o.b FROM of_columns AS x JOIN of_columns AS o USING (a)")
    fields = cursor.fetch_record_batch().schema
    key = b"ARROW:FLIGHT:SQL:TABLE_NAME"
    assert [(field.metadata or {}).get(key) for field in fields] == [b"of_columns", None, b"of_columns"]
    assert fields.field(0).metadata[b"ARROW:FLIGHT:SQL:SCHEMA_NAME"] == b"public"
