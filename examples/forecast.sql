-- How many flights leave New York tomorrow? The features are yesterday, last week and the calendar.

CREATE EXTERNAL TABLE flights STORED AS PARQUET LOCATION 'examples/data/flights.parquet';

CREATE VIEW days AS
SELECT CAST(date_trunc('day', time_hour) AS DATE) AS day, count(*) AS departures FROM flights GROUP BY 1;

-- Window functions compute the lags. December is held out: a random split would let the model see the future.
CREATE VIEW history AS
SELECT
  day,
  to_char(day, '%A') AS weekday,
  lag(departures, 1) OVER (ORDER BY day) AS yesterday,
  lag(departures, 7) OVER (ORDER BY day) AS last_week,
  avg(departures) OVER (ORDER BY day ROWS BETWEEN 28 PRECEDING AND 1 PRECEDING) AS month_average,
  departures,
  day >= DATE '2013-12-01' AS held_out
FROM days
WHERE day <= DATE '2013-12-21';

TRAIN MODEL departures TARGET departures
OPTIONS (model_type = 'linear_reg', data_split_col = 'held_out', null_handling = 'skip')
AS SELECT * EXCEPT (day) FROM history;

SELECT round(mae, 1) AS mae, round(r2, 2) AS r2, rows FROM evaluate(departures);

SELECT day, departures, round(predicted_departures) AS forecast
FROM predict(departures, history) WHERE held_out ORDER BY day LIMIT 7;
