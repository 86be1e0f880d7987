-- The value of houses in a district: a network with 8 inputs, hidden layers of 64 and 32 units, and 1 output.

CREATE EXTERNAL TABLE districts STORED AS CSV LOCATION 'examples/inference/data/districts.csv';

TRAIN MODEL housing TARGET med_house_val
OPTIONS (model_type = 'dnn_regressor', hidden_units = [64, 32], loss = 'mae', epochs = 30, batch_size = 32, learn_rate = 0.003)
AS SELECT * EXCEPT (id) FROM districts;

SELECT round(mae, 2) AS mae, round(r2, 2) AS r2, rows, split FROM evaluate(housing);

SELECT id, med_house_val, round(predicted_med_house_val, 2) AS predicted FROM predict(housing, districts) ORDER BY id LIMIT 5;
