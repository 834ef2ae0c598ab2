"""A report's numbers for other programs: CSV, and HdrHistogram's log. Never in here: plots, tables for people, files."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any

import msgspec

from inferd.bench.hdr import encode
from inferd.bench.measurement import Histogram
from inferd.bench.verdicts import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from inferd.bench.interval_log import IntervalLog
    from inferd.bench.measurement import Measurement
    from inferd.bench.report import Report


def histogram_log(report: Report, log: IntervalLog | None = None) -> str:
    """An HdrHistogram log (.hlog): one line a measurement, or one an interval where `log` has them, tagged with the number and load of the
    measurement. Values are ns, Interval_Max is ms."""
    start_s = min((measured.started_unix_s for measured in report.measurements), default=0.0)
    lines = [
        "#[Histogram log format version 1.3]",
        f"#[inferd bench: {one_line(report.model)} at {one_line(report.target)}]",
        f"#[StartTime: {start_s:.3f} (seconds since epoch)]",
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"',
    ]
    for number, measured in enumerate(report.measurements):
        named, at_s = f"Tag={tag(number, measured)}", measured.started_unix_s - start_s
        logged = log.lines(measured) if log else []
        for line in logged:
            latency = Histogram()
            latency.add_sparse(line.latency)
            at = f"{at_s + line.at_s:.3f},{line.duration_s:.3f},{latency.max_ns / 1e6:.6f}"
            lines.append(f"{named},{at},{encode(latency)}")
        if measured.histogram and not logged:
            lines.append(f"{named},{at_s:.3f},{measured.duration_s:.3f},{measured.latency_us.max / 1e3:.6f},{measured.histogram}")
    return "\n".join(lines) + "\n"


def tag(number: int, measured: Measurement) -> str:
    """Readers split a line at commas and spaces."""
    words = f"{number}-{measured.load}" + (f"-v{measured.version}" if measured.version else "")
    return re.sub(r"[^\w.:/-]+", "-", words)


LOAD_COLUMNS = ("connections", "streams", "rate", "arrivals", "deadline_ms", "processes")
LATENCY_COLUMNS = ("mean", "p50", "p90", "p99", "p999", "max")
SERVER_COLUMNS = (
    *("queue_us", "compute_input_us", "compute_infer_us", "compute_output_us"),
    *("runs", "cpu_us_per_request", "rss_bytes", "dollars_per_million"),
)


def measurements_csv(report: Report) -> str:
    """One line a measurement, the column names first. An empty field: not known."""
    rows = []
    for number, measured in enumerate(report.measurements):
        row: dict[str, Any] = {"measurement": number, "version": measured.version}
        row |= {name: getattr(measured.load, name) for name in LOAD_COLUMNS}
        row |= {name: getattr(measured, name) for name in ("started_unix_s", "duration_s", "requests", "requests_per_second")}
        row |= {"errors": measured.failed, "unfinished": measured.unfinished}
        for kind in ("latency", "service", "lateness"):
            latency = getattr(measured, f"{kind}_us")
            row |= {f"{kind}_{name}_us": getattr(latency, name) for name in LATENCY_COLUMNS}
        row |= {"client_cpu_us_per_request": measured.client_cpu_us_per_request, "client_bound": int(measured.client_bound)}
        row |= {f"server_{name}": getattr(measured.server, name, None) for name in SERVER_COLUMNS}
        row |= {f"verified_{name}": getattr(measured.verified, name, None) for name in ("checked", "wrong")}
        rows.append(row | {"ended": measured.ended})
    return as_csv(rows)


def intervals_csv(report: Report) -> str:
    """One line an interval of each measurement, numbered as in `measurements_csv`."""
    return as_csv(
        {"measurement": number, "version": measured.version, "load": str(measured.load)} | msgspec.structs.asdict(interval)
        for number, measured in enumerate(report.measurements)
        for interval in measured.intervals
    )


def as_csv(rows: Iterable[dict[str, Any]]) -> str:
    rows = list(rows)
    text = io.StringIO()
    columns: Sequence[str] = list(rows[0]) if rows else ["measurement"]
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()
