package vatic;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.math.BigDecimal;
import java.sql.Date;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Time;
import java.sql.Timestamp;
import java.sql.Types;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Each SQL type, read by getObject and by its own getter, with NULL in the next row. */
class ResultTypeTest extends OpenServer {
    interface Getter {
        Object get(ResultSet result) throws SQLException;
    }

    record Case(String name, String expression, Getter getter, Object expected) {
        @Override
        public String toString() {
            return name;
        }
    }

    static Case cast(String text, String type, Getter getter, Object expected) {
        return new Case(type, "arrow_cast(" + text + ", '" + type + "')", getter, expected);
    }

    static Stream<Case> cases() {
        Getter string = r -> r.getString(1);
        Getter number = r -> r.getLong(1);
        Getter decimal = r -> r.getBigDecimal(1);
        Getter moment = r -> r.getTimestamp(1);
        Getter clock = r -> r.getTime(1);
        Getter bytes = r -> r.getBytes(1) == null ? null : HexFormat.of().formatHex(r.getBytes(1));
        Getter list = r -> r.getArray(1) == null ? null : plain(r.getArray(1).getArray());
        Getter object = r -> plain(r.getObject(1));
        Timestamp seconds = Timestamp.valueOf("2024-07-02 03:04:05");
        Timestamp millis = Timestamp.valueOf("2024-07-02 03:04:05.678");
        return Stream.of(
                new Case("boolean", "true", r -> r.getBoolean(1), true),
                cast("-128", "Int8", r -> r.getByte(1), (byte) -128),
                cast("-32768", "Int16", r -> r.getShort(1), (short) -32768),
                cast("-2147483648", "Int32", r -> r.getInt(1), Integer.MIN_VALUE),
                new Case("Int64", "9223372036854775807", number, Long.MAX_VALUE),
                // The driver reads unsigned numbers as signed numbers of the same size.
                cast("127", "UInt8", number, 127L),
                cast("32767", "UInt16", number, 32767L),
                cast("2147483647", "UInt32", number, 2147483647L),
                cast("9223372036854775807", "UInt64", number, Long.MAX_VALUE),
                cast("1.5", "Float16", r -> r.getFloat(1), 1.5f),
                cast("0.1", "Float32", r -> r.getFloat(1), 0.1f),
                new Case("Float64", "0.1", r -> r.getDouble(1), 0.1),
                new Case("NaN", "CAST('NaN' AS DOUBLE)", r -> r.getDouble(1), Double.NaN),
                new Case("infinity", "CAST('-Infinity' AS DOUBLE)", r -> r.getDouble(1), Double.NEGATIVE_INFINITY),
                cast("'-1.5'", "Decimal32(5, 2)", decimal, new BigDecimal("-1.50")),
                cast("'1234567890.12'", "Decimal64(12, 2)", decimal, new BigDecimal("1234567890.12")),
                cast("'1234567890123456.7891'", "Decimal128(20, 4)", decimal, new BigDecimal("1234567890123456.7891")),
                cast("'-1234567890123456789012345678901234567890.125'", "Decimal256(50, 3)", decimal,
                        new BigDecimal("-1234567890123456789012345678901234567890.125")),
                new Case("Utf8", "'ümlaut 日本'", string, "ümlaut 日本"),
                new Case("empty string", "''", string, ""),
                cast("'text'", "LargeUtf8", string, "text"),
                cast("'longer than twelve bytes'", "Utf8View", string, "longer than twelve bytes"),
                cast("'text'", "Dictionary(Int32, Utf8)", string, "text"),
                cast("'text'", "Dictionary(Int8, LargeUtf8)", string, "text"),
                cast("12", "Dictionary(Int32, Int64)", number, 12L),
                new Case("Binary", "X'00ff7f'", bytes, "00ff7f"),
                cast("X'00ff7f'", "LargeBinary", bytes, "00ff7f"),
                cast("X'00ff7f'", "BinaryView", bytes, "00ff7f"),
                cast("X'00ff7f'", "FixedSizeBinary(3)", bytes, "00ff7f"),
                new Case("Date32", "DATE '1815-12-10'", r -> r.getDate(1), Date.valueOf("1815-12-10")),
                cast("DATE '2024-02-29'", "Date64", r -> r.getDate(1), Date.valueOf("2024-02-29")),
                cast("'12:34:56'", "Time32(Second)", clock, Time.valueOf("12:34:56")),
                cast("'12:34:56'", "Time32(Millisecond)", clock, Time.valueOf("12:34:56")),
                cast("'12:34:56'", "Time64(Microsecond)", clock, Time.valueOf("12:34:56")),
                new Case("Time64(ns)", "TIME '12:34:56'", clock, Time.valueOf("12:34:56")),
                cast("'2024-07-02T03:04:05'", "Timestamp(Second, None)", moment, seconds),
                cast("'2024-07-02T03:04:05.678'", "Timestamp(Millisecond, None)", moment, millis),
                cast("'2024-07-02T03:04:05.678901'", "Timestamp(Microsecond, None)", moment, Timestamp.valueOf("2024-07-02 03:04:05.678901")),
                new Case("Timestamp(ns)", "TIMESTAMP '2024-07-02T03:04:05.678901234'", moment, Timestamp.valueOf("2024-07-02 03:04:05.678901234")),
                cast("'2024-07-02T03:04:05.678Z'", "Timestamp(Millisecond, Some(\"+00:00\"))", moment, millis),
                cast("'2024-07-02T05:04:05.678+02:00'", "Timestamp(Nanosecond, Some(\"Europe/Zurich\"))", string, "2024-07-02 05:04:05.678"),
                new Case("interval of months", "INTERVAL '14 months'", string, null),
                new Case("interval of days and time", "INTERVAL '3 days 4 hours'", string, null),
                cast("'1 month'", "Interval(YearMonth)", string, null),
                cast("'1 day'", "Interval(DayTime)", string, null),
                cast("5", "Duration(Second)", string, null),
                cast("5", "Duration(Nanosecond)", string, null),
                new Case("list", "[1, NULL, 3]", list, Arrays.asList(1L, null, 3L)),
                new Case("empty list", "arrow_cast([], 'List(Int64)')", list, List.of()),
                new Case("list of strings", "['a', 'longer than twelve bytes', NULL]", list, Arrays.asList("a", "longer than twelve bytes", null)),
                new Case("list of string views", "arrow_cast(['a', 'longer than twelve bytes'], 'List(Utf8View)')", list, List.of("a", "longer than twelve bytes")),
                new Case("list of lists", "[[1, 2], [3]]", list, List.of(List.of(1L, 2L), List.of(3L))),
                cast("[1, 2]", "LargeList(Int64)", list, List.of(1L, 2L)),
                cast("[1.5, 2.5]", "FixedSizeList(2, Float32)", list, List.of(1.5f, 2.5f)),
                cast("[1.5, 2.5]", "FixedSizeList(2, Float16)", list, List.of(1.5f, 2.5f)),
                cast("[1, 2]", "ListView(Int64)", list, List.of(1L, 2L)),
                new Case("list of decimals", "arrow_cast([1, 2], 'List(Decimal32(5, 1))')", list, List.of(new BigDecimal("1.0"), new BigDecimal("2.0"))),
                new Case("struct", "named_struct('a', 1, 'b', 'x')", object, new TreeMap<>(Map.of("a", 1L, "b", "x"))),
                new Case("struct in a struct", "named_struct('a', named_struct('b', arrow_cast('x', 'Utf8View')))", object, Map.of("a", Map.of("b", "x"))),
                new Case("list of structs", "[named_struct('label', 'x', 'prob', 0.5)]", list, List.of(Map.of("label", "x", "prob", 0.5))),
                new Case("map", "map(['a', 'b'], [1, 2])", object, new TreeMap<>(Map.of("a", 1L, "b", 2L))));
    }

    /** All types except intervals and durations, which Parquet lacks. */
    static Stream<Case> storableCases() {
        return cases().filter(one -> one.expected != null);
    }

    /** Converts to types that compare by value: arrays to lists, Arrow's texts to strings, structs to sorted maps. */
    static Object plain(Object value) throws SQLException {
        if (value instanceof java.sql.Array array) {
            return plain(array.getArray());
        } else if (value instanceof Object[] elements) {
            Object[] copy = new Object[elements.length];
            for (int i = 0; i < copy.length; i++) {
                copy[i] = plain(elements[i]);
            }
            return Arrays.asList(copy);
        } else if (value instanceof List<?> elements) {
            return plain(elements.toArray());
        } else if (value instanceof Map<?, ?> fields) {
            Map<Object, Object> copy = new TreeMap<>();
            for (Map.Entry<?, ?> field : fields.entrySet()) {
                copy.put(plain(field.getKey()), plain(field.getValue()));
            }
            return copy;
        } else if (value != null && value.getClass().getSimpleName().equals("Text")) {
            return value.toString();
        }
        return value;
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("cases")
    void valueAndNullAreRead(Case one) throws SQLException {
        String sql = "SELECT CASE WHEN value = 1 THEN " + one.expression + " END FROM generate_series(1, 2) ORDER BY value";
        try (var statement = connection.createStatement(); ResultSet result = statement.executeQuery(sql)) {
            assertTrue(result.next());
            Object found = one.getter.get(result);
            if (one.expected == null) {
                assertNotNull(found);
            } else {
                assertEquals(one.expected, found, one.name);
            }
            assertFalse(result.wasNull());
            // getObject of driver 18.3.0 does not support timestamps with a zone.
            boolean hasObject = result.getMetaData().getColumnType(1) != Types.TIMESTAMP_WITH_TIMEZONE;
            assertTrue(!hasObject || result.getObject(1) != null);
            assertNotNull(result.getString(1));
            assertTrue(result.next());
            one.getter.get(result);
            assertTrue(result.wasNull());
            assertTrue(!hasObject || result.getObject(1) == null);
            assertNull(result.getString(1));
            assertFalse(result.next());
        }
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("storableCases")
    void valueIsReadFromAStoredTable(Case one) throws SQLException {
        String table = "stored_" + Integer.toHexString(one.name.hashCode());
        Sql.run(connection, "CREATE TABLE " + table + " AS SELECT " + one.expression + " AS c");
        try (var statement = connection.createStatement(); ResultSet result = statement.executeQuery("SELECT c FROM " + table)) {
            assertTrue(result.next());
            assertEquals(one.expected, one.getter.get(result), one.name);
        }
    }

    @Test
    void untypedNullIsRead() throws SQLException {
        assertNull(Sql.value(connection, "SELECT NULL"));
    }

    @Test
    void wholeNumbersAreReadByAllGetters() throws SQLException {
        try (var statement = connection.createStatement(); ResultSet result = statement.executeQuery("SELECT 42 AS a")) {
            assertTrue(result.next());
            assertEquals(42, result.getByte("a"));
            assertEquals(42, result.getShort("a"));
            assertEquals(42, result.getInt("a"));
            assertEquals(42L, result.getLong("a"));
            assertEquals(42f, result.getFloat("a"));
            assertEquals(42.0, result.getDouble("a"));
            assertEquals(new BigDecimal("42"), result.getBigDecimal("a"));
            assertEquals("42", result.getString("a"));
        }
    }
}
