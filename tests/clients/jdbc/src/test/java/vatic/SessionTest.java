package vatic;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** What belongs to one connection, and what all connections see. */
class SessionTest extends OpenServer {
    @Override
    @BeforeEach
    void connect() throws SQLException {
        connection = server.connect("user=one", "password=x");
    }

    static String batchSize(Connection connection) throws SQLException {
        return (String) Sql.rows(connection, "SHOW datafusion.execution.batch_size").get(0).get(1);
    }

    @Test
    void settingHoldsForLaterStatements() throws SQLException {
        Sql.run(connection, "SET datafusion.execution.batch_size = 100");
        assertEquals("100", batchSize(connection));
        Sql.run(connection, "SELECT 1");
        assertEquals("100", batchSize(connection));
    }

    // Without a login, the driver's cookie distinguishes connections.
    @Test
    void settingsOfTwoConnectionsWithoutALoginAreSeparate() throws SQLException {
        try (Connection first = server.connect(); Connection second = server.connect()) {
            Sql.run(first, "SET datafusion.execution.batch_size = 100");
            Sql.run(second, "SET datafusion.execution.batch_size = 200");
            assertEquals("100", batchSize(first));
            assertEquals("200", batchSize(second));
        }
    }

    @Test
    void settingsOfTwoLoginsAreSeparate() throws SQLException {
        try (Connection second = server.connect("user=one", "password=x")) {
            Sql.run(connection, "SET datafusion.execution.batch_size = 100");
            assertEquals("100", batchSize(connection));
            assertEquals("8192", batchSize(second));
        }
    }

    @Test
    void newConnectionHasTheDefaults() throws SQLException {
        Sql.run(connection, "SET datafusion.execution.batch_size = 100");
        connection.close();
        try (Connection next = server.connect("user=one", "password=x")) {
            assertEquals("8192", batchSize(next));
        }
    }

    @Test
    void wrongSettingIsRefusedAndKeepsTheOldValue() throws SQLException {
        Sql.assertSays("no_such_setting", Sql.error(connection, "SET datafusion.no_such_setting = 1"));
        Sql.error(connection, "SET datafusion.execution.batch_size = 'many'");
        assertEquals("8192", batchSize(connection));
    }

    @Test
    void tablesAreSeenByAll() throws SQLException {
        Sql.run(connection, "CREATE TABLE seen_by_all AS SELECT 1 AS a");
        try (Connection other = server.connect()) {
            assertEquals(1L, Sql.value(other, "SELECT a FROM seen_by_all"));
            Sql.run(other, "DROP TABLE seen_by_all");
        }
        Sql.assertSays("seen_by_all", Sql.error(connection, "SELECT a FROM seen_by_all"));
    }

    @Test
    void manyConnectionsAtOnce() throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(8);
        List<Callable<Long>> clients = new ArrayList<>();
        for (long client = 0; client < 8; client++) {
            long number = client;
            clients.add(() -> {
                long sum = 0;
                try (Connection own = server.connect("user=" + number, "password=x")) {
                    for (int query = 0; query < 10; query++) {
                        sum += (Long) Sql.value(own, "SELECT sum(value) + " + number + " FROM generate_series(1, 1000)");
                    }
                }
                return sum;
            });
        }
        List<Future<Long>> sums = threads.invokeAll(clients);
        threads.shutdown();
        for (int client = 0; client < 8; client++) {
            assertEquals(10L * (500_500 + client), sums.get(client).get());
        }
    }
}
