-- Questions about programs.
-- Put the directory of gemma-7b-it, or a Gemma in GGUF, in place of sql-tests/data/writers/gemma, which has random weights and takes
-- 64 tokens.

CREATE MODEL gemma FROM 'sql-tests/data/writers/gemma';
CREATE EXTERNAL TABLE programs STORED AS CSV LOCATION 'examples/inference/data/programs.csv';

SELECT id, prompt, generate(gemma, prompt, max_tokens => 256, temperature => 0.1) AS response FROM programs ORDER BY id;
