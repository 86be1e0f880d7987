-- Will a pet be adopted? Numbers are standardised, strings become categories; both are part of the model.

CREATE EXTERNAL TABLE pets STORED AS CSV LOCATION 'examples/inference/data/pets.csv';

TRAIN MODEL pets TARGET adopted
OPTIONS (model_type = 'dnn_classifier', hidden_units = [32], dropout = 0.5, epochs = 20, learn_rate = 0.005)
AS SELECT * EXCEPT (id) FROM pets;

SELECT round(accuracy, 2) AS accuracy, round(roc_auc, 2) AS roc_auc, rows, split FROM evaluate(pets);

SELECT id, type, age, predicted_adopted, round(predicted_adopted_probs[1]['prob'], 2) AS certainty FROM predict(pets, pets) ORDER BY id LIMIT 5;

SELECT predicted_adopted, round(predicted_adopted_probs[1]['prob'], 2) AS certainty
FROM predict(pets, (SELECT 'Cat' AS type, 3 AS age, 'Tabby' AS breed1, 'Male' AS gender, 'Black' AS color1, 'White' AS color2, 'Small' AS maturity_size,
  'Short' AS fur_length, 'No' AS vaccinated, 'No' AS sterilized, 'Healthy' AS health, 100 AS fee, 2 AS photo_amt));
