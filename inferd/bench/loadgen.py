"""MLPerf's LoadGen in a process of its own: it decides when a sample is asked for, gRPC asks, and the parent is told.

A process, for LoadGen cannot be stopped before its time, and what goes wrong in its callbacks ends the program that it is in.
Never in here: what the figures mean (scenarios.py), terminals.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
import time
from collections import Counter, deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from inferd.bench.measurement import Histogram, Interval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection

__all__ = ["Answers", "Ending", "Task", "work"]

METHOD = "/inference.GRPCInferenceService/ModelInfer"
LONGEST_ANSWER_S = 60.0  # where there is no deadline
SILENT_S = 3.0  # a server that cannot be reached for so long is gone
LOOK_S = 0.05  # the parent's word and LoadGen's end are noticed after at most
INTERVAL_S = 1.0
WARM_UP_REQUESTS = 8  # at least
MOST_AT_ONCE = 100_000  # under way
MULTI_STREAM_SAMPLES = 8  # of a query
AHEAD = 1.3  # Offline asks for so many more samples than the warm-up had answers in that time
CHANNEL_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # each channel is a connection
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
)


class Task(NamedTuple):
    """All that the process has to know."""

    scenario: str  # LoadGen's word
    address: str  # as gRPC writes it
    metadata: tuple[tuple[str, str], ...]
    bodies: list[bytes]  # serialized ModelInferRequests: the sample library
    connections: int
    streams: int  # Offline keeps connections * streams under way
    rate: float
    duration_s: float
    warm_up_s: float
    deadline_s: float
    limit_ns: int
    percentile: float
    least_queries: int
    seed: int
    verify_every: int
    folder: str  # of LoadGen's logs


class Answers(NamedTuple):
    """To be checked: number of the body, serialized ModelInferResponse."""

    answers: list[tuple[int, bytes]]


class Ending(NamedTuple):
    """The last word. failure: nothing was measured, and why; ended: why it stopped before its time."""

    failure: str = ""
    ended: str = ""
    duration_s: float = 0.0
    cpu_s: float = 0.0
    errors: dict[str, int] = {}
    messages: dict[str, str] = {}
    took: Histogram = Histogram()  # of what was answered with OK, from the asking
    summary: str = ""  # LoadGen's own
    figures: dict[str, Any] = {}  # what its log says of the result


class Asker:
    """Connections, and what came of all requests."""

    def __init__(self, task: Task) -> None:
        import grpc

        self._bodies = task.bodies
        self._timeout_s = task.deadline_s or LONGEST_ANSWER_S
        self._metadata = task.metadata or None
        self._channels = [grpc.insecure_channel(task.address, options=CHANNEL_OPTIONS) for _ in range(task.connections)]
        self._calls: Iterator[Any] = itertools.cycle([channel.unary_unary(METHOD) for channel in self._channels])
        self._verify_every = task.verify_every
        self.done: deque[tuple[int, str, str]] = deque()  # how long it took, code, message
        self.to_check: deque[tuple[int, bytes]] = deque()
        self.forget()

    def forget(self) -> None:
        """What was asked up to now was the warm-up."""
        self.done.clear()
        self.to_check.clear()
        self._number = itertools.count(1)
        self.first_ns = self.last_ns = 0  # when the first was asked, and the last one over
        self.first_cpu_s = 0.0  # of this process, when the first was asked

    def ask(self, body: int, then: Callable[[], None]) -> None:
        """Sends a request; `then` runs on gRPC's thread once it is over, however that went."""
        asked_ns = time.monotonic_ns()
        if not self.first_ns:
            self.first_ns, self.first_cpu_s = asked_ns, time.process_time()
        call = next(self._calls).future(self._bodies[body], timeout=self._timeout_s, metadata=self._metadata)

        def over(call: Any) -> None:
            self.last_ns = time.monotonic_ns()
            took_ns = self.last_ns - asked_ns
            code = call.code().name
            self.done.append((took_ns, code, "" if code == "OK" else call.details() or ""))
            if code == "OK" and self._verify_every and next(self._number) % self._verify_every == 0:
                self.to_check.append((body, call.result()))
            then()

        call.add_done_callback(over)

    def close(self) -> None:
        for channel in self._channels:
            channel.close()


def work(pipe: Connection, task: Task) -> None:
    """The process. Ctrl-C, which reaches every process of a terminal, is the parent's to answer: any word of it ends the run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asker = Asker(task)
    try:
        rate, fastest_ns = warm_up(task, asker)
    except ConnectionError as error:
        pipe.send(Ending(failure=str(error)))
        return
    report = Report(pipe, asker)
    over = threading.Event()
    threading.Thread(target=run, args=(task, asker, settings(task, rate, fastest_ns), over), daemon=True).start()
    while not over.wait(LOOK_S):
        report.tell()
        if pipe.poll():
            report.end("interrupted")
        elif report.silent_s > SILENT_S:
            report.end(f"nothing is answered any more: {report.last_message}")
    report.end("", *read_logs(Path(task.folder)))
    asker.close()


def warm_up(task: Task, asker: Asker) -> tuple[float, int]:
    """Answers a second in the second half, with as many under way as the scenario has, and the shortest time of one in ns.

    ConnectionError: the first request failed, and how."""
    at_once = {"MultiStream": MULTI_STREAM_SAMPLES, "Offline": task.connections * task.streams}.get(task.scenario, 1)
    first = threading.Event()
    asker.ask(0, first.set)
    first.wait()
    _, code, message = asker.done[0]
    if code != "OK":
        raise ConnectionError(f"{code}: {message}")
    room = threading.Semaphore(at_once)
    begun_s, asked = time.monotonic(), 0
    half_s, half = begun_s, 0
    while asked < WARM_UP_REQUESTS * at_once or time.monotonic() - begun_s < task.warm_up_s:
        room.acquire()
        asker.ask(asked % len(task.bodies), room.release)
        asked += 1
        if asked <= WARM_UP_REQUESTS * at_once // 2 or time.monotonic() - begun_s <= task.warm_up_s / 2:
            half_s, half = time.monotonic(), asked
    for _ in range(at_once):
        room.acquire()
    rate = max(asked - half, 1) / (time.monotonic() - half_s)
    fastest_ns = min(took_ns for took_ns, _, _ in asker.done)
    asker.forget()
    return rate, fastest_ns


def run(task: Task, asker: Asker, chosen: Any, over: threading.Event) -> None:
    """LoadGen, until it has had enough."""
    import mlperf_loadgen as loadgen

    room = threading.Semaphore(task.connections * task.streams if task.scenario == "Offline" else MOST_AT_ONCE)

    def complete(sample: int) -> None:
        loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(sample, 0, 0)])
        room.release()

    def issue(samples: Sequence[Any]) -> None:
        for sample in samples:
            room.acquire()
            asker.ask(sample.index, partial(complete, sample.id))

    output = loadgen.LogOutputSettings()
    output.outdir, output.copy_summary_to_stdout = task.folder, False
    log = loadgen.LogSettings()
    log.log_output, log.enable_trace = output, False
    library = loadgen.ConstructQSL(len(task.bodies), len(task.bodies), _nothing, _nothing)
    under_test = loadgen.ConstructSUT(issue, _nothing)
    loadgen.StartTestWithLogSettings(under_test, library, chosen, log)
    loadgen.DestroySUT(under_test)
    loadgen.DestroyQSL(library)
    over.set()


def _nothing(*_: object) -> None:
    """Samples are in memory already, and nothing waits to be flushed."""


def settings(task: Task, rate: float, fastest_ns: int) -> Any:
    """LoadGen's, by what the warm-up saw. It draws its queries beforehand and is invalid when they are too few for the time: so it is
    told that each takes no longer than the fastest request did."""
    import mlperf_loadgen as loadgen

    chosen = loadgen.TestSettings()
    chosen.scenario = getattr(loadgen.TestScenario, task.scenario)
    chosen.mode = loadgen.TestMode.PerformanceOnly
    chosen.min_duration_ms = max(1, round(task.duration_s * 1e3))
    chosen.min_query_count = task.least_queries
    chosen.qsl_rng_seed, chosen.sample_index_rng_seed, chosen.schedule_rng_seed = task.seed, task.seed + 1, task.seed + 2
    chosen.single_stream_expected_latency_ns = chosen.multi_stream_expected_latency_ns = fastest_ns
    chosen.multi_stream_samples_per_query = MULTI_STREAM_SAMPLES
    chosen.offline_expected_qps = task.rate or rate * AHEAD
    if task.scenario == "Server":
        chosen.server_target_qps = task.rate
        chosen.server_target_latency_ns = task.limit_ns
        chosen.server_target_latency_percentile = task.percentile
    elif task.scenario == "SingleStream":
        chosen.single_stream_target_latency_percentile = task.percentile
    else:
        chosen.multi_stream_target_latency_percentile = task.percentile
    return chosen


def read_logs(folder: Path) -> tuple[str, dict[str, Any]]:
    """The summary as it stands, and the key figures of the detailed log, one JSON object a line."""
    figures = {}
    for line in (folder / "mlperf_log_detail.txt").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(":::MLLOG "):
            entry = json.loads(line.removeprefix(":::MLLOG "))
            if entry["key"].startswith(("result_", "early_stopping", "effective_", "loadgen_version", "num_errors", "error_")):
                figures[entry["key"]] = entry["value"]
    return (folder / "mlperf_log_summary.txt").read_text(encoding="utf-8", errors="replace"), figures


class Report:
    """What the parent is told, once a second and at the end."""

    def __init__(self, pipe: Connection, asker: Asker) -> None:
        self._pipe, self._asker = pipe, asker
        self._begun_s = self._interval_s = self._answered_s = 0.0  # LoadGen draws its queries first, which may take seconds
        self._took, self._recent = Histogram(), Histogram()
        self._errors: Counter[str] = Counter()
        self._messages: dict[str, str] = {}
        self._failed = 0  # in this interval
        self.last_message = ""

    @property
    def silent_s(self) -> float:
        """How long the server was not to be reached."""
        return time.monotonic() - self._answered_s if self.last_message else 0.0

    def tell(self, *, last: bool = False) -> None:
        """Takes what is done, and sends an interval when one is over."""
        now_s = time.monotonic()
        if not self._begun_s and self._asker.first_ns:
            self._begun_s = self._interval_s = self._answered_s = self._asker.first_ns / 1e9
        for took_ns, code, message in drained(self._asker.done):
            if code == "OK":
                self._recent.record(took_ns)
            else:
                self._errors[code] += 1
                self._failed += 1
                self._messages.setdefault(code, message)
            if code == "UNAVAILABLE":
                self.last_message = message
            else:
                self._answered_s, self.last_message = now_s, ""
        if answers := list(drained(self._asker.to_check)):
            self._pipe.send(Answers(answers))
        if not self._begun_s or now_s - self._interval_s < (INTERVAL_S / 4 if last and self._took.count else INTERVAL_S):
            if last:  # so short a rest is no interval
                self._took.add(self._recent)
            return
        recent = self._recent
        begun_s, length_s = self._interval_s - self._begun_s, now_s - self._interval_s
        self._pipe.send(Interval.of(begun_s, length_s, recent.count, self._failed, recent))
        self._took.add(recent)
        self._recent, self._failed, self._interval_s = Histogram(), 0, now_s

    def end(self, ended: str, summary: str = "", figures: dict[str, Any] | None = None) -> None:
        """The last word; one that comes before LoadGen's end ends the process."""
        cpu_s = time.process_time() - self._asker.first_cpu_s
        duration_s = max(0, self._asker.last_ns - self._asker.first_ns) / 1e9
        self.tell(last=True)
        self._pipe.send(
            Ending("", ended, duration_s, cpu_s, dict(self._errors), self._messages, self._took, summary, figures or {}),
        )
        if ended:
            os._exit(0)


def drained(queue: deque[Any]) -> Iterator[Any]:
    """Takes all that is there; others go on appending."""
    while queue:
        yield queue.popleft()
