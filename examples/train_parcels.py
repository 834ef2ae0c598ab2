"""Trains the `parcels` example: whether a parcel comes late, from what is known of it when it is ordered.

    python examples/train_parcels.py

The records are made, by a rule with chance in it: 12 columns, numbers and categories, some of them missing. A scikit-learn pipeline
learns from four fifths (impute, scale, one-hot, logistic regression) and is exported as `inferd features export` does it: features and
estimator in one graph, checked against scikit-learn's own results on the rest. Writes

    examples/raw/parcels/    a model that takes JSON records, such as {"distance_km": 120, "carrier": "north", ...}
    examples/parcels.csv        records that it has not seen, and whether they came `late`
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from inferd.scikit_learn import export

EXAMPLES = Path(__file__).resolve().parent
ROWS, SHOWN_ROWS = 5000, 200
NUMBERS = ["distance_km", "weight_kg", "value_eur", "temperature_c", "wind_km_h", "stops", "ordered.hour", "ordered.weekday"]
CATEGORIES = {
    "carrier": ["north", "express24", "snail", "bicycle"],
    "service": ["standard", "express", "overnight"],
    "region": ["coast", "islands", "plain", "hills", "alps", "city"],
    "weather": ["clear", "rain", "snow", "storm"],
}


def parcels(rows: int, seed: int) -> tuple[pd.DataFrame, pd.Series]:
    """Records, and "late" or "on time" for each."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "distance_km": random.lognormal(4.5, 0.8, rows).round(1),
            "weight_kg": random.gamma(2, 2, rows).round(2),
            "value_eur": random.lognormal(3.5, 1, rows).round(2),
            "temperature_c": random.normal(11, 9, rows).round(1),
            "wind_km_h": random.gamma(3, 6, rows).round(1),
            "stops": random.poisson(np.full(rows, 3)) + 1,
            "ordered.hour": random.integers(0, 24, rows),
            "ordered.weekday": random.integers(0, 7, rows),
            **{name: random.choice(values, rows) for name, values in CATEGORIES.items()},
        }
    )
    trouble = (
        frame["distance_km"] / 150
        + frame["stops"] / 4
        + frame["wind_km_h"] / 40
        + frame["weather"].map({"clear": 0.0, "rain": 0.4, "snow": 1.5, "storm": 2.0})
        + frame["carrier"].map({"north": 0.0, "express24": -0.8, "snail": 1.2, "bicycle": 0.3})
        - frame["service"].map({"standard": 0.0, "express": 0.7, "overnight": 1.2})
        + frame["region"].isin(["islands", "alps"])
        + (frame["ordered.weekday"] >= 4) * 0.5
    )
    late = trouble + random.logistic(0, 0.5, rows) > trouble.median()
    for name, share in {"weight_kg": 0.05, "temperature_c": 0.03, "weather": 0.04}.items():
        frame.loc[random.random(rows) < share, name] = np.nan
    return frame, late.map({True: "late", False: "on time"})


def fitted(frame: pd.DataFrame, late: pd.Series) -> Any:
    features = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NUMBERS),
            ("categories", make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")), [*CATEGORIES]),
        ]
    )
    return Pipeline([("features", features), ("estimator", LogisticRegression(max_iter=1000))]).fit(frame, late)


def main() -> None:
    frame, late = parcels(ROWS, seed=0)
    known = ROWS * 4 // 5
    pipeline = fitted(frame[:known], late[:known])
    accuracy = pipeline.score(frame[known:], late[known:])
    sample = EXAMPLES / "parcels.csv"
    frame[known:][:SHOWN_ROWS].assign(late=late[known:] == "late").to_csv(sample, index=False)
    exported = export(pipeline, EXAMPLES / "raw" / "parcels", sample=sample, force=True)
    for difference in exported.differences:
        print(difference)
    if not exported.agrees:
        raise SystemExit("the graph does not give scikit-learn's results")
    print(f"{accuracy:.1%} of {ROWS - known} unseen parcels right; wrote {', '.join(path.name for path in exported.files)}")


if __name__ == "__main__":
    main()
