-- Which films does a viewer like that it has not seen? Ratings of 300 viewers for 80 films, which do not exist.

CREATE EXTERNAL TABLE ratings STORED AS CSV LOCATION 'examples/data/films/ratings.csv';
CREATE EXTERNAL TABLE films STORED AS CSV LOCATION 'examples/data/films/films.csv';
CREATE EXTERNAL TABLE viewers STORED AS CSV LOCATION 'examples/data/films/viewers.csv';

SELECT count(*) AS ratings, round(avg(rating), 2) AS mean, round(stddev(rating), 2) AS deviation FROM ratings;

-- A vector for each viewer and each film, whose product is the rating. Every fifth rating evaluates.
TRAIN MODEL taste TARGET rating
OPTIONS (model_type = 'matrix_factorization', user_col = 'viewer_id', item_col = 'film_id', num_factors = 8)
AS SELECT viewer_id, film_id, rating FROM ratings;

SELECT round(rmse, 2) AS rmse, round(r2, 2) AS r2, rows FROM evaluate(taste);

-- What two viewers liked best.
SELECT viewer_id, title, genre, rating FROM ratings JOIN films USING (film_id)
WHERE viewer_id IN (1, 2) AND rating = 5 ORDER BY viewer_id, title;

-- What they have not seen yet, and probably like.
SELECT viewer_id, rank, title, genre, round(score, 1) AS score
FROM recommend(taste, (SELECT viewer_id FROM viewers WHERE viewer_id IN (1, 2)), top_k => 3,
  exclude => (SELECT viewer_id, film_id FROM ratings), items => films)
ORDER BY viewer_id, rank;

-- Only films of this century. A viewer without ratings gets NULLs instead of films.
SELECT viewer_id, rank, title, year
FROM recommend(taste, (SELECT column1 AS viewer_id FROM (VALUES (3), (999))), top_k => 2, items => (SELECT * FROM films WHERE year > 2000))
ORDER BY viewer_id, rank;

-- Implicit feedback: only who watched what is known.
TRAIN MODEL habits TARGET watched
OPTIONS (model_type = 'matrix_factorization', feedback_type = 'implicit', user_col = 'viewer_id', item_col = 'film_id', num_factors = 8, wals_alpha = 5)
AS SELECT viewer_id, film_id, 1 AS watched FROM ratings;

SELECT round(recall_at_10, 2) AS recall_at_10, round(ndcg_at_10, 2) AS ndcg_at_10 FROM evaluate(habits);

-- Two towers know viewers by their age and films by their genre, so they also have films for a viewer that is new.
TRAIN MODEL matches TARGET likes
OPTIONS (model_type = 'two_tower', user_cols = ['viewer_id', 'age_group'], item_cols = ['film_id', 'genre', 'year'],
  hidden_units = [32], num_factors = 8, epochs = 8, learn_rate = 0.003)
AS SELECT viewer_id, age_group, film_id, genre, CAST(year AS DOUBLE) AS year, rating >= 4 AS likes
FROM ratings JOIN viewers USING (viewer_id) JOIN films USING (film_id);

SELECT round(accuracy, 2) AS accuracy, round(roc_auc, 2) AS roc_auc FROM evaluate(matches);

SELECT age_group, rank, title, genre, round(score, 2) AS score
FROM recommend(matches, (SELECT DISTINCT 0 AS viewer_id, age_group FROM viewers), top_k => 2, items => films)
ORDER BY age_group, rank;

-- New ratings: the vectors of viewers without new ones stay, viewer 301 gets one.
CREATE TABLE new_ratings AS
SELECT 301 AS viewer_id, film_id, CASE genre WHEN 'animation' THEN 5 ELSE 3 END AS rating FROM films WHERE film_id <= 40
UNION ALL SELECT viewer_id, film_id, rating FROM ratings WHERE viewer_id > 150;

TRAIN OR REPLACE MODEL taste TARGET rating OPTIONS (base_model = 'taste@1') AS SELECT * FROM new_ratings;

SELECT rank, title, genre FROM recommend(taste, (SELECT 301 AS viewer_id), top_k => 3, exclude => (SELECT viewer_id, film_id FROM new_ratings), items => films) ORDER BY rank;
