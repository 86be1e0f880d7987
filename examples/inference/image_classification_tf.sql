-- Handwritten digits of 28x28 pixels: a network of dense layers learns from 1,000 of them and is tested on 1,000 others.

CREATE EXTERNAL TABLE mnist STORED AS PARQUET LOCATION 'examples/data/mnist.parquet';

CREATE VIEW digits AS SELECT id, label, pixels, id % 2 = 0 AS held_out FROM mnist WHERE id % 5 < 2;

TRAIN MODEL digits TARGET label
OPTIONS (model_type = 'sequential', layers = ['linear(512)', 'relu', 'dropout(0.2)', 'linear(classes)'],
  epochs = 8, batch_size = 64, data_split_col = 'held_out')
AS SELECT pixels, label, held_out FROM digits;

SELECT round(accuracy, 2) AS accuracy, rows, split FROM evaluate(digits);

SELECT id, label, predicted_label, round(predicted_label_probs[1]['prob'], 2) AS certainty
FROM predict(digits, (SELECT * FROM digits WHERE held_out)) ORDER BY id LIMIT 5;
