package vatic;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Logins to a server with users. */
class LoginTest {
    @TempDir
    static Path directory;

    static Server server;
    static String token;
    static String secondToken;

    @BeforeAll
    static void startServer() {
        Path users = directory.resolve("users");
        Vatic.addUser(users, "ada", "secret");
        Vatic.addUser(users, "grace", "with:colon, space & =ü");
        token = Vatic.token(users, "ada");
        secondToken = Vatic.token(users, "ada");
        server = Server.start(directory, "--users", users.toString());
    }

    @AfterAll
    static void stopServer() {
        server.close();
    }

    static void assertWorks(Connection connection) throws SQLException {
        try (connection) {
            assertEquals(3L, Sql.value(connection, "SELECT 1 + 2"));
            // Each statement sends the credential again.
            assertEquals(4L, Sql.value(connection, "SELECT 2 + 2"));
        }
    }

    static String refusal(String... properties) {
        return assertThrows(SQLException.class, () -> server.connect(properties).close()).getMessage();
    }

    @Test
    void passwordOpensAConnection() throws SQLException {
        assertWorks(server.connect("user=ada", "password=secret"));
    }

    @Test
    void passwordMayStandInTheUrl() throws SQLException {
        assertWorks(DriverManager.getConnection(server.url() + "&user=ada&password=secret"));
    }

    @Test
    void passwordMayHaveColonsAndOtherSigns() throws SQLException {
        assertWorks(server.connect("user=grace", "password=with:colon, space & =ü"));
    }

    @Test
    void wrongPasswordFailsAtConnect() {
        Sql.assertSays("password", refusal("user=ada", "password=wrong"));
    }

    @Test
    void emptyPasswordFailsAtConnect() {
        Sql.assertSays("password", refusal("user=ada", "password="));
    }

    @Test
    void unknownUserIsToldNoMoreThanAWrongPassword() {
        String ofWrongPassword = refusal("user=ada", "password=wrong");
        assertEquals(ofWrongPassword.replace("ada", "…"), refusal("user=nobody", "password=wrong").replace("nobody", "…"));
    }

    @Test
    void tokenOpensAConnection() throws SQLException {
        assertWorks(server.connect("token=" + token));
    }

    @Test
    void secondTokenOfAUserWorksBesideTheFirst() throws SQLException {
        assertNotEquals(token, secondToken);
        assertWorks(server.connect("token=" + secondToken));
        assertWorks(server.connect("token=" + token));
    }

    @Test
    void wrongTokenFailsAtConnect() {
        Sql.assertSays("token", refusal("token=" + token + "x"));
    }

    // The driver sends nothing when it connects without a credential, so the first statement must fail.
    @Test
    void noCredentialFailsAtTheFirstStatement() throws SQLException {
        try (Connection connection = server.connect()) {
            Sql.assertSays("log in", Sql.error(connection, "SELECT 1"));
        }
    }

    @Test
    void noCredentialSeesNoTables() throws SQLException {
        try (Connection connection = server.connect()) {
            assertThrows(Exception.class, () -> Sql.rows(connection.getMetaData().getTables(null, null, null, null)));
        }
    }

    @Test
    void manyConnectionsOfOneUserWorkTogether() throws SQLException {
        try (Connection first = server.connect("user=ada", "password=secret");
                Connection second = server.connect("user=ada", "password=secret")) {
            assertEquals(1L, Sql.value(first, "SELECT 1"));
            first.close();
            assertEquals(2L, Sql.value(second, "SELECT 2"));
        }
    }

    // Connections with an application's token share only the token; the driver's cookie distinguishes them.
    @Test
    void settingsOfTwoConnectionsWithOneTokenAreSeparate() throws SQLException {
        try (Connection first = server.connect("token=" + secondToken); Connection second = server.connect("token=" + secondToken)) {
            Sql.run(first, "SET datafusion.execution.batch_size = 100");
            assertEquals("100", SessionTest.batchSize(first));
            assertEquals("8192", SessionTest.batchSize(second));
        }
    }

    @Test
    void settingsOfTwoConnectionsOfOneUserAreSeparate() throws SQLException {
        try (Connection first = server.connect("user=ada", "password=secret");
                Connection second = server.connect("user=ada", "password=secret")) {
            Sql.run(first, "SET datafusion.execution.batch_size = 100");
            assertEquals("100", SessionTest.batchSize(first));
            assertEquals("8192", SessionTest.batchSize(second));
        }
    }
}
