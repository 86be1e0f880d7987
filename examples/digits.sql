-- Handwritten digits: an image of 8x8 pixels is one array feature.
-- A perceptron sees 64 numbers; a convolutional network sees which pixels are neighbours.

CREATE EXTERNAL TABLE digits STORED AS PARQUET LOCATION 'sql-tests/data/digits.parquet';

TRAIN MODEL digits TARGET digit OPTIONS (model_type = 'dnn_classifier') AS SELECT pixels, digit FROM digits;

SELECT round(accuracy, 3) AS accuracy, rows FROM evaluate(digits);

TRAIN MODEL digits_cnn TARGET digit
OPTIONS (model_type = 'sequential', input_shape = [1, 8, 8], epochs = 20,
  layers = ['conv2d(32, 3, padding=same)', 'relu', 'conv2d(32, 3)', 'relu', 'max_pool2d(2)', 'dropout(0.25)', 'flatten', 'linear(64)', 'relu', 'linear(classes)'])
AS SELECT pixels, digit FROM digits;

SELECT round(accuracy, 3) AS accuracy, rows FROM evaluate(digits_cnn);

-- The loss by epoch.
SELECT epoch, round(train_loss, 4) AS train_loss, round(eval_loss, 4) AS eval_loss
FROM training_info(digits) ORDER BY epoch LIMIT 5;

-- Which digits does the model confuse?
SELECT digit, predicted_digit, count(*) AS images
FROM predict(digits, digits) WHERE digit <> predicted_digit
GROUP BY digit, predicted_digit ORDER BY images DESC, digit, predicted_digit LIMIT 5;
