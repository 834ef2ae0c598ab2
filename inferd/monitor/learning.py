"""A feature's reference, learned from its values in the rows of a data set. Never in here: how values are read (profiling.py)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from inferd._core.monitor.feature_counts import Reading
from inferd.monitor.feature import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inferd.monitor.feature import Feature
    from inferd.tensors import Array

# Edges: sixteenths, and finer ones at both ends, where outliers are.
LEVELS = (0.0, 0.002, 0.01, 0.03, *(part / 16 for part in range(1, 16)), 0.97, 0.99, 0.998, 1.0)
MOST_VALUES = 32  # different numbers that are bins of their own
MOST_TEXTS = 150
FEWEST_KNOWN = 0.5  # share of the rows whose texts have a bin; with fewer, texts are free, and only their length is watched
FARTHEST_SCORE = 8.0  # of one bin, so that a single feature does not decide alone
OUTLIERS = 0.99  # the level of the reference's scores above which a row is an outlier


def learn(feature: Feature, values: Array, repeats: int, texts: Sequence[str] = ()) -> Feature | None:
    """values: the feature in each row, NaN where it is missing; of a TEXT numbers of `texts`. repeats: rows with the value of the row
    before. Returns None where it says nothing: texts that are all different."""
    present = values[np.isfinite(values)]
    rows = len(values)
    changes: dict[str, object] = {"rows": rows, "missing": 1 - len(present) / max(rows, 1), "repeats": repeats / max(rows, 1)}
    if len(present):
        with np.errstate(over="ignore"):
            centre, scale = float(present.mean()), float(present.std())
        changes |= {"low": float(present.min()), "high": float(present.max())}
        changes |= {"centre": centre, "scale": scale} if math.isfinite(centre) and 0 < scale < math.inf else {"centre": present[0].item()}
    if feature.reading == Reading.TEXT:
        numbers, counts = np.unique(present.astype(np.int64), return_counts=True)
        order = np.argsort(-counts, kind="stable")[:MOST_TEXTS]
        if len(present) and (len(numbers) > max(len(present) // 2, 1) or counts[order].sum() < FEWEST_KNOWN * len(present)):
            return None
        shares = (*(counts[order] / max(len(present), 1)), 1 - counts[order].sum() / max(len(present), 1))
        known = tuple(texts[number] for number in numbers[order])
        at = tuple(float(number) for number in range(len(known)))
        changes |= {"kind": Kind.TEXTS, "texts": known, "at": at, "low": 0.0, "high": float(len(known))}
    else:
        kind, at, shares = _bins(present)
        changes |= {"kind": kind, "at": at}
    told = tuple(max(float(share), 0.0) for share in shares)
    changes |= {"shares": told, "scores": _scores(at, told, rows, changes["kind"] is Kind.RANGES, float(changes["missing"]))}  # type: ignore[arg-type]
    return msgspec.structs.replace(feature, **changes)


def learn_waves(feature: Feature, waves: Array, centre: float, scale: float) -> Feature:
    """waves: those of each row, NaN where a row has none. Shape: rows x waves."""
    present = waves[np.isfinite(waves).all(axis=1)]
    covariance = np.cov(present, rowvar=False) if len(present) > 1 else np.eye(waves.shape[1])
    return msgspec.structs.replace(
        feature,
        rows=len(waves),
        missing=1 - len(present) / max(len(waves), 1),
        centre=centre,
        scale=scale,
        means=tuple(map(float, present.mean(axis=0) if len(present) else np.zeros(waves.shape[1]))),
        covariance=tuple(map(float, covariance.ravel())),
    )


def _bins(present: Array) -> tuple[Kind, tuple[float, ...], tuple[float, ...]]:
    """The kind, `at`, and each bin's share."""
    values, counts = np.unique(present, return_counts=True)
    if len(values) <= MOST_VALUES:
        return Kind.VALUES, tuple(map(float, values)), (*map(float, counts / max(len(present), 1)), 0.0)
    edges = np.unique(np.quantile(present, LEVELS, method="inverted_cdf"))
    edges[-1] = np.nextafter(edges[-1], np.inf)  # the largest value is within
    found = np.histogram(present, edges)[0] / len(present)
    return Kind.RANGES, tuple(map(float, edges)), (0.0, *map(float, found), 0.0)


def _scores(at: Sequence[float], shares: Sequence[float], rows: int, has_widths: bool, missing: float) -> tuple[float, ...]:
    """The score of each bin, and of a missing value: how many times denser the densest bins are, as a logarithm. The method is HBOS
    (Goldstein, Dengel 2012).

    A bin without rows counts half a row. The outermost bins are as wide as the one beside them.
    """
    floor = 0.5 / max(rows, 1)
    told = np.maximum(np.asarray(shares), floor)
    densities = told
    if has_widths:
        widths = np.diff(np.asarray(at))
        densities = told / np.maximum(np.concatenate(([widths[0]], widths, [widths[-1]])), 1e-300)
    highest = float(np.quantile(np.repeat(densities, np.maximum((told * 1000).astype(int), 1)), 0.75)) if has_widths else float(told.max())
    found = np.clip(np.log(highest / densities), 0.0, FARTHEST_SCORE)
    return (*map(float, found), float(np.clip(-math.log(max(missing, floor)), 0.0, FARTHEST_SCORE)))


def binned(feature: Feature, values: Array) -> Array:
    """The bin of each value, as native code finds it; -1: missing."""
    at = np.asarray(feature.at)
    found = np.searchsorted(at, values, side="right")
    if feature.kind is not Kind.RANGES:
        known = (found > 0) & (at[np.maximum(found - 1, 0)] == values) if len(at) else np.zeros(len(values), bool)
        found = np.where(known, found - 1, len(at))
    return np.where(np.isfinite(values), found, -1)
