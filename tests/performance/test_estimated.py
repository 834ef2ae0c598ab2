"""Estimates against labels: drawn from the probabilities themselves, many times, and from a model whose data moves."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from inferd.performance import classification, regression
from inferd.performance.calibration import Calibration, Curve, calibrated
from inferd.performance.estimated import BINS, ErrorCurve, learnt_errors, of_classes, of_numbers

AS_STATED = Curve((0.0, 1.0), (0.0, 1.0))


def named(found):
    for each in found:
        assert all(map(math.isfinite, each[2:5]))
        assert each.low <= each.value <= each.high
    return {(each.name, each.of): each for each in found}


def model(rows: int, classes: int, seed: int, moved: float = 0.0):
    """Labels, predictions and overconfident probabilities. What an input means stays the same, however much the inputs move."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(rows, classes)) * (1.2 - moved)
    true = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    truth = (true.cumsum(axis=1) < rng.random((rows, 1))).sum(axis=1).clip(max=classes - 1)
    stated = np.exp(3 * scores) / np.exp(3 * scores).sum(axis=1, keepdims=True)
    return truth, stated.argmax(axis=1), stated


@pytest.mark.parametrize("classes", [2, 3])
def test_realised_figures_are_where_they_are_expected(classes: int) -> None:
    """With probabilities that are right, 95 of 100 draws of the labels are within the interval."""
    rng = np.random.default_rng(12)
    stated = rng.dirichlet(np.ones(classes), 150)
    predicted = stated.argmax(axis=1)
    exact = Calibration((AS_STATED,) if classes == 2 else (AS_STATED,) * classes, 10**9)
    expected = named(of_classes(exact, predicted, stated, "abc"[:classes]))
    held, draws = dict.fromkeys(expected, 0), 300
    values: dict[tuple[str, str], list[float]] = {name: [] for name in expected}
    for _ in range(draws):
        truth = (stated.cumsum(axis=1) < rng.random((150, 1))).sum(axis=1).clip(max=classes - 1)
        realised = named(classification.figures(truth, predicted, stated, "abc"[:classes]))
        for name, figure in expected.items():
            values[name].append(realised[name].value)
            held[name] += figure.low <= realised[name].value <= figure.high
    assert min(held.values()) >= 0.91 * draws
    for name, figure in expected.items():
        assert figure.value == pytest.approx(np.mean(values[name]), abs=0.01)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_fall_is_seen_without_labels(classes: int) -> None:
    labels = "abc"[:classes]
    truth, _, stated = model(20_000, classes, 13)
    learnt = calibrated(truth, stated)
    assert learnt is not None
    truth, predicted, stated = model(20_000, classes, 14, moved=0.6)
    expected, realised = (
        named(of_classes(learnt, predicted, stated, labels)),
        named(classification.figures(truth, predicted, stated, labels)),
    )
    truth, predicted, stated = model(20_000, classes, 13)
    before = named(classification.figures(truth, predicted, stated, labels))
    for name, figure in expected.items():
        assert figure.value == pytest.approx(realised[name].value, abs=0.015 if classes == 2 else 0.03)
    assert realised["accuracy", ""].high < before["accuracy", ""].low


def test_labels_that_change_their_meaning_are_not_seen() -> None:
    truth, predicted, stated = model(5000, 2, 15)
    learnt = calibrated(truth, stated)
    assert learnt is not None
    expected = named(of_classes(learnt, predicted, stated, "ab"))["auc", "b"]
    realised = named(classification.figures(1 - truth, predicted, stated, "ab"))["auc", "b"]
    assert realised.value < 0.5 < expected.low


class TestWhatRowsDoNotDefine:
    learnt = Calibration((AS_STATED,), 100)

    def test_no_rows(self) -> None:
        assert of_classes(self.learnt, np.zeros(0, int), np.zeros((0, 2)), "ab") == []
        assert of_classes(self.learnt, np.zeros(1, int), np.full((1, 2), np.nan), "ab") == []

    def test_one_row(self) -> None:
        found = named(of_classes(self.learnt, np.array([1]), np.array([[0.4, 0.6]]), "ab"))
        assert set(found) == {("accuracy", ""), ("precision", "b")}
        assert found["accuracy", ""].value == pytest.approx(0.6)

    def test_certain_probabilities(self) -> None:
        found = named(of_classes(self.learnt, np.array([0] * 9), np.array([[1.0, 0.0]] * 9), "ab"))
        assert {name: figure.value for name, figure in found.items()} == {
            ("accuracy", ""): 1.0,
            ("precision", "a"): 1.0,
            ("recall", "a"): 1.0,
        }
        assert found["accuracy", ""].low < 0.8

    def test_identical_predictions(self) -> None:
        found = named(of_classes(self.learnt, np.array([1] * 50), np.array([[0.4, 0.6]] * 50), "ab"))
        assert found["auc", "b"].value == pytest.approx(0.5)
        assert found["recall", "b"].value == pytest.approx(1.0)

    def test_a_prediction_that_is_no_class_is_wrong(self) -> None:
        found = named(of_classes(self.learnt, np.array([-1, 5, 1, 1]), np.array([[0.0, 1.0]] * 4), "ab"))
        assert found["accuracy", ""].value == 0.5

    @pytest.mark.parametrize(("predicted", "stated"), [([0, 1], [[0.5, 0.5]]), ([0], [[0.2, 0.3, 0.5]])])
    def test_shapes_that_do_not_fit(self, predicted, stated) -> None:
        with pytest.raises(ValueError, match="expected"):
            of_classes(self.learnt, np.array(predicted), np.array(stated), "abc"[: len(stated[0])])


class TestNumbers:
    @staticmethod
    def rows(count: int, seed: int, moved: float = 0.0):
        rng = np.random.default_rng(seed)
        predicted = rng.uniform(0, 10, count) + moved
        return predicted + rng.normal(size=count) * (1 + predicted / 4), predicted

    def test_a_rise_is_seen_without_labels(self) -> None:
        learnt = learnt_errors(*self.rows(20_000, 16))
        assert learnt is not None
        truth, predicted = self.rows(5000, 17)
        keep = predicted > 6
        (expected,) = of_numbers(learnt, predicted[keep])
        realised = regression.figures(truth[keep], predicted[keep])[0]
        assert expected.name == realised.name == "mae"
        assert expected.value == pytest.approx(realised.value, rel=0.03)
        assert expected.low > of_numbers(learnt, predicted)[0].high

    def test_the_realised_error_is_where_it_is_expected(self) -> None:
        learnt = learnt_errors(*self.rows(2000, 18))
        assert learnt is not None
        held = 0
        for seed in range(200):
            truth, predicted = self.rows(300, 1000 + seed)
            (expected,) = of_numbers(learnt, predicted)
            held += expected.low <= regression.figures(truth, predicted)[0].value <= expected.high
        assert held >= 0.9 * 200  # one reference for all

    def test_bin_by_bin(self) -> None:
        truth, predicted = self.rows(1000, 19)
        learnt = learnt_errors(truth, predicted)
        assert learnt is not None
        errors = np.abs(truth - predicted)
        bins = np.array_split(np.argsort(predicted), BINS)
        assert learnt.errors == pytest.approx([errors[bin_].mean() for bin_ in bins], rel=0.05)
        assert learnt.variances == pytest.approx([errors[bin_].var() for bin_ in bins], rel=0.1)

    @pytest.mark.parametrize("values", [[3.0] * 40, [1.0, 2.0], [1.0] * 30 + [2.0], [1.0] + [2.0] * 30, [0.0, 1e9, 1e9, 1e9]])
    def test_ties_are_one_bin(self, values) -> None:
        predicted = np.array(values)
        learnt = learnt_errors(predicted + 1, predicted)
        assert learnt is not None
        assert set(learnt.errors) == {1.0}
        assert of_numbers(learnt, predicted)[0][2:] == (1.0, 1.0, 1.0, len(values))

    def test_no_rows(self) -> None:
        assert learnt_errors(np.ones(1), np.ones(1)) is None
        learnt = learnt_errors(np.ones(2), np.ones(2))
        assert learnt is not None
        assert of_numbers(learnt, np.zeros(0)) == of_numbers(learnt, np.array([np.nan, np.inf])) == []
        with pytest.raises(ValueError, match="expected"):
            of_numbers(learnt, np.ones((2, 2)))

    def test_it_can_be_stored(self) -> None:
        learnt = learnt_errors(*self.rows(100, 20))
        assert learnt is not None
        assert msgspec.json.decode(msgspec.json.encode(learnt), type=ErrorCurve) == learnt

    @pytest.mark.parametrize(
        ("edges", "errors", "variances", "rows"),
        [
            ((), (), (), 2),
            ((1.0,), (1.0,), (1.0,), 2),
            ((), (1.0,), (1.0,), 1),
            ((2.0, 1.0), (1.0,) * 3, (1.0,) * 3, 2),
            ((), (-1.0,), (1.0,), 2),
        ],
    )
    def test_a_file_that_no_labels_make(self, edges, errors, variances, rows: int) -> None:
        with pytest.raises(ValueError, match="expected"):
            ErrorCurve(edges, errors, variances, rows)
