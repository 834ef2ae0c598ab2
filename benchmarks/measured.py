"""The table of docs/performance.md, from the newest whole line of benchmarks/history/server_cost.jsonl.

    python benchmarks/measured.py            prints it
    python benchmarks/measured.py --write    puts it into docs/performance.md

A line is whole when its run had all sections. Nothing is measured, judged or rounded here.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HISTORY = ROOT / "benchmarks" / "history" / "server_cost.jsonl"
PAGE = ROOT / "docs" / "performance.md"
SECTIONS = ("tiny", "image", "resnet50", "mixed", "memory", "start")
BEGIN, END = "<!-- written by benchmarks/measured.py -->\n", "<!-- end -->\n"


def newest(history: Path = HISTORY) -> dict[str, Any] | None:
    """The last line whose run had all sections, or None."""
    lines = history.read_text("utf-8").splitlines() if history.exists() else []
    whole = (line for line in map(json.loads, reversed(lines)) if set(SECTIONS) <= set(line["sections"]))
    return next(whole, None)


def markdown(line: dict[str, Any] | None) -> str:
    """What stands between the marks of the page."""
    if line is None:
        return "No run with all sections is in `benchmarks/history/` yet.\n"
    machine, versions = line["machine"], line["versions"]
    words = [
        f"{line['time'][:10]}, commit {line['commit']}",
        f"medians of {line['rounds']} rounds of about {line['seconds']} s",
        f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}",
        f"load of the machine at the start {line['load_1m']}",
        ", ".join(f"{name} {version}" for name, version in versions.items()),
    ]
    rows = ["| measurement | asked | measured | kept |", "|---|---|---|---|"]
    rows += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in line["table"]]
    return "; ".join(words) + ".\n\n" + "\n".join(rows) + "\n"


def with_table(page: str, table: str) -> str:
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{PAGE.name} lacks the marks {BEGIN.strip()} and {END.strip()}")
    return before + BEGIN + table + end + after


def main() -> int:
    parser = argparse.ArgumentParser(description="The table of docs/performance.md, from the newest whole run.")
    parser.add_argument("--write", action="store_true", help="put it into docs/performance.md")
    table = markdown(newest())
    if parser.parse_args().write:
        PAGE.write_text(with_table(PAGE.read_text("utf-8"), table), "utf-8")
    else:
        sys.stdout.write(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
