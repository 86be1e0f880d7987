-- Will a flight from New York arrive 15 minutes late or more?
--
-- The 336,776 flights of 2013, joined with the weather at departure and with the planes. Only what is known before
-- departure is a feature. Weather and planes have gaps, so NULLs are imputed.

CREATE EXTERNAL TABLE flights STORED AS PARQUET LOCATION 'examples/data/flights.parquet';
CREATE EXTERNAL TABLE weather STORED AS PARQUET LOCATION 'examples/data/weather.parquet';
CREATE EXTERNAL TABLE planes STORED AS PARQUET LOCATION 'examples/data/planes.parquet';

CREATE VIEW departures AS
SELECT
  f.time_hour,
  f.sched_dep_time / 100 * 60 + f.sched_dep_time % 100 AS departure_minute,
  f.carrier, f.origin, f.dest, f.distance,
  w.temp, w.humid, w.wind_speed, w.precip, w.visib,
  p.year AS built, p.seats,
  f.arr_delay >= 15 AS is_late
FROM flights f
LEFT JOIN weather w ON f.origin = w.origin AND f.time_hour = w.time_hour
LEFT JOIN planes p ON f.tailnum = p.tailnum
WHERE f.arr_delay IS NOT NULL;

TRAIN MODEL late TARGET is_late
OPTIONS (model_type = 'dnn_classifier', hidden_units = [64, 32], epochs = 5, null_handling = 'impute')
COMMENT 'arrival delays of 15 minutes or more'
AS SELECT * FROM departures;

SELECT round(accuracy, 2) AS accuracy, round(roc_auc, 2) AS roc_auc, rows, split FROM evaluate(late);

-- The departures of an evening in December, the riskiest first.
SELECT carrier, dest, departure_minute, is_late, round(predicted_is_late_probs[1]['prob'], 2) AS certainty, predicted_is_late
FROM predict(late, (SELECT * FROM departures WHERE time_hour = TIMESTAMP '2013-12-10 17:00:00' AND origin = 'EWR'), threshold => 0.4)
WHERE temp IS NOT NULL AND built IS NOT NULL
ORDER BY predicted_is_late DESC, certainty DESC, carrier, dest
LIMIT 5;
