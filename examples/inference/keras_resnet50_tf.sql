-- What is on each picture of a folder? A ResNet-50 says it, and the answers are kept in a table.
-- Put the directory of microsoft/resnet-50 in place of sql-tests/data/models/resnet_bottleneck, which has random weights and three classes,
-- and a folder of photos of flowers in place of examples/data/photos/.

CREATE MODEL resnet FROM 'sql-tests/data/models/resnet_bottleneck';

CREATE TABLE predictions AS
SELECT path, label, predicted_label, predicted_label_probs FROM predict(resnet, (SELECT path, label, bytes FROM read_images('examples/data/photos/')));

SELECT label, predicted_label, count(*) AS files, round(avg(predicted_label_probs[1]['prob']), 2) AS certainty
FROM predictions GROUP BY label, predicted_label ORDER BY label, predicted_label;
