"""What moved: the newest line of each history beside the one before it. `make bench` ends with it.

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


def keep_micro(path: Path) -> None:
    """One line of the micro benchmarks' medians, in us."""
    told = json.loads(path.read_text("utf-8"))
    report = Report(0, 0.0)
    report.numbers["median_us"] = {one["name"]: round(one["stats"]["median"] * 1e6, 3) for one in told["benchmarks"]}
    append(MICRO, report, {}, {})


def numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Every figure of a line's results, with the way to it; how many requests there were is none."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key != "requests":
                yield from numbers(inner, f"{name} / {key}" if name else str(key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, float(value)


def moved(before: dict[str, Any], after: dict[str, Any], threshold: float) -> Iterator[str]:
    """The figures that are more than `threshold` away from what they were, as sentences; those of sections that both lines have."""
    old = dict(numbers(before["results"]))
    for name, now in numbers(after["results"]):
        was = old.get(name)
        if was and abs(now / was - 1) > threshold:
            yield f"{name}: {was:,.4g} -> {now:,.4g} ({now / was - 1:+.0%})"


def told(path: Path, threshold: float) -> Iterator[str]:
    """What a history says, its newest line against the newest before it that has results in common."""
    lines = [json.loads(text) for text in path.read_text("utf-8").splitlines()]
    if len(lines) < 2:
        yield f"{path.stem}: {'one run' if lines else 'no run'}, nothing to compare with"
        return
    after = lines[-1]
    before = next((line for line in reversed(lines[:-1]) if line["results"].keys() & after["results"].keys()), lines[-2])
    yield f"{path.stem}: {before['commit']} ({before['time'][:10]}) -> {after['commit']} ({after['time'][:10]})"
    if before["machine"] != after["machine"]:
        yield "  another machine: compare ratios within a run only"
    found = list(moved(before, after, threshold))
    yield from (f"  {sentence}" for sentence in found or [f"nothing moved by more than {threshold:.0%}"])


def main() -> int:
    parser = argparse.ArgumentParser(description="Says what moved between the two newest lines of each history.")
    parser.add_argument("--micro", type=Path, help="what pytest --benchmark-json wrote: kept as a line first")
    parser.add_argument("--threshold", type=float, default=0.1, help="a share; smaller moves are not told (default 0.1)")
    given = parser.parse_args()
    if given.micro:
        keep_micro(given.micro)
    for name in ("micro", "server_cost", "bench_check"):
        if (path := FOLDER / f"{name}.jsonl").exists():
            print("\n".join(told(path, given.threshold)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
