"""Figures of classes against scikit-learn, and intervals against rows drawn again. Nothing here warns or is NaN, whatever comes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics

from inferd.performance.classification import figures

NAN = np.nan


def drawn(rows: int, classes: int, *, seed: int = 5, skew: float = 1.0, digits: int = 6):
    """Labels, predictions and probabilities of a model that is somewhat overconfident; the last classes are rare."""
    rng = np.random.default_rng(seed)
    weights = skew ** np.arange(classes)
    truth = rng.choice(classes, rows, p=weights / weights.sum())
    scores = rng.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[truth]
    probabilities = np.exp(1.5 * scores)
    probabilities = np.round(probabilities / probabilities.sum(axis=1, keepdims=True), digits)
    return truth, probabilities.argmax(axis=1), probabilities


def named(*arguments):
    found = figures(*arguments)
    assert len({each[:2] for each in found}) == len(found)
    for each in found:
        assert all(map(math.isfinite, each[2:5]))
        assert each.low <= each.value <= each.high
        assert each.rows > 0
        assert all(type(number) is float for number in each[2:5])
    return {(each.name, each.of): each for each in found}


LABELS = list("abcdefgh")


@pytest.mark.parametrize("classes", [2, 3, 8])
@pytest.mark.parametrize("skew", [1.0, 0.2])
@pytest.mark.parametrize("digits", [6, 1])
def test_as_scikit_learn(classes: int, skew: float, digits: int) -> None:
    truth, predicted, probabilities = drawn(3000, classes, skew=skew, digits=digits)
    labels = LABELS[:classes]
    found = named(truth, predicted, probabilities, labels)
    assert found["accuracy", ""].value == pytest.approx(metrics.accuracy_score(truth, predicted))
    for place, label in enumerate(labels):
        only = {"labels": [place], "average": "macro", "zero_division": NAN}
        for name, score in (("precision", metrics.precision_score), ("recall", metrics.recall_score)):
            value = score(truth, predicted, **only)
            assert (name, label) not in found if math.isnan(value) else found[name, label].value == pytest.approx(value)
    aucs = [metrics.roc_auc_score(truth == place, probabilities[:, place]) for place in range(classes) if (truth == place).any()]
    assert found["auc", "b" if classes == 2 else ""].value == pytest.approx(aucs[1] if classes == 2 else np.mean(aucs))
    normal = probabilities / probabilities.sum(axis=1, keepdims=True)
    assert found["log_loss", ""].value == pytest.approx(metrics.log_loss(truth, normal, labels=range(classes)))


@pytest.mark.parametrize("classes", [2, 4])
def test_calibration_bin_by_bin(classes: int) -> None:
    truth, predicted, probabilities = drawn(2000, classes)
    stated = probabilities[:, 1] if classes == 2 else probabilities.max(axis=1)
    true = truth == 1 if classes == 2 else truth == predicted
    order = np.argsort(stated)
    gaps = [abs(stated[bin_].mean() - true[bin_].mean()) for bin_ in np.array_split(order, 10)]
    found = named(truth, predicted, probabilities, LABELS[:classes])["calibration", "b" if classes == 2 else ""]
    assert found.value == pytest.approx(np.mean(gaps), abs=2e-3)


def test_a_calibrated_model_may_have_no_error() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(200):
        ones = rng.random(500)
        truth = (rng.random(500) < ones).astype(int)
        held += named(truth, truth, np.column_stack([1 - ones, ones]), "ab")["calibration", "b"].low == 0.0
    assert held >= 0.92 * 200


def test_equal_probabilities_are_one_bin() -> None:
    truth = np.array([0, 1] * 100)
    found = named(truth, truth, np.full((200, 2), 0.5), "ab")
    assert found["calibration", "b"].value == pytest.approx(0.0)
    assert found["auc", "b"].value == 0.5


@pytest.mark.parametrize(("ones", "rest", "distance"), [(40, 40, 1.0), (10, 300, 1.5), (40, 40, 3.0)])
def test_the_interval_of_auc_holds_the_true_one(ones: int, rest: int, distance: float) -> None:
    rng = np.random.default_rng(6)
    true = 0.5 * (1 + math.erf(distance / 2))  # of two normal distributions
    truth = np.array([1] * ones + [0] * rest)
    held = 0
    for _ in range(400):
        scores = 1 / (1 + np.exp(-rng.normal(distance * truth)))
        found = named(truth, truth, np.column_stack([1 - scores, scores]), "ab")["auc", "b"]
        held += found.low <= true <= found.high
    assert held / 400 >= 0.92


def test_the_interval_of_a_mean_auc_holds_the_true_one() -> None:
    def auc(seed: int, rows: int):
        return named(*drawn(rows, 4, seed=seed), "abcd")["auc", ""]

    true = auc(0, 40_000).value
    assert sum(found.low <= true <= found.high for found in (auc(seed, 120) for seed in range(1, 201))) >= 0.92 * 200


class TestWhatRowsDoNotDefine:
    def test_no_rows(self) -> None:
        nothing = np.zeros(0, int)
        assert figures(nothing, nothing, None, "ab") == []
        assert figures(nothing, nothing, np.zeros((0, 2)), "ab") == []
        assert figures(nothing, nothing, np.zeros((0, 0)), "") == []

    def test_one_row(self) -> None:
        one = np.array([1])
        found = named(one, one, np.array([[0.3, 0.7]]), "ab")
        assert set(found) == {("accuracy", ""), ("precision", "b"), ("recall", "b"), ("calibration", "b")}
        assert found["calibration", "b"][2:5] == (pytest.approx(0.3), 0.0, 1.0)

    def test_one_label(self) -> None:
        zeros = np.zeros(50, int)
        found = named(zeros, zeros, np.tile([1.0, 0.0], (50, 1)), "ab")
        assert set(found) == {("accuracy", ""), ("precision", "a"), ("recall", "a"), ("log_loss", ""), ("calibration", "b")}
        assert found["log_loss", ""].value == 0.0

    def test_one_class(self) -> None:
        zeros = np.zeros(5, int)
        assert set(named(zeros, zeros, np.ones((5, 1)), ["a"])) == {("accuracy", ""), ("precision", "a"), ("recall", "a")}

    def test_a_class_that_never_occurs(self) -> None:
        truth, predicted, probabilities = drawn(200, 3)
        apart = np.column_stack([probabilities, np.zeros(200)])
        found = named(truth, predicted, apart, "abcd")
        assert ("precision", "d") not in found
        assert ("recall", "d") not in found
        assert found["auc", ""] == named(truth, predicted, probabilities, "abc")["auc", ""]

    def test_an_impossible_class_that_was_true(self) -> None:
        truth = np.array([0, 1])
        assert named(truth, truth, np.array([[0.0, 1.0]] * 2), "ab")["log_loss", ""].value == pytest.approx(52 * math.log(2) / 2)

    @pytest.mark.parametrize("row", [[NAN, 0.5], [np.inf, 0.0], [-1.0, 2.0], [0.0, 0.0]])
    def test_rows_without_probabilities_count_for_classes_alone(self, row) -> None:
        truth, predicted, probabilities = drawn(100, 2)
        whole = named(truth, predicted, probabilities, "ab")
        found = named(np.append(truth, 1), np.append(predicted, 1), np.vstack([probabilities, row]), "ab")
        assert found["accuracy", ""].rows == 101
        assert {name: found[name] for name in [("auc", "b"), ("log_loss", ""), ("calibration", "b")]} == {
            name: whole[name] for name in [("auc", "b"), ("log_loss", ""), ("calibration", "b")]
        }

    def test_all_rows_without_probabilities(self) -> None:
        truth = np.array([0, 1, 1])
        assert {name for name, _ in named(truth, truth, np.full((3, 2), NAN), "ab")} == {"accuracy", "precision", "recall"}

    def test_a_label_that_the_model_does_not_know_is_wrong(self) -> None:
        truth, predicted = np.array([0, 1, -1, 2]), np.array([0, 1, -1, 2])
        found = named(truth, predicted, np.full((4, 2), 0.5), "ab")
        assert found["accuracy", ""][2:] == (0.5, pytest.approx(0.15, abs=0.01), pytest.approx(0.85, abs=0.01), 4)
        assert found["log_loss", ""].rows == 2


@pytest.mark.parametrize(
    ("truth", "predicted", "probabilities"),
    [
        ([0, 1], [0], None),
        ([[0, 1]], [[0, 1]], None),
        ([0, 1], [0, 1], [[0.1, 0.9]]),
        ([0, 1], [0, 1], [0.1, 0.9]),
    ],
)
def test_shapes_that_do_not_fit(truth, predicted, probabilities) -> None:
    with pytest.raises(ValueError, match="expected"):
        figures(np.array(truth), np.array(predicted), None if probabilities is None else np.array(probabilities), "ab")
