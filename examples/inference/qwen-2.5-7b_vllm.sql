-- Summaries of research in a sentence. The template of the model makes a chat of each prompt.
-- Put the directory of Qwen2.5-7B-Instruct, or one of its files in GGUF, in place of examples/inference/data/qwen, which has random weights.

CREATE MODEL qwen FROM 'examples/inference/data/qwen';
CREATE EXTERNAL TABLE abstracts STORED AS CSV LOCATION 'examples/inference/data/abstracts.csv';

SELECT id, generate(qwen, 'Sum up this abstract of a paper in one sentence. ' || abstract, max_tokens => 128, temperature => 0.7, top_p => 0.8) AS summary
FROM abstracts ORDER BY id;
