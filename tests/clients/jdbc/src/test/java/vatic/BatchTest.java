package vatic;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.sql.Timestamp;
import java.sql.Types;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Batches: many rows of parameters for one INSERT, written at once or not at all. */
class BatchTest extends OpenServer {
    static long sum(int[] counts) {
        return Arrays.stream(counts).sum();
    }

    @Test
    void batchWritesAllItsRows() throws SQLException {
        Sql.run(connection, "CREATE TABLE batched (n BIGINT, name VARCHAR)");
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO batched VALUES (?, ?)")) {
            for (long n = 1; n <= 5000; n++) {
                insert.setLong(1, n);
                insert.setString(2, "n" + n);
                insert.addBatch();
            }
            assertEquals(5000, sum(insert.executeBatch()));
        }
        assertEquals(List.of(List.of(5000L, 5000L * 5001 / 2, 5000L)),
                Sql.rows(connection, "SELECT count(*), sum(n), count(DISTINCT name) FROM batched WHERE name = 'n' || n"));
    }

    @Test
    void batchOfRowsWithTwoTuplesCountsBoth() throws SQLException {
        Sql.run(connection, "CREATE TABLE tuples (n BIGINT)");
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO tuples VALUES (?), (? * 10)")) {
            for (long n = 1; n <= 3; n++) {
                insert.setLong(1, n);
                insert.setLong(2, n);
                insert.addBatch();
            }
            assertEquals(6, sum(insert.executeBatch()));
        }
        assertEquals(List.of(1L, 2L, 3L, 10L, 20L, 30L), Sql.column(connection, "SELECT n FROM tuples ORDER BY n"));
    }

    @Test
    void batchIsUsedAgain() throws SQLException {
        Sql.run(connection, "CREATE TABLE again (n BIGINT)");
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO again VALUES (?)")) {
            for (int size : List.of(3, 1, 7)) {
                for (int n = 0; n < size; n++) {
                    insert.setLong(1, n);
                    insert.addBatch();
                }
                assertEquals(size, sum(insert.executeBatch()));
            }
            insert.setLong(1, 99);
            assertEquals(1, insert.executeUpdate());
        }
        assertEquals(12L, Sql.value(connection, "SELECT count(*) FROM again"));
    }

    @Test
    void batchMayHaveNullsAnywhere() throws SQLException {
        Sql.run(connection, "CREATE TABLE holes (n BIGINT, name VARCHAR, moment TIMESTAMP)");
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO holes VALUES (?, ?, ?)")) {
            for (int row = 0; row < 8; row++) {
                if ((row & 1) == 0) insert.setNull(1, Types.BIGINT); else insert.setLong(1, row);
                if ((row & 2) == 0) insert.setNull(2, Types.VARCHAR); else insert.setString(2, "row" + row);
                if ((row & 4) == 0) insert.setNull(3, Types.TIMESTAMP); else insert.setTimestamp(3, Timestamp.valueOf("2024-01-01 00:00:0" + row));
                insert.addBatch();
            }
            assertEquals(8, sum(insert.executeBatch()));
        }
        assertEquals(List.of(List.of(4L, 4L, 4L, 16L)), Sql.rows(connection, "SELECT count(n), count(name), count(moment), sum(n) FROM holes"));
    }

    @Test
    void batchThatFailsWritesNothing() throws SQLException {
        Sql.run(connection, "CREATE TABLE atomic (n BIGINT)");
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO atomic VALUES (100 / ?)")) {
            for (long divisor : List.of(1L, 2L, 0L, 4L)) {
                insert.setLong(1, divisor);
                insert.addBatch();
            }
            assertThrows(SQLException.class, insert::executeBatch);
            assertEquals(0L, Sql.value(connection, "SELECT count(*) FROM atomic"));
            insert.clearBatch();
            insert.setLong(1, 5);
            assertEquals(1, insert.executeUpdate());
        }
        assertEquals(20L, Sql.value(connection, "SELECT n FROM atomic"));
    }

    @Test
    void readerSeesAllOfABatchOrNothing() throws Exception {
        Sql.run(connection, "CREATE TABLE watched (n BIGINT)");
        Thread writer = new Thread(() -> {
            try (var own = server.connect(); PreparedStatement insert = own.prepareStatement("INSERT INTO watched VALUES (?)")) {
                for (int batch = 0; batch < 5; batch++) {
                    for (int n = 0; n < 500; n++) {
                        insert.setLong(1, n);
                        insert.addBatch();
                    }
                    insert.executeBatch();
                }
            } catch (SQLException error) {
                throw new IllegalStateException(error);
            }
        });
        writer.start();
        long seen = 0;
        while (writer.isAlive()) {
            seen = (Long) Sql.value(connection, "SELECT count(*) FROM watched");
            assertEquals(0, seen % 500, "a part of a batch is seen: " + seen);
        }
        writer.join();
        assertEquals(2500L, Sql.value(connection, "SELECT count(*) FROM watched"));
    }
}
