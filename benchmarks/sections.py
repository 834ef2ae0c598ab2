"""What benchmarks of several sections have in common: their command line, the run of those that were asked for, and its line of history.

Measures nothing.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from record import Report, append

Section = Callable[[Report, Path], None]  # its docstring says what it is about


def parser(
    description: str, sections: Mapping[str, Section], *, seconds: float | None = None, lasts: str = "", rounds: int | None = None
) -> argparse.ArgumentParser:
    """--sections and --no-history; --seconds and --rounds where the benchmark has some. seconds, rounds: their defaults.
    lasts: what takes so many seconds, in words."""
    every = ",".join(sections)

    def named(text: str) -> list[str]:
        names = text.split(",")
        if unknown := sorted(set(names) - set(sections)):
            raise argparse.ArgumentTypeError(f"no such section: {', '.join(unknown)}")
        return names

    made = argparse.ArgumentParser(description=description)
    made.add_argument("--sections", type=named, default=every, help=f"which to run, in order: {every}")
    if rounds is not None:
        made.add_argument("--rounds", type=int, default=rounds, help=f"of each measurement; medians are shown (default {rounds})")
    if seconds is not None:
        made.add_argument("--seconds", type=float, default=seconds, help=f"{lasts} (default {seconds:g})")
    made.add_argument("--no-history", action="store_true", help="print only")
    return made


def run(report: Report, sections: Mapping[str, Section], names: Sequence[str]) -> None:
    """Each in a folder of its own, then the table of all."""
    for name in names:
        print(f"{name}: {sections[name].__doc__}", flush=True)
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
            sections[name](report, Path(folder))
        print(f"  ({time.monotonic() - begun:.0f} s)", flush=True)
    print("\n" + report.table())


def checked(description: str, sections: Mapping[str, Section], history: Path) -> int:
    """The whole of a benchmark that checks, without rounds or seconds. Its exit status: 1 where a limit was not kept."""
    given = parser(description, sections).parse_args()
    report = Report(1, 0.0)
    run(report, sections, given.sections)
    keep(history, given, report)
    return 0 if report.kept else 1


def keep(history: Path, given: argparse.Namespace, report: Report, programs: Mapping[str, str] = {}) -> None:
    """The line of history, unless --no-history says that there is none. What was asked stands in it by the names of the flags."""
    asked = vars(given).copy()
    if not asked.pop("no_history"):
        append(history, report, asked | {"load_1m": report.load_1m}, programs)
