"""How sure a difference between two sides is: intervals by resampling their rounds, or the seconds of each measurement.

Seconds are resampled in blocks because neighbours are alike. Never in here: what counts as worse."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from inferd.compare.statistics import Floats, drawn_blocks, student

if TYPE_CHECKING:
    from inferd.bench.sides import Figure, Side

CONFIDENCE = 0.95
ROUNDS = 4  # from so many measurements of a load on, they are what is resampled
LEAST_INTERVALS = 4
DRAWS = 2000
FLOOR = 1e-130  # what is taken for 0 where logarithms are


def limits(figure: Figure, before: Side, after: Side, confidence: float) -> tuple[float, float] | None:
    """Between which factors of itself the ratio after / before lies; None if there is too little to say."""
    seeds = (0, 0) if took_turns(before, after) else (0, 1)  # equal seeds draw the same rounds of both: what disturbs a pair cancels
    old, new = (resampled(figure, side, np.random.default_rng(seed)) for side, seed in zip((before, after), seeds, strict=True))
    if old is None or new is None:
        return None
    logarithms = np.log(np.maximum(new[0], FLOOR)) - np.log(np.maximum(old[0], FLOOR))
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]  # further out there are too few draws, and so few units have no tails
    low, high = np.clip(np.quantile(logarithms, tails) * widening(min(old[1], new[1]), confidence), -300, 300)
    return math.exp(low), math.exp(high)


def took_turns(before: Side, after: Side) -> bool:
    """Whether the rounds are pairs, one of each side after the other, in either order."""
    if len(before.rounds) != len(after.rounds) or len(before.rounds) < ROUNDS:
        return False
    in_time = sorted([(one.started_unix_s, 0) for one in before.rounds] + [(one.started_unix_s, 1) for one in after.rounds])
    sides = [side for _, side in in_time]
    return all({*pair} == {0, 1} for pair in zip(sides[::2], sides[1::2], strict=True))


def widening(units: int, confidence: float) -> float:
    """The factor that turns a resampled interval of CONFIDENCE from few units into one of `confidence`.

    It is Student's t over the normal quantile, times the root of n over n - 1."""
    return student(units - 1, confidence) / NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt(units / (units - 1))


def resampled(figure: Figure, side: Side, numbers: np.random.Generator) -> tuple[Floats, int] | None:
    """The figure in many resamplings of a side, over its value in all of it, and how many independent units there were."""
    series: list[list[tuple[float, float | None]]]
    if len(side.rounds) >= ROUNDS:
        series = [[(figure.weight(measured), figure.value(measured)) for measured in side.rounds]]
        block = 1
    elif figure.of_interval is not None:
        series = [[(figure.weight(part), figure.of_interval(part)) for part in measured.intervals] for measured in side.rounds]
        block = round(max(map(len, series)) ** (1 / 3))
    else:
        return None
    count = sum(map(len, series))
    if count < LEAST_INTERVALS or any(value is None for part in series for weight, value in part if weight):
        return None
    sums, weights = np.zeros(DRAWS), np.zeros(DRAWS)
    for part in filter(None, series):
        weight, value = np.array([(weight, value or 0.0) for weight, value in part], np.float64).T
        drawn = drawn_blocks(DRAWS, len(part), block, numbers)
        sums += (weight * value)[drawn].sum(axis=1)
        weights += weight[drawn].sum(axis=1)
    total = sum(weight for part in series for weight, _ in part)
    if not total or not weights.all():
        return None
    whole = sum(weight * (value or 0.0) for part in series for weight, value in part) / total
    if not whole:
        return None
    return sums / weights / whole, max(count // block, 3)
