"""Features as native code counts them, and what their counts say, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from inferd._core.batching.local import LocalRequest
from inferd._core.monitor.feature_counts import FeatureCounts, Reading, Side
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.monitor.feature import WAVE_ELEMENTS, WAVES, Counts, Feature, Kind, waves_of
from inferd.tensors import Array

ROWS = np.random.default_rng(0).normal(3.0, 2.0, (200, 8)).astype(np.float32)

FIRST = [0.534173, 0.121555, 0.084734, -0.111211, 3.874743]  # of four elements


def counted(feature: Feature, rows: Array) -> Counts:
    counts = Counts.none(feature)
    request = LocalRequest([("x", "FP32", rows)])
    request.check(Signature("m", "1", [("x", "FP32", (-1, rows.shape[1]))], [], len(rows)))
    FeatureCounts([feature.native()], [counts.words]).add(request, Tensors([], [], True), 0)
    return counts


def element(**changes: object) -> Feature:
    given: dict[str, object] = {"side": Side.TAKEN, "reading": Reading.ELEMENT, "kind": Kind.RANGES, "tensor": "x", "elements": 8}
    return Feature(**(given | changes))  # type: ignore[arg-type]


def test_counts_of_ranges() -> None:
    rows = ROWS.copy()
    rows[5:9, 2] = np.nan
    counts = counted(element(place=2, at=(1.0, 3.0, 5.0), centre=3.0, scale=2.0), rows)
    present = rows[np.isfinite(rows[:, 2]), 2].astype(np.float64)
    assert (counts.rows, counts.missing, counts.present) == (200, 4, 196)
    assert counts.bins.tolist() == np.histogram(present, [-np.inf, 1.0, 3.0, 5.0, np.inf])[0].tolist()
    assert counts.mean == pytest.approx(((present - 3.0) / 2.0).mean(), abs=1e-4)
    assert counts.spread == pytest.approx(present.std() / 2.0, abs=1e-4)


def test_counts_without_rows_have_no_mean() -> None:
    counts = Counts.none(element())
    assert (counts.rows, counts.mean, counts.spread) == (0, 0.0, 0.0)


def test_counts_add_up_and_subtract_even_where_a_word_has_run_over() -> None:
    feature = element(at=(3.0,))
    first, second = counted(feature, ROWS[:50]), counted(feature, ROWS[50:])
    both = first.plus(second)
    assert both.words.tolist() == counted(feature, ROWS).words.tolist()
    assert both.since(first).words.tolist() == second.words.tolist()
    over = Counts(np.full(feature.words, 2**64 - 1, np.uint64))
    assert over.plus(second).since(over).words.tolist() == second.words.tolist()


def test_waves_are_random_fourier_features_of_elements_evenly_spaced() -> None:
    feature = element(reading=Reading.WAVES, kind=Kind.WAVES, centre=3.0, scale=2.0)
    rows = ROWS[:8]
    weights = waves_of(8)
    expected = np.cos((rows - 3.0) / 2.0 @ weights[:, :8].T + weights[:, 8]).mean(axis=0)
    assert counted(feature, rows).waves == pytest.approx(expected, abs=1e-3)


def test_waves_are_the_same_on_every_machine_and_of_a_bounded_size() -> None:
    assert waves_of(4).shape == (WAVES, 5)
    assert waves_of(10_000).shape == (WAVES, WAVE_ELEMENTS + 1)
    assert np.allclose(waves_of(4)[0], FIRST)


def test_their_products_are_a_gaussian_kernel() -> None:
    weights = waves_of(WAVE_ELEMENTS)
    one, other = (np.random.default_rng(seed).normal(size=(400, WAVE_ELEMENTS)) for seed in (1, 2))
    near = one + 0.1 * other
    waves = [np.cos(rows @ weights[:, :-1].T + weights[:, -1]) for rows in (one, near, other)]
    kernel = [float((2.0 * waves[0] * each).mean()) for each in waves[1:]]
    distances = [((one - each) ** 2).sum(axis=1) / WAVE_ELEMENTS for each in (near, other)]
    assert kernel == pytest.approx([float(np.exp(-each / 2).mean()) for each in distances], abs=0.05)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"place": 3}, "x[3]"),
        ({"label": "age"}, "age"),
        ({"elements": 1}, "x"),
        ({"reading": Reading.LENGTH, "label": "title"}, "length of title"),
        ({"reading": Reading.MEAN}, "mean of x"),
        ({"reading": Reading.CLASS, "side": Side.GIVEN}, "class of x"),
        ({"reading": Reading.WAVES}, "pattern of x"),
        ({"reading": Reading.ROW, "side": Side.WHOLE}, "repeated rows"),
        ({"reading": Reading.SCORE, "side": Side.WHOLE}, "outliers"),
    ],
)
def test_names_for_people(changes: dict[str, object], name: str) -> None:
    assert element(**changes).name == name


def test_texts_are_counted_by_their_bytes() -> None:
    feature = element(reading=Reading.TEXT, kind=Kind.TEXTS, texts=("a", "ä"), at=(0.0, 1.0))
    assert (feature.native()["texts"], feature.native()["exact"]) == ([b"a", "ä".encode()], True)
