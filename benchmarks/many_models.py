"""What 1,000 models cost a server that is asked for one of them: loading, memory, idle CPU, and a lone request's tail.

    python benchmarks/many_models.py [--rounds 5] [--no-history]

A server of one model runs beside it, and is asked in turn. Every answer is checked. One line is appended to
benchmarks/history/many_models.jsonl.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import sections
import servers
import workloads
from load import cpu_ns, rss_bytes
from record import Report
from server_cost import Checker, answer_of

HISTORY = Path(__file__).resolve().parent / "history" / "many_models.jsonl"
MODELS = 1000
IDLE_S = 10.0
LONE_REQUESTS, LONE_PAUSE_S = 1000, 0.003


def models(report: Report, folder: Path) -> None:
    """A server of 1,000 models of which one is asked, beside a server of that one: loading, memory, idle CPU, a lone request."""
    repository, many = folder / "repository", folder / "many"
    workload = workloads.identity(repository)
    model = repository / workload.model / "1" / "model.onnx"
    many.mkdir()
    for number in range(MODELS - 1):
        shutil.copy(model, many / f"model{number}.onnx")
    expected = answer_of(repository, workload)
    with ExitStack() as stack:
        one = stack.enter_context(servers.inferd("one model", [repository], folder))
        all_of_them = stack.enter_context(servers.inferd("many models", [repository, many], folder))
        running = (one, all_of_them)
        checkers = [Checker(server.address, workload, expected) for server in running]
        before = [cpu_ns(server.pid) for server in running]
        time.sleep(IDLE_S)
        idle = [(cpu_ns(server.pid) - busy_ns) / 1e7 / IDLE_S for server, busy_ns in zip(running, before, strict=True)]
        each_kb = (rss_bytes(all_of_them.pid) - rss_bytes(one.pid)) / (MODELS - 1) / 1e3
        p99_us = [statistics.median(found) for found in zip(*(lone_p99_us(checkers) for _ in range(report.rounds)), strict=True)]
    names = ("start_s", "kb_each", "idle_percent", "lone_p99_us", "lone_p99_us_one")
    found = (all_of_them.start_s, each_kb, idle[1], p99_us[1], p99_us[0])
    report.numbers["models"] = {name: round(value, 2) for name, value in zip(names, found, strict=True)}
    report.add(f"{MODELS} models: exec to ready", "reported", f"{all_of_them.start_s:.2f} s")
    report.add(f"{MODELS} models: memory of each", "reported", f"{each_kb:.0f} KB")
    report.add(f"{MODELS} models: idle CPU", "<= 1 %", f"{idle[1]:.2f} % (one model {idle[0]:.2f})", idle[1] <= 1)
    ratio = p99_us[1] / p99_us[0]
    report.add("a lone request's p99 against one model's", "<= 1.2", f"{ratio:.2f} ({p99_us[1]:.0f} us, {p99_us[0]:.0f})", ratio <= 1.2)


def lone_p99_us(checkers: Sequence[Checker]) -> list[float]:
    """Each server's, of requests that come one at a time, to the servers in turn, with a pause before each."""
    found: list[list[float]] = [[] for _ in checkers]
    for _ in range(LONE_REQUESTS):
        for checker, durations in zip(checkers, found, strict=True):
            time.sleep(LONE_PAUSE_S)
            begun_ns = time.perf_counter_ns()
            checker.check()
            durations.append((time.perf_counter_ns() - begun_ns) / 1e3)
    return [float(np.quantile(durations, 0.99)) for durations in found]


SECTIONS = {section.__name__: section for section in (models,)}


def main() -> int:
    asked = sections.parser("Measures what many models cost a server.", SECTIONS, rounds=5)
    asked.add_argument("--note", default="", help="a word for the line of history")
    given = asked.parse_args()
    report = Report(given.rounds, IDLE_S)
    sections.run(report, SECTIONS, given.sections)
    sections.keep(HISTORY, given, report)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
