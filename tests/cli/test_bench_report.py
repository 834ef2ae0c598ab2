"""`inferd bench report`: every mode's report again, and what is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from inferd.bench import report as reports
from inferd.cli.bench_report import report
from inferd.errors import ConfigError
from tests.reports import measurement, sample


@pytest.mark.parametrize(
    "kind", ["single", "rounds", "steps", "search", "stress", "soak", "versions", "mlperf", "tune", "of a later inferd"]
)
def test_a_report_of_any_mode_is_shown_though_it_has_no_findings(tmp_path: Path, kind: str) -> None:
    """As of an earlier version, which kept fewer."""
    reports.save(sample(kind, [measurement(seconds=2), measurement(seconds=2, seed=2)]), tmp_path / "a.json")
    for flags in ([], ["--html", str(tmp_path / "a.html")], ["--csv", str(tmp_path / "a.csv")]):
        done = CliRunner().invoke(report, [str(tmp_path / "a.json"), *flags], standalone_mode=False)
        assert (done.return_value, done.exception) == (0, None)
        assert bool(done.output) == (not flags)
    assert "Latency by percentile" in (tmp_path / "a.html").read_text() or kind == "tune"
    assert (tmp_path / "a.csv").read_text().startswith("measurement,")


@pytest.mark.parametrize("summary", [{"tried": 5}, {"rate": "fast"}, {"rate": 5.0, "tried": [{}]}])
def test_findings_that_nobody_wrote_are_an_error_of_one_line(tmp_path: Path, summary: dict[str, object]) -> None:
    reports.save(sample("search", summary=summary), tmp_path / "a.json")
    done = CliRunner().invoke(report, [str(tmp_path / "a.json")], standalone_mode=False)
    assert isinstance(done.exception, ConfigError)
    assert "a.json: summary: expected what `inferd bench --json` wrote of a search: " in str(done.exception)
