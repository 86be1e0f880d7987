package vatic;

import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Types;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Helpers to run SQL and to read its results. */
final class Sql {
    static void run(Connection connection, String... statements) throws SQLException {
        for (String sql : statements) {
            try (Statement statement = connection.createStatement()) {
                statement.execute(sql);
            }
        }
    }

    /** All rows of a query. */
    static List<List<Object>> rows(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement(); ResultSet result = statement.executeQuery(sql)) {
            return rows(result);
        }
    }

    /** All remaining rows; the result is closed. */
    static List<List<Object>> rows(ResultSet result) throws SQLException {
        try (result) {
            List<List<Object>> rows = new ArrayList<>();
            int width = result.getMetaData().getColumnCount();
            while (result.next()) {
                Object[] row = new Object[width];
                for (int column = 0; column < width; column++) {
                    row[column] = value(result, column + 1);
                }
                rows.add(Arrays.asList(row));
            }
            return rows;
        }
    }

    private static Object value(ResultSet result, int column) throws SQLException {
        // getObject of driver 18.3.0 does not support this type.
        boolean hasZone = result.getMetaData().getColumnType(column) == Types.TIMESTAMP_WITH_TIMEZONE;
        return hasZone ? result.getTimestamp(column) : result.getObject(column);
    }

    /** The first column of all rows. */
    static List<Object> column(Connection connection, String sql) throws SQLException {
        return rows(connection, sql).stream().map(row -> row.get(0)).toList();
    }

    /** One column of all rows; the result is closed. */
    static List<String> column(ResultSet result, String name) throws SQLException {
        try (result) {
            List<String> values = new ArrayList<>();
            while (result.next()) {
                values.add(result.getString(name));
            }
            return values;
        }
    }

    /** The only value of a query. */
    static Object value(Connection connection, String sql) throws SQLException {
        List<List<Object>> rows = rows(connection, sql);
        assertTrue(rows.size() == 1 && rows.get(0).size() == 1, sql + " gives " + rows);
        return rows.get(0).get(0);
    }

    /** The message of a failing statement, without the statement, which the driver repeats. */
    static String error(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            Exception error = assertThrows(Exception.class, () -> {
                if (statement.execute(sql)) {
                    rows(statement.getResultSet());
                }
            });
            return text(error, sql);
        }
    }

    /** The messages of an error and its causes, without the statement: either may hold the server's message. */
    static String text(Throwable error, String sql) {
        StringBuilder text = new StringBuilder();
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            String message = String.valueOf(cause.getMessage());
            text.append(sql.isEmpty() ? message : message.replace(sql, "…")).append("\n");
        }
        return text.toString();
    }

    static void assertSays(String part, String message) {
        assertTrue(message.toLowerCase().contains(part.toLowerCase()), "\"" + part + "\" is not in: " + message);
    }

    private Sql() {}
}
