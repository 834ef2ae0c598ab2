"""What moved between two lines of a history."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import moved


def line(commit: str, results: dict[str, Any], machine: str = "m") -> dict[str, Any]:
    return {"commit": commit, "time": "2026-01-02T03:04:05Z", "machine": {"cpu": machine}, "results": results}


def told(tmp_path: Path, *lines: dict[str, Any]) -> list[str]:
    path = tmp_path / "some.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return list(moved.told(path, 0.1))


def test_only_what_moved_is_told(tmp_path: Path) -> None:
    before = line("a", {"tiny": {"4x16": {"cpu_us": 3.0, "requests_s": 100.0}}, "gone": 1})
    after = line("b", {"tiny": {"4x16": {"cpu_us": 3.6, "requests_s": 105.0}}, "new": 2})
    assert told(tmp_path, before, after) == [
        "some: a (2026-01-02) -> b (2026-01-02): tiny",
        "  tiny / 4x16 / cpu_us: 3 -> 3.6 (+20%)",
        "some: b (2026-01-02): nothing to compare with: new",
    ]


def test_figures_that_are_new_or_were_none_are_told(tmp_path: Path) -> None:
    assert told(tmp_path, line("a", {"x": {"old": 0}}), line("b", {"x": {"old": 2, "new": 3.0}}))[1:] == [
        "  x / old: 0 -> 2",
        "  x / new: 3, nothing to compare with",
    ]


def test_a_run_of_other_sections_is_passed_over(tmp_path: Path) -> None:
    lines = (line("a", {"x": 1.0}), line("b", {"y": 1.0}), line("c", {"x": 1.05}))
    assert told(tmp_path, *lines) == ["some: a (2026-01-02) -> c (2026-01-02)", "  nothing moved by more than 10%"]


def test_each_section_is_held_against_the_newest_line_that_has_it(tmp_path: Path) -> None:
    lines = (line("a", {"x": 1.0, "y": 1.0, "z": 1.0}), line("b", {"x": 1.0, "y": 2.0}), line("c", {"x": 2.0}), line("d", {"x": 3, "y": 3}))
    assert told(tmp_path, *lines) == [
        "some: c (2026-01-02) -> d (2026-01-02): x",
        "  x: 2 -> 3 (+50%)",
        "some: b (2026-01-02) -> d (2026-01-02): y",
        "  y: 2 -> 3 (+50%)",
    ]


def test_the_peers_are_held_against_each_other(tmp_path: Path) -> None:
    def run(commit: str, requests_s: float, *peers: str) -> dict[str, Any]:
        rows = [{"model": "m", "peer": peer, "load": "1 in flight", "requests": 9, "rounds": 3, "requests_s": requests_s} for peer in peers]
        sizes = [{"model": "m", "peer": peer, "start_s": 1.0, "memory_bytes": 5} for peer in peers]
        return {key: value for key, value in line(commit, {}).items() if key != "results"} | {"rows": rows, "sizes": sizes}

    assert told(tmp_path, run("a", 1.0, "one", "two"), run("b", 2.0, "one"), run("c", 3.0, "one", "two")) == [
        "some: b (2026-01-02) -> c (2026-01-02): m / one",
        "  m / one / 1 in flight / requests_s: 2 -> 3 (+50%)",
        "some: a (2026-01-02) -> c (2026-01-02): m / two",
        "  m / two / 1 in flight / requests_s: 1 -> 3 (+200%)",
    ]


def test_every_history_is_read(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["moved.py"])
    assert moved.main() == 0
    shown = capsys.readouterr().out
    assert all(f"{path.stem}: " in shown for path in moved.FOLDER.glob("*.jsonl"))


def test_another_machine_and_no_line_before(tmp_path: Path) -> None:
    assert "another machine" in told(tmp_path, line("a", {"x": 1}), line("b", {"x": 9}, "other"))[1]
    assert told(tmp_path, line("a", {})) == ["some: one run, nothing to compare with"]
    assert told(tmp_path) == ["some: no run, nothing to compare with"]


def test_micro_benchmarks_become_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moved, "MICRO", tmp_path / "micro.jsonl")
    result = tmp_path / "benchmark.json"
    result.write_text(json.dumps({"benchmarks": [{"name": "decode", "stats": {"median": 3.21e-8}}]}))
    moved.keep_micro(result)
    kept = json.loads((tmp_path / "micro.jsonl").read_text())
    assert kept["results"] == {"median_us": {"decode": 0.0321}}
    assert {"commit", "machine", "versions"} <= kept.keys()


def test_pytest_takes_none_of_the_programs_for_micro_benchmarks() -> None:
    command = [sys.executable, "-m", "pytest", "benchmarks", "--collect-only", "--quiet"]  # as `make bench` has it
    done = subprocess.run(command, cwd=moved.FOLDER.parents[1], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    assert {Path(line.partition("::")[0]).stem for line in done.stdout.splitlines() if "::" in line} == {
        path.stem for path in moved.FOLDER.parent.glob("test_*.py")
    }
