-- Columns from free text: a model answers in JSON, from which the values are taken. An answer of another form gives NULL.
-- Put the directory of Qwen2.5-14B-Instruct, or one of its files in GGUF, in place of examples/inference/data/qwen, which has random weights.

CREATE MODEL qwen FROM 'examples/inference/data/qwen';
CREATE EXTERNAL TABLE reviews STORED AS CSV LOCATION 'examples/inference/data/reviews.csv';

CREATE TABLE answers AS
SELECT id, text, generate(qwen, concat('Read this review of a film and answer with JSON of this form and nothing else: ',
  '{"sentiment": "positive", "negative" or "mixed", "score": a whole number from 1 to 10, "again": true or false}. The review: ', text),
  max_tokens => 50, temperature => 0.7, top_p => 0.8) AS answer
FROM reviews WHERE id <= 8;

SELECT id, text,
  regexp_match(answer, '"sentiment": *"([a-z]+)"')[1] AS sentiment,
  TRY_CAST(regexp_match(answer, '"score": *([0-9]+)')[1] AS INT) AS score,
  TRY_CAST(regexp_match(answer, '"again": *(true|false)')[1] AS BOOLEAN) AS again
FROM answers ORDER BY id;
