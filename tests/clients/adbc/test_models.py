"""TRAIN MODEL and predict over the wire."""

import pandas
import pyarrow as pa
import pytest

from harness import (
    ALREADY_EXISTS,
    DATA,
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NOT_FOUND,
    check_error,
    execute,
    query,
    rows,
    update,
    value,
)

LINE = "SELECT value AS x, value * 2.0 + 1 AS y FROM generate_series(1, 200)"


def train_line(name, clause="TRAIN"):
    """The statement that trains a model of y = 2 x + 1."""
    return f"{clause} MODEL {name} TARGET y OPTIONS (model_type = 'linear_reg') AS {LINE}"


@pytest.fixture
def line(connection, name):
    """The trained model."""
    query(connection, train_line(name))
    return name


@pytest.fixture(scope="module")
def penguins(server):
    """A table of penguins, and a model that predicts their species."""
    with server.connect() as connection:
        location = DATA / "penguins.csv"
        options = "OPTIONS ('format.has_header' 'true')"
        execute(connection, f"CREATE EXTERNAL TABLE penguins STORED AS CSV LOCATION '{location}' {options}")
        query(
            connection,
            """TRAIN MODEL species TARGET species
            OPTIONS (model_type = 'dnn_classifier', hidden_units = [16], null_handling = 'skip', epochs = 20)
            AS SELECT island, bill_length_mm, bill_depth_mm, flipper_length_mm, species FROM penguins""",
        )
    return "penguins"


# Training


def test_training_gives_its_row(connection, name):
    [result] = query(connection, train_line(name)).to_pylist()
    assert (result["model"], result["version"], result["status"]) == (name, 1, "CREATED")
    assert result["train_rows"] + result["eval_rows"] == 200


def test_training_needs_no_fetch(connection, other, name):
    sql = f"""TRAIN MODEL {name} TARGET y OPTIONS (model_type = 'dnn_regressor', epochs = 20, early_stop = false)
        AS SELECT value AS x, value * 2.0 AS y FROM generate_series(1, 5000)"""
    with connection.cursor() as cursor:
        cursor.execute(sql)
        assert query(other, f"SHOW MODELS LIKE '{name}'").num_rows == 1


def test_failing_training_raises_at_execute(connection, line):
    with connection.cursor() as cursor:
        check_error(lambda: cursor.execute(train_line(line)), ALREADY_EXISTS, "42710")


def test_training_runs_once_though_it_is_fetched(connection, name):
    query(connection, train_line(name))
    assert value(connection, f"SELECT count(*) FROM ml.training_runs WHERE model_name = '{name}'") == 1


def test_training_as_an_update_trains(connection, name):
    update(connection, train_line(name))
    assert query(connection, f"SHOW MODELS LIKE '{name}'").num_rows == 1


def test_preparing_a_training_trains_nothing(connection, name):
    with connection.cursor() as cursor:
        cursor.adbc_prepare(train_line(name))
    assert query(connection, f"SHOW MODELS LIKE '{name}'").num_rows == 0


def test_columns_of_a_training_are_known_without_training(connection, name):
    with connection.cursor() as cursor:
        schema = cursor.adbc_execute_schema(train_line(name))
    assert schema.names[:3] == ["model", "version", "status"]
    assert query(connection, f"SHOW MODELS LIKE '{name}'").num_rows == 0
    assert query(connection, train_line(name)).schema.equals(schema)


def test_explain_of_a_training_trains_nothing(connection, name):
    assert "Train" in str(query(connection, f"EXPLAIN {train_line(name)}").to_pylist())
    assert query(connection, f"SHOW MODELS LIKE '{name}'").num_rows == 0


def test_training_of_what_exists_says_so(connection, line):
    [result] = query(connection, train_line(f"IF NOT EXISTS {line}")).to_pylist()
    assert (result["version"], result["status"]) == (1, "EXISTS")


def test_training_on_no_rows_is_an_error_that_leaves_no_model(connection, name):
    sql = f"{train_line(name)} WHERE value > 1000"
    check_error(lambda: rows(connection, sql), (INVALID_ARGUMENT, FAILED_PRECONDITION), "22023")
    assert query(connection, f"SHOW MODELS LIKE '{name}'").num_rows == 0


def test_options_of_a_training_are_parameters(connection, name):
    sql = f"""TRAIN MODEL {name} TARGET y OPTIONS (model_type = ?, seed = ?, data_split_eval_fraction = ?)
        AS SELECT value AS x, value * 2.0 AS y FROM generate_series(1, 1000) WHERE value <= ?"""
    [result] = query(connection, sql, ("linear_reg", 7, 0.5, 100)).to_pylist()
    assert result["seed"] == 7
    assert result["train_rows"] + result["eval_rows"] == 100
    assert 30 <= result["eval_rows"] <= 70


def test_wrong_option_in_a_parameter_is_an_error(connection, name):
    sql = f"TRAIN MODEL {name} TARGET y OPTIONS (model_type = ?) AS {LINE}"
    assert "oracle" in check_error(lambda: rows(connection, sql, ("oracle",)), INVALID_ARGUMENT, "22023")


# Prediction


def test_prediction_arrives(connection, line):
    [(x, y)] = rows(connection, f"SELECT x, predicted_y FROM predict({line}, (SELECT 1000 AS x))")
    assert (x, y) == (1000, pytest.approx(2001))


def test_model_of_one_client_is_used_by_another(line, other):
    assert value(other, f"SELECT predicted_y FROM predict({line}, (SELECT 10 AS x))") == pytest.approx(21)


def test_model_is_there_after_a_restart(start):
    server = start()
    with server.connect() as connection:
        query(connection, train_line("line"))
    server.stop()
    with start(data_dir=server.data_dir).connect() as connection:
        assert value(connection, "SELECT predicted_y FROM predict(line, (SELECT 10 AS x))") == pytest.approx(21)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT ? AS x",
        "SELECT CAST($1 AS BIGINT) AS x",
        "SELECT value AS x FROM generate_series(1, 20) WHERE value = ?",
    ],
)
def test_parameter_stands_within_the_input_of_predict(connection, line, sql):
    prediction = rows(connection, f"SELECT x, predicted_y FROM predict({line}, ({sql}))", (10,))
    assert prediction == [(10, pytest.approx(21))]


def test_parameters_stand_within_and_beside_predict(connection, line):
    sql = f"""SELECT predicted_y + ? FROM predict({line}, (SELECT value AS x FROM generate_series(1, ?)))
        WHERE x > ? ORDER BY x"""
    assert rows(connection, sql, (100, 10, 8)) == [(pytest.approx(119),), (pytest.approx(121),)]


def test_prepared_prediction_runs_for_every_row_of_parameters(connection, line):
    batch = pa.record_batch({"0": [1, 2, 3]})
    result = query(connection, f"SELECT predicted_y FROM predict({line}, (SELECT ? AS x))", batch)
    assert result["predicted_y"].to_pylist() == pytest.approx([3, 5, 7])


def test_argument_of_predict_is_a_parameter(connection, penguins):
    sql = "SELECT predicted_species_probs FROM predict(species, penguins, top_k => ?) WHERE id = 1"
    assert len(value(connection, sql, (2,))) == 2
    assert len(value(connection, sql, (1,))) == 1


def test_prepared_prediction_takes_the_version_of_the_moment(connection, line):
    with connection.cursor() as cursor:
        sql = f"SELECT predicted_y FROM predict({line}, (SELECT 10 AS x))"
        assert cursor.execute(sql).fetchall() == [(pytest.approx(21),)]
        other_line = "SELECT value AS x, value * 3.0 AS y FROM generate_series(1, 200)"
        query(connection, f"TRAIN OR REPLACE MODEL {line} TARGET y OPTIONS (model_type = 'linear_reg') AS {other_line}")
        assert cursor.execute(sql).fetchall() == [(pytest.approx(30),)]


def test_prediction_in_a_view_arrives(connection, line):
    execute(connection, f"CREATE VIEW {line}_view AS SELECT * FROM predict({line}, (SELECT 10 AS x))")
    assert rows(connection, f"SELECT * FROM {line}_view") == [(10, pytest.approx(21))]


def test_probabilities_arrive_as_lists_of_structs(connection, penguins):
    sql = "SELECT predicted_species, predicted_species_probs FROM predict(species, penguins) WHERE id = 1"
    [(species, probabilities)] = rows(connection, sql)
    assert [set(entry) for entry in probabilities] == [{"label", "prob"}] * 3
    assert sum(entry["prob"] for entry in probabilities) == pytest.approx(1)
    assert probabilities[0]["label"] == species


def test_prediction_of_no_rows_has_its_schema(connection, line):
    result = query(
        connection, f"SELECT * FROM predict({line}, (SELECT value AS x FROM generate_series(1, 9) WHERE value > 10))"
    )
    assert (result.num_rows, result.column_names) == (0, ["x", "predicted_y"])


def test_hundred_thousand_predictions_are_right(connection, line):
    sql = f"SELECT x, predicted_y FROM predict({line}, (SELECT value AS x FROM generate_series(1, 100000)))"
    frame = query(connection, sql).to_pandas()
    assert len(frame) == 100000 and frame["x"].is_unique
    assert (frame["predicted_y"] - (2 * frame["x"] + 1)).abs().max() < 1


def test_missing_feature_is_an_error(connection, line):
    sql = f"SELECT * FROM predict({line}, (SELECT 1 AS z))"
    assert '"x"' in check_error(lambda: rows(connection, sql), INVALID_ARGUMENT, "42703")


def test_evaluation_agrees_with_the_client(connection, penguins):
    [stated] = query(connection, "SELECT accuracy, rows FROM evaluate(species, penguins)").to_pylist()
    sql = "SELECT species, predicted_species FROM predict(species, penguins) WHERE predicted_species IS NOT NULL"
    frame = query(connection, sql).to_pandas()
    assert stated["rows"] == len(frame)
    assert stated["accuracy"] == pytest.approx((frame["species"] == frame["predicted_species"]).mean())
    assert stated["accuracy"] > 0.9


def test_models_are_listed_and_described(connection, line):
    assert query(connection, f"SHOW MODELS LIKE '{line}'")["model_name"].to_pylist() == [line]
    assert query(connection, f"DESCRIBE MODEL {line}").num_rows > 0
    assert (
        query(connection, f"SELECT * FROM information_schema.model_versions WHERE model_name = '{line}'").num_rows == 1
    )


def test_altered_and_dropped_models_are_so_for_others(connection, other, line):
    execute(connection, f"ALTER MODEL {line} RENAME TO {line}_renamed")
    sql = "SELECT predicted_y FROM predict({}, (SELECT 10 AS x))"
    assert value(other, sql.format(f"{line}_renamed")) == pytest.approx(21)
    execute(connection, f"DROP MODEL {line}_renamed")
    check_error(lambda: value(other, sql.format(f"{line}_renamed")), NOT_FOUND, "42704")


def test_ingested_frame_is_trained_on(connection, name):
    frame = pandas.DataFrame({"x": range(200), "kind": ["a", "b"] * 100})
    frame["y"] = frame["x"] + (frame["kind"] == "b") * 50.0
    with connection.cursor() as cursor:
        cursor.adbc_ingest(name, pa.Table.from_pandas(frame), mode="create")
    query(connection, f"TRAIN MODEL {name} TARGET y OPTIONS (model_type = 'linear_reg') AS SELECT * FROM {name}")
    sql = f"SELECT predicted_y FROM predict({name}, (SELECT ? AS x, ? AS kind))"
    assert value(connection, sql, (10, "a")) == pytest.approx(10, abs=0.1)
    assert value(connection, sql, (10, "b")) == pytest.approx(60, abs=0.1)
