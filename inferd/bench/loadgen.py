"""MLPerf's LoadGen in a process of its own: it decides when a sample is asked for, the native client asks, and the parent is told.

It has a process because LoadGen cannot be stopped early, and an error in its callbacks ends the program.
LoadGen's threads hand over samples (`ScheduledLoad.schedule`). The client's thread sleeps without the GIL until it can send or read, and
tells LoadGen at once about all that is over. Never in here: the meaning of the figures (scenarios.py), terminals.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from inferd.bench.interrupts import ignore_interrupts
from inferd.bench.measurement import Histogram, Interval
from inferd.bench.worker import CODES, DRAIN_S, NEVER_NS, SLICE_NS, Piece, Worker, WorkerPlan, spoken_by, words
from inferd.errors import InferdError

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from inferd._core.load.scheduled_load import ScheduledLoad

LOOK_S = 0.05  # the parent's word and LoadGen's end are noticed after at most
WARM_UP_REQUESTS = 8  # at least, of each that is under way at once; fewer where they take longer than
WARM_UP_S = 5.0
LONG_S = 60.0  # a run that will last longer is told of beforehand
MULTI_STREAM_SAMPLES = 8  # of a query
AHEAD = 1.3  # Offline asks for so many more samples than the warm-up had responses in that time


class Task(NamedTuple):
    """All that the process has to know."""

    scenario: str  # LoadGen's word
    plan: WorkerPlan  # whom to ask, its bodies are the sample library; the load's streams and rate as `scenarios.run` has them
    limit_ns: int
    percentile: float
    least_queries: int
    folder: str  # of LoadGen's logs


class Responses(NamedTuple):
    """To be checked: number of the body, serialized ModelInferResponse; and how many more there was no room for."""

    responses: list[tuple[int, bytes]]
    unchecked: int


class Ending(NamedTuple):
    """The last word. ended: why it stopped before its time."""

    ended: str = ""
    duration_s: float = 0.0  # from LoadGen's first sample to the last response
    cpu_s: float = 0.0
    busy: float = 0.0  # share of the time in which the client's thread had something to do
    under_way_s: float = 0.0  # in which there were requests under way
    codes: list[int] = [0] * len(CODES)
    messages: dict[str, str] = {}
    latency: Histogram = Histogram()  # from LoadGen's asking; in Offline, where most wait for their turn, from the sending
    service: Histogram = Histogram()  # from the sending
    lateness: Histogram = Histogram()  # from the asking to the sending
    sent: int = 0  # warm-up included
    unfinished: int = 0
    summary: str = ""  # LoadGen's own
    figures: dict[str, Any] = {}  # what its log says of the result


class Client(Worker):
    """The connections, whose loop is on the thread that calls `turn`. Raises StartError."""

    generator: ScheduledLoad

    def __init__(self, task: Task) -> None:
        load = task.plan.load
        self.at_once = load.connections * load.streams if task.scenario == "Offline" else 0  # 0: as LoadGen asks
        super().__init__(task.plan)
        self.end_ns, self.connected_ns = NEVER_NS, time.monotonic_ns()
        self.pieces: deque[Piece] = deque()
        self.first_ns = 0  # when LoadGen asked for the first sample
        self.first_under_way_ns = 0
        self.lost = ""  # why there is no point in going on

    def _made(self, **settings: int) -> ScheduledLoad:
        from inferd._core.load.scheduled_load import ScheduledLoad

        models, outputs, versions = words(self.plan.expected)
        expected = {"models": models, "outputs": outputs, "versions": versions}
        return ScheduledLoad(self.plan.bodies, spoken_by(self.plan), at_once=self.at_once, **expected, **settings)

    def turn(self) -> list[int]:
        """Asks and receives until something is over, and for SLICE_NS at most. Returns the tags of what is."""
        ended = self.generator.run(time.monotonic_ns() + SLICE_NS)
        if ended and not self.generator.has_dead:  # LoadGen's thread waits for the GIL: be quick
            return ended
        now_ns = time.monotonic_ns()
        self.lost = self._keep_connected(now_ns)
        if not self.lost and self._is_stuck(now_ns):
            self.lost = f"{self.plan.address} has answered nothing for {DRAIN_S:g} s"
            self.generator.give_up()
        return ended

    def schedule(self, tags: list[int], bodies: list[int]) -> None:
        """LoadGen's threads call it."""
        if not self.first_ns:
            self.spent_ns = time.process_time_ns(), self.generator.waited_ns
            self.first_under_way_ns = self.generator.under_way_ns
            self.first_ns = time.monotonic_ns()
        self.generator.schedule(tags, bodies)

    def serve(self, complete: Callable[[list[int]], None]) -> None:
        """The loop, on a thread of its own, until `stop` or until the server is lost. complete: is told all tags that are over."""
        at = from_ns = 0
        while not self.generator.stopped and not self.lost:
            if ended := self.turn():
                complete(ended)
            from_ns = from_ns or self.first_ns
            if from_ns and (now_ns := time.monotonic_ns()) - from_ns >= self.plan.interval_ns:
                self.pieces.append(self._collect(at, from_ns, now_ns))
                at, from_ns = at + 1, now_ns
        if from_ns:
            self._count_waiting(time.monotonic_ns())  # where it ends early
            self.pieces.append(self._collect(at, from_ns, time.monotonic_ns()))


def work(pipe: Connection, task: Task) -> None:
    """The process. Any word of the parent ends the run."""
    ignore_interrupts()
    try:
        client = Client(task)
        rate, fastest_ns = warm_up(task, client, pipe.poll)
    except InferdError as error:
        pipe.send(error)
        return
    except KeyboardInterrupt:
        pipe.send(Ending("interrupted"))
        return
    if notice := lasting(task, rate):
        pipe.send(notice)
    report = Report(pipe, client)
    over = threading.Event()
    serving = threading.Thread(target=client.serve, args=(complete,), daemon=True)
    driving = threading.Thread(target=run, args=(task, client, settings(task, rate, fastest_ns), over), daemon=True)
    serving.start()
    driving.start()
    ended = ""
    while not ended and not over.wait(LOOK_S):
        report.tell()
        ended = "interrupted" if pipe.poll() else client.lost
        if not ended and not (serving.is_alive() and driving.is_alive()) and not over.is_set() and not client.lost:
            ended = "LoadGen or its client failed"  # and said on stderr how
    client.generator.stop()
    serving.join()
    report.tell()
    pipe.send(report.ending(ended, *(("", {}) if ended else read_logs(Path(task.folder)))))
    if ended:
        os._exit(0)  # LoadGen goes on
    client.close()


def warm_up(task: Task, client: Client, stopped: Callable[[], bool]) -> tuple[float, int]:
    """Responses a second in the second half, with as many in flight as the scenario has, and the shortest time of one in ns.

    InferdError: the first request failed, and how, or the server was lost. KeyboardInterrupt: the parent has said something."""
    load, scheduled = task.plan.load, client.generator
    at_once = {"MultiStream": MULTI_STREAM_SAMPLES, "Offline": load.connections * load.streams}.get(task.scenario, 1)
    scheduled.start(0)
    scheduled.schedule([0], [0])
    while not turned(client, stopped):
        pass
    if said := failure(client):
        raise InferdError(f"{task.plan.address}: {said}")
    begun_s = half_s = time.monotonic()
    wanted = 4 * at_once if task.scenario == "Offline" else at_once  # there, as in the run, some always wait for their turn
    asked = answered = half = 0
    while time.monotonic() - begun_s < (load.warm_up_s if asked >= WARM_UP_REQUESTS * at_once else max(load.warm_up_s, WARM_UP_S)):
        more = [number % len(task.plan.bodies) for number in range(asked, answered + wanted)]
        scheduled.schedule(more, more)
        asked += len(more)
        if asked <= WARM_UP_REQUESTS * at_once // 2 or time.monotonic() - begun_s <= load.warm_up_s / 2:
            half_s, half = time.monotonic(), answered
        answered += len(turned(client, stopped))
    while answered < asked:
        answered += len(turned(client, stopped))
    rate = max(answered - half, 1) / (time.monotonic() - half_s)
    fastest_ns = client._collect(-1).service.min_ns
    scheduled.start(time.monotonic_ns())
    return rate, fastest_ns


def lasting(task: Task, rate: float) -> str:
    """A notice about a long run, before it begins; empty: none. rate: responses a second of the warm-up."""
    samples = task.least_queries * (MULTI_STREAM_SAMPLES if task.scenario == "MultiStream" else 1)
    seconds = samples / (task.plan.load.rate if task.scenario == "Server" else rate)
    if seconds <= max(LONG_S, 2 * task.plan.load.duration_s):
        return ""
    return (
        f"LoadGen asks {task.least_queries} queries of {task.scenario} at least, which takes some {seconds:.0f} s at {rate:.3g} samples a "
        "second; Ctrl-C ends it with what was measured"
    )


def turned(client: Client, stopped: Callable[[], bool]) -> list[int]:
    """One turn of the warm-up."""
    ended = client.turn()
    if client.lost:
        raise InferdError(client.lost)
    if not ended and stopped():
        raise KeyboardInterrupt
    return ended


def failure(client: Client) -> str:
    """How the one request failed; empty: it did not."""
    code = next(code for code, count in enumerate(client._collect(-1).codes) if count)
    text = text_of(client.generator.messages().get(code, b""))
    return f"{CODES[code]}: {text}".removesuffix(": ") if code else ""


def text_of(message: bytes) -> str:
    """Decodes a percent-encoded message."""
    return unquote(message.decode("ascii", "replace"), errors="replace")


def run(task: Task, client: Client, chosen: Any, over: threading.Event) -> None:
    """LoadGen, until it has had enough."""
    import mlperf_loadgen as loadgen

    output = loadgen.LogOutputSettings()
    output.outdir, output.copy_summary_to_stdout = task.folder, False
    log = loadgen.LogSettings()
    log.log_output, log.enable_trace = output, False
    library = loadgen.ConstructQSL(len(task.plan.bodies), len(task.plan.bodies), _nothing, _nothing)
    under_test = loadgen.ConstructFastSUT(client.schedule, _nothing)  # numbers instead of an object for each sample
    loadgen.StartTestWithLogSettings(under_test, library, chosen, log)
    loadgen.DestroyFastSUT(under_test)
    loadgen.DestroyQSL(library)
    over.set()


def complete(tags: list[int]) -> None:
    """Tells LoadGen that these samples are over, however that went: it knows no failure."""
    import mlperf_loadgen as loadgen

    respond = loadgen.QuerySampleResponse
    loadgen.QuerySamplesComplete([respond(tag, 0, 0) for tag in tags])


def _nothing(*_: object) -> None:
    """Samples are in memory already, and nothing waits to be flushed."""


def settings(task: Task, rate: float, fastest_ns: int) -> Any:
    """LoadGen's settings, by the warm-up. It draws its queries beforehand, and its run is invalid if they are too few for the time. So it
    is told that each takes no longer than the fastest request did."""
    import mlperf_loadgen as loadgen

    load = task.plan.load
    chosen = loadgen.TestSettings()
    chosen.scenario = getattr(loadgen.TestScenario, task.scenario)
    chosen.mode = loadgen.TestMode.PerformanceOnly
    chosen.min_duration_ms = max(1, round(load.duration_s * 1e3))
    chosen.min_query_count = task.least_queries
    chosen.qsl_rng_seed, chosen.sample_index_rng_seed, chosen.schedule_rng_seed = load.seed, load.seed + 1, load.seed + 2
    chosen.single_stream_expected_latency_ns = chosen.multi_stream_expected_latency_ns = fastest_ns
    chosen.multi_stream_samples_per_query = MULTI_STREAM_SAMPLES
    chosen.offline_expected_qps = load.rate or rate * AHEAD
    if task.scenario == "Server":
        chosen.server_target_qps = load.rate
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
    """Messages to the parent: one each interval, and one at the end."""

    def __init__(self, pipe: Connection, client: Client) -> None:
        self._pipe, self._client = pipe, client
        self._codes = [0] * len(CODES)
        self._latency, self._service, self._lateness = Histogram(), Histogram(), Histogram()
        self._cpu_ns = self._waited_ns = self._length_ns = 0

    def tell(self) -> None:
        """Takes the intervals that are over."""
        while self._client.pieces:
            self._add(self._client.pieces.popleft())

    def _add(self, piece: Piece) -> None:
        latency, lateness = Histogram(), Histogram()
        latency.add_sparse(piece.latency)
        lateness.add_sparse(piece.lateness)
        for mine, its in ((self._latency, piece.latency), (self._service, piece.service), (self._lateness, piece.lateness)):
            mine.add_sparse(its)
        self._codes = [mine + its for mine, its in zip(self._codes, piece.codes, strict=True)]
        length_ns = piece.until_ns - piece.from_ns
        self._cpu_ns += piece.cpu_ns
        self._waited_ns += piece.waited_ns
        self._length_ns += length_ns
        if piece.responses or piece.unchecked:
            self._pipe.send(Responses(piece.responses, piece.unchecked))
        if length_ns >= self._client.plan.interval_ns / 4 or not piece.at:  # so short a rest is no interval
            begun_s, answered = (piece.from_ns - self._client.first_ns) / 1e9, piece.codes[0]
            self._pipe.send(Interval.of(begun_s, length_ns / 1e9, answered, sum(piece.codes) - answered, latency, lateness))

    def ending(self, ended: str, summary: str, figures: dict[str, Any]) -> Ending:
        client, scheduled = self._client, self._client.generator
        unfinished = scheduled.outstanding + (0 if client.at_once else scheduled.waiting_count)  # Offline's wait for their turn
        return Ending(
            ended,
            max(0, scheduled.last_ended_ns - client.first_ns) / 1e9 if client.first_ns else 0.0,
            self._cpu_ns / 1e9,
            max(0.0, 1 - self._waited_ns / self._length_ns) if self._length_ns else 0.0,
            (scheduled.under_way_ns - client.first_under_way_ns) / 1e9,
            self._codes,
            {CODES[code]: text_of(text) for code, text in scheduled.messages().items() if self._codes[code]},
            self._latency,
            self._service,
            self._lateness,
            scheduled.sent,
            unfinished,
            summary,
            figures,
        )
