"""A classifier that decides by a threshold of its own gives the labels that scikit-learn gives, on either side of it and at it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from inferd.errors import ConfigError
from inferd.scikit_learn import export
from tests.scikit_learn.test_export import as_records, ask

NAMES = ["a", "b"]


def table_of(rows: int, seed: int) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(seed).normal(0, 1, (rows, 2)), columns=NAMES)


def some_of(table: pd.DataFrame) -> np.ndarray:
    """Whether each row is one of about a fifth."""
    return (table["a"] + np.random.default_rng(1).normal(0, 1, len(table)) > 1.2).to_numpy()


WORDS, NUMBERS, BOOLS, FLOATS = ("no", "yes"), (0, 1), (False, True), (1.0, 2.0)


@pytest.mark.parametrize(
    ("estimator", "classes"),
    [
        *((FixedThresholdClassifier(LogisticRegression(), threshold=0.1), classes) for classes in (WORDS, NUMBERS, BOOLS, FLOATS)),
        (TunedThresholdClassifierCV(LogisticRegression(), scoring="f1_macro"), WORDS),
        (TunedThresholdClassifierCV(make_pipeline(StandardScaler(), GaussianNB())), NUMBERS),
        (FixedThresholdClassifier(LogisticRegression()), BOOLS),
        (
            make_pipeline(
                StandardScaler(), FixedThresholdClassifier(RandomForestClassifier(10, max_depth=3, random_state=0), threshold=0.2)
            ),
            FLOATS,
        ),
    ],
    ids=str,
)
def test_labels_are_those_of_the_threshold(estimator, classes, tmp_path: Path) -> None:
    table, fresh = table_of(300, 0), table_of(60, 2)
    estimator.fit(table, np.array(classes)[some_of(table).astype(int)])
    table.to_csv(tmp_path / "rows.csv", index=False)
    assert export(estimator, tmp_path / "model", sample=tmp_path / "rows.csv").agrees
    answers = ask(tmp_path / "model", *as_records(fresh))
    assert answers["label"].tolist() == estimator.predict(fresh).tolist()
    np.testing.assert_allclose(answers["probabilities"], estimator.predict_proba(fresh), atol=1e-5)


@pytest.mark.parametrize("positive", ["no", "yes"])
def test_the_threshold_is_of_the_class_that_is_named(positive, tmp_path: Path) -> None:
    table, fresh = table_of(300, 0), table_of(60, 2)
    inner = LogisticRegression().fit(table, np.array(["no", "yes"])[some_of(table).astype(int)])
    frozen = FixedThresholdClassifier(FrozenEstimator(inner), threshold=0.3, pos_label=positive).fit(table, inner.predict(table))
    assert export(frozen, tmp_path / "model", guess=True).agrees
    expected = frozen.predict(fresh).tolist()
    assert expected != inner.predict(fresh).tolist()
    assert ask(tmp_path / "model", *as_records(fresh))["label"].tolist() == expected


@pytest.mark.parametrize("tenths", [1, 3, 6, 7, 9])
def test_what_lies_at_the_threshold_is_above_it(tenths, tmp_path: Path) -> None:
    """Of ten trees, each sure of its vote, FP32 has seven as 0.69999999."""
    places = np.arange(100)[:, None].astype(np.float64)
    forest = RandomForestClassifier(10, random_state=0).fit(places, np.random.default_rng(0).integers(0, 2, 100))
    step = FixedThresholdClassifier(FrozenEstimator(forest), threshold=tenths / 10).fit(places, forest.predict(places))
    assert np.any(forest.predict_proba(places)[:, 1] == tenths / 10)
    assert export(step, tmp_path / "model").agrees
    for first in (0, 50):
        rows = places[first : first + 50]
        got = ask(tmp_path / "model", *({"x0": value} for value in rows[:, 0].tolist()))
        assert got["label"].tolist() == step.predict(rows).tolist()


@pytest.mark.parametrize(
    "estimator",
    [
        FixedThresholdClassifier(LinearSVC(), threshold=0.2),
        FixedThresholdClassifier(LogisticRegression(), threshold=0.2, response_method="decision_function"),
        VotingClassifier([("one", FixedThresholdClassifier(LogisticRegression(), threshold=0.2)), ("other", LogisticRegression())]),
    ],
    ids=["scores", "asked for scores", "within"],
)
def test_a_threshold_that_would_be_left_out_is_rejected(estimator, tmp_path: Path) -> None:
    table = table_of(90, 0)
    why = "the threshold of a FixedThresholdClassifier is converted where it is the last step, and decides by probabilities: put it there"
    with pytest.raises(ConfigError, match=f"^{type(estimator).__name__} cannot be converted: {why}"):
        export(estimator.fit(table, some_of(table)), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_pipeline_within_takes_its_columns_by_name(tmp_path: Path) -> None:
    table = table_of(300, 0).assign(unused=1.0, plan=pd.Series(["x", "y", np.nan] * 100, dtype=object))
    features = make_column_transformer(
        (StandardScaler(), NAMES), (make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), ["plan"])
    )
    tuned = TunedThresholdClassifierCV(make_pipeline(features, RandomForestClassifier(5, random_state=0)))
    tuned.fit(table, some_of(table))
    exported = export(tuned, tmp_path / "model")
    assert exported.agrees
    assert [(column.name, column.datatype, column.missing) for column in exported.columns] == [
        ("a", "FP64", "NaN"), ("b", "FP64", "NaN"), ("plan", "BYTES", "x"),
    ]  # fmt: skip
    fresh = table_of(60, 2).assign(unused=1.0, plan=pd.Series(["x", "y", np.nan] * 20, dtype=object))
    assert ask(tmp_path / "model", *as_records(fresh))["label"].tolist() == tuned.predict(fresh).tolist()
