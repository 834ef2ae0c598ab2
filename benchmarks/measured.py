"""The tables of results in README.md and docs/, each from the newest whole line of its history.

    python benchmarks/measured.py            prints them
    python benchmarks/measured.py --write    puts them into the pages (`make tables`)

A line is whole when its run had all sections. Nothing is measured, judged or rounded here.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import glance

ROOT = Path(__file__).resolve().parent.parent
END = "<!-- end -->\n"
MISSING = "in place"  # older lines say so of what was not installed, and took no part


def markdown(line: dict[str, Any]) -> str:
    """Every row of a run, word by word."""
    machine, versions = line["machine"], line["versions"]
    words = [
        f"{line['time'][:10]}, commit {line['commit']}",
        *_rounds(line),
        f"{machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}",
        *([f"load of the machine at the start {line['load_1m']}"] if "load_1m" in line else []),
        ", ".join(f"{name} {version}" for name, version in versions.items() if version != MISSING),
    ]
    rows = ["| measurement | asked | measured | kept |", "|---|---|---|---|"]
    rows += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in line["table"]]
    return "; ".join(words) + ".\n\n" + "\n".join(rows) + "\n"


def _rounds(line: dict[str, Any]) -> list[str]:
    """How often it was measured; nothing of a run that was one."""
    lasted = f" of about {line['seconds']} s" if "seconds" in line else ""
    if "rounds" in line:
        return [f"medians of {line['rounds']} rounds{lasted}"]
    return [f"{line['runs']} runs of each load{lasted}"] if "runs" in line else []


class Published(NamedTuple):
    """A history, the sections that a whole run of it has, and where its table stands."""

    history: Path
    sections: tuple[str, ...]
    page: Path
    begin: str  # the line before the table; END is the one behind it
    render: Callable[[dict[str, Any]], str] = markdown

    def table(self) -> str:
        """The text between the marks."""
        line = self.newest()
        return self.render(line) if line else "No run with all sections is in `benchmarks/history/` yet.\n"

    def newest(self) -> dict[str, Any] | None:
        """The last line whose run had all sections, or None."""
        lines = self.history.read_text("utf-8").splitlines() if self.history.exists() else []
        whole = (line for line in map(json.loads, reversed(lines)) if set(self.sections) <= set(line.get("sections", ())))
        return next(whole, None)

    def with_table(self, text: str, table: str) -> str:
        """The page with another table between its marks."""
        before, _, rest = text.partition(self.begin)
        _, end, after = rest.partition(END)
        if not end:
            raise ValueError(f"{self.page.name} lacks the marks {self.begin.strip()} and {END.strip()}")
        return before + self.begin + table + end + after


COST = ("tiny", "image", "resnet50", "mixed", "memory", "start")

PUBLISHED = (
    Published(
        ROOT / "benchmarks" / "history" / "server_cost.jsonl",
        COST,
        ROOT / "README.md",
        "<!-- written by benchmarks/measured.py server_cost -->\n",
        glance.cost,
    ),
    Published(
        ROOT / "benchmarks" / "history" / "before_after.jsonl",
        ("memory",),
        ROOT / "docs" / "operations.md",
        "<!-- written by benchmarks/measured.py before_after -->\n",
        glance.memory,
    ),
    Published(
        ROOT / "benchmarks" / "history" / "server_cost.jsonl",
        COST,
        ROOT / "docs" / "performance.md",
        "<!-- written by benchmarks/measured.py -->\n",
    ),
    Published(
        ROOT / "benchmarks" / "history" / "large_requests.jsonl",
        ("grpc", "rest", "streams", "left", "slow"),
        ROOT / "docs" / "performance.md",
        "<!-- written by benchmarks/measured.py large_requests -->\n",
    ),
    Published(
        ROOT / "benchmarks" / "history" / "tls_cost.jsonl",
        ("requests", "image", "handshakes", "idle"),
        ROOT / "docs" / "performance.md",
        "<!-- written by benchmarks/measured.py tls_cost -->\n",
    ),
    Published(
        ROOT / "benchmarks" / "history" / "rest_cost.jsonl",
        ("tiny", "image", "held"),
        ROOT / "docs" / "rest.md",
        "<!-- written by benchmarks/measured.py rest_cost -->\n",
    ),
    *(
        Published(
            ROOT / "benchmarks" / "history" / f"{name}.jsonl",
            (),
            ROOT / "docs" / "operations.md",
            f"<!-- written by benchmarks/measured.py {name} -->\n",
        )
        for name in ("rolling_restart", "soak")
    ),
    Published(
        ROOT / "benchmarks" / "history" / "rotation.jsonl",
        ("alone", "mutual", "workers"),
        ROOT / "docs" / "operations.md",
        "<!-- written by benchmarks/measured.py rotation -->\n",
    ),
    Published(
        ROOT / "benchmarks" / "history" / "life_cycle.jsonl",
        ("ripple", "versions", "memory"),
        ROOT / "docs" / "operations.md",
        "<!-- written by benchmarks/measured.py life_cycle -->\n",
    ),
    Published(
        ROOT / "benchmarks" / "history" / "overload.jsonl",
        ("thread", "inline"),
        ROOT / "docs" / "operations.md",
        "<!-- written by benchmarks/measured.py overload -->\n",
    ),
    Published(
        ROOT / "benchmarks" / "history" / "bench_check.jsonl",
        ("agreement", "reach", "stall", "rate"),
        ROOT / "docs" / "measuring.md",
        "<!-- written by benchmarks/measured.py bench_check -->\n",
    ),
    Published(
        ROOT / "benchmarks" / "history" / "compare_check.jsonl",
        ("digits", "work"),
        ROOT / "docs" / "measuring.md",
        "<!-- written by benchmarks/measured.py compare_check -->\n",
    ),
    Published(
        ROOT / "benchmarks" / "history" / "hostile.jsonl",
        (),
        ROOT / "docs" / "security.md",
        "<!-- written by benchmarks/measured.py hostile -->\n",
    ),
    *(
        Published(
            ROOT / "benchmarks" / "history" / f"{name}.jsonl",
            (),
            ROOT / "docs" / "preprocessing.md",
            f"<!-- written by benchmarks/measured.py {name} -->\n",
        )
        for name in ("image_kernel", "image_decode", "image_cost", "text_cost", "table_cost", "step_cost")
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(description="The tables of the documentation, each from the newest whole run of its benchmark.")
    parser.add_argument("--write", action="store_true", help="put them into the pages")
    write = parser.parse_args().write
    for published in PUBLISHED:
        table = published.table()
        if write:
            published.page.write_text(published.with_table(published.page.read_text("utf-8"), table), "utf-8")
        else:
            print(f"{published.page.name}:\n\n{table}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
