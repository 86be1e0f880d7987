-- Is a review positive? A vector of 16 numbers for each word, the mean over the words, and a linear layer, all of it trained here.

CREATE EXTERNAL TABLE reviews STORED AS CSV LOCATION 'examples/inference/data/reviews.csv';

CREATE VIEW texts AS SELECT id, label, replace(text, '<br />', ' ') AS text FROM reviews;

TRAIN MODEL mood TARGET label
OPTIONS (model_type = 'sequential', epochs = 15, batch_size = 32, learn_rate = 0.02,
  layers = ['embedding(10000, 16)', 'dropout(0.2)', 'transpose', 'global_avg_pool', 'dropout(0.2)', 'linear(classes)'])
AS SELECT hash_tokens(tokenize_words(text), 10000, 30) AS tokens, label FROM texts;

-- The same with pairs of neighbouring words, such as "not good", besides the words.
TRAIN MODEL mood_of_pairs TARGET label
OPTIONS (model_type = 'sequential', epochs = 15, batch_size = 32, learn_rate = 0.02,
  layers = ['embedding(10000, 16)', 'dropout(0.2)', 'transpose', 'global_avg_pool', 'dropout(0.2)', 'linear(classes)'])
AS SELECT hash_tokens(tokenize_words(text, ngrams => 2), 10000, 60) AS tokens, label FROM texts;

SELECT 'words' AS tokens, round(accuracy, 2) AS accuracy, round(roc_auc, 2) AS roc_auc, rows FROM evaluate(mood)
UNION ALL SELECT 'words and pairs', round(accuracy, 2), round(roc_auc, 2), rows FROM evaluate(mood_of_pairs) ORDER BY tokens;

SELECT text, predicted_label, round(predicted_label_probs[1]['prob'], 2) AS certainty
FROM predict(mood_of_pairs, (SELECT column1 AS text, hash_tokens(tokenize_words(column1, 2), 10000, 60) AS tokens
  FROM (VALUES ('The film is great!'), ('The film is awful...'), ('The film is not great.')) AS v))
ORDER BY text;
