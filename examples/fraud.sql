-- One payment in twenty-five is fraud: a model that always predicts no fraud is right 96 times in 100, and useless.
-- Class weights make the model look for the rare class.

CREATE TABLE payments AS
SELECT
  value AS id,
  10 + (value * 7919) % 990 AS amount,
  (value * 104729) % 24 AS hour,
  CASE (value * 31) % 4 WHEN 0 THEN 'web' WHEN 1 THEN 'app' WHEN 2 THEN 'shop' ELSE 'phone' END AS channel,
  (value * 7919) % 990 > 600 AND (value * 104729) % 24 < 5 AND (value * 31) % 4 IN (0, 3) AND value % 5 > 0 AS is_fraud
FROM generate_series(1, 20000);

SELECT is_fraud, count(*) AS payments FROM payments GROUP BY is_fraud ORDER BY is_fraud;

TRAIN MODEL fraud TARGET is_fraud
OPTIONS (model_type = 'dnn_classifier', hidden_units = [32, 16], epochs = 15, auto_class_weights = true)
AS SELECT amount, hour, channel, is_fraud FROM payments;

SELECT round(recall, 2) AS recall, round(roc_auc, 3) AS roc_auc FROM evaluate(fraud);

-- The frauds that the model misses, and its false alarms.
SELECT expected_label, predicted_label, rows FROM confusion_matrix(fraud, payments) ORDER BY 1, 2;
