package vatic;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** A cross join that makes a million batches from one input batch, so it computes for minutes without yielding. */
class CrossJoinTest {
    static final String CROSS_JOIN = "SELECT sum((a.value * b.value) % 7) FROM generate_series(1, 1000000) a CROSS JOIN generate_series(1, 1000000) b";

    @TempDir
    Path directory;

    Server server;
    Connection connection;
    Statement statement;

    @BeforeEach
    void startQuery() throws Exception {
        server = Server.start(directory);
        connection = server.connect("user=one", "password=x");
        statement = connection.createStatement();
        CompletableFuture.runAsync(() -> {
            try {
                Sql.rows(statement.executeQuery(CROSS_JOIN));
            } catch (SQLException cancelled) {
                throw new IllegalStateException(cancelled);
            }
        });
        server.awaitBusy();
    }

    @AfterEach
    void stopServer() {
        server.close();
    }

    @Test
    @Timeout(10)
    void cancelEndsIt() throws Exception {
        statement.cancel();
        server.awaitIdle(Duration.ofSeconds(3));
    }

    @Test
    @Timeout(10)
    void otherConnectionsAreAnsweredMeanwhile() throws SQLException {
        try (Connection other = server.connect("user=two", "password=x")) {
            for (int query = 0; query < 10; query++) {
                assertEquals(1L, Sql.value(other, "SELECT 1"));
            }
        }
    }
}
