-- The sentiment of the first sentence of each review, with its probability; then that of sentences in other languages.
-- Put the directories of distilbert-base-uncased-finetuned-sst-2-english and of nlptown/bert-base-multilingual-uncased-sentiment
-- in place of sql-tests/data/task_models/sentiment, which has random weights.

CREATE MODEL sentiment FROM 'sql-tests/data/task_models/sentiment';
CREATE MODEL multilingual FROM 'sql-tests/data/task_models/sentiment';
CREATE EXTERNAL TABLE reviews STORED AS CSV LOCATION 'examples/inference/data/reviews.csv';

SELECT input, predicted_label AS label, round(predicted_label_probs[1]['prob'], 4) AS score
FROM predict(sentiment, (SELECT id, split_part(text, '.', 1) AS input FROM reviews WHERE id <= 256))
ORDER BY id LIMIT 5;

SELECT input, predicted_label AS label, round(predicted_label_probs[1]['prob'], 4) AS score
FROM predict(multilingual, (SELECT column1 AS input FROM (VALUES ('Le film est magnifique.'), ('Der Film ist langweilig.'), ('La película es muy buena.')) AS v))
ORDER BY input;
