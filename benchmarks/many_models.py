"""What 1,000 models cost a server that is asked for one of them: loading, memory, idle CPU, a request, and a scrape of the metrics.

    python benchmarks/many_models.py [--sections models,trained] [--rounds 5] [--no-history]

A server of one model runs beside it, and is asked in turn. Every answer is checked. One line is appended to
benchmarks/history/many_models.jsonl.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import sections
import servers
import workloads
from load import Load, Target, cpu_ns, drive, requests_for, rss_bytes
from record import ROOT, Report
from server_cost import Checker, answer_of, checked
from servers import Running
from workloads import INFER_PATH, Workload

HISTORY = Path(__file__).resolve().parent / "history" / "many_models.jsonl"
MODELS = 1000
IDLE_S = 10.0
LONE_REQUESTS, LONE_PAUSE_S = 1000, 0.003
LOAD, LOAD_S = Load(8, 1), 1.0
BETWEEN_SCRAPES_S = 0.3  # pages are made a few a second


def models(report: Report, folder: Path) -> None:
    """1,000 models of one node, beside a server of one of them."""
    measure(report, folder, "models", workloads.identity(folder / "repository"))


def trained(report: Report, folder: Path) -> None:
    """The same of 1,000 networks of three layers, each of 20 KB of weights."""
    shutil.copytree(ROOT / "examples" / "models" / "digits", folder / "repository" / "digits")
    value = np.random.default_rng(0).random((1, 8, 8), dtype=np.float32)
    measure(report, folder, "trained", Workload("digits", "image", "probabilities", value))


def measure(report: Report, folder: Path, section: str, workload: Workload) -> None:
    repository, many = folder / "repository", folder / "many"
    model = repository / workload.model / "1" / "model.onnx"
    many.mkdir()
    for number in range(MODELS - 1):
        shutil.copy(model, many / f"model{number}.onnx")
    expected = answer_of(repository, workload)
    with ExitStack() as stack:
        one = stack.enter_context(servers.inferd("one model", [repository], folder))
        all_of_them = stack.enter_context(servers.inferd("many models", [repository, many], folder))
        running = (one, all_of_them)
        load_cpu_s = (cpu_ns(all_of_them.pid) - cpu_ns(one.pid)) / 1e9
        each_kb = (rss_bytes(all_of_them.pid) - rss_bytes(one.pid)) / (MODELS - 1) / 1e3
        checkers = [Checker(server.address, workload, expected) for server in running]
        idle_percent = idle(running)
        cost_us = median_of(report.rounds, lambda: request_us(running, checkers, workload, folder))
        lone_us = median_of(report.rounds, lambda: lone_p99_us(checkers))
        scrapes = [scrape_ms(all_of_them, *encoding) for encoding in (GZIP, PLAIN) for _ in range(report.rounds)]
        gzip_ms, plain_ms = (statistics.median(part) for part in (scrapes[: report.rounds], scrapes[report.rounds :]))
        still_ms, pause_ms = median_of(report.rounds, lambda: longest_ms(all_of_them, checkers[1]))
    report.numbers[section] = {
        "start_s": round(all_of_them.start_s, 2),
        "load_cpu_s": round(load_cpu_s, 2),
        "kb_each": round(each_kb, 1),
        "idle_percent": round(idle_percent[1], 2),
        "cpu_us": round(cost_us[1], 2),
        "cpu_us_one": round(cost_us[0], 2),
        "lone_p99_us": round(lone_us[1], 1),
        "lone_p99_us_one": round(lone_us[0], 1),
        "first_scrape_ms": round(scrapes[0], 1),
        "scrape_gzip_ms": round(gzip_ms, 1),
        "scrape_ms": round(plain_ms, 1),
        "longest_ms_in_scrape": round(pause_ms, 2),
        "longest_ms": round(still_ms, 2),
    }
    ratio, p99_ratio = cost_us[1] / cost_us[0], lone_us[1] / lone_us[0]
    start = f"{all_of_them.start_s:.2f} s ({load_cpu_s:.2f} s of CPU)"
    report.add(f"{section}: exec to ready", "<= 12 s", start, all_of_them.start_s <= 12)
    report.add(f"{section}: memory of each", "<= 200 KB", f"{each_kb:.0f} KB", each_kb <= 200)
    report.add(f"{section}: idle CPU", "<= 1 %", f"{idle_percent[1]:.2f} % (one model {idle_percent[0]:.2f})", idle_percent[1] <= 1)
    cost = f"{ratio:.2f} ({cost_us[1]:.1f} us, {cost_us[0]:.1f})"
    report.add(f"{section}: CPU a request against one model's", "<= 1.1", cost, ratio <= 1.1)
    lone = f"{p99_ratio:.2f} ({lone_us[1]:.0f} us, {lone_us[0]:.0f})"
    report.add(f"{section}: a lone request's p99 against one model's", "<= 1.2", lone, p99_ratio <= 1.2)
    scraped = f"{gzip_ms:.0f} ms with gzip, {plain_ms:.0f} plain (the first one {scrapes[0]:.0f})"
    report.add(f"{section}: a scrape", "<= 100 ms", scraped, gzip_ms <= 100)
    pause = f"{pause_ms:.1f} ms (without {still_ms:.1f})"
    report.add(f"{section}: a request's longest wait in a scrape", "<= 5 ms more", pause, pause_ms - still_ms <= 5)


def median_of(rounds: int, measured: Callable[[], Sequence[float]]) -> list[float]:
    """Of each figure, over the rounds."""
    return [statistics.median(found) for found in zip(*(measured() for _ in range(rounds)), strict=True)]


def idle(running: Sequence[Running]) -> list[float]:
    """Each server's share of a core, in percent, while nobody asks."""
    before = [cpu_ns(server.pid) for server in running]
    time.sleep(IDLE_S)
    return [(cpu_ns(server.pid) - busy_ns) / 1e7 / IDLE_S for server, busy_ns in zip(running, before, strict=True)]


def request_us(running: Sequence[Running], checkers: Sequence[Checker], workload: Workload, folder: Path) -> list[float]:
    """Each server's CPU a request, of a load of so many that the first one takes LOAD_S."""
    body = workload.write_body(folder)
    targets = [Target(f"http://{server.address}{INFER_PATH}", body) for server in running]
    requests = requests_for(running[0].pid, targets[0], LOAD, LOAD_S)
    return [
        checked(checker, lambda server=server, target=target: drive(server.pid, target, LOAD, requests)).cpu_us
        for server, target, checker in zip(running, targets, checkers, strict=True)
    ]


def lone_p99_us(checkers: Sequence[Checker]) -> list[float]:
    """Each server's, of requests that come one at a time, to the servers in turn, with a pause before each."""
    found: list[list[float]] = [[] for _ in checkers]
    for _ in range(LONE_REQUESTS):
        for checker, durations in zip(checkers, found, strict=True):
            time.sleep(LONE_PAUSE_S)
            durations.append(timed_ms(checker.check) * 1e3)
    return [float(np.quantile(durations, 0.99)) for durations in found]


PLAIN, GZIP = (), ("-H", "Accept-Encoding: gzip")


def scrape_ms(server: Running, *encoding: str, path: str = "/metrics") -> float:
    """How long curl takes for the page."""
    time.sleep(BETWEEN_SCRAPES_S)
    command = ["curl", "-s", "-f", "-o", "/dev/null", "-w", "%{time_total}", *encoding, f"http://{server.metrics}{path}"]
    return 1e3 * float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def longest_ms(server: Running, checker: Checker) -> list[float]:
    """The longest of the requests that come one after the other, without a scrape and during one. Without, curl asks for a page of one
    line: to start a process holds up this one for some milliseconds."""
    ended, durations = threading.Event(), []

    def ask() -> None:
        while not ended.is_set():
            durations.append(timed_ms(checker.check))

    found = []
    for path in ("/", "/metrics"):
        ended.clear()
        durations.clear()
        asking = threading.Thread(target=ask)
        asking.start()
        scrape_ms(server, *GZIP, path=path)
        ended.set()
        asking.join()
        found.append(max(durations))
    return found


def timed_ms(done: Callable[[], object]) -> float:
    begun_ns = time.perf_counter_ns()
    done()
    return (time.perf_counter_ns() - begun_ns) / 1e6


SECTIONS = {section.__name__: section for section in (models, trained)}


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
