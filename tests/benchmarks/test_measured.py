"""The figures that the documentation publishes are those of a run that is on record."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

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


@pytest.fixture(scope="module")
def measured() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_measured", Path(__file__).parents[2] / "benchmarks" / "measured.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_documentation_holds_the_newest_runs(measured):
    for published in measured.PUBLISHED:
        page = published.page.read_text("utf-8")
        assert page == published.with_table(page, measured.markdown(published.newest())), "run: python benchmarks/measured.py --write"


def test_the_sections_are_those_of_the_benchmark(measured):
    for published in filter(lambda published: published.sections, measured.PUBLISHED):
        program = measured.ROOT / "benchmarks" / f"{published.history.stem}.py"
        (given,) = re.findall(r"^SECTIONS = .*", program.read_text("utf-8"), re.MULTILINE)
        assert tuple(re.search(r"in \((.*)\)", given)[1].split(", ")) == published.sections


def test_the_newest_whole_line_is_taken(measured, tmp_path):
    published = measured.PUBLISHED[0]._replace(history=tmp_path / "history.jsonl")
    assert published.newest() is None
    lines = [LINE | {"commit": "old"}, LINE, LINE | {"commit": "part", "sections": ["tiny"]}]
    published.history.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert published.newest() == LINE


def test_without_a_run_the_page_says_so(measured):
    assert measured.markdown(None).startswith("No run")


def test_the_table_is_the_line(measured):
    lines = measured.markdown(LINE).splitlines()
    assert lines[0] == (
        "2026-01-31, commit abc1234; medians of 5 rounds of about 1.5 s; A CPU, 2 cores, Linux 6.1; "
        "load of the machine at the start 0.1; python 3.11.7."
    )
    assert lines[4:] == ["| a ratio | <= 1.6 | 1.2 | yes |", "| another |  | x\\|y |  |"]


def test_what_took_no_part_is_not_named(measured):
    line = LINE | {"versions": {"python": "3.11.7", "onnxruntime": "in place", "numpy": "2.0"}}
    assert measured.markdown(line).splitlines()[0].endswith("; python 3.11.7, numpy 2.0.")


def test_runs_that_are_no_rounds_are_counted(measured):
    line = {name: value for name, value in LINE.items() if name != "rounds"} | {"runs": 8, "seconds": 3}
    assert "; 8 runs of each load of about 3 s; " in measured.markdown(line)


def test_one_run_is_not_counted(measured):
    line = {name: value for name, value in LINE.items() if name not in ("rounds", "seconds")}
    assert measured.markdown(line).startswith("2026-01-31, commit abc1234; A CPU, 2 cores, ")


def test_a_page_without_the_marks_is_not_written(measured):
    published = measured.PUBLISHED[1]
    with pytest.raises(ValueError, match="lacks the marks"):
        published.with_table("# Page\n", "table")
    marked = f"before\n{published.begin}old\n{measured.END}after\n"
    assert published.with_table(marked, "new\n") == marked.replace("old", "new")
