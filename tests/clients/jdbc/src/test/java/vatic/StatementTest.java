package vatic;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Statements without parameters: what execute, executeUpdate and executeQuery return, and what they do. */
class StatementTest extends OpenServer {
    Statement statement;

    @BeforeEach
    void createStatement() throws SQLException {
        statement = connection.createStatement();
    }

    @AfterEach
    void closeStatement() throws SQLException {
        statement.close();
    }

    Object count(String table) throws SQLException {
        return Sql.value(connection, "SELECT count(*) FROM " + table);
    }

    void assertNoResult(String sql) throws SQLException {
        assertFalse(statement.execute(sql), sql);
        assertNull(statement.getResultSet(), sql);
        assertEquals(0, statement.getUpdateCount(), sql);
    }

    @Test
    void definitionsReturnNoResultAndCountNothing() throws SQLException {
        assertNoResult("CREATE TABLE defined (a INT)");
        assertNoResult("CREATE TABLE defined_as AS SELECT value FROM generate_series(1, 10)");
        assertNoResult("CREATE VIEW defined_view AS SELECT * FROM defined_as");
        assertNoResult("SET datafusion.execution.batch_size = 8192");
        assertNoResult("DROP VIEW defined_view");
        assertNoResult("DROP TABLE defined");
    }

    @Test
    void definitionsCountNothingByExecuteUpdate() throws SQLException {
        assertEquals(0, statement.executeUpdate("CREATE TABLE updated AS SELECT 1 AS a"));
        assertEquals(0, statement.executeUpdate("DROP TABLE updated"));
    }

    // A second run of CREATE TABLE would fail, a second run of INSERT would double the rows.
    @Test
    void statementsHappenOnce() throws SQLException {
        statement.execute("CREATE TABLE once (a BIGINT)");
        statement.execute("INSERT INTO once VALUES (1), (2)");
        assertEquals(2L, count("once"));
        statement.executeUpdate("INSERT INTO once VALUES (3)");
        assertEquals(3L, count("once"));
    }

    @Test
    void secondCreateTableFails() throws SQLException {
        statement.execute("CREATE TABLE twice (a INT)");
        Sql.assertSays("twice", Sql.error(connection, "CREATE TABLE twice (a INT)"));
        assertNoResult("CREATE TABLE IF NOT EXISTS twice (a INT)");
    }

    @Test
    void insertCountsItsRows() throws SQLException {
        statement.execute("CREATE TABLE counted (a BIGINT)");
        assertEquals(3, statement.executeUpdate("INSERT INTO counted VALUES (1), (2), (3)"));
        assertEquals(1000, statement.executeUpdate("INSERT INTO counted SELECT value FROM generate_series(1, 1000)"));
        assertEquals(0, statement.executeUpdate("INSERT INTO counted SELECT value FROM generate_series(1, 10) WHERE value > 10"));
        assertEquals(2L, statement.executeLargeUpdate("INSERT INTO counted VALUES (1), (2)"));
        assertEquals(1005L, count("counted"));
    }

    @Test
    void executeOfInsertHasACountAndNoResult() throws SQLException {
        statement.execute("CREATE TABLE executed (a BIGINT)");
        assertFalse(statement.execute("INSERT INTO executed VALUES (1), (2)"));
        assertEquals(2, statement.getUpdateCount());
        assertFalse(statement.getMoreResults());
        assertEquals(-1, statement.getUpdateCount());
    }

    @Test
    void executeOfSelectHasAResult() throws SQLException {
        assertTrue(statement.execute("SELECT 42 AS answer"));
        assertEquals(-1, statement.getUpdateCount());
        assertEquals(List.of(List.of(42L)), Sql.rows(statement.getResultSet()));
    }

    @Test
    void statementsThatShowAreQueries() throws SQLException {
        for (String sql : List.of("SHOW TABLES", "SHOW datafusion.execution.batch_size", "EXPLAIN SELECT 1", "EXPLAIN ANALYZE SELECT 1",
                "DESCRIBE information_schema.tables", "SHOW MODELS", "VALUES (1), (2)", "WITH a AS (SELECT 1) SELECT * FROM a")) {
            try (ResultSet result = statement.executeQuery(sql)) {
                assertTrue(result.getMetaData().getColumnCount() > 0, sql);
                Sql.rows(result);
            }
        }
    }

    @Test
    void viewsAreMadeReplacedAndDropped() throws SQLException {
        statement.execute("CREATE VIEW seen AS SELECT 1 AS a");
        assertEquals(1L, Sql.value(connection, "SELECT a FROM seen"));
        statement.execute("CREATE OR REPLACE VIEW seen AS SELECT 'two' AS a");
        assertEquals("two", Sql.value(connection, "SELECT a FROM seen"));
        statement.execute("DROP VIEW seen");
        Sql.assertSays("seen", Sql.error(connection, "SELECT a FROM seen"));
    }

    @Test
    void semicolonAndCommentsAtTheEndAreFine() throws SQLException {
        assertEquals(1L, Sql.value(connection, "SELECT 1;"));
        assertEquals(1L, Sql.value(connection, "-- first\nSELECT 1 /* one */; -- last\n"));
        statement.execute("CREATE TABLE ended (a INT);");
        assertEquals(0L, count("ended"));
    }

    @Test
    void twoQueriesInOneTextAreRefused() throws SQLException {
        assertFalse(Sql.error(connection, "SELECT 1; SELECT 2").isBlank());
    }

    @Test
    void beginIsRefused() throws SQLException {
        Sql.assertSays("0A000", Sql.error(connection, "BEGIN"));
    }

    @Test
    void maxRowsCutsTheResult() throws SQLException {
        statement.setMaxRows(10);
        try (ResultSet result = statement.executeQuery("SELECT value FROM generate_series(1, 100000)")) {
            assertEquals(10, Sql.rows(result).size());
        }
    }

    @Test
    void statementIsUsedAgain() throws SQLException {
        for (long i = 0; i < 20; i++) {
            try (ResultSet result = statement.executeQuery("SELECT " + i)) {
                assertEquals(List.of(List.of(i)), Sql.rows(result));
            }
        }
    }

    @Test
    void twoResultsOfAConnectionAreReadInTurns() throws SQLException {
        try (Statement second = connection.createStatement();
                ResultSet up = statement.executeQuery("SELECT value FROM generate_series(1, 50000) ORDER BY value");
                ResultSet down = second.executeQuery("SELECT value FROM generate_series(1, 50000) ORDER BY value DESC")) {
            while (up.next()) {
                assertTrue(down.next());
                assertEquals(50001, up.getLong(1) + down.getLong(1));
            }
            assertFalse(down.next());
        }
    }

    @Test
    void quotedNamesKeepTheirCase() throws SQLException {
        statement.execute("CREATE TABLE \"Grüße\" AS SELECT 1 AS \"Ein Wert\"");
        try (ResultSet result = statement.executeQuery("SELECT \"Ein Wert\" FROM \"Grüße\"")) {
            assertEquals("Ein Wert", result.getMetaData().getColumnLabel(1));
            assertTrue(result.next());
            assertEquals(1, result.getInt("Ein Wert"));
        }
    }

    @Test
    void largestAndSmallestOfAStoredTable() throws SQLException {
        // Computed from the file's statistics, these columns change their nullability during planning.
        statement.execute("CREATE TABLE extremes AS SELECT value AS a, 'n' || value AS name FROM generate_series(1, 100)");
        assertEquals(List.of(List.of(1L, 100L, 100L, "n1")), Sql.rows(connection, "SELECT min(a), max(a), count(*), min(name) FROM extremes"));
    }
}
