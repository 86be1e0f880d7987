-- Image files in folders, a folder for each class: read, look at, train on, predict.
-- The files are pictures of 32x32 pixels of discs, squares and triangles, which examples/data/photos.py makes.

-- The files of each class. Only the list of the files is read.
SELECT label, count(*) AS files, sum(size) AS bytes FROM read_images('examples/data/photos/') GROUP BY label ORDER BY label;

-- What their headers say, and the files that cannot be decoded.
SELECT info['format'] AS format, info['width'] AS width, info['height'] AS height, count(*) AS files
FROM (SELECT image_info(bytes) AS info FROM read_images('examples/data/photos/')) GROUP BY 1, 2, 3;

SELECT path FROM read_images('examples/data/photos/') WHERE try_decode_image(bytes) IS NULL;

CREATE VIEW photos AS SELECT path, label, bytes FROM read_images('examples/data/photos/');

-- A network that takes the files. The mean and the deviation of each channel are those of the files that it learns from.
TRAIN MODEL photos TARGET label
OPTIONS (model_type = 'cnn_classifier', input_shape = [3, 32, 32], hidden_units = [32], epochs = 30)
AS SELECT bytes, label FROM photos;

SELECT round(accuracy, 2) AS accuracy, rows FROM evaluate(photos);

-- The same network, which sees each picture in another place, another light, and from left or right in each epoch.
TRAIN OR REPLACE MODEL photos TARGET label
OPTIONS (model_type = 'cnn_classifier', input_shape = [3, 32, 32], hidden_units = [32], epochs = 30,
  augment = ['flip', 'shift(0.1)', 'crop(0.8)', 'colour(0.2)'])
AS SELECT bytes, label FROM photos;

SELECT round(accuracy, 2) AS accuracy, rows FROM evaluate(photos);

-- The same pictures seen from nearer: 24x24 pixels in the middle of each, which predict enlarges.
SELECT label, predicted_label, count(*) AS files
FROM predict(photos, (SELECT label, crop_image(bytes, 4, 4, 24, 24) AS bytes FROM photos))
GROUP BY label, predicted_label ORDER BY label, files DESC, predicted_label;

-- What the functions make of a file: 3 channels of 32x32 numbers from -1 to 1, for models that take arrays.
SELECT path, array_length(pixels) AS numbers, round(pixels[1], 2) AS first
FROM (SELECT path, normalize_image(resize_image(bytes, 32, 32, filter => 'bicubic'), 0.5, 0.5) AS pixels FROM photos WHERE label = 'disc')
ORDER BY path LIMIT 3;
