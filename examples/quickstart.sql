-- Which species is a penguin? The data are 344 birds of the Palmer Archipelago; some measurements are missing.

CREATE EXTERNAL TABLE penguins STORED AS CSV
LOCATION 'sql-tests/data/penguins.csv' OPTIONS ('format.has_header' 'true');

-- Strings become categories, numbers are standardised. A fifth of the rows evaluates first; then all rows train.
TRAIN MODEL species TARGET species
OPTIONS (model_type = 'dnn_classifier', null_handling = 'skip')
AS SELECT island, bill_length_mm, bill_depth_mm, flipper_length_mm, body_mass_g, sex, species FROM penguins;

-- How good is the model on rows that it had not seen?
SELECT round(accuracy, 3) AS accuracy, round(log_loss, 3) AS log_loss, rows, split FROM evaluate(species);

-- The input rows with a prediction. A bird with a missing measurement gets NULL.
SELECT id, island, bill_length_mm, species, predicted_species,
       round(predicted_species_probs[1]['prob'], 3) AS certainty
FROM predict(species, penguins)
WHERE id IN (1, 3, 150, 300)
ORDER BY id;
