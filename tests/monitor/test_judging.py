"""What a window says of a feature: moved data is named, data of the reference's distribution is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from inferd._core.monitor.feature_counts import Reading, Side
from inferd.monitor.feature import Counts, Feature, Kind
from inferd.monitor.judging import FEWEST_ROWS, LEAST_EFFECT, SURE, Finding, Look, look
from inferd.monitor.learning import learn_waves
from inferd.monitor.reference import Reference
from inferd.tensors import Array
from tests.monitor.profiles import counts_of, element, learned

RNG = np.random.default_rng(5)
TEMPERATURES = RNG.normal(15.0, 8.0, 20_000)


def reference(*features: Feature, **changes: Any) -> Reference:
    return Reference(**({"model": "m", "rows": 20_000, "made_unix_ns": 0, "inputs": (), "outputs": (), "features": features} | changes))


def looked(feature: Feature, values: Array) -> Look:
    return look(reference(feature), feature, counts_of(feature, values))


DISTRIBUTIONS: dict[str, Callable[[int], Array]] = {
    "normal": lambda rows: RNG.normal(15.0, 8.0, rows),
    "skewed": lambda rows: RNG.lognormal(3.0, 1.5, rows),
    "ties": lambda rows: np.maximum(RNG.normal(0.0, 1.0, rows), 0.0).round(1),
    "classes": lambda rows: RNG.choice([0.0, 1.0, 2.0], rows, p=[0.9, 0.099, 0.001]),
    "gaps": lambda rows: np.where(RNG.random(rows) < 0.3, np.nan, RNG.exponential(1.0, rows)),
    "constant": lambda rows: np.full(rows, 4.0),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("rows", [1000, 20_000])
def test_nothing_is_found_where_nothing_has_moved(name: str, rows: int) -> None:
    """In one window in a hundred, chance may look like something; two of three are asked for a finding (track.py)."""
    draw = DISTRIBUTIONS[name]
    feature = learned(draw(rows))
    assert len([window for window in range(100) if looked(feature, draw(1000)).findings]) <= 1


@pytest.mark.parametrize("rows", [0, 1, FEWEST_ROWS - 1])
def test_few_rows_say_nothing(rows: int) -> None:
    assert looked(learned(TEMPERATURES), np.full(rows, 99.0)) == Look(rows)


@pytest.mark.parametrize(
    ("values", "findings", "units"),
    [
        (TEMPERATURES[:1000] + 4, {Finding.DRIFT}, ""),
        (np.where(np.arange(1000) % 5, TEMPERATURES[:1000], np.nan), {Finding.MISSING}, ""),
        (np.full(1000, np.nan), {Finding.MISSING}, ""),
        (np.where(np.arange(1000) % 50, TEMPERATURES[:1000], 99.0), {Finding.OUT_OF_RANGE}, ""),
        (np.full(1000, 15.0), {Finding.DRIFT, Finding.CONSTANT}, ""),
        (np.repeat(np.random.default_rng(6).permutation(TEMPERATURES)[:5000], 3), {Finding.STUCK}, ""),
        (TEMPERATURES[:1000] * 1000, {Finding.DRIFT, Finding.OUT_OF_RANGE, Finding.UNITS}, "times 1000"),
        (TEMPERATURES[:1000] / 100, {Finding.DRIFT, Finding.UNITS}, "divided by 100"),
        (TEMPERATURES[:1000] * 2.54, {Finding.DRIFT, Finding.UNITS, Finding.OUT_OF_RANGE}, "times 2.54"),
        (TEMPERATURES[:1000] * 1.8 + 32, {Finding.DRIFT, Finding.OUT_OF_RANGE, Finding.UNITS}, "Fahrenheit for Celsius"),
    ],
)
def test_what_is_wrong_is_named(values: Array, findings: set[Finding], units: str) -> None:
    found = looked(learned(TEMPERATURES), values)
    assert set(found.findings) == findings
    assert found.units == units


def test_shares_of_rows_and_effects() -> None:
    found = looked(learned(TEMPERATURES), np.where(np.arange(1000) % 4, TEMPERATURES[:1000], np.nan))
    assert found.findings[Finding.MISSING] == 0.25
    moved = looked(learned(TEMPERATURES), TEMPERATURES[:1000] + 8)
    assert moved.effect == moved.findings[Finding.DRIFT] == pytest.approx(0.42, abs=0.05)
    assert moved.p < SURE
    assert looked(learned(TEMPERATURES), TEMPERATURES[:1000] + 1).effect < LEAST_EFFECT


def test_new_categories() -> None:
    kinds = RNG.choice(3, 5000).astype(float)
    feature = learned(kinds, texts=["a", "b", "c"], reading=Reading.TEXT)
    found = looked(feature, np.where(np.arange(1000) % 10, RNG.choice(3, 1000), -1.0))
    assert found.findings[Finding.NEW_VALUES] == 0.1


def test_an_output_has_no_unit() -> None:
    feature = learned(TEMPERATURES, side=Side.GIVEN)
    assert Finding.UNITS not in looked(feature, TEMPERATURES[:1000] * 10).findings


def test_more_features_need_more_certainty() -> None:
    feature = learned(TEMPERATURES)
    counts = counts_of(feature, TEMPERATURES[:200] + 5)
    alone, among = look(reference(feature), feature, counts), look(reference(*[feature] * 10_000), feature, counts)
    assert SURE / 10_000 < alone.p < SURE
    assert Finding.DRIFT in alone.findings
    assert not among.findings


def test_repeated_rows_and_outliers() -> None:
    rows = element(side=Side.WHOLE, reading=Reading.ROW, kind=Kind.ROWS, rows=1000, repeats=0.01)
    counts = Counts.none(rows)
    counts.words[:3] = (1000, 0, 300)
    assert look(reference(rows), rows, counts).findings == {Finding.REPEATED: 0.3}
    scores = RNG.gamma(3.0, 2.0, 20_000)
    outliers = learned(scores, side=Side.WHOLE, reading=Reading.SCORE)
    limit = float(np.quantile(scores, 0.99, method="inverted_cdf"))
    held = reference(outliers, outlier_score=limit)
    assert look(held, outliers, counts_of(outliers, RNG.gamma(3.0, 2.0, 1000))).findings == {}
    found = look(held, outliers, counts_of(outliers, np.where(np.arange(1000) % 10, scores[:1000], 99.0)))
    assert found.findings[Finding.OUTLIERS] == pytest.approx(0.11, abs=0.01)


def waves(rows: int, shift: float = 0.0) -> Array:
    found: Array = np.cos(RNG.normal(shift, 1.0, (rows, 6)) @ np.random.default_rng(1).normal(size=(6, 32)) + np.arange(32))
    return found


def wave_counts(feature: Feature, rows: Array) -> Counts:
    counts = Counts(np.zeros(5 + 32, np.uint64))
    counts.words[0] = len(rows)
    counts.words[5:] = np.round(rows.sum(axis=0) * 65536).astype(np.int64).astype(np.uint64)
    return counts


@pytest.mark.parametrize("rows", [200, 5000])
def test_patterns(rows: int) -> None:
    feature = learn_waves(element(reading=Reading.WAVES, kind=Kind.WAVES, elements=6), waves(rows), 0.0, 1.0)
    held = reference(feature)
    assert not any(look(held, feature, wave_counts(feature, waves(500))).findings for _ in range(100))
    found = look(held, feature, wave_counts(feature, waves(500, shift=0.5)))
    assert found.findings == {Finding.DRIFT: found.effect}
