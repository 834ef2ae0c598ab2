"""A report is saved, read back and refused as it says."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd import __version__
from inferd.bench import report, terminal
from inferd.bench.measurement import Interval, Latency, Load, Measurement, Verification
from inferd.errors import ConfigError, InferdError
from tests.reports import measurement, sample

SMALL = sample(measurements=[measurement(seconds=1, rate=20)], settings={"rate": 0.0, "inputs": ["a.npy"]})


def test_a_saved_report_is_read_back(tmp_path: Path) -> None:
    made = sample(
        "versions",
        [measurement(version="3"), measurement(version="4", errors={"UNAVAILABLE": 2})],
        headline=-1,
        settings={"rate": 0.0, "inputs": ["a.npy"], "path": Path("x/y"), "verify": None},
        versions={"inferd": "1"},
        summary={"points": [1, 2]},
        notices=["one"],
    )
    report.save(made, tmp_path / "a.json")
    read = report.load(tmp_path / "a.json")
    assert read.measurements == made.measurements
    assert (read.settings.pop("path"), made.settings.pop("path")) == ("x/y", Path("x/y"))
    assert read == made


def test_scripts_find_the_headline_at_the_top(tmp_path: Path) -> None:
    best = measurement(rate=2000.0, errors={"UNAVAILABLE": 2}, client_bound=True)
    report.save(sample("search", [measurement(), best], headline=1), tmp_path / "a.json")
    read = json.loads((tmp_path / "a.json").read_text())
    assert read["schema"] == 1
    assert (read["requests"], read["errors"], read["client_bound"]) == (best.requests, {"UNAVAILABLE": 2}, True)
    assert read["requests_per_second"] == best.requests_per_second
    assert read["client_cpu_us_per_request"] == best.client_cpu_us_per_request
    assert list(read["latency_us"]) == ["mean", "p50", "p90", "p99", "p999", "max"]
    assert read["latency_us"]["p99"] == best.latency_us.p99


def test_fields_of_a_later_inferd_are_passed_over(tmp_path: Path) -> None:
    report.save(sample(), tmp_path / "a.json")
    document = json.loads((tmp_path / "a.json").read_text())
    document["new"] = document["measurements"][0]["new"] = {"x": 1}
    (tmp_path / "a.json").write_text(json.dumps(document))
    assert report.load(tmp_path / "a.json").measurements == sample().measurements


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'{"schema": 2}', "expected a report of schema 1, got 2"),
        (b"{}", "missing required field `schema`"),
        (b"", "expected a report that `inferd bench --json` wrote"),
        (b"\xff\xfe", "expected a report"),
        (b"[1]", "expected a report"),
        (b'{"schema": 1, "kind": "s", "target": "t", "model": "m", "settings": {"a": ' + b"[" * 100_000, "expected a report"),
        (b'{"schema": 1, "kind": "single", "target": "t"}', "missing required field `model`"),
        (b'{"schema": 1, "kind": "s", "target": "t", "model": "m", "measurements": [{"load": {"rate": "x"}}]}', "rate"),
        (b'{"schema": 1, "kind": "s", "target": "t", "model": "m", "headline": 7, "measurements": [{"load": {}}]}', "got 7"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, text, says) -> None:
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(ConfigError, match=r"a\.json: ") as raised:
        report.load(tmp_path / "a.json")
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@given(
    st.one_of(st.binary(max_size=60), st.integers(0, 2000).flatmap(lambda at: st.binary(min_size=1, max_size=4).map(lambda cut: (at, cut))))
)
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, damage) -> None:
    """Anything at all, and a report with a few bytes changed."""
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    if isinstance(damage, bytes):
        path.write_bytes(damage)
    else:
        report.save(SMALL, path)
        text = bytearray(path.read_bytes())
        text[damage[0] : damage[0] + len(damage[1])] = damage[1]
        path.write_bytes(text)
    with contextlib.suppress(ConfigError):
        assert report.load(path).schema == 1


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"requests": 3, "errors": {"X": 5}}, r"errors: expected at most as many as its 3 requests, got 5"),
        ({"errors": {"X": -5}}, r"errors\['X'\]: expected from 0"),
        ({"requests": -5}, "requests: expected from 0"),
        ({"duration_s": 1e300}, "duration_s: expected from 0 to 1e\\+18"),
        ({"latency_us": Latency(p50=-1.0)}, r"latency_us\.p50: expected from 0"),
        ({"intervals": [Interval(0, 1, -(10**17), 0, 1, 1, 1)]}, r"intervals\[0\]\.requests: expected from 0"),
    ],
)
def test_numbers_that_nobody_measured_are_refused(tmp_path: Path, fields, says) -> None:
    made = measurement(seconds=1, rate=20)
    for name, value in fields.items():
        setattr(made, name, value)
    report.save(sample(measurements=[made]), tmp_path / "a.json")
    with pytest.raises(ConfigError, match=r"a\.json: measurements\[0\]: " + says):
        report.load(tmp_path / "a.json")


def test_nothing_answered_and_nothing_verified_is_said() -> None:
    nothing = sample(measurements=[Measurement(Load(rate=0.01), verified=Verification())])
    assert (nothing.answered, nothing.is_unverified) == (0, True)
    text = terminal.render(nothing)
    assert "! no request was answered" in text
    assert "! --verify checked no response" in text
    checked = sample(measurements=[measurement(verified=Verification(checked=1)), measurement(verified=Verification())])
    assert (checked.answered > 0, checked.is_unverified) == (True, False)
    assert "! " not in terminal.render(checked)
    half = sample(measurements=[measurement(verified=Verification(checked=5, unchecked=1200)) for _ in range(2)])
    assert half.unchecked == 2400
    assert "! 2,400 responses that --verify was to check were not checked" in terminal.render(half)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    endless = "/dev/zero: expected 256 MiB at most, got more; `inferd bench --json` writes no such report"
    for path, says in ((tmp_path / "none.json", "No such file"), (tmp_path, "Is a directory"), ("/dev/zero", endless)):
        with pytest.raises(ConfigError, match=says):
            report.load(path)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report.save(sample(), tmp_path / "a.json")
    before = (tmp_path / "a.json").read_bytes()
    with pytest.raises(InferdError, match="cannot be written"):
        report.save(sample(), tmp_path / "missing" / "a.json")
    with pytest.raises(UnicodeEncodeError):
        report.write_text(tmp_path / "a.json", "\ud800")
    assert (tmp_path / "a.json").read_bytes() == before
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_report_goes_through_links_and_into_pipes(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "a.json")
    report.save(sample(), tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert report.load(tmp_path / "a.json").model == "mlp"
    report.save(sample(), "/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_an_unwritable_place_is_found_before_the_run(tmp_path: Path) -> None:
    report.check_writable(tmp_path / "a.json")
    report.check_writable("a.json")
    for path, says in ((tmp_path, "it is a folder"), (tmp_path / "no" / "a.json", "folder does not exist")):
        with pytest.raises(ConfigError, match=says):
            report.check_writable(path)
    assert os.listdir(tmp_path) == []


def test_versions_name_what_takes_part() -> None:
    found = report.versions_here("inferd 9.9")
    assert (found["inferd"], found["server"]) == (__version__, "inferd 9.9")
    assert found["python"].count(".") == 2
    assert "cores" in found["cpu"]
    assert "server" not in report.versions_here()


def test_a_measurement_without_anything_is_a_report_too(tmp_path: Path) -> None:
    report.save(sample(measurements=[Measurement(Load())]), tmp_path / "a.json")
    assert report.load(tmp_path / "a.json").measurements == [Measurement(Load())]
