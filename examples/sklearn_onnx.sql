-- A model of scikit-learn that was exported to ONNX: will a flight from New York arrive 15 minutes late or more?
-- examples/data/late.py trained it on the flights of January to November, with the encoding of strings and the mean for missing
-- numbers inside of the model.

CREATE MODEL late FROM 'examples/data/late.onnx' COMMENT 'gradient boosting of scikit-learn';

-- The inputs of the graph are the features, its outputs the columns of predict.
DESCRIBE MODEL late;

CREATE EXTERNAL TABLE flights STORED AS PARQUET LOCATION 'examples/data/flights.parquet';
CREATE EXTERNAL TABLE weather STORED AS PARQUET LOCATION 'examples/data/weather.parquet';

-- The flights of December. A missing number of the weather is NaN, as in scikit-learn; for a row with NULL there is no prediction.
CREATE VIEW departures AS
SELECT
  f.time_hour, f.carrier, f.origin, f.dest, f.distance,
  f.sched_dep_time / 100 * 60 + f.sched_dep_time % 100 AS departure_minute,
  COALESCE(w.temp, 'NaN'::DOUBLE) AS temp, COALESCE(w.wind_speed, 'NaN'::DOUBLE) AS wind_speed,
  COALESCE(w.precip, 'NaN'::DOUBLE) AS precip, COALESCE(w.visib, 'NaN'::DOUBLE) AS visib,
  f.arr_delay >= 15 AS is_late
FROM flights f
LEFT JOIN weather w ON f.origin = w.origin AND f.time_hour = w.time_hour
WHERE f.arr_delay IS NOT NULL AND f.time_hour >= TIMESTAMP '2013-12-01 00:00:00';

-- The label has the name of the output, here 1 for a late flight.
SELECT round(accuracy, 2) AS accuracy, round(roc_auc, 2) AS roc_auc, rows
FROM evaluate(late, (SELECT *, CAST(is_late AS BIGINT) AS output_label FROM departures));

-- The departures of an evening, the riskiest first.
SELECT carrier, dest, departure_minute, is_late, output_label AS predicted, round(output_probability[1]['prob'], 2) AS certainty
FROM predict(late, (SELECT * FROM departures WHERE time_hour = TIMESTAMP '2013-12-10 17:00:00' AND origin = 'EWR'), threshold => 0.4)
ORDER BY predicted DESC, certainty DESC, carrier, dest, departure_minute
LIMIT 5;
