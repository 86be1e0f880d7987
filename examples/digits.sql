-- Handwritten digits: an image of 8x8 pixels is one array feature.

CREATE EXTERNAL TABLE digits STORED AS PARQUET LOCATION 'sql-tests/data/digits.parquet';

TRAIN MODEL digits TARGET digit OPTIONS (model_type = 'dnn_classifier') AS SELECT pixels, digit FROM digits;

SELECT round(accuracy, 3) AS accuracy, rows FROM evaluate(digits);

-- The loss by epoch.
SELECT epoch, round(train_loss, 4) AS train_loss, round(eval_loss, 4) AS eval_loss
FROM training_info(digits) ORDER BY epoch LIMIT 5;

-- Which digits does the model confuse?
SELECT digit, predicted_digit, count(*) AS images
FROM predict(digits, digits) WHERE digit <> predicted_digit
GROUP BY digit, predicted_digit ORDER BY images DESC, digit, predicted_digit LIMIT 5;
