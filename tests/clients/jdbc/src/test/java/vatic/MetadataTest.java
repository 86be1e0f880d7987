package vatic;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Types;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Metadata calls of database tools. */
class MetadataTest extends OpenServer {
    /** Methods that the driver does not implement. */
    static final Map<String, String> UNSUPPORTED = Map.of();

    DatabaseMetaData metadata;

    @BeforeAll
    static void makeTables() throws SQLException {
        try (Connection connection = server.connect()) {
            Sql.run(connection,
                    "CREATE TABLE people AS SELECT 1 AS id, 'ada' AS name, DATE '1815-12-10' AS born",
                    "CREATE TABLE people_old AS SELECT * FROM people",
                    "CREATE TABLE peoplesold AS SELECT * FROM people",
                    "CREATE TABLE \"Mixed Case\" AS SELECT 1 AS \"Quoted Column\", 2 AS \"ümlaut\"",
                    "CREATE VIEW adults AS SELECT id, name FROM people",
                    "CREATE TABLE typed (tiny TINYINT, small SMALLINT, whole INT, big BIGINT, real REAL, double DOUBLE,"
                            + " decimal DECIMAL(20, 4), text VARCHAR, flag BOOLEAN, bytes BYTEA, day DATE, clock TIME, moment TIMESTAMP)",
                    "CREATE TABLE nested AS SELECT [1, 2] AS list, named_struct('a', 'x') AS struct, arrow_cast('d', 'Dictionary(Int32, Utf8)') AS dictionary");
        }
    }

    @BeforeEach
    void askMetadata() throws SQLException {
        metadata = connection.getMetaData();
    }

    @Test
    void noMethodWithoutArgumentsThrows() throws IllegalAccessException, SQLException {
        Map<String, String> failures = new TreeMap<>();
        for (Method method : DatabaseMetaData.class.getMethods()) {
            if (method.getParameterCount() > 0 || method.getName().equals("getConnection")) {
                continue;
            }
            try {
                Object answer = method.invoke(metadata);
                if (answer instanceof ResultSet result) {
                    Sql.rows(result);
                }
            } catch (InvocationTargetException error) {
                failures.put(method.getName(), error.getCause().toString());
            }
        }
        failures.keySet().removeAll(UNSUPPORTED.keySet());
        assertEquals(Map.of(), failures);
    }

    @Test
    void serverTellsItsNameAndVersion() throws SQLException {
        assertEquals("vatic", metadata.getDatabaseProductName().toLowerCase());
        assertEquals(Vatic.run("", "--version").strip(), "vatic " + metadata.getDatabaseProductVersion());
    }

    @Test
    void namesAreQuotedWithDoubleQuotes() throws SQLException {
        assertEquals("\"", metadata.getIdentifierQuoteString());
    }

    @Test
    void patternsAreEscapedWithABackslash() throws SQLException {
        assertEquals("\\", metadata.getSearchStringEscape());
    }

    @Test
    void thereAreNoTransactions() throws SQLException {
        assertFalse(metadata.supportsTransactions());
        assertFalse(metadata.supportsSavepoints());
        assertEquals(Connection.TRANSACTION_NONE, metadata.getDefaultTransactionIsolation());
    }

    @Test
    void serverTakesWritesAndBatches() throws SQLException {
        assertFalse(metadata.isReadOnly());
        assertTrue(metadata.supportsBatchUpdates());
    }

    @Test
    void functionsAndKeywordsAreThereForCompletion() throws SQLException {
        Set<String> functions = new HashSet<>();
        for (String list : List.of(metadata.getNumericFunctions(), metadata.getStringFunctions(), metadata.getSystemFunctions(), metadata.getTimeDateFunctions())) {
            functions.addAll(List.of(list.toLowerCase().split("\\s*,\\s*")));
        }
        for (String function : List.of("abs", "upper", "date_trunc", "cosine_similarity")) {
            assertTrue(functions.contains(function), function + " is not in " + functions);
        }
        Set<String> keywords = Set.of(metadata.getSQLKeywords().toUpperCase().split("\\s*,\\s*"));
        assertTrue(keywords.contains("TRAIN") && keywords.contains("MODEL"), keywords.toString());
    }

    @Test
    void functionsAreSortedIntoTheirLists() throws SQLException {
        Sql.assertSays("abs", metadata.getNumericFunctions());
        Sql.assertSays("upper", metadata.getStringFunctions());
        Sql.assertSays("date_trunc", metadata.getTimeDateFunctions());
    }

    @Test
    void oneCatalog() throws SQLException {
        assertEquals(List.of("vatic"), Sql.column(metadata.getCatalogs(), "TABLE_CAT"));
    }

    @Test
    void schemasOfTheCatalog() throws SQLException {
        assertEquals(Set.of("public", "information_schema", "ml", "examples"), new TreeSet<>(Sql.column(metadata.getSchemas(), "TABLE_SCHEM")));
        assertEquals(Set.of("vatic"), new TreeSet<>(Sql.column(metadata.getSchemas(), "TABLE_CATALOG")));
    }

    @Test
    void schemasByPattern() throws SQLException {
        assertEquals(List.of("public"), Sql.column(metadata.getSchemas("vatic", "pub%"), "TABLE_SCHEM"));
        assertEquals(List.of("public"), Sql.column(metadata.getSchemas(null, "publi_"), "TABLE_SCHEM"));
        assertEquals(List.of(), Sql.column(metadata.getSchemas("elsewhere", null), "TABLE_SCHEM"));
        assertEquals(List.of(), Sql.column(metadata.getSchemas("vatic", "PUBLIC"), "TABLE_SCHEM"));
    }

    List<String> tables(String catalog, String schema, String name, String... types) throws SQLException {
        return Sql.column(metadata.getTables(catalog, schema, name, types.length == 0 ? null : types), "TABLE_NAME").stream().sorted().toList();
    }

    @Test
    void nullCatalogMeansAll() throws SQLException {
        List<String> all = tables(null, null, null);
        assertTrue(all.containsAll(List.of("people", "adults", "typed", "Mixed Case")), all.toString());
        assertEquals(all, tables("vatic", null, null));
        assertEquals(all, tables(null, "%", "%"));
    }

    @Test
    void otherCatalogHasNoTables() throws SQLException {
        assertEquals(List.of(), tables("elsewhere", null, null));
    }

    @Test
    void emptyCatalogMeansTablesWithoutOne() throws SQLException {
        assertEquals(List.of(), tables("", null, null));
    }

    @Test
    void tablesByPattern() throws SQLException {
        assertEquals(List.of("people", "people_old", "peoplesold"), tables(null, null, "people%"));
        assertEquals(List.of("people_old", "peoplesold"), tables(null, "public", "people_old"));
        assertEquals(List.of("people_old"), tables(null, "public", "people\\_old"));
        assertEquals(List.of(), tables(null, "ml", "people%"));
    }

    @Test
    void tablesByType() throws SQLException {
        assertEquals(List.of("people"), tables(null, null, "people", "TABLE"));
        assertEquals(List.of(), tables(null, null, "people", "VIEW"));
        assertEquals(List.of("adults"), tables(null, null, "adults", "VIEW"));
        assertEquals(List.of(), tables(null, null, "adults", "TABLE"));
        List<String> both = tables(null, "public", null, "TABLE", "VIEW");
        assertTrue(both.contains("people") && both.contains("adults"), both.toString());
        assertEquals(List.of(), tables(null, null, null, "NO SUCH TYPE"));
    }

    @Test
    void tableHasItsCatalogSchemaAndType() throws SQLException {
        try (ResultSet result = metadata.getTables(null, null, "adults", null)) {
            assertTrue(result.next());
            assertEquals("vatic", result.getString("TABLE_CAT"));
            assertEquals("public", result.getString("TABLE_SCHEM"));
            assertEquals("adults", result.getString("TABLE_NAME"));
            assertEquals("VIEW", result.getString("TABLE_TYPE"));
            assertFalse(result.next());
        }
    }

    @Test
    void systemTablesAreListedInTheirSchemas() throws SQLException {
        assertTrue(tables(null, "ml", null).contains("training_runs"));
        List<String> information = tables(null, "information_schema", null);
        assertTrue(information.contains("tables") && information.contains("models"), information.toString());
    }

    @Test
    void eachTypeOfATableIsATableType() throws SQLException {
        Set<String> types = new TreeSet<>(Sql.column(metadata.getTableTypes(), "TABLE_TYPE"));
        assertTrue(types.containsAll(Set.of("TABLE", "VIEW")), types.toString());
        Set<String> used = new TreeSet<>(Sql.column(metadata.getTables(null, null, null, null), "TABLE_TYPE"));
        assertTrue(types.containsAll(used), used + " beside " + types);
    }

    @Test
    void temporaryTableHasItsType() throws SQLException {
        Sql.run(connection, "CREATE TEMPORARY TABLE for_now AS SELECT 1 AS a");
        try (ResultSet found = metadata.getTables(null, null, "for_now", new String[] {"LOCAL TEMPORARY"})) {
            assertTrue(found.next());
            assertEquals("LOCAL TEMPORARY", found.getString("TABLE_TYPE"));
            assertFalse(found.next());
        }
        Sql.run(connection, "DROP TABLE for_now");
    }

    @Test
    void droppedTableIsGone() throws SQLException {
        Sql.run(connection, "CREATE TABLE short_lived AS SELECT 1 AS a");
        assertEquals(List.of("short_lived"), tables(null, null, "short_lived"));
        Sql.run(connection, "DROP TABLE short_lived");
        assertEquals(List.of(), tables(null, null, "short_lived"));
    }

    Map<String, String> columns(String table, String column, String value) throws SQLException {
        Map<String, String> values = new TreeMap<>();
        try (ResultSet result = metadata.getColumns(null, null, table, column)) {
            while (result.next()) {
                values.put(result.getString("COLUMN_NAME"), result.getString(value));
            }
        }
        return values;
    }

    // DataFusion's strings from Parquet are views, which this driver cannot read.
    @Test
    void stringsOfAStoredTableAreVarchar() throws SQLException {
        assertEquals(Map.of("id", "BIGINT", "name", "VARCHAR", "born", "DATE"), columns("people", null, "TYPE_NAME"));
    }

    @Test
    void stringsOfAViewAreVarchar() throws SQLException {
        assertEquals(Map.of("id", "BIGINT", "name", "VARCHAR"), columns("adults", null, "TYPE_NAME"));
    }

    @Test
    void columnsHaveTheTypesTheyWereMadeWith() throws SQLException {
        Map<String, Integer> expected = new TreeMap<>(Map.of("tiny", Types.TINYINT, "small", Types.SMALLINT, "whole", Types.INTEGER, "big", Types.BIGINT,
                "real", Types.FLOAT, "double", Types.DOUBLE, "decimal", Types.DECIMAL, "text", Types.VARCHAR));
        expected.putAll(Map.of("flag", Types.BOOLEAN, "bytes", Types.VARBINARY, "day", Types.DATE, "clock", Types.TIME, "moment", Types.TIMESTAMP));
        assertEquals(expected, types("typed"));
    }

    @Test
    void nestedColumnsHaveTypes() throws SQLException {
        assertEquals(Map.of("list", Types.ARRAY, "struct", Types.JAVA_OBJECT, "dictionary", Types.VARCHAR), types("nested"));
    }

    Map<String, Integer> types(String table) throws SQLException {
        Map<String, Integer> types = new TreeMap<>();
        columns(table, null, "DATA_TYPE").forEach((name, type) -> types.put(name, Integer.valueOf(type)));
        return types;
    }

    @Test
    void namesOfTypesAreThoseOfSql() throws SQLException {
        Map<String, String> names = columns("typed", null, "TYPE_NAME");
        assertEquals(List.of("INT", "BIGINT", "DOUBLE", "BYTEA", "VARCHAR"),
                List.of(names.get("whole"), names.get("big"), names.get("double"), names.get("bytes"), names.get("text")));
    }

    @Test
    void columnsStandInOrder() throws SQLException {
        assertEquals(List.of("id", "name", "born"), Sql.column(metadata.getColumns(null, null, "people", null), "COLUMN_NAME"));
        assertEquals(Map.of("id", "1", "name", "2", "born", "3"), columns("people", null, "ORDINAL_POSITION"));
    }

    @Test
    void decimalHasPrecisionAndScale() throws SQLException {
        assertEquals(Map.of("decimal", "20"), columns("typed", "decimal", "COLUMN_SIZE"));
        assertEquals(Map.of("decimal", "4"), columns("typed", "decimal", "DECIMAL_DIGITS"));
    }

    @Test
    void declaredColumnsMayBeNull() throws SQLException {
        assertEquals(Map.of("text", "YES"), columns("typed", "text", "IS_NULLABLE"));
    }

    @Test
    void columnsByPattern() throws SQLException {
        assertEquals(Set.of("day", "decimal", "double"), columns("typed", "d%", "TYPE_NAME").keySet());
        assertEquals(Set.of(), columns("typed", "nothing", "TYPE_NAME").keySet());
    }

    @Test
    void quotedNamesKeepTheirCase() throws SQLException {
        assertEquals(Set.of("Quoted Column", "ümlaut"), columns("Mixed Case", null, "TYPE_NAME").keySet());
    }

    @Test
    void columnsOfAllTablesAtOnce() throws SQLException {
        Set<String> names = new HashSet<>(Sql.column(metadata.getColumns(null, null, null, null), "TABLE_NAME"));
        assertTrue(names.containsAll(Set.of("people", "adults", "typed", "nested", "training_runs", "models")), names.toString());
    }

    @Test
    void thereAreNoKeys() throws SQLException {
        assertEquals(List.of(), Sql.column(metadata.getPrimaryKeys(null, "public", "people"), "COLUMN_NAME"));
        assertEquals(List.of(), Sql.column(metadata.getImportedKeys(null, "public", "people"), "FKCOLUMN_NAME"));
        assertEquals(List.of(), Sql.column(metadata.getExportedKeys("vatic", "public", "people"), "FKCOLUMN_NAME"));
        assertEquals(List.of(), Sql.column(metadata.getCrossReference(null, null, "people", null, null, "people_old"), "FKCOLUMN_NAME"));
    }

    // The driver answers these calls itself, with an empty result.
    @Test
    void otherListsCanBeAsked() throws SQLException {
        Sql.rows(metadata.getTypeInfo());
        Sql.rows(metadata.getFunctions(null, null, null));
        Sql.rows(metadata.getProcedures(null, null, null));
        Sql.rows(metadata.getIndexInfo(null, null, "people", false, false));
        Sql.rows(metadata.getUDTs(null, null, null, null));
        Sql.rows(metadata.getBestRowIdentifier(null, null, "people", 0, true));
        Sql.rows(metadata.getVersionColumns(null, null, "people"));
        Sql.rows(metadata.getTablePrivileges(null, null, "people"));
        Sql.rows(metadata.getColumnPrivileges(null, null, "people", null));
    }

    @Test
    void decimalOfAResultHasPrecisionAndScale() throws SQLException {
        try (var statement = connection.createStatement(); ResultSet result = statement.executeQuery("SELECT decimal FROM typed")) {
            assertEquals(20, result.getMetaData().getPrecision(1));
            assertEquals(4, result.getMetaData().getScale(1));
        }
    }
}
