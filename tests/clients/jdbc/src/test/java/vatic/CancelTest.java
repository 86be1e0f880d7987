package vatic;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Abandoned work ends, on the client and in the server. Each test has a server of its own, to see when it is idle. */
class CancelTest {
    /** A query that computes for hours before its only row. */
    static final String SILENT = "SELECT sum(value % 7) FROM generate_series(1, 1000000000000)";

    /** A query that returns rows for hours. */
    static final String ENDLESS = "SELECT a.value, b.value FROM generate_series(1, 1000000) a CROSS JOIN generate_series(1, 1000000) b";

    static final String TRAINING = "TRAIN MODEL long_training TARGET y OPTIONS (model_type = 'dnn_regressor', epochs = 1000000, early_stop = false)"
            + " AS SELECT value AS x, value % 17 AS y FROM generate_series(1, 20000)";

    static final Duration SOON = Duration.ofSeconds(2);

    @TempDir
    Path directory;

    Server server;
    Connection connection;

    @BeforeEach
    void startServer() throws SQLException {
        server = Server.start(directory);
        connection = server.connect();
    }

    @AfterEach
    void stopServer() throws SQLException {
        connection.close();
        server.close();
    }

    /** Checks that the server has stopped computing, and that the connection works. */
    void assertEnded() throws SQLException, InterruptedException {
        server.awaitIdle(SOON);
        assertEquals(3L, Sql.value(connection, "SELECT 1 + 2"));
    }

    interface Query {
        ResultSet execute() throws SQLException;
    }

    /** Starts a query in another thread; returns once the query computes. */
    CompletableFuture<Object> begin(Query query) throws InterruptedException {
        CompletableFuture<Object> begun = CompletableFuture.supplyAsync(() -> {
            try {
                return Sql.rows(query.execute());
            } catch (SQLException error) {
                throw new IllegalStateException(error);
            }
        });
        server.awaitBusy();
        return begun;
    }

    static void assertFailsSoon(CompletableFuture<Object> query) {
        assertThrows(ExecutionException.class, () -> query.get(SOON.toMillis(), TimeUnit.MILLISECONDS));
    }

    @Test
    void cancelEndsAQueryThatHasNoRowsYet() throws Exception {
        try (Statement statement = connection.createStatement()) {
            CompletableFuture<Object> query = begin(() -> statement.executeQuery(SILENT));
            statement.cancel();
            assertFailsSoon(query);
            assertEnded();
        }
    }

    @Test
    void cancelEndsAPreparedQuery() throws Exception {
        try (PreparedStatement statement = connection.prepareStatement(SILENT + " WHERE value > ?")) {
            statement.setLong(1, 1);
            CompletableFuture<Object> query = begin(statement::executeQuery);
            statement.cancel();
            assertFailsSoon(query);
            assertEnded();
        }
    }

    @Test
    void cancelEndsAQueryThatIsBeingRead() throws Exception {
        try (Statement statement = connection.createStatement()) {
            ResultSet result = statement.executeQuery(ENDLESS);
            for (int row = 0; row < 20_000; row++) {
                assertTrue(result.next());
            }
            CompletableFuture.runAsync(() -> {
                try {
                    statement.cancel();
                } catch (SQLException error) {
                    throw new IllegalStateException(error);
                }
            }).get(SOON.toMillis(), TimeUnit.MILLISECONDS);
            assertThrows(SQLException.class, result::next);
            assertEnded();
        }
    }

    @Test
    void cancelOfOneQueryLeavesTheOtherAlone() throws Exception {
        try (Statement cancelled = connection.createStatement();
                Statement other = connection.createStatement();
                ResultSet result = other.executeQuery("SELECT value FROM generate_series(1, 500000)")) {
            assertTrue(result.next());
            CompletableFuture<Object> query = begin(() -> cancelled.executeQuery(SILENT));
            cancelled.cancel();
            assertFailsSoon(query);
            int rows = 1;
            while (result.next()) {
                rows++;
            }
            assertEquals(500_000, rows);
        }
    }

    @Test
    void cancelWithoutAQueryDoesNothing() throws Exception {
        try (Statement statement = connection.createStatement()) {
            statement.cancel();
        }
        assertEnded();
    }

    @Test
    void cancelEndsATrainingAndLeavesNoModel() throws Exception {
        try (Statement statement = connection.createStatement()) {
            CompletableFuture<Object> training = begin(() -> statement.executeQuery(TRAINING));
            statement.cancel();
            assertFailsSoon(training);
            assertEnded();
            assertEquals(List.of(), Sql.rows(connection, "SHOW MODELS LIKE 'long_training'"));
            assertEquals("CANCELLED", Sql.value(connection, "SELECT status FROM ml.training_runs WHERE model_name = 'long_training'"));
        }
    }

    @Test
    void closingTheResultEndsTheQuery() throws Exception {
        try (Statement statement = connection.createStatement()) {
            ResultSet result = statement.executeQuery(ENDLESS);
            assertTrue(result.next());
            result.close();
            assertEnded();
        }
    }

    @Test
    void closingTheStatementEndsTheQuery() throws Exception {
        Statement statement = connection.createStatement();
        assertTrue(statement.executeQuery(ENDLESS).next());
        statement.close();
        assertEnded();
    }

    @Test
    void killedClientEndsItsQuery() throws Exception {
        Process client = QueryClient.start(server.url(), SILENT);
        server.awaitBusy();
        client.destroyForcibly().waitFor();
        assertEnded();
    }

    @Test
    void killedClientEndsItsTrainingAndLeavesNoModel() throws Exception {
        Process client = QueryClient.start(server.url(), TRAINING);
        server.awaitBusy();
        client.destroyForcibly().waitFor();
        assertEnded();
        assertEquals(List.of(), Sql.rows(connection, "SHOW MODELS LIKE 'long_training'"));
    }

    // A client that reads slowly holds the query back instead of filling the server's memory.
    @Test
    void resultThatIsNotReadHoldsTheQueryBack() throws Exception {
        try (Statement statement = connection.createStatement(); ResultSet result = statement.executeQuery(ENDLESS)) {
            assertTrue(result.next());
            server.awaitIdle(Duration.ofSeconds(10));
            for (int row = 0; row < 20_000; row++) {
                assertTrue(result.next());
            }
        }
    }

    @Test
    void timeoutEndsAQueryThatHasNoRows() throws Exception {
        try (Statement statement = connection.createStatement()) {
            statement.setQueryTimeout(1);
            assertEquals(1, statement.getQueryTimeout());
            long start = System.nanoTime();
            assertThrows(SQLException.class, () -> Sql.rows(statement.executeQuery(SILENT)));
            double seconds = (System.nanoTime() - start) / 1e9;
            assertTrue(seconds > 0.9 && seconds < 4, seconds + " seconds");
        }
        assertEnded();
    }

    @Test
    void timeoutDoesNotDisturbAFastQuery() throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.setQueryTimeout(20);
            assertEquals(List.of(List.of(1L)), Sql.rows(statement.executeQuery("SELECT 1")));
        }
    }
}
