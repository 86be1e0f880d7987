package vatic;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Files that SQL may access: files below a root, and none without a root. */
class FilesTest {
    @TempDir
    static Path directory;

    static Path root;
    static Path outside;
    static Server server;
    static Server serverWithoutRoot;

    Connection connection;

    @BeforeAll
    static void startServers() throws IOException {
        root = Files.createDirectory(directory.resolve("root"));
        outside = Files.writeString(directory.resolve("outside.csv"), "a\n1\n");
        Files.writeString(root.resolve("inside.csv"), "a,name\n1,one\n2,two\n");
        Files.createSymbolicLink(root.resolve("link.csv"), outside);
        server = Server.start(Files.createDirectory(directory.resolve("with")), "--root", root.toString());
        serverWithoutRoot = Server.start(Files.createDirectory(directory.resolve("without")));
    }

    @AfterAll
    static void stopServers() {
        server.close();
        serverWithoutRoot.close();
    }

    @BeforeEach
    void connect() throws SQLException {
        connection = server.connect();
    }

    @AfterEach
    void disconnect() throws SQLException {
        connection.close();
    }

    static String externalTable(String name, Path file) {
        return "CREATE EXTERNAL TABLE " + name + " STORED AS CSV LOCATION '" + file + "' OPTIONS ('format.has_header' 'true')";
    }

    @Test
    void fileBelowTheRootIsRead() throws SQLException {
        Sql.run(connection, externalTable("inside", root.resolve("inside.csv")));
        assertEquals("two", Sql.value(connection, "SELECT name FROM inside WHERE a = 2"));
    }

    @Test
    void fileOutsideOfTheRootIsRefused() throws SQLException {
        Sql.assertSays("root", Sql.error(connection, externalTable("outside", outside)));
        Sql.assertSays("root", Sql.error(connection, externalTable("outside", root.resolve("../outside.csv"))));
    }

    @Test
    void linkThatLeadsOutsideIsRefused() throws SQLException {
        Sql.assertSays("root", Sql.error(connection, externalTable("linked", root.resolve("link.csv"))));
    }

    @Test
    void copyCountsItsRows() throws SQLException {
        try (var statement = connection.createStatement()) {
            Path file = root.resolve("copied.csv");
            assertEquals(5, statement.executeUpdate("COPY (SELECT value FROM generate_series(1, 5)) TO '" + file + "' STORED AS CSV"));
            assertTrue(Files.exists(file));
        }
    }

    @Test
    void copyOutsideOfTheRootIsRefused() throws SQLException {
        Path file = directory.resolve("copied.csv");
        Sql.assertSays("root", Sql.error(connection, "COPY (SELECT 1) TO '" + file + "' STORED AS CSV"));
        assertFalse(Files.exists(file));
    }

    @Test
    void withoutARootNoFileIsRead() throws SQLException {
        try (Connection restricted = serverWithoutRoot.connect()) {
            Sql.assertSays("root", Sql.error(restricted, externalTable("inside", root.resolve("inside.csv"))));
            Sql.error(restricted, "SELECT * FROM '" + root.resolve("inside.csv") + "'");
        }
    }

    @Test
    void withoutARootNoFileIsWritten() throws SQLException {
        Path file = root.resolve("refused.csv");
        try (Connection restricted = serverWithoutRoot.connect()) {
            Sql.assertSays("root", Sql.error(restricted, "COPY (SELECT 1) TO '" + file + "' STORED AS CSV"));
        }
        assertFalse(Files.exists(file));
    }

    // A table with a missing file must not hide the others from tools.
    @Test
    void lostFileDoesNotHideOtherTables() throws SQLException, IOException {
        Path lost = Files.writeString(root.resolve("lost.csv"), "a\n1\n");
        Sql.run(connection, externalTable("lost", lost), "CREATE TABLE beside_lost AS SELECT 1 AS only_column");
        Files.delete(lost);
        var columns = Sql.column(connection.getMetaData().getColumns(null, null, "beside_lost", null), "COLUMN_NAME");
        assertEquals("[only_column]", columns.toString());
        assertTrue(Sql.column(connection.getMetaData().getColumns(null, null, "%", null), "COLUMN_NAME").contains("only_column"));
    }
}
