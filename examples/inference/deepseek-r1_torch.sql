-- A model that reasons before it answers: word problems, of which the short ones are asked.
-- Put the directory of DeepSeek-R1-Distill-Llama-8B, or one of its files in GGUF, in place of sql-tests/data/writers/llama, which has
-- random weights and takes 64 tokens.

CREATE MODEL deepseek FROM 'sql-tests/data/writers/llama';
CREATE EXTERNAL TABLE questions STORED AS CSV LOCATION 'examples/inference/data/questions.csv';

SELECT id, question, split_part(written, '</think>', 1) AS reasoning, split_part(written, '</think>', 2) AS answer
FROM (SELECT id, question, generate(deepseek, question, max_tokens => 256, temperature => 0.2) AS written
  FROM questions WHERE length(question) <= 50)
ORDER BY id;
