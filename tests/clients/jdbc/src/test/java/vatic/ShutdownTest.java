package vatic;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The end of a server, and its next start. */
class ShutdownTest {
    @TempDir
    Path directory;

    @Test
    void serverEndsWithCodeZeroWhileAConnectionIsOpen() throws Exception {
        try (Server server = Server.start(directory); Connection connection = server.connect()) {
            Sql.value(connection, "SELECT 1");
            server.terminate();
            assertEquals(0, server.exitCode());
        }
    }

    @Test
    void resultThatIsBeingReadIsReadToItsEnd() throws Exception {
        try (Server server = Server.start(directory);
                Connection connection = server.connect();
                Statement statement = connection.createStatement();
                ResultSet result = statement.executeQuery("SELECT value, repeat('x', 100) FROM generate_series(1, 300000)")) {
            assertTrue(result.next());
            server.terminate();
            int rows = 1;
            while (result.next()) {
                rows++;
            }
            assertEquals(300_000, rows);
            result.close();
            assertEquals(0, server.exitCode());
        }
    }

    @Test
    void tablesViewsAndModelsAreThereAtTheNextStart() throws Exception {
        try (Server server = Server.start(directory); Connection connection = server.connect()) {
            Sql.run(connection, "CREATE TABLE lasting AS SELECT value AS x, value * 2 AS y FROM generate_series(1, 50)",
                    "CREATE VIEW lasting_view AS SELECT x FROM lasting WHERE x > 40",
                    "TRAIN MODEL lasting_model TARGET y OPTIONS (model_type = 'linear_reg') AS SELECT * FROM lasting");
            server.terminate();
            assertEquals(0, server.exitCode());
        }
        try (Server server = Server.start(directory); Connection connection = server.connect()) {
            assertEquals(10L, Sql.value(connection, "SELECT count(*) FROM lasting_view"));
            assertEquals(200.0, Sql.value(connection, "SELECT round(predicted_y) FROM predict(lasting_model, (SELECT 100 AS x))"));
        }
    }

    @Test
    void tokenWorksAtTheNextStart() throws Exception {
        Path users = directory.resolve("users");
        Vatic.addUser(users, "ada", "secret");
        String token = Vatic.token(users, "ada");
        for (int start = 0; start < 2; start++) {
            try (Server server = Server.start(directory, "--users", users.toString()); Connection connection = server.connect("token=" + token)) {
                assertEquals(1L, Sql.value(connection, "SELECT 1"));
            }
        }
    }

    @Test
    void connectionToAServerThatIsGoneSaysSo() throws Exception {
        try (Server server = Server.start(directory); Connection connection = server.connect()) {
            Sql.value(connection, "SELECT 1");
            server.close();
            assertThrows(SQLException.class, () -> Sql.value(connection, "SELECT 1"));
        }
    }
}
