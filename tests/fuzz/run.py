"""Runs the fuzzers: libFuzzer over functions of tests/fuzz/targets, in this process, guided by the coverage of the native modules.

    make fuzz [FUZZ_SECONDS=10] [FUZZ_TARGETS='http2 codec']
    make fuzz FUZZ_CAMPAIGN=1 [FUZZ_SANITIZE=address,undefined] [FUZZ_SECONDS=540]
    python tests/fuzz/run.py [TARGET[:RUNS] ...] [--seconds 10 | --runs 1000000] [--grown build/fuzz/corpus] [--keep] [--history]

A campaign runs each target until it has the executions of CAMPAIGN, over several calls where --seconds ends one before that: those of the
same code are added up, and the seconds are shared by the targets that lack some. The call that completes it appends the line of history.

Each target has a process of its own, and begins with its committed corpus, its seeds, and what earlier runs found (--grown). --keep makes
the committed corpus of all that anew, as few and as small inputs as reach everything that is reached. A crash leaves its input in
tests/fuzz/crashes/TARGET: mend what it shows, and commit the file; test_corpus.py tries it from then on. The table at the end is printed,
and with --history one line of it appended to benchmarks/history/fuzz.jsonl.

Never in here: what a right result is.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz import corpus

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
HISTORY = ROOT / "benchmarks" / "history" / "fuzz.jsonl"
SANITIZED = "libclang_rt.asan" in os.environ.get("LD_PRELOAD", "")
TARGETS = tuple(sorted(path.stem for path in (HERE / "targets").glob("*.py") if path.stem not in ("__init__", "wires")))
MAX_INPUT_NBYTES = 4096  # unless a target has its own
MAX_INPUT_S = 10  # one that takes longer is a hang
MAX_MEMORY_MB = 2048
# Executions of each target in a campaign: where bytes come from any client most, and as many as are made in some seconds of the others.
CAMPAIGN = {
    "http2": 1_000_000,
    "http1": 1_000_000,
    "framing": 1_000_000,
    "codec": 1_000_000,
    "rest": 1_000_000,
    "response": 1_000_000,
    "records": 1_000_000,
    "tls": 100_000,
}
CAMPAIGN_OTHERS = 50_000
LEAST_PIECE_S = 10  # in which libFuzzer does more than read its corpus


@dataclass(frozen=True)
class Result:
    """What came of one target. reached, all: edges of its native modules; lines of its Python ones."""

    runs: int
    seconds: float
    crashes: int
    inputs: int
    reached: int
    all: int
    lines_reached: int
    lines: int

    @property
    def runs_s(self) -> float:
        return self.runs / self.seconds if self.seconds else 0.0

    def after(self, earlier: Result) -> Result:
        """Of both runs; what is reached is this one's, which has the inputs of the other."""
        crashes, seconds = self.crashes + earlier.crashes, round(self.seconds + earlier.seconds, 1)
        return replace(self, runs=self.runs + earlier.runs, seconds=seconds, crashes=crashes)


# ---------------------------------------------------------------------------------------------------------------------
# One target, in a process of its own


def loaded_driver() -> Any:
    """The module that is libFuzzer. Instrumented modules can be imported once it is there."""
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | os.RTLD_GLOBAL)
    driver = importlib.import_module("fuzz_driver")
    sys.setdlopenflags(flags)
    return driver


def drive(name: str, arguments: list[str]) -> None:
    """Ends the process."""
    driver = loaded_driver()
    target: Any = importlib.import_module(f"tests.fuzz.targets.{name}")
    if files := watched_files(target):
        driver.watch({file: max(numbers) for file, numbers in files.items()})
    driver.run([name, *arguments], target.check, getattr(target, "mutate", None))


def measure(name: str, folders: list[str]) -> None:
    """Prints how many inputs there are, the edges that they reach and all there are, the same of lines, and those inputs that are needed to
    reach all of that, the smallest first."""
    driver = loaded_driver()
    target: Any = importlib.import_module(f"tests.fuzz.targets.{name}")
    files = watched_files(target)
    lines = driver.watch({file: max(numbers) for file, numbers in files.items()})
    edges = [edges_of(module) for module in target.MODULES]
    counters = [np.frombuffer(each, np.uint8) for each in (*edges, lines)]
    reached = [np.zeros(len(each), bool) for each in counters]
    paths = sorted((path for folder in folders for path in Path(folder).iterdir()), key=lambda path: (path.stat().st_size, path.name))
    needed = []
    for path in paths:
        for each in counters:
            each[:] = 0
        target.check(path.read_bytes())
        if any(np.any((each > 0) & ~seen) for seen, each in zip(reached, counters, strict=True)):
            needed.append(str(path))
        for seen, each in zip(reached, counters, strict=True):
            seen |= each > 0
    counts = [int(each.sum()) for each in reached]
    every_line = sum(len(numbers) for numbers in files.values())
    print(json.dumps([[len(paths), sum(counts[:-1]), sum(map(len, edges)), counts[-1], every_line], needed]))


def edges_of(module: str) -> Any:
    """A native module's counters, one an edge, where they lie."""
    file = importlib.import_module(f"inferd._core.{module}").__file__
    plain = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # which is for Python alone
    listed = subprocess.run(["nm", file], env=plain, capture_output=True, text=True, check=True).stdout
    offsets = {name: int(offset, 16) for offset, name in re.findall(r"^(\w+) \w (\w+)$", listed, re.MULTILINE)}
    known = f"PyInit_{module.rpartition('.')[2]}"
    base = ctypes.cast(getattr(ctypes.PyDLL(file), known), ctypes.c_void_p).value - offsets[known]
    begin, end = offsets["__start___sancov_cntrs"], offsets["__stop___sancov_cntrs"]
    return (ctypes.c_uint8 * (end - begin)).from_address(base + begin)


def watched_files(target: Any) -> dict[str, set[int]]:
    """The Python files whose lines guide a target -> the numbers of the lines that can run."""
    found = {}
    for name in getattr(target, "LINES", ()):
        file = str(importlib.import_module(name).__file__)
        found[file] = set(lines_of(compile(Path(file).read_text(), file, "exec")))
    return found


def lines_of(code: Any) -> set[int]:
    """Of the functions that a file defines; it and its classes run when it is imported, before anything is looked at."""
    numbers: set[int] = set()
    for inner in code.co_consts:
        if hasattr(inner, "co_lines"):
            if inner.co_flags & inspect.CO_OPTIMIZED:
                numbers |= {line for _, _, line in inner.co_lines() if line}
            numbers |= lines_of(inner)
    return numbers


# ---------------------------------------------------------------------------------------------------------------------
# All of them


class Fuzzer:
    """One target's folders, and libFuzzer's runs over them."""

    def __init__(self, name: str, grown: Path) -> None:
        self.name = name
        self.module: Any = importlib.import_module(f"tests.fuzz.targets.{name}")
        self.committed = grown / "committed" / name  # libFuzzer reads folders
        self.crashes = HERE / "crashes" / name
        self.grown = grown / name
        self.seeds = grown / "seeds" / name
        shutil.rmtree(self.committed, ignore_errors=True)
        for folder in (self.committed, self.crashes, self.grown, self.seeds):
            folder.mkdir(parents=True, exist_ok=True)
        for name_of_input, content in corpus.read(name).items():
            (self.committed / name_of_input).write_bytes(content)
        for number, seed in enumerate(self.module.seeds()):
            (self.seeds / str(number)).write_bytes(seed)
        self.dictionary = grown / f"{name}.dict"
        self.dictionary.write_text("".join(f'"{quoted(word)}"\n' for word in self.module.DICTIONARY))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(Path(__file__)), "--drive", self.name, *arguments]

    def start(self, *arguments: str) -> str:
        """What libFuzzer said."""
        done = subprocess.run(self.command(*arguments), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        return done.stderr.decode(errors="replace")

    def fuzz(self, seconds: int, runs: int) -> Result:
        before = set(self.crashes.iterdir())
        began = time.monotonic()
        said = self.start(
            f"-max_total_time={seconds}",
            f"-runs={runs}",
            f"-max_len={getattr(self.module, 'MAX_INPUT_NBYTES', MAX_INPUT_NBYTES)}",
            f"-timeout={MAX_INPUT_S}",
            f"-rss_limit_mb={MAX_MEMORY_MB}",
            f"-dict={self.dictionary}",
            f"-artifact_prefix={self.crashes}/",
            "-print_final_stats=1",
            "-use_value_profile=1",
            "-entropic=0",  # which takes half of the time where inputs reach as much as here
            "-print_funcs=0",  # each one new would start a symbolizer
            "-reload=0",
            *map(str, (self.grown, self.committed, self.seeds)),
        )
        took = round(time.monotonic() - began, 1)
        crashes = len(set(self.crashes.iterdir()) - before)
        executed = re.search(r"stat::number_of_executed_units: (\d+)", said)
        if crashes or executed is None:
            print(said[-6000:], file=sys.stderr)
        return Result(int(executed[1]) if executed else 0, took, crashes or int(executed is None), *self.coverage()[0])

    def coverage(self) -> tuple[list[int], list[str]]:
        """Of all inputs: how many they are and what they reach, see Result; and those that are needed for that."""
        folders = [str(folder) for folder in (self.grown, self.committed, self.seeds)]
        command = [sys.executable, __file__, "--measure", self.name, *folders]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        counts, needed = json.loads(done.stdout.splitlines()[-1])
        return counts, needed

    def keep(self) -> None:
        """The committed corpus anew: of all inputs those that are needed."""
        corpus.write(self.name, [Path(path).read_bytes() for path in self.coverage()[1]])


class Campaign:
    """What the calls of a campaign have done so far, in a file. Executions count as long as the target and what it runs stay the same."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.done: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}

    def missing(self, fuzzer: Fuzzer) -> int:
        """Executions."""
        found = self.done.get(fuzzer.name)
        runs = found["result"]["runs"] if found and found["code"] == code_of(fuzzer.module) else 0
        return max(0, CAMPAIGN.get(fuzzer.name, CAMPAIGN_OTHERS) - runs)

    def add(self, fuzzer: Fuzzer, result: Result) -> Result:
        code = code_of(fuzzer.module)
        if (found := self.done.get(fuzzer.name)) and found["code"] == code:
            result = result.after(Result(**found["result"]))
        self.done[fuzzer.name] = {"code": code, "result": asdict(result)}
        self.file.write_text(json.dumps(self.done, indent=1))
        return result

    def result(self, fuzzer: Fuzzer) -> Result:
        return Result(**self.done[fuzzer.name]["result"])


def code_of(target: Any) -> str:
    files = [str(target.__file__), *(str(importlib.import_module(f"inferd._core.{name}").__file__) for name in target.MODULES)]
    files += [str(importlib.import_module(name).__file__) for name in getattr(target, "LINES", ())]
    return corpus.name_of(b"".join(Path(file).read_bytes() for file in files))


def carry_on(names: Sequence[str], campaign: Campaign, seconds: int, grown: Path) -> dict[str, Result] | None:
    """The results of all of these targets; None where some lack executions, which share the seconds."""
    until = time.monotonic() + seconds
    fuzzers = [Fuzzer(name, grown) for name in names]
    lacking = [fuzzer for fuzzer in fuzzers if campaign.missing(fuzzer)]
    for place, fuzzer in enumerate(lacking):
        share = max(LEAST_PIECE_S, int(until - time.monotonic()) // (len(lacking) - place)) if seconds else 0
        result = campaign.add(fuzzer, fuzzer.fuzz(share, campaign.missing(fuzzer)))
        missing = f"{campaign.missing(fuzzer):>12,} to go" if campaign.missing(fuzzer) else ""
        print(table({fuzzer.name: result}).splitlines()[1] + missing, flush=True)
    return None if any(map(campaign.missing, fuzzers)) else {fuzzer.name: campaign.result(fuzzer) for fuzzer in fuzzers}


def quoted(word: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in word)


def table(results: dict[str, Result]) -> str:
    rows = [f"{'target':<14}{'runs':>12}{'runs/s':>9}{'crashes':>9}{'inputs':>8}{'edges':>14}{'lines':>12}"]
    for name, each in results.items():
        edges = f"{each.reached}/{each.all}" if each.all else "-"
        lines = f"{each.lines_reached}/{each.lines}" if each.lines else "-"
        rows.append(f"{name:<14}{each.runs:>12,}{each.runs_s:>9,.0f}{each.crashes:>9}{each.inputs:>8}{edges:>14}{lines:>12}")
    runs, crashes = sum(each.runs for each in results.values()), sum(each.crashes for each in results.values())
    return "\n".join([*rows, f"{'all':<14}{runs:>12,}{'':>9}{crashes:>9}"])


def keep_history(results: dict[str, Result]) -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    os.environ.pop("LD_PRELOAD", None)  # the sanitizer is for this process: git and others that the record asks do without
    record: Any = importlib.import_module("record")
    report = record.Report(0, 0.0)
    report.numbers = {name: asdict(result) for name, result in results.items()}
    record.append(HISTORY, report, {"sanitized": SANITIZED})


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs the fuzzers.")
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}, or with a limit of its own: http2:100000; all by default")
    parser.add_argument("--seconds", type=int, default=10, help="for each target, of a campaign for all; 0: no limit (default 10)")
    parser.add_argument("--runs", type=int, default=-1, help="of each target; -1: no limit (default)")
    parser.add_argument("--grown", type=Path, default=ROOT / "build" / "fuzz" / "corpus", help="inputs that runs find stay here")
    parser.add_argument("--keep", action="store_true", help="make the committed corpus anew")
    parser.add_argument("--history", action="store_true", help="append a line to benchmarks/history/fuzz.jsonl")
    parser.add_argument("--campaign", action="store_true", help="each target until it has as many executions as CAMPAIGN says")
    given = parser.parse_args()
    loaded_driver()
    if given.campaign:
        campaign = Campaign(given.grown / f"campaign{'-sanitized' if SANITIZED else ''}.json")
        done = carry_on(given.targets or TARGETS, campaign, given.seconds, given.grown)
        if done is None:
            return 2
        print("\n" + table(done))
        keep_history(done)
        return 1 if any(result.crashes for result in done.values()) else 0
    results = {}
    for word in given.targets or TARGETS:
        name, _, runs = word.partition(":")
        fuzzer = Fuzzer(name, given.grown)
        results[name] = fuzzer.fuzz(given.seconds, int(runs or given.runs))
        print(table({name: results[name]}).splitlines()[1], flush=True)
        if given.keep:
            fuzzer.keep()
    print("\n" + table(results))
    if given.history:
        keep_history(results)
    return 1 if any(result.crashes for result in results.values()) else 0


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--drive", name, *arguments]:
            drive(name, arguments)
        case ["--measure", name, *folders]:
            measure(name, folders)
        case _:
            raise SystemExit(main())
