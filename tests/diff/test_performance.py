"""The interval of a round's ratios, and which figure is judged how. Rounds are given: nothing is timed."""

from __future__ import annotations

import math

import numpy as np

from inferd.diff.performance import ONE, Rounds, Turn, found

RNG = np.random.default_rng(23)


def rounds(slower, count, noise=0.02, outliers=0):
    made = Rounds(ONE)
    for number in range(count):
        sides = []
        for factor in (1.0, slower):
            spoilt = 10.0 if number < outliers else 1.0
            us = 100 * factor * spoilt * math.exp(RNG.normal() * noise)
            sides.append([Turn([us] * 20, 1e6 / us, us)] * 2)
        made.turns.append((sides[0], sides[1]))
    return made


def verdicts(made):
    return {change.figure: change.verdict for change in found(made, 1, 0.05, is_local=True)}


def test_slower_is_found_and_the_same_is_the_same() -> None:
    slow, same = ([verdicts(rounds(factor, 24))["p50"] for _ in range(50)] for factor in (1.1, 1.0))
    assert slow.count("worse") == 50
    assert same.count("same") == 50


def test_a_disturbed_round_moves_little() -> None:
    assert verdicts(rounds(1.0, 24, outliers=3))["p50"] == "same"


def test_noise_that_hides_the_answer_is_unclear() -> None:
    assert verdicts(rounds(1.0, 12, noise=0.3))["p50"] == "unclear"


def test_faster_is_better() -> None:
    assert verdicts(rounds(0.7, 24)) == {"p50": "better", "p99": "", "CPU/request": "better"}
