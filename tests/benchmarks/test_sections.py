"""The command line of a benchmark of sections, what of it is run, and what is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import sections
from record import Report


def first(report: Report, folder: Path) -> None:
    """One."""
    assert not list(folder.iterdir())
    (folder / "left").touch()
    report.add("first", ">= 1", "2", True)


def second(report: Report, folder: Path) -> None:
    """Two."""
    assert not list(folder.iterdir())
    report.add("second", ">= 1", "0", False)


SECTIONS = {section.__name__: section for section in (first, second)}
PARSER = sections.parser("A test.", SECTIONS, rounds=3, seconds=1.5, lasts="that a run lasts")


def test_all_sections_unless_told_otherwise() -> None:
    assert vars(PARSER.parse_args([])) == {"sections": ["first", "second"], "rounds": 3, "seconds": 1.5, "no_history": False}
    assert PARSER.parse_args(["--sections", "second,first"]).sections == ["second", "first"]


def test_an_unknown_section_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        PARSER.parse_args(["--sections", "first,third"])
    assert "no such section: third" in capsys.readouterr().err


def test_no_rounds_where_there_are_none() -> None:
    given = sections.parser("A test.", SECTIONS, seconds=2, lasts="that a run lasts").parse_args([])
    assert vars(given) == {"sections": ["first", "second"], "seconds": 2, "no_history": False}


def test_what_is_run_is_said_and_all_stands_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(3, 1.5)
    sections.run(report, SECTIONS, ["second", "first"])
    told = capsys.readouterr().out
    assert told.index("second: Two.") < told.index("first: One.")
    assert told.endswith(report.table() + "\n")
    assert [row[0] for row in report.rows] == ["second", "first"]


def test_one_verdict_decides_whether_all_was_kept() -> None:
    report = Report(3, 1.5)
    report.add("reported", "", "1")
    sections.run(report, SECTIONS, ["first"])
    assert report.kept
    sections.run(report, SECTIONS, ["second"])
    assert not report.kept


def test_what_was_asked_stands_in_the_line_of_history(tmp_path: Path) -> None:
    given = PARSER.parse_args(["--sections", "first", "--rounds", "7"])
    report = Report(given.rounds, given.seconds, load_1m=0.25)
    sections.keep(tmp_path / "history.jsonl", given, report)
    line = json.loads((tmp_path / "history.jsonl").read_text())
    assert {name: line[name] for name in ("sections", "rounds", "seconds", "load_1m")} == {
        "sections": ["first"],
        "rounds": 7,
        "seconds": 1.5,
        "load_1m": 0.25,
    }
    assert "no_history" not in line


def test_without_history_nothing_is_kept(tmp_path: Path) -> None:
    sections.keep(tmp_path / "history.jsonl", PARSER.parse_args(["--no-history"]), Report(3, 1.5))
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_with_its_cure() -> None:
    blocked = "import runpy, sys; sys.modules['tritonclient'] = None; runpy.run_path(sys.argv[1], run_name='__main__')"
    program = Path(__file__).resolve().parents[2] / "benchmarks" / "server_cost.py"
    environment = os.environ | {"PYTHONPATH": str(program.parent)}
    done = subprocess.run([sys.executable, "-c", blocked, program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("missing packages: tritonclient; `make bench` installs them")
