package vatic;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Types;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Results of all sizes and shapes. */
class ResultTest extends OpenServer {
    Statement statement;

    @BeforeEach
    void createStatement() throws SQLException {
        statement = connection.createStatement();
    }

    @AfterEach
    void closeStatement() throws SQLException {
        statement.close();
    }

    @Test
    void millionRowsArrive() throws SQLException {
        long rows = 0;
        long sum = 0;
        double halves = 0;
        try (ResultSet result = statement.executeQuery("SELECT value AS n, value * 0.5 AS half, 'row ' || value AS name FROM generate_series(1, 1000000)")) {
            while (result.next()) {
                long n = result.getLong(1);
                rows++;
                sum += n;
                halves += result.getDouble(2);
                if (!result.getString(3).equals("row " + n)) {
                    assertEquals("row " + n, result.getString(3));
                }
            }
        }
        assertEquals(1_000_000, rows);
        assertEquals(500_000_500_000L, sum);
        assertEquals(250_000_250_000.0, halves);
    }

    @Test
    void rowsOfAStoredTableArrive() throws SQLException {
        Sql.run(connection, "CREATE TABLE stored AS SELECT value AS n, 'row ' || value AS name FROM generate_series(1, 200000)");
        long rows = 0;
        long sum = 0;
        try (ResultSet result = statement.executeQuery("SELECT n, name FROM stored")) {
            while (result.next()) {
                rows++;
                sum += result.getLong(1);
                if (!result.getString(2).equals("row " + result.getLong(1))) {
                    assertEquals("row " + result.getLong(1), result.getString(2));
                }
            }
        }
        assertEquals(200_000, rows);
        assertEquals(200_000L * 200_001 / 2, sum);
    }

    @Test
    void orderIsKept() throws SQLException {
        try (ResultSet result = statement.executeQuery("SELECT value FROM generate_series(1, 300000) ORDER BY value DESC")) {
            for (long expected = 300_000; expected > 0; expected--) {
                assertTrue(result.next());
                if (result.getLong(1) != expected) {
                    assertEquals(expected, result.getLong(1));
                }
            }
            assertFalse(result.next());
        }
    }

    // Prepared, since for any other statement without rows the driver lists the columns twice.
    @Test
    void resultWithoutRowsHasItsColumns() throws SQLException {
        String sql = "SELECT value AS n, 'x' AS name, 0.5 AS half, [1] AS list FROM generate_series(1, 10) WHERE value > 10";
        try (PreparedStatement prepared = connection.prepareStatement(sql); ResultSet result = prepared.executeQuery()) {
            ResultSetMetaData columns = result.getMetaData();
            assertEquals(4, columns.getColumnCount());
            assertEquals("n", columns.getColumnLabel(1));
            assertEquals(List.of(Types.BIGINT, Types.VARCHAR, Types.DOUBLE, Types.ARRAY),
                    List.of(columns.getColumnType(1), columns.getColumnType(2), columns.getColumnType(3), columns.getColumnType(4)));
            assertFalse(result.next());
        }
    }

    @Test
    void emptyTableHasItsColumns() throws SQLException {
        Sql.run(connection, "CREATE TABLE empty (a INT, b VARCHAR)");
        try (PreparedStatement prepared = connection.prepareStatement("SELECT * FROM empty"); ResultSet result = prepared.executeQuery()) {
            assertEquals(2, result.getMetaData().getColumnCount());
            assertEquals(Types.VARCHAR, result.getMetaData().getColumnType(2));
            assertFalse(result.next());
        }
    }

    @Test
    void columnsHaveTheirTable() throws SQLException {
        Sql.run(connection, "CREATE TABLE of_columns (a INT, b VARCHAR)");
        Sql.run(connection, "INSERT INTO of_columns VALUES (1, 'x')");
        try (ResultSet result = statement.executeQuery("SELECT t.b, a + 1 AS c FROM of_columns AS t")) {
            ResultSetMetaData columns = result.getMetaData();
            assertEquals("of_columns", columns.getTableName(1));
            assertEquals("public", columns.getSchemaName(1));
            assertTrue(result.next());
        }
        Sql.run(connection, "CREATE TABLE of_others (c INT)");
        Sql.run(connection, "INSERT INTO of_others VALUES (2)");
        String query = "SELECT of_others.a, of_columns.c, d.a FROM of_columns AS of_others CROSS JOIN of_others AS of_columns CROSS JOIN (SELECT a + 1 AS a FROM of_columns) AS d";
        try (ResultSet result = statement.executeQuery(query)) {
            ResultSetMetaData columns = result.getMetaData();
            assertEquals("of_columns", columns.getTableName(1));
            assertEquals("of_others", columns.getTableName(2));
            assertNull(columns.getTableName(3));
            assertTrue(result.next());
        }
        String computed = "SELECT of_columns.a FROM (SELECT a + 1 AS a FROM of_columns) AS of_columns";
        try (ResultSet result = statement.executeQuery(computed)) {
            assertNull(result.getMetaData().getTableName(1));
            assertTrue(result.next());
        }
    }

    @Test
    void limitZeroHasItsColumns() throws SQLException {
        try (ResultSet result = statement.executeQuery("SELECT 1 AS a LIMIT 0")) {
            assertEquals("a", result.getMetaData().getColumnLabel(1));
            assertFalse(result.next());
        }
    }

    @Test
    void thousandColumns() throws SQLException {
        String columns = IntStream.range(0, 1000).mapToObj(i -> i + " AS c" + i).collect(Collectors.joining(", "));
        try (ResultSet result = statement.executeQuery("SELECT " + columns)) {
            assertTrue(result.next());
            assertEquals(1000, result.getMetaData().getColumnCount());
            assertEquals(999, result.getInt("c999"));
        }
    }

    // One row exceeds 4 MiB, the message limit of many clients.
    @Test
    void longTextArrives() throws SQLException {
        try (ResultSet result = statement.executeQuery("SELECT repeat('0123456789', 800000)")) {
            assertTrue(result.next());
            assertEquals("0123456789".repeat(800_000), result.getString(1));
        }
    }

    @Test
    void manyLongTextsArrive() throws SQLException {
        try (ResultSet result = statement.executeQuery("SELECT value, repeat('x', 100000) FROM generate_series(1, 300)")) {
            long rows = 0;
            while (result.next()) {
                rows++;
                assertEquals(100_000, result.getString(2).length());
            }
            assertEquals(300, rows);
        }
    }

    @Test
    void columnsOfOneNameAreReadByPosition() throws SQLException {
        try (ResultSet result = statement.executeQuery("SELECT a.value, b.value FROM generate_series(1, 1) a JOIN generate_series(1, 1) b ON a.value = b.value")) {
            assertTrue(result.next());
            assertEquals(2, result.getMetaData().getColumnCount());
            assertEquals(2, result.getLong(1) + result.getLong(2));
        }
    }

    @Test
    void dictionaryOfManyRowsIsRead() throws SQLException {
        String sql = "SELECT value % 3, arrow_cast('k' || (value % 3), 'Dictionary(Int32, Utf8)') FROM generate_series(1, 30000)";
        try (ResultSet result = statement.executeQuery(sql)) {
            long rows = 0;
            while (result.next()) {
                rows++;
                if (!result.getString(2).equals("k" + result.getLong(1))) {
                    assertEquals("k" + result.getLong(1), result.getString(2));
                }
            }
            assertEquals(30_000, rows);
        }
    }

    @Test
    void partOfTheRowsMayBeReadAndTheRestLeft() throws SQLException {
        try (ResultSet result = statement.executeQuery("SELECT value FROM generate_series(1, 1000000)")) {
            assertTrue(result.next());
        }
        assertEquals(1L, Sql.value(connection, "SELECT 1"));
    }
}
