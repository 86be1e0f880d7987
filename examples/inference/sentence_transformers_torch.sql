-- A vector for the first sentence of each review, and the sentences that are nearest to another one.
-- Put the directory of paraphrase-MiniLM-L6-v2 in place of sql-tests/data/text_models/minilm, which has random weights.

CREATE MODEL minilm FROM 'sql-tests/data/text_models/minilm';
CREATE EXTERNAL TABLE reviews STORED AS CSV LOCATION 'examples/inference/data/reviews.csv';

CREATE TABLE vectors AS
SELECT id, split_part(text, '.', 1) AS sentence, embed(minilm, split_part(text, '.', 1)) AS embedding FROM reviews WHERE id <= 256;

SELECT id, sentence, array_length(embedding) AS numbers, round(embedding[1], 2) AS first FROM vectors ORDER BY id LIMIT 5;

SELECT id, sentence FROM vectors ORDER BY cosine_distance(embedding, embed(minilm, 'The songs are lovely')), id LIMIT 3;
