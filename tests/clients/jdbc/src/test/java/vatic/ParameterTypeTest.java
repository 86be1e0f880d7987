package vatic;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.math.BigDecimal;
import java.sql.Date;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Time;
import java.sql.Timestamp;
import java.sql.Types;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Parameters of each JDBC type: written to a column, compared with it, and as NULL. */
class ParameterTypeTest extends OpenServer {
    interface Setter {
        void set(PreparedStatement statement) throws SQLException;
    }

    interface Getter {
        Object get(ResultSet result) throws SQLException;
    }

    /** A column's type, the call that binds a value, the type passed to setNull, and how the value is read back. */
    record Case(String name, String columnType, Setter setter, int nullType, Getter getter, Object expected) {
        String table() {
            return "parameter_" + name.replace(' ', '_').toLowerCase();
        }

        @Override
        public String toString() {
            return name;
        }
    }

    static Stream<Case> cases() {
        byte[] bytes = {0, 1, -1, 127};
        Date day = Date.valueOf("1969-07-20");
        Time clock = Time.valueOf("20:17:40");
        Timestamp moment = Timestamp.valueOf("2024-02-29 23:59:59.123");
        Timestamp longAgo = Timestamp.valueOf("1815-12-10 01:02:03.456");
        return Stream.of(
                new Case("setByte", "TINYINT", s -> s.setByte(1, (byte) -128), Types.TINYINT, r -> r.getByte(1), (byte) -128),
                new Case("setShort", "SMALLINT", s -> s.setShort(1, (short) -32768), Types.SMALLINT, r -> r.getShort(1), (short) -32768),
                new Case("setInt", "INT", s -> s.setInt(1, Integer.MIN_VALUE), Types.INTEGER, r -> r.getInt(1), Integer.MIN_VALUE),
                new Case("setLong", "BIGINT", s -> s.setLong(1, Long.MIN_VALUE), Types.BIGINT, r -> r.getLong(1), Long.MIN_VALUE),
                new Case("setInt to bigint", "BIGINT", s -> s.setInt(1, 7), Types.INTEGER, r -> r.getLong(1), 7L),
                new Case("setLong to int", "INT", s -> s.setLong(1, 7), Types.BIGINT, r -> r.getInt(1), 7),
                new Case("setInt to double", "DOUBLE", s -> s.setInt(1, 7), Types.INTEGER, r -> r.getDouble(1), 7.0),
                new Case("setFloat", "REAL", s -> s.setFloat(1, 0.1f), Types.REAL, r -> r.getFloat(1), 0.1f),
                new Case("setDouble", "DOUBLE", s -> s.setDouble(1, 0.1), Types.DOUBLE, r -> r.getDouble(1), 0.1),
                new Case("setDouble NaN", "DOUBLE", s -> s.setDouble(1, Double.NaN), Types.DOUBLE, r -> r.getDouble(1), Double.NaN),
                new Case("setDouble infinity", "DOUBLE", s -> s.setDouble(1, Double.NEGATIVE_INFINITY), Types.DOUBLE, r -> r.getDouble(1), Double.NEGATIVE_INFINITY),
                new Case("setDouble smallest", "DOUBLE", s -> s.setDouble(1, Double.MIN_VALUE), Types.DOUBLE, r -> r.getDouble(1), Double.MIN_VALUE),
                new Case("setDouble negative zero", "DOUBLE", s -> s.setDouble(1, -0.0), Types.DOUBLE, r -> r.getDouble(1), -0.0),
                new Case("setDouble of many digits", "DOUBLE", s -> s.setDouble(1, 1.7976931348623157e308), Types.DOUBLE, r -> r.getDouble(1), Double.MAX_VALUE),
                new Case("setBigDecimal", "DECIMAL(20, 4)", s -> s.setBigDecimal(1, new BigDecimal("-1234567890123456.7891")), Types.DECIMAL,
                        r -> r.getBigDecimal(1), new BigDecimal("-1234567890123456.7891")),
                new Case("setString", "VARCHAR", s -> s.setString(1, "it's ümlaut, 日本 and \"quotes\"\n"), Types.VARCHAR,
                        r -> r.getString(1), "it's ümlaut, 日本 and \"quotes\"\n"),
                new Case("setString empty", "VARCHAR", s -> s.setString(1, ""), Types.VARCHAR, r -> r.getString(1), ""),
                new Case("setString like SQL", "VARCHAR", s -> s.setString(1, "? $1 \\' '; -- /* \0"), Types.VARCHAR, r -> r.getString(1), "? $1 \\' '; -- /* \0"),
                new Case("setString like a number", "VARCHAR", s -> s.setString(1, "007"), Types.VARCHAR, r -> r.getString(1), "007"),
                new Case("setBoolean", "BOOLEAN", s -> s.setBoolean(1, true), Types.BOOLEAN, r -> r.getBoolean(1), true),
                new Case("setBytes", "BYTEA", s -> s.setBytes(1, bytes), Types.VARBINARY, r -> r.getBytes(1), bytes),
                new Case("setBytes empty", "BYTEA", s -> s.setBytes(1, new byte[0]), Types.BINARY, r -> r.getBytes(1), new byte[0]),
                new Case("setDate", "DATE", s -> s.setDate(1, day), Types.DATE, r -> r.getDate(1), day),
                new Case("setTime", "TIME", s -> s.setTime(1, clock), Types.TIME, r -> r.getTime(1), clock),
                new Case("setTimestamp", "TIMESTAMP", s -> s.setTimestamp(1, moment), Types.TIMESTAMP, r -> r.getTimestamp(1), moment),
                new Case("setTimestamp long ago", "TIMESTAMP", s -> s.setTimestamp(1, longAgo), Types.TIMESTAMP, r -> r.getTimestamp(1), longAgo),
                new Case("setTimestamp of seconds", "TIMESTAMP(0)", s -> s.setTimestamp(1, Timestamp.valueOf("2024-02-29 23:59:59")), Types.TIMESTAMP,
                        r -> r.getTimestamp(1), Timestamp.valueOf("2024-02-29 23:59:59")),
                new Case("setObject long", "BIGINT", s -> s.setObject(1, 5L), Types.BIGINT, r -> r.getLong(1), 5L),
                new Case("setObject string", "VARCHAR", s -> s.setObject(1, "text"), Types.VARCHAR, r -> r.getString(1), "text"),
                new Case("setObject timestamp", "TIMESTAMP", s -> s.setObject(1, moment), Types.TIMESTAMP, r -> r.getTimestamp(1), moment));
    }

    void write(Case one, Setter setter) throws SQLException {
        Sql.run(connection, "CREATE TABLE IF NOT EXISTS " + one.table() + " (c " + one.columnType + ")");
        try (PreparedStatement statement = connection.prepareStatement("INSERT INTO " + one.table() + " VALUES (?)")) {
            setter.set(statement);
            assertEquals(1, statement.executeUpdate());
        }
    }

    static void assertSame(Object expected, Object found, Case one) {
        if (expected instanceof byte[] bytes) {
            assertArrayEquals(bytes, (byte[]) found, one.name);
        } else {
            assertEquals(expected, found, one.name);
        }
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("cases")
    void valueComesBackAndIsFound(Case one) throws SQLException {
        write(one, one.setter);
        try (PreparedStatement statement = connection.prepareStatement("SELECT c FROM " + one.table() + " WHERE c = ?")) {
            one.setter.set(statement);
            try (ResultSet result = statement.executeQuery()) {
                assertTrue(result.next(), "no row is equal to the parameter");
                assertSame(one.expected, one.getter.get(result), one);
            }
        }
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("cases")
    void setNullIsNull(Case one) throws SQLException {
        assertNullIsStored(one, statement -> statement.setNull(1, one.nullType));
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("cases")
    void nullObjectIsNull(Case one) throws SQLException {
        assertNullIsStored(one, statement -> statement.setObject(1, null));
    }

    void assertNullIsStored(Case one, Setter setter) throws SQLException {
        long before = nulls(one);
        write(one, setter);
        assertEquals(before + 1, nulls(one));
        try (var statement = connection.createStatement(); ResultSet result = statement.executeQuery("SELECT c FROM " + one.table() + " WHERE c IS NULL")) {
            assertTrue(result.next());
            one.getter.get(result);
            assertTrue(result.wasNull());
            assertNull(result.getObject(1));
        }
    }

    long nulls(Case one) throws SQLException {
        Sql.run(connection, "CREATE TABLE IF NOT EXISTS " + one.table() + " (c " + one.columnType + ")");
        return (Long) Sql.value(connection, "SELECT count(*) FROM " + one.table() + " WHERE c IS NULL");
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("cases")
    void nullEqualsNothing(Case one) throws SQLException {
        write(one, one.setter);
        try (PreparedStatement statement = connection.prepareStatement("SELECT c FROM " + one.table() + " WHERE c = ?")) {
            statement.setNull(1, one.nullType);
            try (ResultSet result = statement.executeQuery()) {
                assertEquals(0, Sql.rows(result).size());
            }
        }
    }
}
