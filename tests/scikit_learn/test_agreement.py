"""Answers are held against scikit-learn's: labels as they are, numbers by how large they are, and by how far apart they lie."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from inferd.client_inputs.inputs import suit
from inferd.client_inputs.raw import fit
from inferd.client_inputs.tables import from_csv
from inferd.client_inputs.targets import open_target
from inferd.scikit_learn import export
from inferd.scikit_learn.agreement import Tolerance, compare
from inferd.scikit_learn.attempts import _worst
from inferd.scikit_learn.samples import Sample


def held_against(output: str, theirs, ours):
    """The one difference of an output."""
    expected = {output: np.array(theirs)}
    (difference,) = compare(expected, {output: np.array(ours)}, Tolerance.of(expected, 1e-5))
    return difference


@pytest.mark.parametrize(
    ("theirs", "ours", "worst"),
    [
        ([0.5, 0.25], [0.5, 0.125], 0.125 / 0.25),  # of the 0.25 that they lie apart
        ([1000.0, 2000.0], [1000.0, 2002.0], 2e-3),
        ([5e3, -5e3], [5e3, -5e3 + 1], 2e-4),
        ([1.7e9, 1.7e9 + 2000], [1.7e9 + 64, 1.7e9 + 2000], 64 / 2000),
        ([1.7e9, 1.7e9], [1.7e9 + 17, 1.7e9], 1e-8),  # which says nothing of how far they may
        ([2e-6, -1e-6], [2e-6, 1e-6], 2 / 3),
        ([2e-6, 2e-6], [2e-6, 1e-6], 0.5),
        ([0.0, 0.0], [0.0, 1e-6], 1e-6),
        ([5.0, 5.0 + 1e-14], [5.0, 5.0], 1e-14 / 5e-9),  # whose distance is rounding
        ([np.nan, 1e9], [np.nan, 1e9 + 1], 1e-9),
        ([1.0, 2.0], [np.nan, 2.0], np.inf),
    ],
)
def test_numbers_are_held_against_their_size_and_their_span(theirs, ours, worst) -> None:
    difference = held_against("prediction", theirs, ours)
    assert difference.worst == pytest.approx(worst, rel=0.2 if worst < 1e-5 else 1e-6)
    assert difference.kept == (worst <= 1e-5)
    assert difference.row == int(np.argmax(np.abs(np.nan_to_num(ours) - np.nan_to_num(theirs))))


def test_columns_have_spreads_of_their_own() -> None:
    theirs = [[1000.0, 1e-6], [2000.0, 3e-6]]
    assert held_against("features", theirs, [[1000.0, 1e-6], [2000.0, 2e-6]]).worst == pytest.approx(0.5)
    assert held_against("features", theirs, [[1000.0, 1e-6], [2000.0 + 1e-3, 3e-6]]).kept


def test_probabilities_are_held_against_one() -> None:
    """Those of a class that is rare in the sample lie close together."""
    assert held_against("probabilities", [[0.999999, 1e-6], [0.999998, 2e-6]], [[0.999999, 1.1e-6], [0.999998, 2e-6]]).kept


def test_the_first_label_that_differs_is_told() -> None:
    difference = held_against("label", ["a", "b", "c"], ["a", "x", "x"])
    assert (difference.flipped, difference.row, difference.kept) == (2, 1, False)


def test_the_record_whose_label_differs_is_shown() -> None:
    """Texts of a graph are objects, those of scikit-learn are not."""
    theirs, ours = np.array(["a", "b"]), np.array(["a", "x"], dtype=object)
    differences = compare({"label": theirs}, {"label": ours}, Tolerance(1e-5, {}))
    sample = Sample({"age": np.array([1.0, 2.5])}, frozenset(), frozenset(), ())
    served: Any = SimpleNamespace(columns=[SimpleNamespace(name="age")])
    assert _worst(differences, {"label": theirs}, {"label": ours}, served, sample) == ('{"age": 2.5} -> label x, and scikit-learn\'s is b')


def test_records_that_are_alike_are_no_measure_of_a_difference(tmp_path: Path) -> None:
    """With one column missing in all of a trial's records, they lie close together, and FP32 tells them apart less well than all."""
    random = np.random.default_rng(0)
    table = pd.DataFrame({"visits": random.integers(0, 20, 300), "age": random.normal(40, 9, 300)})
    pipeline = make_pipeline(SimpleImputer(), StandardScaler(), LinearRegression()).fit(table, table["visits"] * 1000 + table["age"] / 100)
    exported = export(pipeline, tmp_path / "model")
    assert exported.agrees
    assert not exported.notices
    assert [column.missing for column in exported.columns] == ["NaN", "NaN"]


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_small_targets_are_no_leave_to_be_wrong(scale, tmp_path: Path) -> None:
    """skl2onnx has no graph of categories of boosted histograms, and writes one."""
    random = np.random.default_rng(0)
    table = pd.DataFrame({"kind": random.integers(0, 6, 400) * 1.0, "x": random.normal(0, 1, 400)})
    table.to_csv(tmp_path / "rows.csv", index=False)
    target = np.array([3, 1, 5, 0, 4, 2.0])[table["kind"].astype(int)] + 0.2 * table["x"]
    own = HistGradientBoostingRegressor(categorical_features=[0], max_iter=20)
    exported = export(make_pipeline(own).fit(table, target * scale), tmp_path / "model", sample=tmp_path / "rows.csv")
    assert not exported.agrees
    assert not exported.files
    linear = make_pipeline(StandardScaler(), LinearRegression()).fit(table, target * scale)
    exported = export(linear, tmp_path / "linear", sample=tmp_path / "rows.csv")
    assert exported.agrees
    assert not exported.notices, "FP32 does"


def cities(*values: str, missing: float, unknown: str = "ignore"):
    """A table, classes that the city decides, and a pipeline that is fitted on them."""
    random = np.random.default_rng(0)
    city = random.choice(np.array([*values, np.nan], dtype=object), 300, p=[*[(1 - missing) / len(values)] * len(values), missing])
    table = pd.DataFrame({"city": city, "age": random.normal(40, 9, 300).round(1)})
    encoder = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown=unknown))
    features = make_column_transformer((encoder, ["city"]), (StandardScaler(), ["age"]))
    classes = np.where(table["city"].isna(), "none", table["city"])
    return table, make_pipeline(features, LogisticRegression()).fit(table, classes)


@pytest.mark.parametrize("form", ["JSON", "CSV", "ARROW", "TENSORS"])
def test_a_file_that_says_na_is_answered_as_the_frame_that_pandas_reads(form, tmp_path: Path) -> None:
    table, pipeline = cities("Bern", "Oslo", missing=0.3)
    path = tmp_path / "holdout.csv"
    table.head(60).to_csv(path, index=False, na_rep="NA")  # as many as go into one request
    assert export(pipeline, tmp_path / "model", sample=path, form=form).agrees
    with open_target(str(tmp_path), None, 30, ()) as target:
        model = target.describe("model", "")
        rows = from_csv("--csv", str(path), model)
        arrays, _ = suit({spec.name: fit(spec, rows[spec.name]) for spec in model.inputs}, model.inputs)
        got = target.infer(model, arrays, ()).outputs["label"]
    assert got.reshape(-1).astype(str).tolist() == pipeline.predict(pd.read_csv(path)).tolist()


def test_a_category_that_files_say_for_nothing_is_told(tmp_path: Path) -> None:
    _, pipeline = cities("Bern", "NA", missing=0.2)
    (told,) = export(pipeline, tmp_path / "ignored").notices
    assert told.startswith("column 'city': the pipeline learned the text 'NA' as a category, and in CSV, as pandas reads it,")
    assert not export(cities("Bern", "Oslo", missing=0.2)[1], tmp_path / "others").notices
    table, strict = cities("Bern", "NA", missing=0.2, unknown="error")
    table.to_csv(tmp_path / "holdout.csv", index=False)
    listed = export(strict, tmp_path / "listed", sample=tmp_path / "holdout.csv")
    assert listed.columns[0].allowed == ("Bern", "NA")
    assert not listed.notices, "a value that is listed is one"
