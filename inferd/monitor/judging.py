"""Judges one feature in one window: how far it is from the reference, and what is wrong with its values.

docs/statistics.md has each formula, its source and its limits. Never in here: several windows, what people are told.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from inferd._core.monitor.feature_counts import Reading
from inferd.compare.distributions import chi_squared_above, distance, likelihood_ratio
from inferd.monitor.feature import Kind

if TYPE_CHECKING:
    from inferd.monitor.feature import Counts, Feature
    from inferd.monitor.reference import Reference
    from inferd.tensors import Array

SURE = 0.001  # of all features of a version together: how often chance alone looks like this
LEAST_EFFECT = 0.1
LEAST_SHARE = 0.01  # of rows, more than in the reference;
LEAST_REPEATED = 0.05  # of repeated rows, for clients retry
FEWEST_COUNT = 5
FEWEST_ROWS = 50  # of a window
STUCK = 0.5  # share of rows with the value of the row before, where the reference has fewer than
RARELY = 0.1
NORMAL_EFFECT = math.sqrt(8 * math.log(2))  # a shift of a normal distribution by so many standard deviations has a distance of 1
MEASURED = (Reading.ELEMENT, Reading.MEAN, Reading.SPREAD)  # readings that have a unit,
FEWEST_VALUES = 5  # and as few values have none: they are codes
CHANGES = (  # of units: what happened, and the factor and the offset of it
    *((f"times {factor:g}", factor, 0.0) for factor in (1000.0, 100.0, 10.0, 2.54)),
    *((f"divided by {factor:g}", 1 / factor, 0.0) for factor in (1000.0, 100.0, 10.0, 2.54)),
    ("Fahrenheit for Celsius", 1.8, 32.0),
    ("Celsius for Fahrenheit", 1 / 1.8, -32 / 1.8),
)
RELATIVE, OFF = 0.15, 0.3  # how far the spread may be from the expected one, and the mean, in units of the spread
RIDGE = 1e-3  # of the waves' variance: they depend on each other


class Finding(StrEnum):
    """DRIFT: its distribution. MISSING: rows without a value. OUT_OF_RANGE: numbers, and NEW_VALUES: categories, that the reference does
    not have. CONSTANT: all rows have one value. STUCK: many have that of the row before. UNITS: values times a known factor. REPEATED: rows
    that were there not long ago. OUTLIERS: rows that are unusual as a whole."""

    DRIFT = "drift"
    MISSING = "missing"
    OUT_OF_RANGE = "out of range"
    NEW_VALUES = "new values"
    CONSTANT = "constant"
    STUCK = "stuck"
    UNITS = "units"
    REPEATED = "repeated rows"
    OUTLIERS = "outliers"


class Look(msgspec.Struct, frozen=True):
    """One feature in one window. findings: with the share of rows that each is of; of DRIFT and UNITS, the effect. units: of UNITS, what
    happened to the values."""

    rows: int
    effect: float = 0.0
    p: float = 1.0
    findings: dict[Finding, float] = {}
    units: str = ""


def look(reference: Reference, feature: Feature, counts: Counts) -> Look:
    """Compares a window with the reference."""
    features = sum(each.reading not in (Reading.ROW, Reading.SCORE) for each in reference.features)
    limit = SURE / max(features, 1)
    found: dict[Finding, float] = {}
    if counts.rows < FEWEST_ROWS:
        return Look(counts.rows)
    if feature.reading == Reading.ROW:
        _more(found, Finding.REPEATED, (counts.repeats, counts.rows), (feature.repeats, feature.rows), limit, LEAST_REPEATED)
        return Look(counts.rows, findings=found)
    if feature.reading == Reading.SCORE:
        unusual = np.asarray((-math.inf, *feature.at)) >= reference.outlier_score
        before, now = float(_shares(feature)[unusual].sum()), int(counts.bins[unusual].sum())
        _more(found, Finding.OUTLIERS, (now, counts.present), (before, feature.rows), limit)
        return Look(counts.rows, findings=found)
    effect, p = _waves(feature, counts) if feature.reading == Reading.WAVES else _distance(feature, counts)
    if p < limit and effect > LEAST_EFFECT:
        found[Finding.DRIFT] = effect
    _more(found, Finding.MISSING, (counts.missing, counts.rows), (feature.missing, feature.rows), limit)
    units = ""
    if feature.reading != Reading.WAVES and counts.present >= FEWEST_ROWS:
        _values(found, feature, counts, limit)
        units = _units(feature, counts) if Finding.DRIFT in found and not feature.is_output else ""
        if units:
            found[Finding.UNITS] = effect
    return Look(counts.rows, effect, p, found, units)


def _shares(feature: Feature) -> Array:
    return np.asarray(feature.shares, float)


def _distance(feature: Feature, counts: Counts) -> tuple[float, float]:
    present = feature.rows * (1 - feature.missing)
    found = distance(_shares(feature) * present, counts.bins)
    return found.effect, found.p


def _waves(feature: Feature, counts: Counts) -> tuple[float, float]:
    """Hotelling's test of the means of all waves, and its distance as that of a normal distribution, without the part of chance."""
    rows, other = feature.rows * (1 - feature.missing), counts.present
    waves = len(feature.means)
    if rows < 2 * waves or not other:
        return 0.0, 1.0
    covariance = np.asarray(feature.covariance).reshape(waves, waves)
    off = counts.waves - np.asarray(feature.means)
    ridge = RIDGE * float(np.trace(covariance)) / waves or 1.0
    squared = float(off @ np.linalg.solve(covariance + ridge * np.eye(waves), off))
    squared *= (rows - waves - 1) / rows  # the covariance is that of a sample, whose inverse is too large
    chance = 1 / rows + 1 / other
    return math.sqrt(max(squared - waves * chance, 0.0)) / NORMAL_EFFECT, chi_squared_above(squared / chance, waves)


def _values(found: dict[Finding, float], feature: Feature, counts: Counts, limit: float) -> None:
    """Adds findings about single values: those beyond the reference, and those that repeat."""
    shares, bins, present = _shares(feature), counts.bins, counts.present
    if feature.kind is Kind.RANGES:
        _more(found, Finding.OUT_OF_RANGE, (int(bins[0] + bins[-1]), present), (float(shares[0] + shares[-1]), feature.rows), limit)
    else:
        _more(found, Finding.NEW_VALUES, (int(bins[-1]), present), (float(shares[-1]), feature.rows), limit)
    varied = feature.high > feature.low
    if varied and counts.repeats >= present - 1:
        if feature.repeats < 1 - LEAST_SHARE:
            found[Finding.CONSTANT] = 1.0
    elif varied and feature.repeats < RARELY and counts.repeats > STUCK * present:
        found[Finding.STUCK] = counts.repeats / present


def _more(
    found: dict[Finding, float], finding: Finding, now: tuple[int, int], before: tuple[float, int], limit: float, least: float = LEAST_SHARE
) -> None:
    """Adds a finding where a share of rows is larger than in the reference, by `least`, and by more than chance. now: rows that are so, of
    all. before: the share of the reference's rows."""
    (count, rows), (share, of_rows) = now, before
    if count < FEWEST_COUNT or count / rows <= share + least:
        return
    reference = np.array([share * of_rows, (1 - share) * of_rows])
    if likelihood_ratio(reference, np.array([count, rows - count], float)) < limit:
        found[finding] = count / rows


def _units(feature: Feature, counts: Counts) -> str:
    """The change of units that moves the reference's mean and spread to those of the window; empty: there is none."""
    if feature.reading not in MEASURED or (feature.kind is Kind.VALUES and len(feature.at) < FEWEST_VALUES) or counts.spread <= 0:
        return ""
    mean, spread = feature.centre + feature.scale * counts.mean, feature.scale * counts.spread
    for told, factor, offset in CHANGES:
        wanted = factor * feature.scale
        if abs(spread / wanted - 1) < RELATIVE and abs(mean - factor * feature.centre - offset) < OFF * wanted:
            return told
    return ""
