"""Conditions of --fail-if: read as they say, and held against the figures of a measurement."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from inferd.bench.conditions import broken, parse_conditions
from inferd.bench.measurement import Latency, Load, Measurement
from inferd.errors import ConfigError

MEASURED = Measurement(
    Load(rate=100.0), requests=1000, errors={"INTERNAL": 2}, requests_per_second=99.8, latency_us=Latency(900.0, 800.0, 1e3, 5e4, 6e4, 7e4)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("p99>50ms", []),
        ("p99>49.9ms", ["p99 is 50 ms, above 49.9 ms"]),
        ("p99 > 0.04s , errors>0.1%", ["p99 is 50 ms, above 40 ms", "errors is 0.2 %, above 0.1 %"]),
        ("errors>0.002", []),
        ("p50<1ms", ["p50 is 800 µs, below 1 ms"]),
        ("mean>899us,p99.9>59000µs,max>70ms", ["mean is 900 µs, above 899 µs", "p99.9 is 60 ms, above 59 ms"]),
        ("rate<100", ["rate is 99.8/s, below 100/s"]),
    ],
)
def test_what_holds_is_said_with_its_figure(text, says) -> None:
    assert list(filter(None, (broken(each, MEASURED) for each in parse_conditions(text)))) == says


def test_without_a_response_no_latency_passes() -> None:
    silent = replace(MEASURED, latency_us=Latency(), requests=0, errors={}, requests_per_second=0.0)
    for text in ("p99>50ms", "p99<50ms", "errors>1%"):
        (condition,) = parse_conditions(text)
        assert "is not known, for no request was answered" in broken(condition, silent)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected FIGURE>LIMIT as in 'p99>50ms'"),
        ("p99=50ms", "expected FIGURE>LIMIT"),
        ("p99>50", "p99: expected a time such as 50ms, got 50"),
        ("p99>50%", "p99: expected a time such as 50ms, got 50%"),
        ("errors>1ms", "errors: expected a share such as 0.1%"),
        ("errors>100%", "errors: expected a share"),
        ("rate<5ms", "rate: expected responses a second such as 1000"),
        ("p98>1ms", "expected one of mean, p50, p90, p99, p999, max, errors, rate, got 'p98'"),
    ],
)
def test_what_is_no_condition_names_the_cure(text, says) -> None:
    with pytest.raises(ConfigError, match="--fail-if") as raised:
        parse_conditions(f"p50>1ms,{text}")
    assert says in str(raised.value)


@given(st.text(max_size=12) | st.from_regex(r"(p99|errors|rate)[<>][0-9.]{0,400}(ms|s|us|%)?", fullmatch=True))
def test_any_text_is_read_or_rejected(text) -> None:
    try:
        conditions = parse_conditions(text)
    except ConfigError:
        return
    assert all(str(condition) and condition.kept for condition in conditions)
