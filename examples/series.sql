-- How many flights leave each airport of New York tomorrow? A network reads the last two weeks as one array.

CREATE EXTERNAL TABLE flights STORED AS PARQUET LOCATION 'examples/data/flights.parquet';

CREATE TABLE days AS
SELECT origin, CAST(date_trunc('day', time_hour) AS DATE) AS day, count(*) AS departures
FROM flights WHERE time_hour < TIMESTAMP '2013-12-22 00:00:00' GROUP BY 1, 2;

-- A row for each day with 14 days behind it and one ahead. Autumn is held out: a random split would let the model see the future.
CREATE VIEW history AS
SELECT origin, day, departures, departures_next, day >= DATE '2013-10-01' AS held_out
FROM windows(days, order => day, by => origin, lags => 14, horizon => 1);

SELECT origin, day, departures, departures_next FROM history ORDER BY day, origin LIMIT 3;

TRAIN MODEL tomorrow TARGET departures_next
OPTIONS (model_type = 'sequential', input_shape = [14, 1], layers = ['lstm(16)', 'linear(1)'],
  epochs = 20, batch_size = 128, learn_rate = 0.02, data_split_col = 'held_out')
AS SELECT departures, departures_next, held_out FROM history;

-- Two quantiles are an interval that holds 80 % of the days.
TRAIN MODEL tomorrow_low TARGET departures_next
OPTIONS (model_type = 'sequential', input_shape = [1, 14], layers = ['conv1d(16, 7)', 'relu', 'flatten', 'linear(1)'],
  loss = 'quantile', quantile = 0.1, epochs = 20, batch_size = 128, learn_rate = 0.01, data_split_col = 'held_out')
AS SELECT departures, departures_next, held_out FROM history;

TRAIN MODEL tomorrow_high TARGET departures_next
OPTIONS (model_type = 'sequential', input_shape = [1, 14], layers = ['conv1d(16, 7)', 'relu', 'flatten', 'linear(1)'],
  loss = 'quantile', quantile = 0.9, epochs = 20, batch_size = 128, learn_rate = 0.01, data_split_col = 'held_out')
AS SELECT departures, departures_next, held_out FROM history;

SELECT round(mae, 1) AS mae, round(r2, 2) AS r2, rows FROM evaluate(tomorrow);

-- Which share of the held-out days lies in the interval?
SELECT round(avg(CASE WHEN l.departures_next BETWEEN l.predicted_departures_next AND h.predicted_departures_next THEN 1.0 ELSE 0.0 END), 2) AS inside
FROM predict(tomorrow_low, history) l
JOIN predict(tomorrow_high, history) h ON l.origin = h.origin AND l.day = h.day
WHERE l.held_out;

-- Without a horizon the last day of each airport has a row too: its tomorrow is the forecast.
CREATE VIEW latest AS
SELECT * FROM windows(days, order => day, by => origin, lags => 14) WHERE day = (SELECT max(day) FROM days);

SELECT t.origin, t.day, round(l.predicted_departures_next) AS low, round(t.predicted_departures_next) AS forecast, round(h.predicted_departures_next) AS high
FROM predict(tomorrow, latest) t
JOIN predict(tomorrow_low, latest) l ON t.origin = l.origin
JOIN predict(tomorrow_high, latest) h ON t.origin = h.origin
ORDER BY t.origin;
