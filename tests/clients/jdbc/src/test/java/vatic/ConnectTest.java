package vatic;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import org.junit.jupiter.api.Test;

/** Connections to a server without users, and their properties. */
class ConnectTest extends OpenServer {
    static void assertWorks(Connection connection) throws SQLException {
        try (connection) {
            assertEquals(3L, Sql.value(connection, "SELECT 1 + 2"));
        }
    }

    @Test
    void anyPasswordOpensAServerWithoutUsers() throws SQLException {
        assertWorks(server.connect("user=anyone", "password=anything"));
    }

    @Test
    void anyTokenOpensAServerWithoutUsers() throws SQLException {
        assertWorks(server.connect("token=anything"));
    }

    // The driver ends the session of a connection with a catalog twice when it closes, and finds its own channel shut.
    static void assertWorksWithACatalog(Connection connection) throws SQLException {
        assertEquals(3L, Sql.value(connection, "SELECT 1 + 2"));
        try {
            connection.close();
        } catch (SQLException error) {
            assertEquals("Channel shutdown invoked", error.getMessage());
        }
    }

    @Test
    void catalogOfTheServerIsTaken() throws SQLException {
        assertWorksWithACatalog(server.connect("catalog=vatic"));
    }

    @Test
    void catalogIsTakenWithAPassword() throws SQLException {
        assertWorksWithACatalog(server.connect("user=anyone", "password=anything", "catalog=vatic"));
    }

    // The driver sends unknown properties as headers.
    @Test
    void unknownPropertiesDoNoHarm() throws SQLException {
        assertWorks(DriverManager.getConnection(server.url() + "&tenant=acme&x-request-id=42"));
    }

    @Test
    void cookiesMayBeOff() throws SQLException {
        assertWorks(server.connect("retainCookies=false", "retainAuth=false"));
    }

    @Test
    void connectionIsValidUntilItIsClosed() throws SQLException {
        assertTrue(connection.isValid(5));
        connection.close();
        assertTrue(connection.isClosed());
        assertThrows(SQLException.class, () -> connection.createStatement().execute("SELECT 1"));
    }

    @Test
    void closingTwiceIsFine() throws SQLException {
        Connection closed = server.connect();
        closed.close();
        closed.close();
    }

    @Test
    void closingLeavesOpenStatementsOfOthersAlone() throws SQLException {
        try (Connection other = server.connect(); var result = other.createStatement().executeQuery("SELECT value FROM generate_series(1, 100000)")) {
            assertTrue(result.next());
            connection.close();
            int rows = 1;
            while (result.next()) {
                rows++;
            }
            assertEquals(100_000, rows);
        }
    }

    @Test
    void encryptedClientFailsOnAPlainServer() {
        String url = server.url().replace("useEncryption=false", "useEncryption=true");
        assertThrows(SQLException.class, () -> {
            try (Connection encrypted = DriverManager.getConnection(url)) {
                Sql.value(encrypted, "SELECT 1");
            }
        });
    }
}
