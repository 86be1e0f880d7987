"""Makes late.onnx, gradient boosting on the flights of January to November: python3 examples/data/late.py

It needs scikit-learn, skl2onnx, pandas and pyarrow.
"""

import pathlib

import numpy as np
import pandas as pd
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

HERE = pathlib.Path(__file__).parent
NUMBERS = ["departure_minute", "distance", "temp", "wind_speed", "precip", "visib"]
TEXTS = ["carrier", "origin"]


def departures():
    flights = pd.read_parquet(HERE / "flights.parquet")
    weather = pd.read_parquet(HERE / "weather.parquet").drop_duplicates(["origin", "time_hour"])
    table = flights.merge(weather, on=["origin", "time_hour"], how="left").dropna(subset=["arr_delay"])
    table["departure_minute"] = table.sched_dep_time // 100 * 60 + table.sched_dep_time % 100
    return table


table = departures()
table = table[pd.to_datetime(table.time_hour).dt.month < 12]
columns = [(name, FloatTensorType([None, 1])) for name in NUMBERS]
columns += [(name, StringTensorType([None, 1])) for name in TEXTS]
prepare = ColumnTransformer([
    ("numbers", SimpleImputer(), NUMBERS),
    ("texts", OneHotEncoder(handle_unknown="ignore", sparse_output=False), TEXTS),
])
model = make_pipeline(prepare, HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=8, learning_rate=0.3))
model.fit(table[NUMBERS + TEXTS], (table.arr_delay >= 15).to_numpy(np.int64))
onnx = convert_sklearn(model, "late", columns, target_opset={"": 18, "ai.onnx.ml": 3})
(HERE / "late.onnx").write_bytes(onnx.SerializeToString())
