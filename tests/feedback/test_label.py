"""A label takes the type of its prediction."""

from __future__ import annotations

import math

import pytest

from inferd.feedback.label import Value, fitting


@pytest.mark.parametrize(
    ("value", "numbers", "expected"),
    [
        ("cat", False, "cat"),
        (7.0, False, "7"),
        (-1.0, False, "-1"),
        (7.5, False, None),
        (2.0**60, False, None),
        (math.inf, False, None),
        (1.5, True, 1.5),
        ("1.5", True, 1.5),
        ("cat", True, None),
        ("nan", True, None),
        ("inf", True, None),
    ],
)
def test_fitting(value: Value, numbers: bool, expected: Value | None) -> None:
    assert fitting(value, numbers) == expected
