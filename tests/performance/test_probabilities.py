"""Which rows of probabilities count."""

from __future__ import annotations

import numpy as np

from inferd.performance.probabilities import shares, usable

NAN, INF = np.nan, np.inf


def test_rows_that_count() -> None:
    rows = [[0.2, 0.8], [NAN, 0.5], [1.0, INF], [-0.1, 1.1], [0.0, 0.0], [-INF, 0.5], [0.9, 0.9], [0.0, 1e-300]]
    _, count = usable(np.array(rows))
    assert count.tolist() == [True, False, False, False, False, False, True, True]
    assert usable(np.zeros((0, 3)))[1].tolist() == []
    assert usable(np.zeros((2, 0)))[1].tolist() == [False, False]


def test_shares_add_up_to_1() -> None:
    assert shares(np.array([[0.9, 0.9], [1.0, 3.0]])).tolist() == [[0.5, 0.5], [0.25, 0.75]]
