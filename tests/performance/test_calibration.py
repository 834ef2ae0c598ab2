"""Isotonic regression against scikit-learn and against pooling one pair at a time."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from inferd.performance.calibration import Calibration, Curve, calibrated, isotonic


def pooled(scores, values):
    """Pool adjacent violators, as textbooks have it: one block after another, joined with those before while these are not below."""
    blocks: list[list[float]] = []  # sum, rows, points
    for score in sorted(set(scores)):
        held = [value for each, value in zip(scores, values, strict=True) if each == score]
        blocks.append([sum(held), len(held), 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            last = blocks.pop()
            blocks[-1] = [one + other for one, other in zip(blocks[-1], last, strict=True)]
    return [total / rows for total, rows, points in blocks for _ in range(int(points))]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=40))
def test_as_the_textbook(rows) -> None:
    scores, values = np.array([row[0] for row in rows], float), np.array([row[1] for row in rows], float)
    curve = isotonic(scores, values)
    assert curve.at(np.unique(scores)).tolist() == pytest.approx(pooled(scores.tolist(), values.tolist()))


@pytest.mark.parametrize("digits", [2, 8])
def test_as_scikit_learn(digits: int) -> None:
    rng = np.random.default_rng(9)
    scores = np.round(rng.random(3000), digits)
    values = (rng.random(3000) < scores**2).astype(float)
    judge = IsotonicRegression(out_of_bounds="clip").fit(scores, values)
    asked = np.linspace(-0.5, 1.5, 1001)
    curve = isotonic(scores, values)
    assert curve.at(asked) == pytest.approx(judge.predict(asked), abs=1e-9)
    assert len(curve.values) < 200


def test_falling_values_are_one_block() -> None:
    assert isotonic(np.arange(1000.0), (np.arange(1000) < 400).astype(float)) == Curve((0.0, 999.0), (0.4, 0.4))


def test_one_row() -> None:
    found = calibrated(np.array([1]), np.array([[0.4, 0.6]]))
    assert found is not None
    assert found.applied(np.array([[0.9, 0.1]])).tolist() == [[0.0, 1.0]]


def test_no_row_that_counts() -> None:
    assert calibrated(np.zeros(0, int), np.zeros((0, 2))) is None
    assert calibrated(np.array([0, -1, 2]), np.array([[np.nan, 1.0], [0.5, 0.5], [0.5, 0.5]])) is None


def test_each_row_adds_up_to_1() -> None:
    rng = np.random.default_rng(10)
    truth, probabilities = rng.integers(0, 3, 500), rng.dirichlet(np.ones(3), 500)
    found = calibrated(truth, probabilities)
    assert found is not None
    assert found.classes == len(found.curves) == 3
    assert found.applied(probabilities).sum(axis=1) == pytest.approx(np.ones(500))


def test_where_no_class_is_expected_the_models_own_probabilities_stay() -> None:
    never = Curve((0.0,), (0.0,))
    assert Calibration((never,) * 3, 5).applied(np.array([[0.1, 0.1, 0.2]])).tolist() == [[0.25, 0.25, 0.5]]


def test_it_can_be_stored() -> None:
    rng = np.random.default_rng(11)
    found = calibrated(rng.integers(0, 2, 100), rng.dirichlet(np.ones(2), 100))
    assert found is not None
    assert msgspec.json.decode(msgspec.json.encode(found), type=Calibration) == found


@pytest.mark.parametrize(
    "text",
    [
        '{"curves": [], "rows": 1}',
        '{"curves": [{"thresholds": [0], "values": [1]}], "rows": 0}',
        '{"curves": [{"thresholds": [], "values": []}], "rows": 1}',
        '{"curves": [{"thresholds": [0], "values": [0, 1]}], "rows": 1}',
        '{"curves": [{"thresholds": [0, 0], "values": [0, 1]}], "rows": 1}',
        '{"curves": [{"thresholds": [0, 1], "values": [1, 0]}], "rows": 1}',
        '{"curves": [{"thresholds": [0, 1], "values": [0, 1.5]}], "rows": 1}',
    ],
)
def test_a_file_that_no_labels_make(text: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="expected"):
        msgspec.json.decode(text, type=Calibration)


@pytest.mark.parametrize(("truth", "probabilities"), [([0], [[1.0]]), ([0, 1], [[0.5, 0.5]]), ([0], [0.5])])
def test_shapes_that_do_not_fit(truth, probabilities) -> None:
    with pytest.raises(ValueError, match="expected"):
        calibrated(np.array(truth), np.array(probabilities))
