"""Exports read back by what others read them with: the hdrhistogram package, the csv module."""

from __future__ import annotations

import base64
import csv
import io
import struct
import zlib

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import given
from hypothesis import strategies as st
from reports import measurement, sample

from inferd.bench import export, report
from inferd.bench.interval_log import IntervalLog
from inferd.bench.measurement import BUCKETS, HIGHEST_NS, Histogram, Latency
from inferd.errors import ConfigError

DURATIONS = st.dictionaries(st.integers(0, HIGHEST_NS), st.integers(1, 1 << 40), max_size=40)


def histogram_of(durations: dict[int, int]) -> Histogram:
    made = Histogram()
    for duration, times in durations.items():
        made.record(duration, times)
    return made


@given(DURATIONS)
def test_what_is_encoded_is_decoded(durations):
    made = histogram_of(durations)
    read = export.decode(export.encode(made))
    assert np.array_equal(read.counts, made.counts)
    if durations:
        assert made.max_ns <= read.max_ns <= made.max_ns * 1.001
        assert read.min_ns <= made.min_ns <= read.min_ns * 1.001
        assert read.sum_ns == pytest.approx(made.sum_ns, rel=1e-3)
    else:
        assert (read.count, read.max_ns, read.quantile_ns(0.5)) == (0, 0, 0)


def test_the_hdrhistogram_package_reads_the_same():
    made = Histogram()
    for value in (1, 1023, 1024, 2047, 2048, 50_000, 1_234_567, 987_654_321, HIGHEST_NS):
        made.record(value, 1 + value % 300)
    theirs = HdrHistogram.decode(export.encode(made))
    assert theirs.get_total_count() == made.count
    for percent in (1, 50, 90, 99, 99.9, 100):
        assert theirs.get_value_at_percentile(percent) == pytest.approx(made.quantile_ns(percent / 100), rel=1e-3)


def test_what_the_hdrhistogram_package_wrote_is_read():
    theirs = HdrHistogram(1, 3_600_000_000_000, 3)
    for value in (5, 1500, 3000, 70_000, 70_001, 123_456_789):
        theirs.record_value(value, 7)
    read = export.decode(theirs.encode().decode())
    assert read.count == 42
    assert read.quantile_ns(0.5) == pytest.approx(3000, rel=1e-3)
    assert read.quantile_ns(1) == pytest.approx(123_456_789, rel=1e-3)


def packed(payload: bytes, digits: int = 3, lowest: int = 1, cookie: int = export.COOKIE, length: int | None = None) -> str:
    header = export.HEADER.pack(cookie, len(payload) if length is None else length, 0, digits, lowest, HIGHEST_NS, 1.0)
    inner = zlib.compress(header + payload)
    return base64.b64encode(struct.pack(">ii", export.COMPRESSED_COOKIE, len(inner)) + inner).decode()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "base64"),
        ("no base64!", "base64"),
        ("AAAAAAAAAAAA", "cookie 0x0"),
        (packed(b"")[:-8], "compressed bytes"),
        (packed(b"", cookie=0x1C849301), "cookie 0x1c849301"),
        (packed(b"", digits=2), "2 digits"),
        (packed(b"", lowest=1000), "from 1000"),
        (packed(b"\x02", length=5), "5 bytes of counts"),
        (packed(b"\x82"), "ends within a count"),
        (packed(bytes([0xFF, 0xFF, 0x7F, 0x02])), "longer times"),
        (packed(bytes(export.LARGEST_PAYLOAD * 2)), "at most"),
    ],
)
def test_what_is_no_histogram_is_refused(text, says):
    with pytest.raises(ConfigError, match=f"^histogram: .*{says}"):
        export.decode(text)


@given(st.one_of(st.binary(max_size=200).map(packed), st.text(max_size=60)))
def test_any_bytes_are_read_or_refused(text):
    try:
        read = export.decode(text)
    except ConfigError:
        return
    assert len(read.counts) == BUCKETS


def test_a_log_is_read_by_the_hdrhistogram_package(tmp_path):
    made = sample(kind="versions", measurements=[measurement(version="3"), measurement(version="4", slower=2.0)])
    path = tmp_path / "run.hlog"
    path.write_text(export.histogram_log(made))
    reader = HistogramLogReader(str(path), HdrHistogram(1, HIGHEST_NS, 3))
    for measured in made.measurements:
        theirs = reader.get_next_interval_histogram()
        assert theirs.get_total_count() == measured.requests
        assert theirs.get_max_value() / 1e3 == pytest.approx(measured.latency_us.max, rel=1e-3)
        assert theirs.get_mean_value() / 1e3 == pytest.approx(measured.latency_us.mean, rel=1e-3)
        assert theirs.get_start_time_stamp() / 1e3 == pytest.approx(measured.started_unix_s, abs=0.01)
        assert f"v{measured.version}" in theirs.get_tag()
    assert reader.get_next_interval_histogram() is None
    reader.close()


def test_a_log_of_intervals_is_read_by_the_hdrhistogram_package(tmp_path):
    """Each line is an interval; the lines of one tag together are the measurement."""
    logged, other = measurement(version="3", seconds=3), measurement(version="4")
    made, log, whole = sample(kind="versions", measurements=[logged, other]), IntervalLog(), export.decode(logged.histogram)
    buckets = np.flatnonzero(whole.counts)
    for at in range(3):
        counts = np.zeros_like(whole.counts)
        counts[buckets[at::3]] = whole.counts[buckets[at::3]]
        log.add(at, 1.0, Histogram(counts, max_ns=int(buckets[-1])))
    log.end(logged)
    path = tmp_path / "run.hlog"
    path.write_text(export.histogram_log(made, log))
    reader = HistogramLogReader(str(path), HdrHistogram(1, HIGHEST_NS, 3))
    together = HdrHistogram(1, HIGHEST_NS, 3)
    for at in range(3):
        theirs = reader.get_next_interval_histogram()
        assert (theirs.get_tag(), theirs.get_start_time_stamp() / 1e3) == (
            "0-4x16-v3",
            pytest.approx(logged.started_unix_s + at, abs=0.01),
        )
        together.add(theirs)
    assert together.get_total_count() == logged.requests
    at_once = HdrHistogram.decode(logged.histogram)
    assert [together.get_value_at_percentile(at) for at in (10, 50, 99)] == [at_once.get_value_at_percentile(at) for at in (10, 50, 99)]
    assert reader.get_next_interval_histogram().get_total_count() == other.requests, "of one that was not logged there is a line"
    assert reader.get_next_interval_histogram() is None
    reader.close()


def test_a_log_line_cannot_be_split_by_what_a_user_named():
    odd = report.make("single", "host\n1,2", "a model\nTag=x,", [measurement(version="1, 2\n")])
    lines = export.histogram_log(odd).splitlines()
    assert len(lines) == 5
    assert lines[-1].count(",") == 4


def test_csv_has_a_line_a_measurement():
    made = sample(measurements=[measurement(), measurement(version="4", errors={"UNAVAILABLE": 3})])
    rows = list(csv.DictReader(io.StringIO(export.measurements_csv(made))))
    assert [row["version"] for row in rows] == ["1", "4"]
    assert [row["errors"] for row in rows] == ["0", "3"]
    assert float(rows[0]["latency_p99_us"]) == made.measurements[0].latency_us.p99
    assert float(rows[0]["server_queue_us"]) == made.measurements[0].server.queue_us
    assert rows[0]["verified_checked"] == ""


def test_csv_has_a_line_an_interval():
    made = sample(measurements=[measurement(), measurement(version="4")])
    rows = list(csv.DictReader(io.StringIO(export.intervals_csv(made))))
    assert len(rows) == sum(len(measured.intervals) for measured in made.measurements)
    assert {row["measurement"] for row in rows} == {"0", "1"}
    assert float(rows[0]["p50_us"]) == made.measurements[0].intervals[0].p50_us


def test_nothing_measured_is_no_error():
    empty = report.make("single", "localhost:8001", "model", [])
    assert export.measurements_csv(empty) == export.intervals_csv(empty) == "measurement\n"
    assert export.histogram_log(empty).count("\n") == 4
    assert Latency() == empty.latency_us
