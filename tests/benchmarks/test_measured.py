"""The figures that README and docs publish are those of the newest whole run on record."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))

import glance  # noqa: E402
import measured  # noqa: E402

LINE = {
    "time": "2026-01-31T12:00:00Z",
    "commit": "abc1234",
    "sections": ["tiny", "image", "resnet50", "mixed", "memory", "start"],
    "rounds": 5,
    "seconds": 1.5,
    "load_1m": 0.1,
    "machine": {"cpu": "A CPU", "cores": 2, "kernel": "6.1"},
    "versions": {"python": "3.11.7"},
    "table": [["a ratio", "<= 1.6", "1.2", "yes"], ["another", "", "x|y", ""]],
}


def test_the_documentation_holds_the_newest_runs() -> None:
    for published in measured.PUBLISHED:
        page = published.page.read_text("utf-8")
        assert page == published.with_table(page, published.table()), "run: make tables"


def test_the_sections_are_those_of_the_benchmark() -> None:
    for published in filter(lambda published: published.sections and published.render is not glance.memory, measured.PUBLISHED):
        program = measured.ROOT / "benchmarks" / f"{published.history.stem}.py"
        (given,) = re.findall(r"^SECTIONS = .*", program.read_text("utf-8"), re.MULTILINE)
        assert tuple(re.search(r"in \((.*)\)", given)[1].split(", ")) == published.sections


def test_the_newest_whole_line_is_taken(tmp_path: Path) -> None:
    published = measured.PUBLISHED[0]._replace(history=tmp_path / "history.jsonl")
    assert published.newest() is None
    lines = [LINE | {"commit": "old"}, LINE, LINE | {"commit": "part", "sections": ["tiny"]}]
    published.history.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert published.newest() == LINE


def test_without_a_run_the_page_says_so(tmp_path: Path) -> None:
    assert measured.PUBLISHED[0]._replace(history=tmp_path / "none.jsonl").table().startswith("No run")


def test_the_readme_shows_what_a_run_missed() -> None:
    cpu = {"native": {"cpu_us": 2.158}, "nghttpd": {"cpu_us": 1.91}, "grpcio": {"cpu_us": 122.68}}
    table = [["identity", "", "2.16 us", ""], ["a ratio", "<= 1.6", "1.2", "yes"], ["resnet50", ">= 0.97", "0.95", "NO"]]
    text = glance.cost(LINE | {"results": {"tiny": dict.fromkeys(glance.LOADS, cpu)}, "table": table})
    assert "| 4 connections x 16 streams | 2.2 µs | 1.9 µs | 123 µs |" in text
    assert "kept 1 of the 2 limits" in text
    assert text.endswith("\n- **Not kept:** resnet50: asked >= 0.97, measured 0.95\n")


def test_memory_is_shown_before_and_after() -> None:
    found = {"before": {"ready": 842, "later": 1286}, "after": {"ready": 299, "later": 327}}
    lines = glance.memory(LINE | {"results": {"memory_mib": found}}).splitlines()
    assert lines[0] == "| | ready | later |"
    assert lines[2:4] == ["| ONNX Runtime's own arenas | 842 | 1,286 |", "| arenas that decay | 299 | 327 |"]


def test_the_table_is_the_line() -> None:
    lines = measured.markdown(LINE).splitlines()
    assert lines[0] == (
        "2026-01-31, commit abc1234; medians of 5 rounds of about 1.5 s; A CPU, 2 cores, Linux 6.1; "
        "load of the machine at the start 0.1; python 3.11.7."
    )
    assert lines[4:] == ["| a ratio | <= 1.6 | 1.2 | yes |", "| another |  | x\\|y |  |"]


def test_what_took_no_part_is_not_named() -> None:
    line = LINE | {"versions": {"python": "3.11.7", "onnxruntime": "in place", "numpy": "2.0"}}
    assert measured.markdown(line).splitlines()[0].endswith("; python 3.11.7, numpy 2.0.")


def test_runs_that_are_no_rounds_are_counted() -> None:
    line = {name: value for name, value in LINE.items() if name != "rounds"} | {"runs": 8, "seconds": 3}
    assert "; 8 runs of each load of about 3 s; " in measured.markdown(line)


def test_one_run_is_not_counted() -> None:
    line = {name: value for name, value in LINE.items() if name not in ("rounds", "seconds")}
    assert measured.markdown(line).startswith("2026-01-31, commit abc1234; A CPU, 2 cores, ")


def test_a_page_without_the_marks_is_not_written() -> None:
    published = measured.PUBLISHED[1]
    with pytest.raises(ValueError, match="lacks the marks"):
        published.with_table("# Page\n", "table")
    marked = f"before\n{published.begin}old\n{measured.END}after\n"
    assert published.with_table(marked, "new\n") == marked.replace("old", "new")
