"""A program under valgrind's callgrind: how to start it, how to count a stretch of its run, and what a dump says.

Counts user-space instructions. Never in here: what the program serves, or which function belongs where.
"""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SLOW_CLOCK = Path(__file__).resolve().parent / "slow_clock.c"
Function = tuple[str, str]  # object file, function


@dataclass
class Profile:
    """Instructions that each function took itself, and how often each was called."""

    instructions: Counter[Function] = field(default_factory=Counter)
    calls: Counter[Function] = field(default_factory=Counter)

    def add(self, other: Profile) -> None:
        self.instructions.update(other.instructions)
        self.calls.update(other.calls)

    def called(self, *names: str) -> int:
        """Calls of the functions with one of these names, in any object file."""
        return sum(count for (_, name), count in self.calls.items() if name in names)


def parse(lines: Iterable[str]) -> Profile:
    """Reads callgrind's output format (valgrind's manual, "Callgrind Format Specification"): its first event is counted."""
    profile = Profile()
    names: dict[tuple[str, str], str] = {}  # (namespace, "(id)") -> name

    def name_of(kind: str, text: str) -> str:
        """A name stands beside its id once, and later by the id alone."""
        number, _, name = text.partition(" ")
        if not number.startswith("("):
            return text
        if name:
            names[kind, number] = name
        return names[kind, number]

    current, called_object, callee = "", "", ""
    function: Function = ("", "")
    inclusive = False  # the next line of costs is that of a call
    for line in lines:
        key, equals, rest = line.rstrip("\n").partition("=")
        if line[:1].isdigit() or line[:1] in "+-*":
            if not inclusive:
                words = line.split()
                profile.instructions[function] += int(words[1]) if len(words) > 1 else 0
            inclusive = False
        elif not equals:
            continue
        elif key == "ob":
            current = name_of("ob", rest)
        elif key == "fn":
            function = (current, name_of("fn", rest))
        elif key == "cob":
            called_object = name_of("ob", rest)
        elif key == "cfn":
            callee = name_of("fn", rest)
        elif key == "calls":
            profile.calls[called_object or current, callee] += int(rest.split()[0])
            called_object, inclusive = "", True
    return profile


def build_slow_clock(folder: Path) -> Path:
    library = folder / "slow_clock.so"
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run([*compiler, "-O2", "-Wall", "-shared", "-fPIC", "-o", library, SLOW_CLOCK], check=True)
    return library


def command(folder: Path, name: str, core: int) -> list[str]:
    """What goes before a program's own command. The program starts without counting. It has one core: what sizes itself by the number of
    cores is the same on every machine."""
    output = folder / f"{name}.callgrind"
    options = ("--instr-atstart=no", "--dump-line=no", "--fair-sched=yes", f"--callgrind-out-file={output}")
    environment = ("env", f"LD_PRELOAD={build_slow_clock(folder)}", "PYTHONHASHSEED=0")
    return ["taskset", "-c", str(core), *environment, "valgrind", "--quiet", "--tool=callgrind", *options]


def told(pid: int, *words: str) -> None:
    """Sends one of callgrind's monitor commands."""
    subprocess.run(["vgdb", f"--pid={pid}", *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)


@contextmanager
def counting(pid: int) -> Iterator[None]:
    told(pid, "instrumentation", "on")
    try:
        yield
    finally:
        told(pid, "instrumentation", "off")


def dumped(pid: int, folder: Path, name: str) -> Profile:
    """What was counted since the last dump."""
    told(pid, "dump")
    profile = Profile()
    for path in folder.glob(f"{name}.callgrind.*"):
        with path.open() as lines:
            profile.add(parse(lines))
        path.unlink()
    return profile
