-- Summaries of research. The prompt has the turns of a chat as Qwen writes them, with a message of the system, so the model's template
-- is not used.
-- Put the directory of Qwen2.5-7B-Instruct, or one of its files in GGUF, in place of examples/inference/data/qwen, which has random weights.

CREATE MODEL qwen FROM 'examples/inference/data/qwen';
CREATE EXTERNAL TABLE abstracts STORED AS CSV LOCATION 'examples/inference/data/abstracts.csv';

CREATE VIEW prompts AS
SELECT id, concat('<|im_start|>system', chr(10), 'Sum up the abstract of a paper in two sentences: its question, its method, and its result with the numbers.',
  '<|im_end|>', chr(10), '<|im_start|>user', chr(10), abstract, '<|im_end|>', chr(10), '<|im_start|>assistant', chr(10)) AS prompt
FROM abstracts;

SELECT id, generate(qwen, prompt, chat => false, max_tokens => 256) AS summary FROM prompts ORDER BY id;
