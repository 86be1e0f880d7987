-- Sentiments as values of expressions, counted, and compared with what the reviewers say.
-- Put the directories of distilbert-base-uncased-finetuned-sst-2-english and of nlptown/bert-base-multilingual-uncased-sentiment
-- in place of sql-tests/data/task_models/sentiment, which has random weights.

CREATE MODEL sentiment FROM 'sql-tests/data/task_models/sentiment';
CREATE MODEL multilingual FROM 'sql-tests/data/task_models/sentiment';
CREATE EXTERNAL TABLE reviews STORED AS CSV LOCATION 'examples/inference/data/reviews.csv';

SELECT mood, stars, count(*) AS reviews
FROM (SELECT predict_value(sentiment, text) AS mood, predict_value(multilingual, text) AS stars
  FROM (SELECT split_part(text, '.', 1) AS text FROM reviews WHERE id <= 256))
GROUP BY mood, stars ORDER BY mood, stars;

-- The classes of the model are NEGATIVE and POSITIVE.
SELECT round(accuracy, 2) AS accuracy, round(f1, 2) AS f1, rows FROM evaluate(sentiment, (SELECT text, upper(label) AS label FROM reviews));
