package vatic;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Errors name the problem in the user's words, and the connection still works. */
class ErrorTest extends OpenServer {
    @BeforeAll
    static void makeTable() throws SQLException {
        try (var connection = server.connect()) {
            Sql.run(connection, "CREATE TABLE customers AS SELECT 1 AS customer_id, 'ada' AS name");
        }
    }

    @AfterEach
    void connectionIsUsable() throws SQLException {
        assertEquals(1L, Sql.value(connection, "SELECT 1"));
    }

    /** The message of a failing statement, which must not reveal the server's internals. */
    String error(String sql) throws SQLException {
        String message = Sql.error(connection, sql);
        for (String inside : List.of("DataFusionError", "SchemaError", "ParserError", "ArrowError", "Context(", "backtrace", "External(", "Plan(", "panicked", "tonic", ".rs:")) {
            assertFalse(message.contains(inside), inside + " is in: " + message);
        }
        return message;
    }

    @Test
    void syntaxErrorSaysWhatIsThere() throws SQLException {
        String message = error("SELEC 1");
        Sql.assertSays("expected", message);
        Sql.assertSays("SELEC", message);
        Sql.assertSays("42601", message);
    }

    @Test
    void missingTableIsNamed() throws SQLException {
        String message = error("SELECT * FROM costumers");
        Sql.assertSays("table \"costumers\" does not exist", message);
        Sql.assertSays("42P01", message);
    }

    @Test
    void missingColumnIsNamedWithThoseThatExist() throws SQLException {
        String message = error("SELECT costumer_id FROM customers");
        Sql.assertSays("costumer_id", message);
        Sql.assertSays("customer_id", message);
        Sql.assertSays("42703", message);
    }

    @Test
    void missingFunctionIsNamed() throws SQLException {
        Sql.assertSays("cosin_similarity", error("SELECT cosin_similarity([1], [1])"));
    }

    @Test
    void existingTableIsNamed() throws SQLException {
        Sql.assertSays("customers", error("CREATE TABLE customers (a INT)"));
    }

    @Test
    void divisionByZeroSaysSo() throws SQLException {
        Sql.assertSays("by zero", error("SELECT 1 / (value - 1) FROM generate_series(1, 10)"));
    }

    @Test
    void valueThatCannotBeCastIsShown() throws SQLException {
        Sql.assertSays("twelve", error("SELECT CAST(word AS INT) FROM (VALUES ('twelve')) AS words(word)"));
    }

    @Test
    void insertOfAWrongTypeFailsAndWritesNothing() throws SQLException {
        Sql.run(connection, "CREATE TABLE strict (a BIGINT)");
        error("INSERT INTO strict SELECT 10 / (value - 5) FROM generate_series(1, 10)");
        assertEquals(0L, Sql.value(connection, "SELECT count(*) FROM strict"));
    }

    @Test
    void errorInTheMiddleOfAResultIsThrownThere() throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet result = statement.executeQuery("SELECT 10 / (900000 - value) FROM generate_series(1, 1000000)")) {
            int[] rows = {0};
            // Here the driver throws the server's error unchanged.
            Exception error = assertThrows(Exception.class, () -> {
                while (result.next()) {
                    rows[0]++;
                }
            });
            assertTrue(rows[0] > 0, "no row came before the error");
            Sql.assertSays("by zero", error.getMessage());
        }
    }

    @Test
    void unsupportedStatementIsNamed() throws SQLException {
        Sql.assertSays("0A000", error("BEGIN"));
    }

    @Test
    void wrongOptionSaysTheNearest() throws SQLException {
        String message = error("TRAIN MODEL m TARGET customer_id OPTIONS (model_typ = 'linear_reg') AS SELECT * FROM customers");
        Sql.assertSays("model_type", message);
    }

    // The message travels in a header, whose size is limited.
    @Test
    void errorAboutAHugeNameIsCut() throws SQLException {
        String message = error("SELECT * FROM t" + "x".repeat(100_000));
        Sql.assertSays("table \"txxx", message);
        Sql.assertSays("42P01", message);
    }

    // No file system allows names of this length.
    @Test
    void errorAboutALongNameIsWhole() throws SQLException {
        String name = "t" + "x".repeat(300);
        Sql.assertSays("table \"" + name + "\" does not exist", error("SELECT * FROM " + name));
    }

    @Test
    void errorInALongStatementIsReadable() throws SQLException {
        Sql.assertSays("costumers", error("SELECT '" + "long ".repeat(200_000) + "' FROM costumers"));
    }

    @Test
    void errorWithOtherLettersIsReadable() throws SQLException {
        Sql.assertSays("größe 日本", error("SELECT * FROM \"größe 日本\""));
    }
}
