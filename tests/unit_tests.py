"""Which test files `pytest --unit` runs (`make unit`): those that start no other program, and train no models. Derived from what a file
imports, so that no test needs a mark."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent
SLOW_FOLDERS = (TESTS / "benchmarks", TESTS / "scikit_learn")  # the second trains models
STARTS_PROGRAMS = re.compile(r"^ *(?:import|from) (?:subprocess|multiprocessing)\b", re.MULTILINE)
OF_TESTS = re.compile(r"^ *from (tests\b[\w.]*) import ([\w, ]+)", re.MULTILINE)


def is_unit(file: Path) -> bool:
    """Neither the file nor a module of tests/ that it imports itself starts programs."""
    if any(folder in file.parents for folder in SLOW_FOLDERS):
        return False
    return not any(map(starts_programs, [file, *imported(file)]))


@cache
def starts_programs(file: Path) -> bool:
    return STARTS_PROGRAMS.search(file.read_text(encoding="utf-8")) is not None


def imported(file: Path) -> list[Path]:
    """The modules of tests/ that a file names in its imports."""
    found = []
    for module, names in OF_TESTS.findall(file.read_text(encoding="utf-8")):
        for name in (module, *(f"{module}.{name.strip()}" for name in names.split(","))):
            path = TESTS.parent / f"{name.replace('.', '/')}.py"
            if path.is_file():
                found.append(path)
    return found
