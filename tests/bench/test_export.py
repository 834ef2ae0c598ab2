"""Exports read back by what others read them with: the hdrhistogram package, the csv module."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

from inferd.bench import export, hdr, report
from inferd.bench.interval_log import IntervalLog
from inferd.bench.measurement import HIGHEST_NS, Histogram, Latency
from tests.reports import measurement, sample


def test_a_log_is_read_by_the_hdrhistogram_package(tmp_path: Path) -> None:
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


def test_a_log_of_intervals_is_read_by_the_hdrhistogram_package(tmp_path: Path) -> None:
    """Each line is an interval; the lines of one tag together are the measurement."""
    logged, other = measurement(version="3", seconds=3), measurement(version="4")
    made, log, whole = sample(kind="versions", measurements=[logged, other]), IntervalLog(), hdr.decode(logged.histogram)
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


def test_a_log_line_cannot_be_split_by_what_a_user_named() -> None:
    odd = report.make("single", "host\n1,2", "a model\nTag=x,", [measurement(version="1, 2\n")])
    lines = export.histogram_log(odd).splitlines()
    assert len(lines) == 5
    assert lines[-1].count(",") == 4


def test_csv_has_a_line_a_measurement() -> None:
    made = sample(measurements=[measurement(), measurement(version="4", errors={"UNAVAILABLE": 3})])
    rows = list(csv.DictReader(io.StringIO(export.measurements_csv(made))))
    assert [row["version"] for row in rows] == ["1", "4"]
    assert [row["errors"] for row in rows] == ["0", "3"]
    assert float(rows[0]["latency_p99_us"]) == made.measurements[0].latency_us.p99
    assert float(rows[0]["server_queue_us"]) == made.measurements[0].server.queue_us
    assert rows[0]["verified_checked"] == ""


def test_csv_has_a_line_an_interval() -> None:
    made = sample(measurements=[measurement(), measurement(version="4")])
    rows = list(csv.DictReader(io.StringIO(export.intervals_csv(made))))
    assert len(rows) == sum(len(measured.intervals) for measured in made.measurements)
    assert {row["measurement"] for row in rows} == {"0", "1"}
    assert float(rows[0]["p50_us"]) == made.measurements[0].intervals[0].p50_us


def test_nothing_measured_is_no_error() -> None:
    empty = report.make("single", "localhost:8001", "model", [])
    assert export.measurements_csv(empty) == export.intervals_csv(empty) == "measurement\n"
    assert export.histogram_log(empty).count("\n") == 4
    assert Latency() == empty.latency_us
