"""Figures of a model that chooses a class, from its predictions and the labels.

Never in here: figures without labels (estimated.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from inferd.performance.figure import Figure, Measure, mean, share, share_of_variance
from inferd.performance.probabilities import shares, usable
from inferd.performance.ranking import macro, ranking

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from inferd.compare.statistics import Floats, Integers
    from inferd.tensors import Array

BINS = 10  # of probabilities, for calibration
ROWS_A_BIN = 10  # at least, or there are fewer bins
LEAST_PROBABILITY = 2.0**-52  # a true class that a model holds for impossible costs 36 nats, and not infinitely many
Z_ONE_SIDED = 1.6448536269514722  # 95 %


def figures(truth: Array, predicted: Array, probabilities: Array | None, classes: Sequence[str]) -> list[Figure]:
    """All figures that the rows define.

    truth, predicted: places in `classes`, integers of shape (rows,). A place outside of them is a label that the model does not know: such
    a row counts as wrong. probabilities: (rows, classes), or None. AUC, log loss and calibration leave out rows with an unknown label, with
    a number that is NaN, infinite or negative, or with zeros alone. A class that never occurs has no recall. One that is never predicted
    has no precision. Raises ValueError where the shapes do not fit each other.
    """
    truth, predicted = (np.asarray(places, np.int64) for places in (truth, predicted))
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise ValueError(f"truth and predicted: expected one place a row, got shapes {truth.shape} and {predicted.shape}")
    if probabilities is not None and np.shape(probabilities) != (len(truth), len(classes)):
        raise ValueError(f"probabilities: expected shape {(len(truth), len(classes))}, got {np.shape(probabilities)}")
    found = list(_of_classes(truth, predicted, classes)) if len(truth) else []
    if probabilities is not None and len(classes) > 1:
        numbers, count = usable(probabilities)
        count &= (truth >= 0) & (truth < len(classes))
        found += _of_probabilities(truth[count], numbers[count], classes)
    return found


def _of_classes(truth: Integers, predicted: Integers, classes: Sequence[str]) -> Iterator[Figure]:
    """Accuracy is the share of rows with the right class. Precision and recall are the same of the rows that are predicted as a class, and
    of those that have it."""
    size = len(classes)
    known = (truth >= 0) & (truth < size)
    right = known & (truth == predicted)
    hits = np.bincount(truth[right], minlength=size).tolist()
    chosen = np.bincount(predicted[(predicted >= 0) & (predicted < size)], minlength=size).tolist()
    occurring = np.bincount(truth[known], minlength=size).tolist()
    yield share(Measure.ACCURACY, "", sum(hits), len(truth))
    for place, label in enumerate(classes):
        if chosen[place]:
            yield share(Measure.PRECISION, label, hits[place], chosen[place])
        if occurring[place]:
            yield share(Measure.RECALL, label, hits[place], occurring[place])


def _of_probabilities(truth: Integers, probabilities: Floats, classes: Sequence[str]) -> Iterator[Figure]:
    yield from auc(truth, probabilities, classes)
    if len(truth) > 1:
        yield log_loss(truth, probabilities)
    if len(truth):
        yield calibration(truth, probabilities, classes)


def auc(truth: Integers, probabilities: Floats, classes: Sequence[str]) -> Iterator[Figure]:
    """The area under the ROC curve, 0 to 1 (ranking.py). With two classes it is the AUC of the second one.

    With more it is the mean over the classes that occur, each against the rest (macro; Provost, Domingos 2000). The interval is Wilson's of
    as many rows as have DeLong's variance. Limits: it says nothing of thresholds, and changes with the mix of easy and hard rows.
    """
    places = [1] if len(classes) == 2 else range(len(classes))
    found = [each for place in places if (each := ranking(probabilities[:, place], (truth == place).astype(np.float64)))]
    if found:
        value, most = macro(found)
        parts = sum((each.parts for each in found), np.zeros(len(truth))) / len(found)
        yield share_of_variance(Measure.AUC, _of(classes), value, float(parts @ parts), most, len(truth))


def log_loss(truth: Integers, probabilities: Floats) -> Figure:
    """The mean of -log(probability of the true class), in nats (Good 1952). truth: at least 2 rows.

    Each row's probabilities are divided by their sum, and are at least 2^-52. Limits: a few confident errors make most of it.
    """
    of_truth = shares(probabilities)[np.arange(len(truth)), truth]
    return mean(Measure.LOG_LOSS, -np.log(np.clip(of_truth, LEAST_PROBABILITY, 1.0)))


def calibration(truth: Integers, probabilities: Floats, classes: Sequence[str]) -> Figure:
    """The expected calibration error, 0 to 1 (Naeini, Cooper, Hauskrecht 2015). truth: at least 1 row.

        sum over bins of n_b / n |mean probability - share that is true|

    Two classes: of the second one's probability. More: of the highest one's (Guo et al. 2017). Bins have equal mass, and equal
    probabilities are in one bin. The interval is the error +- the 95 % quantile of sum of n_b / n |e_b|. There e_b is a normal error of
    the bin's variance, which is that of its share with four rows more (Agresti, Coull 1998). That is wide on purpose: the error of a
    perfect model is above 0 by chance, and its interval has 0. Limits: errors within a bin cancel out.
    """
    found = shares(probabilities)
    if len(classes) == 2:
        stated, true = found[:, 1], truth == 1
    else:
        stated, true = found.max(axis=1), truth == found.argmax(axis=1)
    rows = len(truth)
    bins = min(max(rows // ROWS_A_BIN, 1), BINS)
    place = np.searchsorted(np.quantile(stated, np.linspace(0.0, 1.0, bins + 1)[1:-1]), stated)
    counts, hits, sums = (np.bincount(place, each) for each in (np.ones(rows), true.astype(np.float64), stated))
    held = counts > 0
    counts, hits, sums = counts[held], hits[held], sums[held]
    value = float(np.abs(sums - hits).sum()) / rows
    near = (hits + 2.0) / (counts + 4.0)
    deviations = np.sqrt(counts * near * (1.0 - near)) / rows  # of each bin's part in the sum
    half = float(np.sqrt(2.0 / np.pi) * deviations.sum() + Z_ONE_SIDED * np.sqrt((1.0 - 2.0 / np.pi) * (deviations**2).sum()))
    return Figure(Measure.CALIBRATION, _of(classes), value, max(value - half, 0.0), min(value + half, 1.0), rows)


def _of(classes: Sequence[str]) -> str:
    """The label of the class that a figure of probabilities is about."""
    return classes[1] if len(classes) == 2 else ""
