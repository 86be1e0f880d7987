-- T5 translates the first sentence of each review into French and German.
-- Put the directory of t5-small in place of sql-tests/data/writers/t5, which has random weights.

CREATE MODEL t5 FROM 'sql-tests/data/writers/t5';
CREATE EXTERNAL TABLE reviews STORED AS CSV LOCATION 'examples/inference/data/reviews.csv';

SELECT id, sentence,
  generate(t5, 'translate English to French: ' || sentence) AS french,
  generate(t5, 'translate English to German: ' || sentence) AS german
FROM (SELECT id, split_part(text, '.', 1) AS sentence FROM reviews WHERE id <= 8)
ORDER BY id;
