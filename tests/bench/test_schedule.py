"""The arrivals are what they say: rates, distributions, shares, and traces in every form that is accepted."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inferd.bench import trace as bench_trace
from inferd.bench.schedule import BLOCK, Arrivals, parse
from inferd.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

SECOND_NS = 10**9
EVERYTHING = 10**9
STREAMS = ("constant", "poisson", "burst:7")


def gaps(offsets: np.ndarray) -> np.ndarray:
    return np.diff(np.concatenate([[0], offsets]))


@pytest.mark.parametrize("text", STREAMS)
@pytest.mark.parametrize("rate", [333.3, 20_000])
def test_the_mean_rate_is_the_rate(text, rate) -> None:
    seconds = 200 if rate < 1000 else 10
    offsets = parse(text, rate, seed=1).take(seconds * SECOND_NS, EVERYTHING)
    assert len(offsets) / seconds == pytest.approx(rate, rel=0.01)
    assert offsets.dtype == np.int64
    assert (np.diff(offsets) >= 0).all()
    assert offsets[0] >= 0
    assert offsets[-1] < seconds * SECOND_NS


def test_constant_has_no_rounding_that_adds_up() -> None:
    arrivals = parse("constant", 3, seed=0)
    assert list(arrivals.take(SECOND_NS + 1, EVERYTHING)) == [0, 333333333, 666666667, SECOND_NS]
    assert arrivals.take(3_000 * SECOND_NS, EVERYTHING)[-1] == 3_000 * SECOND_NS - 333333333


def test_bursts_come_at_once() -> None:
    offsets = parse("burst:4", 1000).take(SECOND_NS, EVERYTHING)
    times, counts = np.unique(offsets, return_counts=True)
    assert set(counts) == {4}
    assert set(np.diff(times)) == {4_000_000}


def kolmogorov_distance(gaps_ns: np.ndarray, rate: float) -> float:
    """The largest distance between how the gaps are distributed and the exponential distribution of that rate."""
    expected = 1 - np.exp(-np.sort(gaps_ns) * rate / 1e9)
    ranks = np.arange(len(gaps_ns) + 1) / len(gaps_ns)
    return float(max((ranks[1:] - expected).max(), (expected - ranks[:-1]).max()))


@pytest.mark.parametrize(("of", "part"), [(1, 0), (2, 0), (2, 1), (5, 3)])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_poisson_gaps_and_those_of_each_share_are_exponential(of, part, seed) -> None:
    """Kolmogorov-Smirnov at 0.1 %, by the asymptotic critical value; the gaps also know nothing of those before."""
    share = parse("poisson", 20_000, seed).split(of, part)
    between = gaps(share.take(5 * SECOND_NS, EVERYTHING))
    assert kolmogorov_distance(between, 20_000 / of) < 1.95 / np.sqrt(len(between))
    assert abs(np.corrcoef(between[1:], between[:-1])[0, 1]) < 4 / np.sqrt(len(between))


def test_gaps_that_are_not_exponential_fail_the_same_test() -> None:
    between = gaps(parse("constant", 20_000).take(SECOND_NS, EVERYTHING))
    assert kolmogorov_distance(between, 20_000) > 1.95 / np.sqrt(len(between))


@pytest.mark.parametrize("text", STREAMS)
@given(cuts=st.lists(st.tuples(st.integers(0, SECOND_NS), st.integers(0, 3 * BLOCK)), max_size=12))
@settings(max_examples=30, deadline=None)
def test_however_it_is_taken_it_is_the_same_stream(text, cuts) -> None:
    whole = parse(text, 9_000, seed=5).take(SECOND_NS, EVERYTHING)
    arrivals = parse(text, 9_000, seed=5)
    parts = []
    for until_ns, at_most in cuts:
        part = arrivals.take(until_ns, at_most)
        assert len(part) <= at_most
        assert not len(part) or part[-1] < until_ns
        parts.append(part)
    parts.append(arrivals.take(SECOND_NS, EVERYTHING))
    assert np.array_equal(np.concatenate(parts), whole)
    arrivals.restart()
    assert np.array_equal(arrivals.take(SECOND_NS, EVERYTHING), whole)


@pytest.mark.parametrize("text", STREAMS)
@pytest.mark.parametrize("of", [1, 2, 3, 8])
def test_the_shares_are_the_whole(text, of) -> None:
    whole = parse(text, 9_000, seed=5)
    shares = [whole.split(of, part).take(SECOND_NS, EVERYTHING) for part in range(of)]
    assert np.array_equal(np.sort(np.concatenate(shares)), whole.take(SECOND_NS, EVERYTHING))
    assert all(len(share) * of == pytest.approx(9_000, rel=0.15) for share in shares)


def test_shares_have_no_shares() -> None:
    with pytest.raises(ValueError, match="share 0 of 2 of a stream that is share 1 of 2"):
        parse("constant", 1).split(2, 1).split(2, 0)
    with pytest.raises(ValueError, match="share 2 of 2"):
        parse("constant", 1).split(2, 2)


@pytest.mark.parametrize("text", STREAMS)
def test_a_pickle_begins_anew(text) -> None:
    arrivals = parse(text, 5_000, seed=3).split(2, 1)
    first = arrivals.take(SECOND_NS, EVERYTHING)
    assert np.array_equal(pickle.loads(pickle.dumps(arrivals)).take(SECOND_NS, EVERYTHING), first)


def test_seeds_differ() -> None:
    first, second = (parse("poisson", 1000, seed).take(SECOND_NS, 10) for seed in (1, 2))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("text", "rate", "message"),
    [
        ("steady", 1, "--arrivals steady: expected constant, poisson, burst:N, trace:FILE or trace:FILE:COLUMN"),
        ("", 1, "--arrivals : expected constant"),
        ("poisson:3", 1, "--arrivals poisson:3: expected constant"),
        ("burst", 1, "--arrivals burst: expected constant"),
        ("trace:", 1, "--arrivals trace:: expected constant"),
        ("burst:0", 1, "--arrivals burst:0: expected burst:N with 1 to 1000000 requests at once, as in burst:32"),
        ("burst:1000001", 1, "--arrivals burst:1000001: expected burst:N"),
        ("burst:x", 1, "--arrivals burst:x: expected burst:N"),
        ("constant", 0, "--arrivals constant: needs a --rate"),
        ("constant", -1, "--rate -1: expected 0.001 to 1e+08 requests a second"),
        ("constant", float("nan"), "--rate nan: expected 0.001"),
        ("poisson", 1e9, "--rate 1e+09: expected 0.001 to 1e+08 requests a second"),
        ("trace:no/such.csv", 0, "--arrivals trace:no/such.csv: cannot be read: No such file or directory"),
        ("trace:no/such.csv:column", 0, "--arrivals trace:no/such.csv:column: cannot be read: No such file or directory"),
        ("trace:/dev/zero", 0, "--arrivals trace:/dev/zero: expected 256 MiB at most, got more; keep the column of times"),
    ],
)
def test_what_is_refused(text, rate, message) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(text, rate)
    assert str(refused.value).startswith(message)


def trace(folder: Path, content: str | bytes, column: str = "", rate: float = 0) -> Arrivals:
    path = folder / "trace.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return parse(f"trace:{path}{column}", rate)


DATES = "TIMESTAMP,ContextTokens\n2023-11-16 18:15:46.6805900,374\n2023-11-16 18:15:50.9951690,396\n"


@pytest.mark.parametrize(
    ("content", "column", "expected_s"),
    [
        ("5\n5.5\n7\n", "", [0, 0.5, 2]),
        ("# seconds\n\n5\n 7 \n5.5\n", "", [0, 0.5, 2]),  # any order
        ("arrival_s\n5\n5.5\n", "", [0, 0.5]),
        ("id,timestamp,size\na,1,3\nb,1.25,3\n", "", [0, 0.25]),
        ('id,timestamp,size\r\na,1,3\r\n"b,c",1.25,3\r\n', ":size", [0, 0]),
        (DATES, "", [0, 4.314579]),
        ('{"arrival_s": 3}\n{"arrival_s": 3.5, "more": 1}\n', "", [0, 0.5]),
        ('{"a": 3, "b": 1}\n{"a": 3.5, "b": "2"}\n', ":b", [0, 1]),
        ("\ufeff1\n2", "", [0, 1]),
    ],
)
def test_traces(tmp_path: Path, content, column, expected_s) -> None:
    arrivals = trace(tmp_path, content, column)
    assert arrivals.take(100 * SECOND_NS, EVERYTHING) == pytest.approx(np.array(expected_s) * 1e9, abs=1000)
    assert arrivals.ended


@given(times_s=st.lists(st.floats(0, 1e6), min_size=1, max_size=20), ending=st.sampled_from(["\n", "\r\n", " \n", "\n \n", "\r"]))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_number_a_line_is_read_at_once_and_no_other_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, times_s, ending) -> None:
    content = "".join(f"{time_s}{ending}" for time_s in times_s)
    fast = trace(tmp_path, content).take(2**62, EVERYTHING)
    with monkeypatch.context() as patched:
        patched.setattr(bench_trace, "_numbers", lambda content: None)
        assert np.array_equal(trace(tmp_path, content).take(2**62, EVERYTHING), fast)
    if ending in ("\n", "\r\n", " \n"):
        with monkeypatch.context() as patched:
            patched.delattr(bench_trace, "_times")
            trace(tmp_path, content)


def test_a_trace_is_scaled_to_the_rate(tmp_path: Path) -> None:
    assert trace(tmp_path, "0\n1\n4\n").rate == 0.5
    arrivals = trace(tmp_path, "0\n1\n4\n", rate=100)
    assert arrivals.rate == 100
    assert list(arrivals.take(SECOND_NS, EVERYTHING)) == [0, 5_000_000, 20_000_000]


def test_shares_of_a_trace(tmp_path: Path) -> None:
    whole = trace(tmp_path, "0\n1\n4\n")
    assert not whole.ended
    first, second = whole.split(2, 0), whole.split(2, 1)
    assert list(first.take(9 * SECOND_NS, 1)) == [0]
    assert not first.ended
    assert list(first.take(9 * SECOND_NS, 1)) == [4 * SECOND_NS]
    assert first.ended
    assert list(second.take(SECOND_NS, 9)) == []
    assert list(second.take(SECOND_NS + 1, 9)) == [SECOND_NS]
    assert second.ended
    assert trace(tmp_path, "0\n1\n4\n").split(5, 4).ended
    second.restart()
    assert not second.ended


@pytest.mark.parametrize(
    ("content", "column", "message"),
    [
        ("", "", "holds no arrival"),
        ("arrival_s\n", "", "holds no arrival"),
        ("1\nsoon\n", "", "line 2: expected an arrival time in seconds or an ISO date, got 'soon'"),
        ("1\nnan\n", "", "line 2: expected an arrival time"),
        ("1\n2,3\n", "", "line 2: expected 1 column, got 2"),
        ("1,2\n", "", "line 1: expected names of columns"),
        ("a,b\n1,2\n", "", "line 1: expected one column of arrival times; name it: trace:FILE:COLUMN; there are: a, b"),
        ("[" + ", ".join(map(str, range(100_000))) + "]\n", "", "there are: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 99,990 more"),
        ("{" + ", ".join(f'"{at}": 1' for at in range(12)) + "}\n", ":c", "a field 'c', got 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"),
        ("a" * 10_000 + ",b\n1,2\n", ":c", "there are: " + "a" * 60 + ", b"),
        ("a,b\n1,2\n", ":c", "line 1: expected a column 'c'; there are: a, b"),
        ("time,b\n1,2\n\n\n3\nx", ":b", "line 5: expected 2 columns, got 1"),
        ('a,b\n1,"2\n', ":b", "line 2: expected CSV"),
        ('{"a": 1}\n[1]\n', "", "line 2: expected a JSON object as on the first line, got '[1]'"),
        ('{"a": 1}\n{"b": 1}\n', "", "line 2: expected a field 'a', got b"),
        ('{"a": 1}\n{"a": true}\n', "", "line 2: expected an arrival time in seconds or an ISO date, got 'True'"),
        ("0\n1699999999000\n", "", "lasts 1.7e+12 s; expected seconds"),
        (b"\xff\xfe\x00", "", "line 1: expected text"),
    ],
)
def test_traces_that_are_refused(tmp_path: Path, content, column, message) -> None:
    with pytest.raises(ConfigError) as refused:
        trace(tmp_path, content, column)
    assert message in str(refused.value)
    assert "--arrivals trace" in str(refused.value)
    assert len(str(refused.value)) < 400


def test_a_trace_at_one_time_has_no_rate(tmp_path: Path) -> None:
    assert list(trace(tmp_path, "3\n3\n").take(1, 9)) == [0, 0]
    with pytest.raises(ConfigError, match="all at one time, which no rate fits"):
        trace(tmp_path, "3\n3\n", rate=5)


CELLS = st.one_of(
    st.floats().map(str),
    st.text(max_size=6),
    st.sampled_from(['{"a": 1}', "{", '"', "a,b", "2024-01-01", "1e999", '{"a": 1' + "0" * 400 + "}"]),
)


@given(lines=st.lists(st.lists(CELLS, max_size=3).map(",".join), max_size=5))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_trace_is_read_or_refused(tmp_path: Path, lines) -> None:
    try:
        arrivals = trace(tmp_path, "\n".join(lines).encode("utf-8", "surrogatepass"))
    except ConfigError:
        return
    assert (np.diff(arrivals.take(2**62, EVERYTHING)) >= 0).all()


def test_json_lines_as_a_program_writes_them(tmp_path: Path) -> None:
    lines = [json.dumps({"ts": k / 100, "model": "m"}) for k in range(5)]
    assert trace(tmp_path, "\n".join(lines)).rate == pytest.approx(100)
