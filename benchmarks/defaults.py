"""How good the defaults are: `dnn_classifier` and `dnn_regressor` without any option, beside scikit-learn, on 24 data sets.

    ./benchmarks/run defaults

A quarter of the rows of each data set, by the seed of the split, is for testing. The peers learn from the others: scikit-learn's
perceptron with the width, learning rate and epochs that a grid search finds by cross-validation, and logistic or linear
regression, both with standardised numbers and a column for each category. A point is a hundredth of the accuracy or of R², in
the mean over all seeds. vatic is within reach if it is at most a point below each of the two.

--validation leaves the test rows alone and tests on a quarter of the training rows: for choosing defaults. --options adds
options to those that a training has by default, such as "epochs = 20". Results of scikit-learn are kept in --work.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import importlib.util
import json
import statistics
import subprocess
import tempfile
import warnings
from pathlib import Path

import numpy
import pandas
from sklearn import datasets
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, ShuffleSplit, train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

REPOSITORY = Path(__file__).resolve().parent.parent
# Larger data sets are sampled, so that the grid search ends.
ROWS_MAX = 6_000
# Up to here, the grid search has three folds; beyond, one set of validation rows is enough.
FOLDS_ROWS_MAX = 1_500
GRID = {"hidden_layer_sizes": [(32,), (128, 128)], "learning_rate_init": [0.001, 0.01], "max_iter": [50, 200]}
CLASSIFIER, REGRESSOR = "dnn_classifier", "dnn_regressor"


def packaged(package, file, **form):
    """A CSV file inside an installed package, which is not imported."""
    folder = importlib.util.find_spec(package).submodule_search_locations[0]
    return pandas.read_csv(Path(folder) / file, **form)


def of_scikit_learn(load):
    data = load(as_frame=True)
    return data.data.assign(y=data.target)


def islp(name, target, *left_out):
    return lambda: packaged("ISLP", f"data/{name}.csv").drop(columns=list(left_out)).rename(columns={target: "y"})


def lego(name, target, *left_out):
    return lambda: packaged("sklego", f"data/{name}.zip").drop(columns=list(left_out)).rename(columns={target: "y"})


def penguins():
    rows = pandas.read_csv(REPOSITORY / "sql-tests/data/penguins.csv")
    return rows.drop(columns=["id"]).dropna().rename(columns={"species": "y"})


def flights():
    """The delay of arrival from what is known at departure."""
    columns = ["month", "dep_delay", "carrier", "origin", "distance", "sched_dep_time", "arr_delay"]
    rows = pandas.read_parquet(REPOSITORY / "examples/data/flights.parquet", columns=columns)
    return rows.dropna().astype({"dep_delay": int, "arr_delay": int}).rename(columns={"arr_delay": "y"})


def weather():
    """The visibility at an airport, in miles. A wind of 1,048 miles an hour is an error of measurement, which would decide R²."""
    columns = ["origin", "temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]
    rows = pandas.read_parquet(REPOSITORY / "examples/data/weather.parquet", columns=columns)
    return rows.dropna().query("wind_speed < 200").rename(columns={"visib": "y"})


def mnist():
    rows = pandas.read_parquet(REPOSITORY / "examples/data/mnist.parquet")
    return rows.drop(columns=["id"]).rename(columns={"label": "y"})


def seattle():
    """The kind of weather of a day."""
    rows = packaged("vega_datasets", "_data/seattle-weather.csv").rename(columns={"weather": "y"})
    return rows.assign(month=pandas.to_datetime(rows["date"]).dt.month).drop(columns=["date"])


def votes():
    rows = packaged("statsmodels", "datasets/anes96/anes96.csv", sep="\t", quotechar="'")
    return rows.rename(columns={"vote": "y"})


DATA = {
    "iris": (CLASSIFIER, lambda: of_scikit_learn(datasets.load_iris)),
    "wine": (CLASSIFIER, lambda: of_scikit_learn(datasets.load_wine)),
    "breast cancer": (CLASSIFIER, lambda: of_scikit_learn(datasets.load_breast_cancer)),
    "digits": (CLASSIFIER, lambda: of_scikit_learn(datasets.load_digits)),
    "diabetes": (REGRESSOR, lambda: of_scikit_learn(datasets.load_diabetes)),
    "penguins": (CLASSIFIER, penguins),
    "flights": (REGRESSOR, flights),
    "weather": (REGRESSOR, weather),
    "oj": (CLASSIFIER, islp("OJ", "Purchase")),
    "default": (CLASSIFIER, islp("Default", "default")),
    "caravan": (CLASSIFIER, islp("Caravan", "Purchase")),
    "auto": (REGRESSOR, islp("Auto", "mpg", "name")),
    "bikeshare": (REGRESSOR, islp("Bikeshare", "bikers", "casual", "registered")),
    "boston": (REGRESSOR, islp("Boston", "medv")),
    "carseats": (REGRESSOR, islp("Carseats", "Sales")),
    "college": (REGRESSOR, islp("College", "Outstate")),
    "credit": (REGRESSOR, islp("Credit", "Balance", "ID")),
    "wage": (REGRESSOR, islp("Wage", "wage", "logwage", "region")),
    "abalone": (REGRESSOR, lego("abalone", "rings")),
    "arrests": (CLASSIFIER, lego("arrests", "released")),
    "hearts": (CLASSIFIER, lego("hearts", "target")),
    "seattle": (CLASSIFIER, seattle),
    "votes": (CLASSIFIER, votes),
    "mnist": (CLASSIFIER, mnist),
}


def load(name):
    """The rows of a data set in an order that is no order, with the label in the column y."""
    model_type, read = DATA[name]
    rows = read()
    rows = rows.sample(n=min(len(rows), ROWS_MAX), random_state=0).reset_index(drop=True)
    rows.columns = ["".join(letter if letter.isalnum() else "_" for letter in column.lower()) for column in rows.columns]
    label = rows["y"].astype(str) if model_type == CLASSIFIER else rows["y"].astype(float)
    return rows.assign(y=label)


def split(name, rows, seed, validation):
    """The rows to learn from and those to test on."""
    strata = DATA[name][0] == CLASSIFIER

    def halves(rows):
        return train_test_split(rows, test_size=0.25, random_state=seed, stratify=rows["y"] if strata else None)

    train, test = halves(rows)
    return halves(train) if validation else (train, test)


def score(name, labels, predicted):
    """Points."""
    if DATA[name][0] == CLASSIFIER:
        return 100 * accuracy_score(labels, predicted)
    return 100 * r2_score(labels, predicted)


def with_vatic(program, name, train, test, options):
    """The points of a model of vatic with these options beside the model type."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        train.to_parquet(folder / "train.parquet", index=False)
        test.to_parquet(folder / "test.parquet", index=False)
        all_options = ", ".join([f"model_type = '{DATA[name][0]}'", *([options] if options else [])])
        script = folder / "script.sql"
        script.write_text(f"""
            CREATE EXTERNAL TABLE train STORED AS PARQUET LOCATION '{folder}/train.parquet';
            CREATE EXTERNAL TABLE test STORED AS PARQUET LOCATION '{folder}/test.parquet';
            TRAIN MODEL m TARGET y OPTIONS ({all_options}) AS SELECT * FROM train;
            COPY (SELECT y, predicted_y FROM predict(m, test)) TO '{folder}/predicted.parquet';
        """)
        command = [program, "--data-dir", str(folder / "data"), "-q", "--format", "none", "-f", str(script)]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            raise SystemExit(f"{name}: {run.stderr}")
        predicted = pandas.read_parquet(folder / "predicted.parquet")
        return score(name, predicted["y"], predicted["predicted_y"])


def features_of(train, test):
    """Features for scikit-learn, and how they are prepared. A list becomes a column for each number; its numbers have one
    deviation, as in vatic."""
    features = [rows.drop(columns=["y"]) for rows in (train, test)]
    lists = [column for column in features[0] if isinstance(features[0][column].iloc[0], (list, numpy.ndarray))]
    if lists:
        train, test = (numpy.hstack([numpy.stack(rows[column]) for column in lists]).astype(float) for rows in features)
        mean, deviation = train.mean(axis=0), (train - train.mean(axis=0)).std()
        return (train - mean) / deviation, (test - mean) / deviation, []
    texts = [column for column in features[0] if features[0][column].dtype == object]
    numbers = [column for column in features[0] if column not in texts]
    columns = [("numbers", StandardScaler(), numbers), ("texts", OneHotEncoder(handle_unknown="ignore"), texts)]
    return *features, [ColumnTransformer(columns, sparse_threshold=0)]


def with_scikit_learn(name, train, test):
    """The points of the perceptron after a grid search, its choice, and the points of the linear model."""
    features, of_test, prepare = features_of(train, test)
    is_classifier = DATA[name][0] == CLASSIFIER
    perceptron = MLPClassifier(random_state=0) if is_classifier else MLPRegressor(random_state=0)
    model, prefix = make_pipeline(*prepare, perceptron), f"{type(perceptron).__name__.lower()}__"
    if not is_classifier:
        model, prefix = TransformedTargetRegressor(model, transformer=StandardScaler()), f"regressor__{prefix}"
    folds = 3 if len(train) <= FOLDS_ROWS_MAX else ShuffleSplit(1, test_size=0.25, random_state=0)
    search = GridSearchCV(model, {prefix + key: values for key, values in GRID.items()}, cv=folds)
    linear = make_pipeline(*prepare, LogisticRegression(max_iter=5_000) if is_classifier else LinearRegression())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(features, train["y"])
        linear.fit(features, train["y"])
    chosen = {key.removeprefix(prefix): value for key, value in search.best_params_.items()}
    return {"mlp": score(name, test["y"], search.predict(of_test)), "chosen": chosen,
            "linear": score(name, test["y"], linear.predict(of_test))}


def peers(work, name, seed, validation, train, test):
    """The points of scikit-learn, kept in the folder."""
    file = work / f"{name.replace(' ', '-')}-{seed}{'-validation' if validation else ''}.json"
    if not file.exists():
        file.write_text(json.dumps(with_scikit_learn(name, train, test)))
    return json.loads(file.read_text())


def verdict(vatic, mlp, linear):
    misses = [f"{other - vatic:.1f} below {what}" for what, other in [("MLP", mlp), ("linear", linear)] if other - vatic > 1]
    return ", ".join(misses) or "yes"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vatic", required=True)
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache/vatic-bench")
    parser.add_argument("--only", nargs="+", choices=DATA, default=list(DATA), metavar="DATA")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--options", default="")
    parser.add_argument("--validation", action="store_true")
    arguments = parser.parse_args()
    work = arguments.work / "defaults"
    work.mkdir(parents=True, exist_ok=True)
    program = str(Path(arguments.vatic).resolve())
    print("| data set | rows | columns | task | vatic | MLP | linear | within a point |\n|---|--:|--:|---|--:|--:|--:|---|", flush=True)
    for name in arguments.only:
        rows = load(name)
        points = []
        for seed in range(arguments.seeds):
            train, test = split(name, rows, seed, arguments.validation)
            other = peers(work, name, seed, arguments.validation, train, test)
            vatic = with_vatic(program, name, train, test, arguments.options)
            points.append((vatic, other["mlp"], other["linear"]))
        means = [statistics.mean(of_side) for of_side in zip(*points)]
        task = "classes" if DATA[name][0] == CLASSIFIER else "number"
        cells = [name, str(len(rows)), str(rows.shape[1] - 1), task, *(f"{mean:.1f}" for mean in means), verdict(*means)]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
