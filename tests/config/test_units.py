"""Sizes and durations are exact."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd.config import fields, parse_duration
from tests.config.rejections import from_variable, rejection

SIZES = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


DURATIONS_IN_S = {"": 1, "s": 1, "min": 60, "h": 3600}


@given(st.integers(0, 10**7), st.sampled_from(sorted(SIZES)), st.booleans())
def test_sizes_are_exact(number: int, unit: str, space: bool) -> None:
    bytes_ = number * SIZES[unit]
    text = f"{number}{' ' if space else ''}{unit}"
    field = fields()["max_unread_bytes"]
    if field.low <= bytes_ <= field.high:
        assert from_variable("max_unread_bytes", text) == bytes_
    else:
        assert "expected a size such as 64MiB from 64KiB to 1TiB" in rejection(environ={"INFERD_MAX_UNREAD_BYTES": text})


@given(st.decimals(0, 100_000, places=4), st.sampled_from(sorted(DURATIONS_IN_S)))
def test_durations_are_whole_steps_or_rejected(number: object, unit: str) -> None:
    milli = round(float(str(number)) * 10_000) * DURATIONS_IN_S[unit]
    whole, rest = divmod(milli, 10_000)
    if rest or whole > 86_400:
        assert "in steps of 1s" in rejection(environ={"INFERD_DRAIN_TIMEOUT_S": f"{number}{unit}"})
    else:
        assert from_variable("drain_timeout_s", f"{number}{unit}") == whole


@pytest.mark.parametrize(
    ("text", "ns"),
    [(".1s", 10**8), ("0.1s", 10**8), (".25", 25 * 10**7), ("0s", 0), ("1.50 ms", 1_500_000), ("007s", 7 * 10**9)],
)
def test_durations(text: str, ns: int) -> None:
    assert parse_duration(text) == ns


@pytest.mark.parametrize("text", ["", "s", ".", ".s", "1.s", "1..5s", ".1.5s", "-1s", "+1s", "1e3s", "1 0s", "1parsec", ".0000000001s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


def test_durations_convert_between_units() -> None:
    assert from_variable("inline_limit_us", "0.2ms") == 200
    assert from_variable("inline_limit_us", "50000ns") == 50
    assert from_variable("inline_limit_us", "70µs") == 70
    assert from_variable("drain_timeout_s", "2000ms") == 2
    assert "in steps of 1us" in rejection(environ={"INFERD_INLINE_LIMIT_US": "1500ns"})
