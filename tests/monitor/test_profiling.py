"""Profiles of real runs: features of numbers, texts, patterns and outputs, against numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inferd.errors import ConfigError
from inferd.monitor import profiling
from inferd.monitor.feature import Feature, Kind, waves_of
from inferd.monitor.reference import Reference
from tests import models
from tests.monitor.profiles import reference_of

RNG = np.random.default_rng(0)
ROWS = {"x": RNG.normal(3.0, 2.0, (500, 4)).astype(np.float32)}


def of(reference: Reference, name: str) -> Feature:
    (found,) = [feature for feature in reference.features if feature.name == name]
    return found


def test_numbers(tmp_path: Path) -> None:
    rows = {"x": ROWS["x"].copy()}
    rows["x"][::10, 1] = np.nan
    found = reference_of(models.write(tmp_path, "m", models.identity(dims=(4,))), rows, {"x": ["age", "income", "debt", "years"]})
    assert (found.model, found.rows, found.inputs[0][0]) == ("m", 500, "x")
    assert [feature.name for feature in found.features[:4]] == ["age", "income", "debt", "years"]
    assert of(found, "income").missing == pytest.approx(0.1)
    assert of(found, "debt").centre == pytest.approx(rows["x"][:, 2].mean(), abs=1e-5)
    assert of(found, "y[2]").at == of(found, "debt").at
    assert of(found, "y[2]").is_output
    assert not of(found, "y[2]").scores
    assert of(found, "class of y").kind is Kind.VALUES
    assert of(found, "repeated rows").repeats == 0


def test_the_outlier_score_is_that_of_one_row_in_a_hundred(tmp_path: Path) -> None:
    found = reference_of(models.write(tmp_path, "m", models.identity(dims=(4,))), ROWS)
    outliers = of(found, "outliers")
    assert outliers.low < found.outlier_score < outliers.high
    above = sum(share for low, share in zip((-np.inf, *outliers.at), outliers.shares, strict=True) if low >= found.outlier_score)
    assert above == pytest.approx(0.01, abs=0.005)


def test_texts_are_categories_or_lengths(tmp_path: Path) -> None:
    kinds = RNG.choice([b"a", b"b", b""], (200, 1), p=[0.6, 0.3, 0.1]).astype(object)
    free = np.array([[f"text {number}".encode()] for number in range(200)], object)
    text = models.write(tmp_path, "m", models.text((1,)))
    categories, frees = reference_of(text, {"x": kinds}), reference_of(text, {"x": free})
    assert of(categories, "x").texts == ("a", "b")
    assert of(categories, "x").missing == pytest.approx((kinds == b"").mean())
    assert "length of x" not in [feature.name for feature in categories.features if not feature.is_output]
    assert next(feature.name for feature in frees.features if not feature.is_output) == "length of x"


def test_patterns_of_long_rows(tmp_path: Path) -> None:
    rows = RNG.normal(100.0, 30.0, (160, 100)).astype(np.float32)
    found = reference_of(models.write(tmp_path, "m", models.identity(dims=(100,))), {"x": rows}, rows=8)
    pattern = of(found, "pattern of x")
    assert (pattern.centre, pattern.scale) == (pytest.approx(rows.mean(), rel=1e-3), pytest.approx(rows.std(), rel=1e-2))
    weights = waves_of(100)
    expected = np.cos((rows - pattern.centre) / pattern.scale @ weights[:, :100].T + weights[:, 100])
    assert pattern.means == pytest.approx(expected.mean(axis=0), abs=0.01)
    assert of(found, "mean of x").centre == pytest.approx(rows.mean(), rel=1e-3)


def test_few_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected at least 100 rows, got 99"):
        reference_of(models.write(tmp_path, "m", models.identity(dims=(4,))), {"x": ROWS["x"][:99]})


def test_only_so_many_rows_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "MOST_ROWS", 200)
    found = reference_of(models.write(tmp_path, "m", models.identity(dims=(4,))), ROWS, rows=50)
    assert found.rows == 200
