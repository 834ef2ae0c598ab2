"""The p99 of each second of a load."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import slices


def samples(rate: int, seconds: int, latency_ms: float) -> np.ndarray:
    found = np.zeros((rate * seconds, 4), np.int64)
    found[:, slices.INTENDED] = np.arange(len(found)) * 1_000_000_000 // rate
    found[:, slices.DONE] = found[:, slices.INTENDED] + round(latency_ms * 1e6)
    return found


def test_a_second_that_was_disturbed_is_one_of_many() -> None:
    """However the responses are ordered."""
    found = samples(200, 5, 3.0)
    found[200:400, slices.DONE] += 7_000_000
    found[600:602, slices.DONE] += 90_000_000  # 1 % of that second
    found[800:803, slices.DONE] += 90_000_000  # and more than that
    p99s = slices.p99s_ms(np.random.default_rng(0).permutation(found), 5.0)
    assert np.round(p99s, 1).tolist() == [3.0, 10.0, 3.0, 3.9, 93.0]


def test_a_slice_has_enough_requests() -> None:
    assert len(slices.p99s_ms(samples(30, 10, 1.0), 10.0)) == 3
    assert len(slices.p99s_ms(samples(5, 10, 1.0), 10.0)) == 1
