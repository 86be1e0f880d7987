package vatic;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Types;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Training and prediction over the wire. */
class ModelTest extends OpenServer {
    @BeforeAll
    static void trainModels() throws SQLException {
        try (var connection = server.connect()) {
            Sql.run(connection,
                    "CREATE TABLE houses AS SELECT value AS area, CASE value % 2 WHEN 0 THEN 'old' ELSE 'new' END AS age,"
                            + " value * 3000 + (value % 2) * 50000 AS price FROM generate_series(40, 300)",
                    "TRAIN MODEL price TARGET price OPTIONS (model_type = 'linear_reg') AS SELECT * FROM houses",
                    "TRAIN MODEL cheap TARGET price OPTIONS (model_type = 'linear_reg') AS SELECT area, age, price / 2 AS price FROM houses",
                    "TRAIN MODEL age TARGET age OPTIONS (model_type = 'logistic_reg') AS SELECT area, price, age FROM houses");
        }
    }

    static List<List<Object>> rows(PreparedStatement statement, Object... parameters) throws SQLException {
        for (int i = 0; i < parameters.length; i++) {
            statement.setObject(i + 1, parameters[i]);
        }
        return Sql.rows(statement.executeQuery());
    }

    List<List<Object>> rows(String sql, Object... parameters) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            return rows(statement, parameters);
        }
    }

    @Test
    void trainingGivesItsRow() throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet result = statement.executeQuery("TRAIN MODEL trained TARGET price OPTIONS (model_type = 'linear_reg', seed = 7) AS SELECT * FROM houses")) {
            assertTrue(result.next());
            assertEquals("trained", result.getString("model"));
            assertEquals(1, result.getInt("version"));
            assertEquals("CREATED", result.getString("status"));
            assertEquals(261, result.getLong("train_rows") + result.getLong("eval_rows"));
            assertEquals("r2", result.getString("metric"));
            assertTrue(result.getDouble("metric_value") > 0.99);
            assertEquals(7, result.getLong("seed"));
            assertFalse(result.next());
        }
    }

    @Test
    void trainingByExecuteHasAResult() throws SQLException {
        try (Statement statement = connection.createStatement()) {
            assertTrue(statement.execute("TRAIN MODEL executed TARGET price OPTIONS (model_type = 'linear_reg') AS SELECT * FROM houses"));
            assertEquals("CREATED", Sql.rows(statement.getResultSet()).get(0).get(2));
        }
    }

    @Test
    void trainingHappensOnce() throws SQLException {
        Sql.rows(connection, "TRAIN OR REPLACE MODEL once TARGET price OPTIONS (model_type = 'linear_reg') AS SELECT * FROM houses");
        assertEquals(1L, Sql.value(connection, "SELECT count(*) FROM ml.training_runs WHERE model_name = 'once'"));
        assertEquals(1, Sql.rows(connection, "SHOW VERSIONS IN MODEL once").size());
    }

    // The driver fetches rows once it has sent the statement, so a training must finish even if its result is never read.
    @Test
    void trainingWhoseRowIsNotReadIsKept() throws SQLException {
        Sql.run(connection, "TRAIN MODEL unread TARGET price OPTIONS (model_type = 'linear_reg') AS SELECT * FROM houses");
        assertEquals(1, Sql.rows(connection, "SHOW MODELS LIKE 'unread'").size());
    }

    @Test
    void preparingTrainsNothing() throws SQLException {
        try (PreparedStatement train = connection.prepareStatement("TRAIN MODEL prepared TARGET price OPTIONS (model_type = 'linear_reg') AS SELECT * FROM houses")) {
            assertTrue(train.getMetaData().getColumnCount() > 10);
            assertEquals(List.of(), Sql.rows(connection, "SHOW MODELS LIKE 'prepared'"));
            assertEquals("CREATED", rows(train).get(0).get(2));
            Exception error = assertThrows(Exception.class, () -> rows(train));
            Sql.assertSays("exists", error.getMessage());
        }
    }

    @Test
    void trainingTakesParametersInItsOptionsAndItsQuery() throws SQLException {
        List<List<Object>> result = rows(
                "TRAIN MODEL with_parameters TARGET price OPTIONS (model_type = 'dnn_regressor', hidden_units = [4], epochs = ?, early_stop = ?, seed = ?)"
                        + " AS SELECT * FROM houses WHERE area <= ?",
                3L, false, 11L, 139L);
        List<Object> row = result.get(0);
        assertEquals(100L, ((Number) row.get(3)).longValue() + ((Number) row.get(4)).longValue());
        assertEquals(3, ((Number) row.get(6)).intValue());
        assertEquals(11L, ((Number) row.get(12)).longValue());
    }

    @Test
    void trainingTakesItsModelTypeAsAParameter() throws SQLException {
        List<List<Object>> result = rows("TRAIN MODEL typed_by_parameter TARGET price OPTIONS (model_type = ?) AS SELECT * FROM houses", "linear_reg");
        assertEquals("CREATED", result.get(0).get(2));
    }

    @Test
    void failedTrainingSaysWhyAndLeavesNoModel() throws SQLException {
        String sql = "TRAIN MODEL failing TARGET price OPTIONS (model_type = 'linear_reg') AS SELECT * FROM houses WHERE area > 1000";
        Sql.assertSays("row", Sql.error(connection, sql));
        assertEquals(List.of(), Sql.rows(connection, "SHOW MODELS LIKE 'failing'"));
    }

    @Test
    void secondTrainingOfANameFails() throws SQLException {
        String sql = "TRAIN MODEL price TARGET price OPTIONS (model_type = 'linear_reg') AS SELECT * FROM houses";
        Sql.assertSays("model \"price\" exists", Sql.error(connection, sql));
    }

    @Test
    void predictionStandsBesideItsInput() throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet result = statement.executeQuery("SELECT * FROM predict(price, (SELECT 120 AS area, 'new' AS age))")) {
            assertEquals(3, result.getMetaData().getColumnCount());
            assertEquals("predicted_price", result.getMetaData().getColumnLabel(3));
            assertEquals(Types.DOUBLE, result.getMetaData().getColumnType(3));
            assertTrue(result.next());
            assertEquals(120, result.getLong("area"));
            assertEquals("new", result.getString("age"));
            assertEquals(410_000, result.getDouble("predicted_price"), 1);
            assertFalse(result.next());
        }
    }

    @Test
    void probabilitiesAreAListOfLabels() throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet result = statement.executeQuery("SELECT predicted_age, predicted_age_probs FROM predict(age, (SELECT 120 AS area, 410000 AS price))")) {
            assertTrue(result.next());
            String label = result.getString(1);
            Object[] probabilities = (Object[]) result.getArray(2).getArray();
            assertEquals(2, probabilities.length);
            assertEquals(label, ((Map<?, ?>) probabilities[0]).get("label").toString());
            double sum = 0;
            for (Object probability : probabilities) {
                sum += (Double) ((Map<?, ?>) probability).get("prob");
            }
            assertEquals(1.0, sum, 1e-6);
        }
    }

    @Test
    void parameterInTheQueryOfPredict() throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement("SELECT area, round(predicted_price) FROM predict(price, (SELECT * FROM houses WHERE area = ?))")) {
            assertEquals(List.of(List.of(120L, 360_000.0)), rows(statement, 120L));
            assertEquals(List.of(List.of(200L, 600_000.0)), rows(statement, 200L));
            assertEquals(List.of(), rows(statement, 5000L));
        }
    }

    @Test
    void parametersAreTheFeatures() throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(
                "SELECT round(predicted_price) FROM predict(price, (SELECT CAST(? AS BIGINT) AS area, ? AS age))")) {
            assertEquals(List.of(List.of(410_000.0)), rows(statement, 120L, "new"));
            assertEquals(List.of(List.of(360_000.0)), rows(statement, 120L, "old"));
        }
    }

    @Test
    void parameterIsTheNameOfTheModel() throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement("SELECT round(predicted_price) FROM predict(?, (SELECT 120 AS area, 'old' AS age))")) {
            assertEquals(List.of(List.of(360_000.0)), rows(statement, "price"));
            assertEquals(List.of(List.of(180_000.0)), rows(statement, "cheap"));
            assertEquals(List.of(List.of(360_000.0)), rows(statement, "price@1"));
        }
    }

    @Test
    void parametersBeforeInsideAndAfterPredict() throws SQLException {
        String sql = "SELECT area + ? FROM predict(?, (SELECT * FROM houses WHERE area < ?)) WHERE predicted_price > ? AND area <> ? ORDER BY area";
        assertEquals(List.of(List.of(1055L), List.of(1059L)), rows(sql, 1000L, "price", 61L, 214_000.0, 57L));
    }

    @Test
    void wrongNameAsAParameterSaysTheNearest() throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement("SELECT predicted_price FROM predict(?, (SELECT 120 AS area, 'old' AS age))")) {
            Exception error = assertThrows(Exception.class, () -> rows(statement, "prise"));
            Sql.assertSays("the nearest name is \"price\"", error.getMessage());
            assertEquals(1, rows(statement, "price").size());
        }
    }

    @Test
    void missingModelSaysTheNearest() throws SQLException {
        Sql.assertSays("model \"prise\" does not exist; the nearest name is \"price\"", Sql.error(connection, "SELECT * FROM predict(prise, houses)"));
    }

    @Test
    void preparedPredictionTakesTheNewVersion() throws SQLException {
        Sql.run(connection, "TRAIN MODEL renewed TARGET price OPTIONS (model_type = 'linear_reg') AS SELECT * FROM houses");
        try (PreparedStatement statement = connection.prepareStatement("SELECT round(predicted_price) FROM predict(renewed, (SELECT 120 AS area, 'old' AS age))")) {
            assertEquals(List.of(List.of(360_000.0)), rows(statement));
            Sql.run(connection, "TRAIN OR REPLACE MODEL renewed TARGET price OPTIONS (model_type = 'linear_reg') AS SELECT area, age, price * 2 AS price FROM houses");
            assertEquals(List.of(List.of(720_000.0)), rows(statement));
        }
    }

    @Test
    void predictionsAreInserted() throws SQLException {
        Sql.run(connection, "CREATE TABLE guesses (area BIGINT, price DOUBLE)");
        try (PreparedStatement insert = connection.prepareStatement("INSERT INTO guesses SELECT area, predicted_price FROM predict(?, (SELECT * FROM houses WHERE area <= ?))")) {
            insert.setString(1, "price");
            insert.setLong(2, 49);
            assertEquals(10, insert.executeUpdate());
        }
        assertEquals(10L, Sql.value(connection, "SELECT count(price) FROM guesses"));
    }

    @Test
    void viewOverAPredictionIsReadAndListed() throws SQLException {
        Sql.run(connection, "CREATE VIEW guessed AS SELECT age, predicted_price FROM predict(price, houses)");
        assertEquals(261L, Sql.value(connection, "SELECT count(predicted_price) FROM guessed"));
        assertEquals(List.of("age", "predicted_price"), Sql.column(connection.getMetaData().getColumns(null, null, "guessed", null), "COLUMN_NAME"));
    }

    @Test
    void evaluationsAreRead() throws SQLException {
        assertEquals(261L, ((Number) Sql.value(connection, "SELECT rows FROM evaluate(price, houses)")).longValue());
        assertTrue((Double) Sql.value(connection, "SELECT r2 FROM evaluate(price)") > 0.99);
        assertFalse(Sql.rows(connection, "SELECT * FROM confusion_matrix(age, houses)").isEmpty());
        assertFalse(Sql.rows(connection, "SELECT * FROM training_info(age)").isEmpty());
    }

    @Test
    void systemTablesOfModelsAreRead() throws SQLException {
        for (String table : List.of("information_schema.models", "information_schema.model_versions", "ml.training_runs", "ml.training_metrics", "ml.metrics", "ml.model_cache")) {
            assertFalse(Sql.rows(connection, "SELECT * FROM " + table).isEmpty(), table);
        }
        Sql.rows(connection, "SELECT * FROM ml.executors");
        Sql.rows(connection, "SELECT * FROM ml.jobs");
    }

    @Test
    void statementsThatShowModelsAreQueries() throws SQLException {
        assertFalse(Sql.rows(connection, "SHOW MODELS").isEmpty());
        assertEquals(1, Sql.rows(connection, "SHOW VERSIONS IN MODEL price").size());
        assertFalse(Sql.rows(connection, "DESCRIBE MODEL price").isEmpty());
        assertFalse(Sql.rows(connection, "SHOW CREATE MODEL price").isEmpty());
        assertFalse(Sql.rows(connection, "EXPLAIN SELECT * FROM predict(price, houses)").isEmpty());
        assertFalse(Sql.rows(connection, "EXPLAIN TRAIN MODEL unseen TARGET price OPTIONS (model_type = 'linear_reg') AS SELECT * FROM houses").isEmpty());
    }

    @Test
    void statementsThatChangeModelsHaveNoResult() throws SQLException {
        Sql.run(connection, "TRAIN MODEL changed TARGET price OPTIONS (model_type = 'linear_reg') AS SELECT * FROM houses");
        try (Statement statement = connection.createStatement()) {
            for (String sql : List.of("ALTER MODEL changed SET COMMENT = 'better'", "ALTER MODEL changed VERSION 1 SET ALIAS = champion",
                    "ALTER MODEL changed RENAME TO renamed", "DROP MODEL renamed", "DROP MODEL IF EXISTS renamed")) {
                assertFalse(statement.execute(sql), sql);
                assertEquals(0, statement.getUpdateCount(), sql);
            }
            Sql.assertSays("model \"renamed\" does not exist", Sql.error(connection, "DROP MODEL renamed"));
        }
    }
}
