-- Handwritten digits of 28x28 pixels: a convolutional network, what it confuses, and a look at its mistakes.

CREATE EXTERNAL TABLE mnist STORED AS PARQUET LOCATION 'examples/data/mnist.parquet';

-- Every fifth digit is held out: the network does not learn from it.
-- These are a quarter of the digits, for a debug build. Without WHERE, all 5,000 reach an accuracy of about 97 %, which
-- `./benchmarks/run images --only digits` checks.
CREATE VIEW digits AS SELECT id, label, pixels, id % 5 = 0 AS held_out FROM mnist
WHERE id % 4 = 0;

-- In each epoch the network sees a digit in another place and at another angle.
TRAIN MODEL digits TARGET label
OPTIONS (model_type = 'sequential', input_shape = [1, 28, 28],
  layers = ['conv2d(32, 3)', 'relu', 'conv2d(64, 3)', 'relu', 'max_pool2d(2)', 'dropout(0.25)', 'flatten', 'linear(128)', 'relu', 'linear(classes)'],
  epochs = 5, batch_size = 64, learn_rate = 0.002, lr_schedule = 'cosine',
  augment = ['shift(0.05)', 'rotate(10)'], data_split_col = 'held_out')
AS SELECT pixels, label, held_out FROM digits;

-- What each layer makes of an image: shape, weights, operations.
DESCRIBE MODEL digits;

SELECT epoch, round(train_loss, 4) AS train_loss, round(eval_loss, 4) AS eval_loss FROM training_info(digits) ORDER BY epoch;

-- How many of the held-out digits does the network recognise?
SELECT round(accuracy, 3) AS accuracy, rows, split FROM evaluate(digits);

-- A row for each digit, a column for what it is taken for.
SELECT expected_label AS digit,
  sum(rows) FILTER (WHERE predicted_label = 0) AS "0", sum(rows) FILTER (WHERE predicted_label = 1) AS "1",
  sum(rows) FILTER (WHERE predicted_label = 2) AS "2", sum(rows) FILTER (WHERE predicted_label = 3) AS "3",
  sum(rows) FILTER (WHERE predicted_label = 4) AS "4", sum(rows) FILTER (WHERE predicted_label = 5) AS "5",
  sum(rows) FILTER (WHERE predicted_label = 6) AS "6", sum(rows) FILTER (WHERE predicted_label = 7) AS "7",
  sum(rows) FILTER (WHERE predicted_label = 8) AS "8", sum(rows) FILTER (WHERE predicted_label = 9) AS "9"
FROM confusion_matrix(digits, (SELECT * FROM digits WHERE held_out))
GROUP BY expected_label ORDER BY expected_label;

-- The wrong ones, the most certain first.
CREATE TABLE mistakes AS
SELECT id, label, predicted_label, round(predicted_label_probs[1]['prob'], 2) AS certainty, pixels
FROM predict(digits, (SELECT * FROM digits WHERE held_out))
WHERE predicted_label <> label;

SELECT id, label, predicted_label, certainty FROM mistakes ORDER BY certainty DESC, id LIMIT 10;

-- Three of them, side by side.
WITH shown AS (SELECT id, certainty, pixels FROM mistakes ORDER BY certainty DESC, id LIMIT 3)
SELECT string_agg(CASE WHEN pixels[place] > 127 THEN '#' WHEN pixels[place] > 31 THEN '+' ELSE ' ' END, '' ORDER BY certainty DESC, id, place) AS images
FROM shown, generate_series(1, 784) AS places(place)
GROUP BY (place - 1) / 28 ORDER BY (place - 1) / 28;
