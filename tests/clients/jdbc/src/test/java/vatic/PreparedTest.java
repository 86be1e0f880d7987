package vatic;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.sql.ParameterMetaData;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Types;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Prepared statements: places of parameters, repeated execution, and metadata before execution. */
class PreparedTest extends OpenServer {
    @BeforeAll
    static void makeTables() throws SQLException {
        try (var connection = server.connect()) {
            Sql.run(connection, "CREATE TABLE numbers AS SELECT value AS n, 'n' || value AS name, value * 0.5 AS half FROM generate_series(1, 100)");
        }
    }

    /** Runs a prepared query with these parameters. */
    List<List<Object>> rows(String sql, Object... parameters) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            return Sql.rows(query(statement, parameters));
        }
    }

    static ResultSet query(PreparedStatement statement, Object... parameters) throws SQLException {
        for (int i = 0; i < parameters.length; i++) {
            statement.setObject(i + 1, parameters[i]);
        }
        return statement.executeQuery();
    }

    @Test
    void fourteenParametersKeepTheirOrder() throws SQLException {
        List<String> columns = new ArrayList<>();
        List<Object> values = new ArrayList<>();
        for (long i = 1; i <= 14; i++) {
            columns.add("c" + i);
            values.add(i * 11);
        }
        Sql.run(connection, "CREATE TABLE wide (" + String.join(" BIGINT, ", columns) + " BIGINT)");
        try (PreparedStatement statement = connection.prepareStatement("INSERT INTO wide VALUES (" + "?, ".repeat(13) + "?)")) {
            for (int i = 0; i < 14; i++) {
                statement.setLong(i + 1, (Long) values.get(i));
            }
            assertEquals(1, statement.executeUpdate());
        }
        assertEquals(List.of(values), Sql.rows(connection, "SELECT * FROM wide"));
        String conditions = String.join(" = ? AND ", columns) + " = ?";
        assertEquals(1, rows("SELECT * FROM wide WHERE " + conditions, values.toArray()).size());
    }

    @Test
    void parametersOfDifferentTypesKeepTheirOrder() throws SQLException {
        String sql = "SELECT n FROM numbers WHERE name <> ? AND half < ? AND n > ? AND name LIKE ? AND n BETWEEN ? AND ? AND half IN (?, ?, ?) AND n <> ? AND name >= ? AND half <> ?";
        assertEquals(List.of(List.of(20L)), rows(sql, "n1", 30.0, 3L, "n%", 10L, 50L, 10.0, 2.0, 40.0, 21L, "n", 7.0));
    }

    @Test
    void parameterWithoutATypeIsText() throws SQLException {
        assertEquals(List.of(List.of("text")), rows("SELECT ?", "text"));
    }

    @Test
    void castGivesAParameterItsType() throws SQLException {
        assertEquals(List.of(List.of(5L)), rows("SELECT CAST(? AS BIGINT)", 5L));
        assertEquals(List.of(List.of(2.5)), rows("SELECT CAST(? AS DOUBLE)", 2.5));
    }

    @Test
    void parameterInTheListOfColumns() throws SQLException {
        assertEquals(List.of(List.of(15L)), rows("SELECT n + ? FROM numbers WHERE n = ?", 10L, 5L));
    }

    @Test
    void parameterAsLimitAndOffset() throws SQLException {
        assertEquals(List.of(List.of(5L), List.of(6L)), rows("SELECT n FROM numbers ORDER BY n LIMIT ? OFFSET ?", 2L, 4L));
    }

    @Test
    void parameterInAFunction() throws SQLException {
        assertEquals(List.of(List.of(3L)), rows("SELECT count(*) FROM numbers WHERE strpos(name, ?) = 2 AND n IN (7, 70, 77, 17)", "7"));
    }

    @Test
    void parameterInASubqueryAndAJoin() throws SQLException {
        String sql = "SELECT a.n FROM numbers a JOIN (SELECT n FROM numbers WHERE n > ?) b ON a.n = b.n WHERE a.n < ? AND a.n IN (SELECT n FROM numbers WHERE half = ?)";
        assertEquals(List.of(List.of(11L)), rows(sql, 10L, 13L, 5.5));
    }

    @Test
    void questionMarksInTextAndNamesAreNoParameters() throws SQLException {
        String sql = "SELECT '?' AS \"what?\", name /* ? */ FROM numbers -- ?\nWHERE n = ?";
        assertEquals(List.of(List.of("?", "n8")), rows(sql, 8L));
    }

    @Test
    void numberedParametersMayRepeat() throws SQLException {
        assertEquals(List.of(List.of(7L)), rows("SELECT n FROM numbers WHERE n > $2 AND n < $1 AND n <> $1 - 2 AND n <> $1 - 1 AND n <> $2", 10L, 6L));
    }

    @Test
    void numberedParameterGetsItsTypeFromOnePlaceOfMany() throws SQLException {
        assertEquals(List.of(List.of(12L)), rows("SELECT n + $2 FROM numbers WHERE n = $1 AND n < $2 + $1", 5L, 7L));
    }

    @Test
    void mixedParametersAreRefused() {
        SQLException error = assertThrows(SQLException.class, () -> connection.prepareStatement("SELECT n FROM numbers WHERE n = ? OR n = $1").close());
        Sql.assertSays("$1", Sql.text(error, "SELECT n FROM numbers WHERE n = ? OR n = $1"));
    }

    @Test
    void statementRunsAgainWithOtherValues() throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement("SELECT name FROM numbers WHERE n = ?")) {
            for (long n = 1; n <= 10; n++) {
                assertEquals(List.of(List.of("n" + n)), Sql.rows(query(statement, n)));
            }
            assertEquals(List.of(), Sql.rows(query(statement, (Object) null)));
            assertEquals(List.of(List.of("n3")), Sql.rows(query(statement, 3L)));
        }
    }

    @Test
    void statementRunsAgainWithTheSameValues() throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement("SELECT name FROM numbers WHERE n = ?")) {
            statement.setLong(1, 9);
            assertEquals(List.of(List.of("n9")), Sql.rows(statement.executeQuery()));
            assertEquals(List.of(List.of("n9")), Sql.rows(statement.executeQuery()));
        }
    }

    @Test
    void twoStatementsDoNotShareParameters() throws SQLException {
        String sql = "SELECT name FROM numbers WHERE n = ?";
        try (PreparedStatement first = connection.prepareStatement(sql); PreparedStatement second = connection.prepareStatement(sql)) {
            first.setLong(1, 1);
            second.setLong(1, 2);
            assertEquals(List.of(List.of("n1")), Sql.rows(first.executeQuery()));
            assertEquals(List.of(List.of("n2")), Sql.rows(second.executeQuery()));
        }
    }

    @Test
    void statementWithoutParametersRunsAgain() throws SQLException {
        Sql.run(connection, "CREATE TABLE repeated (a BIGINT)");
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO repeated VALUES (1)");
                PreparedStatement count = connection.prepareStatement("SELECT count(*) FROM repeated")) {
            for (long i = 1; i <= 3; i++) {
                assertEquals(1, insert.executeUpdate());
                assertEquals(List.of(List.of(i)), Sql.rows(count.executeQuery()));
            }
        }
    }

    // The driver reports a result, whatever the server answers.
    @Test
    void executeOfAnInsertHappensOnce() throws SQLException {
        Sql.run(connection, "CREATE TABLE told (a BIGINT)");
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO told VALUES (?), (?)");
                PreparedStatement select = connection.prepareStatement("SELECT sum(a), count(*) FROM told WHERE a > ?")) {
            insert.setLong(1, 1);
            insert.setLong(2, 2);
            insert.execute();
            select.setLong(1, 0);
            assertTrue(select.execute());
            assertEquals(List.of(List.of(3L, 2L)), Sql.rows(select.getResultSet()));
        }
    }

    @Test
    void insertFromAQueryTakesParameters() throws SQLException {
        Sql.run(connection, "CREATE TABLE taken (n BIGINT, name VARCHAR)");
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO taken SELECT n, name FROM numbers WHERE n <= ?")) {
            insert.setLong(1, 30);
            assertEquals(30, insert.executeUpdate());
            insert.setLong(1, 2);
            assertEquals(2, insert.executeUpdate());
        }
    }

    @Test
    void preparingDoesNothing() throws SQLException {
        try (PreparedStatement create = connection.prepareStatement("CREATE TABLE not_yet (a INT)")) {
            Sql.assertSays("not_yet", Sql.error(connection, "SELECT * FROM not_yet"));
            assertEquals(0, create.executeUpdate());
            assertEquals(List.of(), Sql.rows(connection, "SELECT * FROM not_yet"));
        }
    }

    @Test
    void preparedQuerySeesLaterRows() throws SQLException {
        Sql.run(connection, "CREATE TABLE growing (a BIGINT)");
        try (PreparedStatement count = connection.prepareStatement("SELECT count(*) FROM growing WHERE a > ?")) {
            assertEquals(List.of(List.of(0L)), Sql.rows(query(count, 0L)));
            Sql.run(connection, "INSERT INTO growing VALUES (1), (2)");
            assertEquals(List.of(List.of(2L)), Sql.rows(query(count, 0L)));
        }
    }

    @Test
    void preparedQuerySeesAReplacedTable() throws SQLException {
        Sql.run(connection, "CREATE TABLE replaced AS SELECT 1 AS a");
        try (PreparedStatement select = connection.prepareStatement("SELECT * FROM replaced")) {
            assertEquals(List.of(List.of(1L)), Sql.rows(select.executeQuery()));
            Sql.run(connection, "DROP TABLE replaced", "CREATE TABLE replaced AS SELECT 'text' AS b, 2 AS a");
            assertEquals(List.of(List.of("text", 2L)), Sql.rows(select.executeQuery()));
        }
    }

    @Test
    void columnsAreKnownBeforeTheStatementRuns() throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement("SELECT n, name, half FROM numbers WHERE n = ?")) {
            assertEquals(3, statement.getMetaData().getColumnCount());
            assertEquals("name", statement.getMetaData().getColumnLabel(2));
            assertEquals(Types.VARCHAR, statement.getMetaData().getColumnType(2));
            assertEquals(Types.DOUBLE, statement.getMetaData().getColumnType(3));
        }
    }

    @Test
    void parametersAreDescribed() throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement("SELECT n FROM numbers WHERE n = ? AND name = ? AND half = ?")) {
            ParameterMetaData parameters = statement.getParameterMetaData();
            assertEquals(3, parameters.getParameterCount());
            assertEquals(Types.BIGINT, parameters.getParameterType(1));
            assertEquals(Types.VARCHAR, parameters.getParameterType(2));
            assertEquals(Types.DOUBLE, parameters.getParameterType(3));
            assertEquals(ParameterMetaData.parameterModeIn, parameters.getParameterMode(1));
        }
    }

    @Test
    void parametersOfAnInsertHaveTheTypesOfItsColumns() throws SQLException {
        Sql.run(connection, "CREATE TABLE described (a SMALLINT, b VARCHAR, c BOOLEAN, d DATE)");
        try (PreparedStatement statement = connection.prepareStatement("INSERT INTO described (d, b, a, c) VALUES (?, ?, ?, ?)")) {
            ParameterMetaData parameters = statement.getParameterMetaData();
            List<Integer> types = new ArrayList<>();
            for (int i = 1; i <= parameters.getParameterCount(); i++) {
                types.add(parameters.getParameterType(i));
            }
            assertEquals(List.of(Types.DATE, Types.VARCHAR, Types.SMALLINT, Types.BOOLEAN), types);
        }
    }

    @Test
    void statementWithoutParametersHasNone() throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement("SELECT '?'")) {
            assertEquals(0, statement.getParameterMetaData().getParameterCount());
        }
    }

    @Test
    void errorsAreFoundWhenPreparing() {
        String sql = "SELECT nothing FROM numbers WHERE n = ?";
        SQLException error = assertThrows(SQLException.class, () -> connection.prepareStatement(sql).close());
        Sql.assertSays("nothing", Sql.text(error, sql));
    }

    @Test
    void valueThatFailsLeavesTheStatementUsable() throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement("SELECT 10 / n FROM numbers WHERE n - ? = 0 OR 10 / ? > 100")) {
            assertThrows(Exception.class, () -> Sql.rows(query(statement, 5L, 0L)));
            assertEquals(List.of(List.of(2L)), Sql.rows(query(statement, 5L, 1L)));
        }
    }

    @Test
    void largeValueIsBound() throws SQLException {
        String text = "0123456789".repeat(2_000_000);
        assertEquals(List.of(List.of(20_000_000)), rows("SELECT CAST(length(?) AS INT)", text));
    }
}
