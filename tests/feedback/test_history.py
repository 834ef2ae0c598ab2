"""Groups of joined rows, and the figures of each, against the same by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inferd.feedback import history
from inferd.feedback.history import Asked, Found, found, names_of
from inferd.feedback.prediction import Prediction
from tests.feedback.stores import MINUTE_NS, NOW_NS, made, prediction, report

RNG = np.random.default_rng(33)
NAMES = ("cat", "dog", "owl")


def value(of: Found, name: str, of_class: str = "", place: int = 0) -> float:
    (one,) = [each.value for each in of.groups[place].figures if (each.name, each.of) == (name, of_class)]
    return one


def test_versions_times_and_coverage(tmp_path: Path) -> None:
    store = made(tmp_path)
    for number in range(12):
        store.write([prediction(str(number), "a", "b", version=1 + number % 2, time_ns=NOW_NS + number * MINUTE_NS)])
    store.write([], [report(*((str(number), 0, "a" if number < 6 else "b") for number in range(0, 12, 2)))])
    whole = found(tmp_path, Asked("m"))
    assert [(each.version, each.predicted, each.labelled) for each in whole.groups] == [(1, 12, 6), (2, 12, 0)]
    assert value(whole, "accuracy") == 0.5
    assert whole.groups[1].figures == []
    assert [each.version for each in found(tmp_path, Asked("m", 2)).groups] == [2]
    half = found(tmp_path, Asked("m", since_ns=NOW_NS + 6 * MINUTE_NS))
    assert (value(half, "accuracy"), half.groups[0].from_ns) == (0.0, NOW_NS + 6 * MINUTE_NS)
    until = found(tmp_path, Asked("m", 1, until_ns=NOW_NS + 2 * MINUTE_NS))
    assert [(each.predicted, each.until_ns) for each in until.groups] == [(2, NOW_NS + 1)]
    spans = found(tmp_path, Asked("m", 1, buckets=2, since_ns=NOW_NS, until_ns=NOW_NS + 12 * MINUTE_NS))
    assert [(each.from_ns - NOW_NS) // MINUTE_NS for each in spans.groups] == [0, 6]
    assert [value(spans, "accuracy", place=place) for place in (0, 1)] == [1.0, 0.0]
    assert found(tmp_path, Asked("none")) == Found([])
    assert found(tmp_path, Asked("m", since_ns=NOW_NS + 99 * MINUTE_NS)) == Found([])


def test_slices(tmp_path: Path) -> None:
    store = made(tmp_path)
    for number in range(10):
        slices = {"region": ["north", "south"]} if number else {}
        store.write([Prediction(str(number), "m", 1, NOW_NS + number, ["a", "a"], slices=slices)])
    store.write([], [report(*((str(number), row, "a" if row else "b") for number in range(5) for row in (0, 1)))])
    told = found(tmp_path, Asked("m", slice="region"))
    assert [(each.value, each.predicted, each.labelled) for each in told.groups] == [("north", 9, 4), ("south", 9, 4), ("—", 2, 2)]
    assert [value(told, "accuracy", place=place) for place in range(3)] == [0.0, 1.0, 0.5]
    assert [each.predicted for each in found(tmp_path, Asked("m", slice="none")).groups] == [20]


@pytest.mark.parametrize("named", [True, False])
def test_probabilities(tmp_path: Path, named: bool) -> None:
    """The names of classes are those of the label file, or else the ones that were predicted."""
    store = made(tmp_path)
    shares = RNG.dirichlet(np.ones(3), 300).astype(np.float32)
    truth = [NAMES[place] for place in RNG.integers(0, 3, 300)]
    chosen = [NAMES[place] for place in shares.argmax(axis=1)]
    classes = NAMES if named else ()
    store.write([Prediction(f"{row}", "m", 1, NOW_NS, chosen[row : row + 1], shares[row : row + 1], classes) for row in range(300)])
    store.write([], [report(*((f"{row}", 0, truth[row]) for row in range(300)))])
    told = found(tmp_path, Asked("m"))
    assert value(told, "accuracy") == np.mean(np.array(truth) == np.array(chosen))
    of_truth = shares[np.arange(300), [NAMES.index(name) for name in truth]] / shares.sum(axis=1)
    assert value(told, "log_loss") == pytest.approx(-np.mean(np.log(of_truth)), rel=1e-6)
    assert {each.name for each in told.groups[0].figures} == {"accuracy", "precision", "recall", "auc", "log_loss", "calibration"}


def test_a_number_that_is_a_probability(tmp_path: Path) -> None:
    store = made(tmp_path)
    store.write([prediction("p", 0.25, 0.75, 0.5), prediction("n", 0.25, 2.0, model="n")])
    store.write([], [report(("p", 0, 0.0), ("p", 1, 0.0), ("p", 2, "1")), report(("n", 0, 0.0), ("n", 1, 1.0), model="n")])
    assert value(found(tmp_path, Asked("m")), "accuracy") == pytest.approx(2 / 3)
    assert value(found(tmp_path, Asked("n")), "mae") == 0.625


def test_more_rows_than_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_ROWS", 4)
    store = made(tmp_path)
    store.write([prediction(str(number), "a", time_ns=NOW_NS + number) for number in range(10)])
    store.write([], [report(*((str(number), 0, "a") for number in range(10)))])
    for asked in (Asked("m"), Asked("m", slice="region")):
        told = found(tmp_path, asked)
        assert (told.rows_left_out, told.groups[0].predicted, told.groups[0].labelled) == (6, 4, 4)


def test_many_groups_and_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_GROUPS", 3)
    monkeypatch.setattr(history, "MOST_FIGURES", 5)
    store = made(tmp_path)
    for version in range(1, 6):
        store.write([prediction(f"{version}", *map(str, range(10 * version)), version=version)])
    store.write([], [report(*(("5", row, str(row % 25)) for row in range(50)))])
    told = found(tmp_path, Asked("m"))
    assert [each.version for each in told.groups] == [3, 4, 5]
    assert told.groups_left_out == 2
    assert told.groups[2].figures[0].name == "accuracy"
    assert (len(told.groups[2].figures), told.groups[2].figures_left_out) == (5, 71)


def test_names() -> None:
    assert names_of([0, 1, 1, 1], ["a", "b", "b", "a"], 2) == ("a", "b")
    assert names_of([0, 1], ["a", "b"], 3) == ()
    assert names_of([0, 1], ["a", "a"], 2) == ()
    assert names_of([2], ["2"], 3) == ("0", "1", "2")
