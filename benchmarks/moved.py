"""What moved: the newest line of each history, section by section beside the newest one before that has it. `make bench` ends with it.

    python benchmarks/moved.py [--micro pytest-benchmark.json] [--threshold 0.1]

--micro first appends the medians of a pytest-benchmark run to benchmarks/history/micro.jsonl. Lines of different machines are
compared, too, and it is said so: only ratios within one run mean something then. Nothing is measured in here.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from record import Report, append

FOLDER = Path(__file__).resolve().parent / "history"
MICRO = FOLDER / "micro.jsonl"
MOST_NAMED = 8  # sections
Line = dict[str, Any]


def keep_micro(path: Path) -> None:
    """One line of the micro benchmarks' medians, in us."""
    told = json.loads(path.read_text("utf-8"))
    report = Report(0, 0.0)
    report.numbers["median_us"] = {one["name"]: round(one["stats"]["median"] * 1e6, 4) for one in told["benchmarks"]}
    append(MICRO, report, {}, {})


def numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Every figure of a line's results, with the way to it; how many requests there were is none."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key != "requests":
                yield from numbers(inner, f"{name} / {key}" if name else str(key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, float(value)


def results(line: Line) -> Line:
    """A line's results by section. Those of the peers stand in rows: a section is a model on a peer."""
    if "rows" not in line:
        found: Line = line["results"]
        return found
    found = {}
    for row in line["rows"]:
        section = found.setdefault(f"{row['model']} / {row['peer']}", {})
        section[row["load"]] = {name: value for name, value in row.items() if name.endswith(("_s", "_us"))}
    for size in line["sizes"]:
        section = found.setdefault(f"{size['model']} / {size['peer']}", {})
        section |= {name: value for name, value in size.items() if name.endswith(("_s", "_bytes"))}
    return found


def moved(before: Line, after: Line, threshold: float) -> Iterator[str]:
    """The figures that are more than `threshold` away from what they were, and those that are new, as sentences."""
    old = dict(numbers(before))
    for name, now in numbers(after):
        was = old.get(name)
        if was is None:
            yield f"{name}: {now:,.4g}, nothing to compare with"
        elif abs(now - was) > threshold * abs(was):
            yield f"{name}: {was:,.4g} -> {now:,.4g}" + (f" ({now / was - 1:+.0%})" if was else "")


def told(path: Path, threshold: float) -> Iterator[str]:
    """What a history says: its newest line, each section of it against the newest line before that has it."""
    lines = [json.loads(text) for text in path.read_text("utf-8").splitlines()]
    if len(lines) < 2:
        yield f"{path.stem}: {'one run' if lines else 'no run'}, nothing to compare with"
        return
    after, rest = lines[-1], results(lines[-1])
    if not rest:
        yield f"{path.stem}: {after['commit']} ({after['time'][:10]}): words alone, no figures"
    for before in reversed(lines[:-1]):
        common = [section for section in rest if section in results(before)]
        if common:
            names = ", ".join(common) if len(common) <= MOST_NAMED else f"{len(common)} of {len(results(after))} sections"
            which = "" if len(common) == len(results(after)) else f": {names}"
            yield f"{path.stem}: {before['commit']} ({before['time'][:10]}) -> {after['commit']} ({after['time'][:10]}){which}"
            if before["machine"] != after["machine"]:
                yield "  another machine: compare ratios within a run only"
            old, new = ({section: side[section] for section in common} for side in (results(before), rest))
            found = list(moved(old, new, threshold))
            yield from (f"  {sentence}" for sentence in found or [f"nothing moved by more than {threshold:.0%}"])
        rest = {section: figures for section, figures in rest.items() if section not in common}
    if rest:
        yield f"{path.stem}: {after['commit']} ({after['time'][:10]}): nothing to compare with: {', '.join(rest)}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Says what moved from run to run in each history.")
    parser.add_argument("--micro", type=Path, help="what pytest --benchmark-json wrote: kept as a line first")
    parser.add_argument("--threshold", type=float, default=0.1, help="a share; smaller moves are not told (default 0.1)")
    given = parser.parse_args()
    if given.micro:
        keep_micro(given.micro)
    for path in sorted(FOLDER.glob("*.jsonl")):
        print("\n".join(told(path, given.threshold)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
