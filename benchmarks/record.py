"""What a benchmark leaves behind: rows for people, numbers for the history, and on what machine with which versions. Measures nothing."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import servers

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Report:
    """Rows for people, numbers for the history."""

    rounds: int
    seconds: float
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)
    load_1m: float = field(default_factory=lambda: round(os.getloadavg()[0], 2))  # of the machine, before anything is measured

    def add(self, what: str, asked: str, measured: str, kept: bool | None = None) -> None:
        verdict = "" if kept is None else "yes" if kept else "NO"
        self.rows.append((what, asked, measured, verdict))
        print(f"  {what}: {measured}" + (f"  (asked {asked}: {verdict or 'reported'})" if asked else ""), flush=True)

    @property
    def kept(self) -> bool:
        """Whether all was kept that was asked."""
        return all(verdict != "NO" for *_, verdict in self.rows)

    def table(self) -> str:
        heading = ("measurement", "asked", "measured", "kept")
        widths = [max(len(row[column]) for row in (heading, *self.rows)) for column in range(4)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (heading, *self.rows)]
        return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def append(
    history: Path, report: Report, settings: Mapping[str, Any], programs: Mapping[str, str] = {}, packages: Sequence[str] = ()
) -> None:
    """One line of a history. programs: those that took part, and the flag that makes each say its version. packages: Python's, as well."""
    line: dict[str, Any] = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "commit": commit(), **settings}
    line |= {"machine": machine(), "versions": versions(programs, packages), "results": report.numbers, "table": report.rows}
    history.parent.mkdir(exist_ok=True)
    with history.open("a") as lines:
        lines.write(json.dumps(line) + "\n")


def output_of(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    return (done.stdout + done.stderr).strip()


OURS = ("inferd", "onnxruntime", "grpcio", "protobuf", "numpy", "uvloop")


def versions(programs: Mapping[str, str], packages: Sequence[str] = ()) -> dict[str, str]:
    """Of what is there: what is not took no part. inferd itself may be the tree's, without being installed."""
    found = {"python": platform.python_version()}
    for package in (*OURS, *packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            if package == "inferd":
                found[package] = "in place"
    for program, flag in programs.items():
        if shutil.which(program):
            found[program] = output_of(program, flag).split("/")[-1]
    return found


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return {"cpu": model, "cores": servers.cores(), "kernel": platform.release().split("-")[0]}


def commit() -> str:
    dirty = output_of("git", "status", "--porcelain", "--untracked-files=no")
    return output_of("git", "rev-parse", "--short", "HEAD") + ("+" if dirty else "")
