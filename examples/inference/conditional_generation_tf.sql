-- The translations of conditional_generation_torch.sql with predict: a row for each sentence and language, kept in a table.
-- Put the directory of t5-small in place of sql-tests/data/writers/t5_gated, which has random weights.

CREATE MODEL t5 FROM 'sql-tests/data/writers/t5_gated';
CREATE EXTERNAL TABLE reviews STORED AS CSV LOCATION 'examples/inference/data/reviews.csv';

CREATE TABLE translations AS
SELECT id, to_language, generated FROM predict(t5, (
  SELECT id, to_language, concat('translate English to ', to_language, ': ', split_part(text, '.', 1)) AS text
  FROM reviews CROSS JOIN (VALUES ('French'), ('German')) AS languages(to_language) WHERE id <= 8));

SELECT * FROM translations ORDER BY id, to_language LIMIT 4;
