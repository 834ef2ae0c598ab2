"""What a request costs the server, beside its yardsticks, in one interleaved run on one machine.

    python benchmarks/server_cost.py [--sections tiny,image,resnet50,mixed,memory,start] [--rounds 5] [--seconds 1.5] [--no-history]

Every figure is the median of the rounds. CPU is the server process's user + system time by the kernel's own clock,
divided by the requests. h2load is the client, on the same cores. Before and after each measurement tritonclient
checks an answer by value, and the model's own statistics must have counted every request as a success: h2load itself would
not notice a server that answers nothing but errors. The table is printed, and one line appended to
benchmarks/history/server_cost.jsonl.

Yardsticks: nghttpd serves a static file of 120 bytes, nginx answers `return 200`; neither reads a body nor runs a model.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dev_packages  # noqa: F401
import numpy as np
import onnxruntime
import sections
import servers
import tritonclient.grpc
import workloads
from load import Load, Run, Target, drive, missing_programs, requests_for, rss_bytes
from record import ROOT, Report
from servers import Running
from workloads import INFER_PATH, Workload

HISTORY = Path(__file__).resolve().parent / "history" / "server_cost.jsonl"
PROGRAMS = {"nghttpd": "--version", "h2load": "--version", "nginx": "-v"}
TINY_LOADS = (Load(4, 16), Load(64, 1), Load(8, 1), Load(1, 1, pinned=True))
NATIVE, FIVE_MODELS, NO_INLINE, GRPCIO = "native", "native, five models", "native, no inline", "grpcio"
FLAGS = {
    NATIVE: ["--transport", "native"],
    FIVE_MODELS: ["--transport", "native"],
    NO_INLINE: ["--transport", "native", "--inline", "off"],
    GRPCIO: ["--transport", "grpcio"],
}
MOST_TIMES = dict(zip(TINY_LOADS, (1.2, 1.2, 1.25, 1.6), strict=True))  # nghttpd's CPU


class Checker:
    """A real client beside the load: the answers are right, and every request was one."""

    def __init__(self, address: str, workload: Workload, expected: Any) -> None:
        self.client = tritonclient.grpc.InferenceServerClient(address)
        self.workload = workload
        self.expected = expected

    def check(self) -> None:
        value = self.workload.value
        tensor = tritonclient.grpc.InferInput(self.workload.input, list(value.shape), "FP32")
        tensor.set_data_from_numpy(value)
        answer = self.client.infer(self.workload.model, [tensor], client_timeout=60).as_numpy(self.workload.output)
        np.testing.assert_allclose(answer, self.expected, rtol=1e-4, atol=1e-5)

    def successes(self) -> int:
        count: int = self.client.get_inference_statistics(self.workload.model).model_stats[0].inference_stats.success.count
        return count

    @contextmanager
    def counting(self, requests: Callable[[], int]) -> Iterator[None]:
        """In the block the server answers `requests()` requests, each with a result."""
        self.check()
        before = self.successes()
        yield
        answered = self.successes() - before
        if answered != requests():
            raise RuntimeError(f"h2load sent {requests()} requests to {self.workload.model}, the server answered {answered} with a result")
        self.check()


def checked(checker: Checker, measure: Callable[[], Run]) -> Run:
    runs: list[Run] = []
    with checker.counting(lambda: runs[0].requests):
        runs.append(measure())
    return runs[0]


def in_process(repository: Path, workload: Workload, threads: int = 0) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(repository / workload.model / "1" / "model.onnx", options, providers=["CPUExecutionProvider"])


def answer_of(repository: Path, workload: Workload) -> Any:
    return in_process(repository, workload).run([workload.output], {workload.input: workload.value})[0]


def median(runs: list[Run], name: str) -> float:
    return float(statistics.median(getattr(run, name) for run in runs))


def figures(runs: list[Run]) -> str:
    return f"{median(runs, 'cpu_us'):.2f} us CPU, {median(runs, 'requests_s'):,.0f}/s, mean {median(runs, 'mean_us'):.0f} us"


def as_numbers(runs: list[Run]) -> dict[str, float]:
    names = ("cpu_us", "requests_s", "mean_us", "minor_faults", "switches")
    return {name: round(median(runs, name), 3) for name in names} | {"requests": runs[0].requests}


# ---------------------------------------------------------------------------------------------------------------------
# Sections


def tiny(report: Report, folder: Path) -> None:
    """identity FP32[1,16] under four shapes of traffic, on every transport, between the yardsticks."""
    repository = folder / "repository"
    workload = workloads.identity(repository)
    body = workload.write_body(folder)
    expected = answer_of(repository, workload)
    others = folder / "others"
    others.mkdir()
    for number in range(4):
        shutil.copy(repository / workload.model / "1" / "model.onnx", others / f"model{number}.onnx")
    with ExitStack() as stack:
        running: list[Running] = [stack.enter_context(servers.nghttpd(folder))]
        if shutil.which("nginx"):
            running.append(stack.enter_context(servers.nginx(folder)))
        for name, flags in FLAGS.items():
            folders = [repository, others] if name == FIVE_MODELS else [repository]
            running.append(stack.enter_context(servers.inferd(name, folders, folder, *flags)))
        checkers = {server.name: Checker(server.address, workload, expected) for server in running if server.name in FLAGS}
        for load in TINY_LOADS:
            runs = tiny_runs(report, load, running, checkers, body)
            report.numbers.setdefault("tiny", {})[str(load)] = {name: as_numbers(found) for name, found in runs.items()}
            for name, found in runs.items():
                report.add(f"identity {load}, {name}", "", figures(found))
            judge_tiny(report, load, runs)
    runtime_loop(report, repository, workload)


def tiny_runs(report: Report, load: Load, running: list[Running], checkers: dict[str, Checker], body: Path) -> dict[str, list[Run]]:
    """Rounds of one load; in each round every server has its turn."""
    targets = {
        server.name: Target(f"http://{server.address}{INFER_PATH}", body)
        if server.name in FLAGS
        else Target(f"http://{server.address}/file")
        for server in running
    }
    counts = {server.name: requests_for(server.pid, targets[server.name], load, report.seconds) for server in running}
    runs: dict[str, list[Run]] = {server.name: [] for server in running}
    for _ in range(report.rounds):
        for server in running:

            def measure(server: Running = server) -> Run:
                return drive(server.pid, targets[server.name], load, counts[server.name])

            runs[server.name].append(checked(checkers[server.name], measure) if server.name in checkers else measure())
    return runs


def judge_tiny(report: Report, load: Load, runs: dict[str, list[Run]]) -> None:
    cpu = {name: median(found, "cpu_us") for name, found in runs.items()}
    ratio, limit = cpu[NATIVE] / cpu["nghttpd"], MOST_TIMES[load]
    report.add(f"identity {load}: CPU against nghttpd's", f"<= {limit}", f"{ratio:.2f}", ratio <= limit)
    ratio = cpu[FIVE_MODELS] / cpu[NATIVE]
    report.add(f"identity {load}: CPU with five models against one", "<= 1.05", f"{ratio:.2f}", ratio <= 1.05)
    ratio = cpu[NO_INLINE] / cpu["nghttpd"]
    asked, kept = ("<= 2", ratio <= 2) if load == Load(8, 1) else ("reported", None)
    report.add(f"identity {load}: CPU against nghttpd's, inline off", asked, f"{ratio:.2f}", kept)
    if load.pinned:
        switches = median(runs[NO_INLINE], "switches")
        report.add(f"identity {load}: voluntary switches a request, inline off", "<= 2.7", f"{switches:.2f}", switches <= 2.7)
    if (load.connections, load.streams) == (4, 16):
        rate = median(runs[NATIVE], "requests_s") / median(runs["nghttpd"], "requests_s")
        report.add(f"identity {load}: requests/s against nghttpd's", ">= 0.6", f"{rate:.2f}", rate >= 0.6)
        times = cpu[GRPCIO] / cpu[NATIVE]
        report.add(f"identity {load}: grpcio's CPU against native's", ">= 30", f"{times:.1f}", times >= 30)


def runtime_loop(report: Report, repository: Path, workload: Workload) -> None:
    """The floor: ONNX Runtime alone, in a Python loop over buffers bound once."""
    session = in_process(repository, workload, threads=1)
    for rows in (1, 32):
        binding = session.io_binding()
        value = np.repeat(workload.value, rows, axis=0)
        binding.bind_ortvalue_input(workload.input, onnxruntime.OrtValue.ortvalue_from_numpy(value))
        binding.bind_ortvalue_output(workload.output, onnxruntime.OrtValue.ortvalue_from_numpy(np.empty_like(value)))
        found = []
        for _ in range(report.rounds):
            begun = time.process_time_ns()
            for _ in range(20_000):
                session.run_with_iobinding(binding)
            found.append((time.process_time_ns() - begun) / 20_000e3)
        run_us = statistics.median(found)
        report.numbers.setdefault("runtime_loop_us", {})[str(rows)] = round(run_us, 3)
        report.add(f"identity in process, {rows} rows a run", "", f"{run_us:.2f} us CPU a run, {run_us / rows:.3f} a row")


def image(report: Report, folder: Path) -> None:
    """602 KB a request into a model that pools it."""
    repository = folder / "repository"
    workload = workloads.pool(repository)
    body = workload.write_body(folder)
    expected = answer_of(repository, workload)
    load = Load(4, 2)
    runs: dict[str, list[Run]] = {NATIVE: [], GRPCIO: []}
    with ExitStack() as stack:
        running = {name: stack.enter_context(servers.inferd(name, [repository], folder, *FLAGS[name])) for name in runs}
        targets = {name: Target(f"http://{server.address}{INFER_PATH}", body) for name, server in running.items()}
        checkers = {name: Checker(server.address, workload, expected) for name, server in running.items()}
        counts = {name: requests_for(server.pid, targets[name], load, report.seconds) for name, server in running.items()}
        for _ in range(report.rounds):
            for name, server in running.items():

                def measure(name: str = name, server: Running = server) -> Run:
                    return drive(server.pid, targets[name], load, counts[name])

                runs[name].append(checked(checkers[name], measure))
    report.numbers["image"] = {name: as_numbers(found) for name, found in runs.items()}
    for name, found in runs.items():
        report.add(f"602 KB {load}, {name}", "", figures(found))
    ratio = median(runs[NATIVE], "cpu_us") / median(runs[GRPCIO], "cpu_us")
    report.add("602 KB: CPU against grpcio's", "<= 0.35", f"{ratio:.2f}", ratio <= 0.35)
    faults = median(runs[NATIVE], "minor_faults")
    report.add("602 KB: minor page faults a request", "<= 2", f"{faults:.2f}", faults <= 2)


def resnet50(report: Report, folder: Path) -> None:
    """8 concurrent requests for a real network, against the best loop that needs no server."""
    repository = folder / "repository"
    workload = workloads.resnet50(repository)
    body = workload.write_body(folder)
    session = in_process(repository, workload, threads=servers.cores())
    expected = session.run([workload.output], {workload.input: workload.value})[0]
    load = Load(8, 1)
    seconds = max(report.seconds, 8)  # of 0.3 s a run: with less, the first and the last decide
    probes = {rows: images_s(session, workload, rows, 2) for rows in (1, 2, 4, 8)}
    loops: dict[int, list[float]] = {rows: [] for rows in sorted(probes, key=lambda rows: probes[rows])[-2:]}
    served: list[Run] = []
    with servers.inferd("resnet50", [repository], folder, *FLAGS[NATIVE]) as server:
        target = Target(f"http://{server.address}{INFER_PATH}", body)
        checker = Checker(server.address, workload, expected)
        count = requests_for(server.pid, target, load, seconds)
        before, _ = execution(checker)
        for _ in range(report.rounds):
            served.append(checked(checker, lambda: drive(server.pid, target, load, count)))
            for rows, found in loops.items():
                found.append(images_s(session, workload, rows, seconds))
        runs = execution(checker)[0] - before
    best = max(loops, key=lambda rows: statistics.median(loops[rows]))
    loop = statistics.median(loops[best])
    rate = median(served, "requests_s")
    rows_a_run = sum(run.requests for run in served) / runs
    report.numbers["resnet50"] = {
        "served": as_numbers(served),
        "rows_a_run": round(rows_a_run, 2),
        "in_process_images_s": {str(rows): round(statistics.median(found), 2) for rows, found in loops.items()},
    }
    measured = f"{rate / loop:.3f} ({rate:.1f} images/s, {rows_a_run:.1f} a run; in process {loop:.1f}, {best} a run)"
    report.add("resnet50, 8 concurrent: images/s against the best loop", ">= 0.98", measured, rate / loop >= 0.98)


def images_s(session: onnxruntime.InferenceSession, workload: Workload, rows: int, seconds: float) -> float:
    feed = {workload.input: np.repeat(workload.value, rows, axis=0)}
    begun = time.monotonic()
    images = 0
    while time.monotonic() - begun < seconds:
        session.run([workload.output], feed)
        images += rows
    return images / (time.monotonic() - begun)


def mixed(report: Report, folder: Path) -> None:
    """The tiny model's tail beside a large one in the same server, both loaded."""
    repository = folder / "repository"
    small, large = workloads.identity(repository), workloads.resnet50(repository)
    bodies = {workload.model: workload.write_body(folder) for workload in (small, large)}
    tiny_load, large_load = Load(4, 1), Load(8, 1)
    alone: list[Run] = []
    beside: list[Run] = []
    run_us: list[float] = []
    with servers.inferd("mixed", [repository], folder, *FLAGS[NATIVE]) as server:
        url = f"http://{server.address}{INFER_PATH}"
        checkers = [Checker(server.address, workload, answer_of(repository, workload)) for workload in (small, large)]
        log = folder / "latencies"
        tiny_target, large_target = (Target(url, bodies[workload.model]) for workload in (small, large))
        count = requests_for(server.pid, tiny_target, tiny_load, report.seconds)
        large_count = requests_for(server.pid, large_target, large_load, 2 * report.seconds + 2)
        large_runs: list[Run] = []
        with ExitStack() as counted:
            counted.enter_context(checkers[0].counting(lambda: sum(run.requests for run in alone + beside)))
            counted.enter_context(checkers[1].counting(lambda: sum(run.requests for run in large_runs)))
            for _ in range(report.rounds):
                alone.append(drive(server.pid, tiny_target, tiny_load, count, log))
                background = threading.Thread(target=lambda: large_runs.append(drive(server.pid, large_target, large_load, large_count)))
                before = execution(checkers[1])
                background.start()
                time.sleep(0.3)  # the large model is running when the tiny one's load begins
                beside.append(drive(server.pid, tiny_target, tiny_load, count // 2, log))
                if not background.is_alive():
                    raise RuntimeError("resnet50's load ended before the tiny model's: raise --seconds")
                background.join()
                after = execution(checkers[1])
                run_us.append((after[1] - before[1]) / (after[0] - before[0]) / 1e3)
    p99 = {name: statistics.median(run.quantile_us(0.99) for run in runs) for name, runs in (("alone", alone), ("beside", beside))}
    longest = statistics.median(run.latencies_us[-1] for run in beside)
    large_run = statistics.median(run_us)
    report.numbers["mixed"] = {"p99_us": p99, "beside_max_us": longest, "resnet50_run_us": round(large_run)}
    report.add("tiny model's p99, alone", "reported", f"{p99['alone']:.0f} us")
    measured = f"{p99['beside']:.0f} us (longest {longest:.0f}; a resnet50 run {large_run:.0f})"
    report.add("same, beside resnet50 under load", "< a resnet50 run", measured, p99["beside"] < large_run)


def execution(checker: Checker) -> tuple[int, int]:
    """Runs of the model so far, and ns spent in them."""
    model = checker.client.get_inference_statistics(checker.workload.model).model_stats[0]
    return sum(batch.compute_infer.count for batch in model.batch_stats), sum(batch.compute_infer.ns for batch in model.batch_stats)


def memory(report: Report, folder: Path) -> None:
    """Resident memory after the first 100 thousand requests and after two million."""
    repository = folder / "repository"
    workload = workloads.identity(repository)
    body = workload.write_body(folder)
    with servers.inferd("memory", [repository], folder, *FLAGS[NATIVE]) as server:
        target = Target(f"http://{server.address}{INFER_PATH}", body)
        checker = Checker(server.address, workload, answer_of(repository, workload))
        sizes = []
        for requests in (100_000, 1_900_000):

            def measure(requests: int = requests) -> Run:
                return drive(server.pid, target, Load(4, 16), requests)

            checked(checker, measure)
            sizes.append(rss_bytes(server.pid))
    grown = (sizes[1] - sizes[0]) / 1e6
    report.numbers["memory"] = {"rss_100k_bytes": sizes[0], "rss_2m_bytes": sizes[1]}
    measured = f"{grown:+.2f} MB ({sizes[0] / 1e6:.1f} -> {sizes[1] / 1e6:.1f})"
    report.add("memory from 100 k to 2 M requests", "<= 3 MB", measured, grown <= 3)


def start(report: Report, folder: Path) -> None:
    """From exec until `ready`, with the example models."""
    found = []
    for _ in range(report.rounds):
        with servers.inferd("start", [ROOT / "examples" / "models"], folder) as server:
            found.append(server.start_s)
    start_s = statistics.median(found)
    report.numbers["start_s"] = round(start_s, 3)
    report.add("exec to ready with the example models", "<= 1 s", f"{start_s:.2f} s", start_s <= 1)


SECTIONS = {section.__name__: section for section in (tiny, image, resnet50, mixed, memory, start)}


def main() -> int:
    asked = sections.parser(
        "Measures what a request costs the server, beside its yardsticks.",
        SECTIONS,
        rounds=5,
        seconds=1.5,
        lasts="that one run lasts, about",
    )
    asked.add_argument("--note", default="", help="a word for the line of history")
    given = asked.parse_args()
    os.environ["PATH"] += os.pathsep + "/usr/sbin"
    if missing := missing_programs(["h2load", "nghttpd", "taskset"]):
        print(f"missing programs: {', '.join(missing)}; `make bench` installs them", file=sys.stderr)
        return 2
    report = Report(given.rounds, given.seconds)
    sections.run(report, SECTIONS, given.sections)
    sections.keep(HISTORY, given, report, PROGRAMS)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
