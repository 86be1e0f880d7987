-- Garments of 28x28 pixels in ten classes: a perceptron with two hidden layers of 512 units.

CREATE EXTERNAL TABLE garments STORED AS PARQUET LOCATION 'examples/inference/data/garments.parquet';

TRAIN MODEL garments TARGET label
OPTIONS (model_type = 'dnn_classifier', hidden_units = [512, 512], epochs = 8, batch_size = 64)
AS SELECT pixels, label FROM garments;

SELECT round(accuracy, 2) AS accuracy, rows, split FROM evaluate(garments);

SELECT id, label, predicted_label, round(predicted_label_probs[1]['prob'], 2) AS certainty
FROM predict(garments, garments) ORDER BY id LIMIT 5;

-- One of them, every other row of its pixels.
SELECT string_agg(CASE WHEN pixels[place] > 127 THEN '#' WHEN pixels[place] > 0 THEN '+' ELSE ' ' END, '' ORDER BY place) AS image
FROM garments, generate_series(1, 784) AS places(place) WHERE id = 1 AND (place - 1) / 28 % 2 = 0
GROUP BY (place - 1) / 28 ORDER BY (place - 1) / 28;
