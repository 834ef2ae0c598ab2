"""Models that come and go under load: does a request notice? And is memory flat?

    python benchmarks/life_cycle.py [--sections ripple,versions,memory] [--rounds 5] [--no-history]

ripple: a small model is asked in an open loop by `inferd bench`, with and without the life of another one beside it: a resnet50 with
all its weights is loaded, warmed up, replaced by another version, and unloaded, 20 times in all. Latency counts from the intended
start. The median of the rounds is shown; two yardsticks come before each round: the same load without loads, and beside a process that
only computes, which the system's scheduler lets a request wait for as well.
versions: the version that serves is replaced 50 times under an open loop, and then a label moves 50 times. Each version adds its number
to what it is sent, so that a response says which version made it, and for which request: it must be one that served at some time between
the sending of the request and its response.
memory: a model of 5 MB is loaded, asked and unloaded 200 times.
The table is printed, and one line appended to benchmarks/history/life_cycle.jsonl.
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import sections
import servers
import workloads
from load import rss_bytes
from record import Report
from server_cost import Checker, answer_of
from servers import Running

from inferd.protocol import inference, options

HISTORY = Path(__file__).resolve().parent / "history" / "life_cycle.jsonl"
SERVICE = "/inference.GRPCInferenceService"
LIMIT_S = 120.0
RIPPLE_RATE = 500  # requests a second, of which a core has some 3 % to do
LOADS = 20  # of resnet50, in all rounds; each is replaced, too
QUIET_S = 10.0  # of the yardstick, in each round
WARM_UP_S, AFTER_S = 1.0, 3.0  # of the open loop, around what is measured
RATE, CHANGES, PAUSE_S = 2000, 50, 0.1  # requests a second; of versions, and of the label; between two of them
MARK = struct.pack("f", 0.0123) * 2  # among the weights; its first number is another one in each file that is loaded
CYCLES, FIRST = 200, 10
INTENDED, DONE, CODE = 0, 2, 3  # columns of bench's samples; ns
MIB = 1 << 20


class Control:
    """Orders to a server with explicit model control."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def load(self, name: str, version: int | None = None) -> None:
        request = inference.RepositoryModelLoadRequest(model_name=name)
        if version is not None:
            request.parameters["version"].int64_param = version
        self._call("Load", request)

    def unload(self, name: str) -> None:
        self._call("Unload", inference.RepositoryModelUnloadRequest(model_name=name))

    def _call(self, verb: str, request: Any) -> None:
        self._channel.unary_unary(f"{SERVICE}/RepositoryModel{verb}")(request.SerializeToString(), timeout=LIMIT_S)


# ---- ripple --------------------------------------------------------------------------------------------------------


@dataclass
class Window:
    """The requests that were to be sent while something went on."""

    p50_ms: float
    p99_ms: float
    requests: int
    errors: int

    @classmethod
    def of(cls, samples: Any, from_ns: int, until_ns: int) -> Window:
        inside = samples[(samples[:, INTENDED] >= from_ns) & (samples[:, INTENDED] < until_ns)]
        p50, p99 = np.quantile(inside[:, DONE] - inside[:, INTENDED], (0.5, 0.99)) / 1e6
        return cls(float(p50), float(p99), len(inside), int((samples[:, CODE] != 0).sum()))


def under_load(server: Running, model: str, folder: Path, seconds: float, work: Callable[[], object]) -> Window:
    """An open loop that lasts at least so long, and what its requests saw while `work` went on."""
    samples = folder / "samples.npy"
    command = [sys.executable, "-m", "inferd", "bench", server.address, model, "--quiet", "--samples", str(samples)]
    command += ["--rate", f"{RIPPLE_RATE}", "--duration", f"{seconds + WARM_UP_S + AFTER_S:g}s", "--warm-up", "1s", "--no-spin"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as load:
        time.sleep(2 + 2 * WARM_UP_S)  # until it is there, and has warmed up
        from_ns = time.monotonic_ns()
        work()
        until_ns = time.monotonic_ns()
        if load.poll() is not None:
            raise RuntimeError("the load was over before the work was")
        load.send_signal(signal.SIGINT)
        _, errors = load.communicate(timeout=LIMIT_S)
    if not samples.exists():
        raise RuntimeError(f"inferd bench ended with {load.returncode}:\n{errors}")
    found = np.load(samples)
    samples.unlink()
    return Window.of(found, from_ns, until_ns)


def compute() -> None:
    """Another process has a core for as long as the yardstick lasts."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        time.sleep(QUIET_S)
        busy.kill()


def ripple(report: Report, folder: Path) -> None:
    """p99 of a small model while resnet50 is loaded, warmed up, replaced and unloaded beside it"""
    repository = folder / "repository"
    small = workloads.identity(repository)
    heavy = workloads.with_weights(workloads.light("resnet50"))
    heavy.graph.initializer[-1].raw_data = MARK + heavy.graph.initializer[-1].raw_data[len(MARK) :]
    for version in (1, 2):
        workloads.put(repository, "resnet50", heavy, version)
    files = [repository / "resnet50" / str(version) / "model.onnx" for version in (1, 2)]
    place = files[0].read_bytes().rindex(MARK)
    flags = ("--model-control", "explicit", "--load-model", small.model)
    each = -(-LOADS // report.rounds)
    with servers.inferd("ripple", [repository], folder, *flags) as server, grpc.insecure_channel(server.address) as channel:
        checker, control = Checker(server.address, small, answer_of(repository, small)), Control(channel)
        checker.check()
        fresh = (number / 1000 for number in count(1))

        def life() -> None:
            for file in files:  # as after a training: what an earlier load has found of the same bytes is known
                with file.open("r+b") as opened:
                    opened.seek(place)
                    opened.write(struct.pack("f", next(fresh)))
            control.load("resnet50", 1)
            control.load("resnet50")
            control.unload("resnet50")

        begun = time.monotonic()
        life()
        seconds = each * (time.monotonic() - begun)
        quiet, beside, busy = [], [], []
        for _ in range(report.rounds):
            quiet.append(under_load(server, small.model, folder, QUIET_S, lambda: time.sleep(QUIET_S)))
            beside.append(under_load(server, small.model, folder, QUIET_S, compute))
            busy.append(under_load(server, small.model, folder, 2 * seconds, lambda: [life() for _ in range(each)]))
        checker.check()
    p99 = {
        name: statistics.median(window.p99_ms for window in found) for name, found in (("quiet", quiet), ("beside", beside), ("busy", busy))
    }
    ratio = p99["busy"] / p99["quiet"]
    errors = sum(window.errors for window in quiet + beside + busy)
    report.add("a small model's p99 alone", "", f"{p99['quiet']:.2f} ms at {RIPPLE_RATE}/s")
    report.add("its p99 beside one process that only computes", "", f"{p99['beside'] / p99['quiet']:.2f} times ({p99['beside']:.2f} ms)")
    said = f"{ratio:.2f} times ({p99['busy']:.2f} ms)"
    report.add(f"its p99 while resnet50 is loaded, replaced, unloaded {each * report.rounds} times", "<= 1.25 times", said, ratio <= 1.25)
    requests = sum(window.requests for window in busy)
    report.add("its errors meanwhile", "0", f"{errors} of {requests:,} requests", errors == 0)
    report.numbers["ripple"] = {
        **{f"{name}_p99_ms": round(value, 3) for name, value in p99.items()},
        "p99s_ms": [[round(one.p99_ms, 3) for one in each_round] for each_round in zip(quiet, beside, busy, strict=True)],
        "p50s_ms": [[round(one.p50_ms, 3) for one in each_round] for each_round in zip(quiet, beside, busy, strict=True)],
        "ratio": round(ratio, 3),
        "errors": errors,
        "requests": requests,
    }


# ---- versions ------------------------------------------------------------------------------------------------------


@dataclass
class Spans:
    """From when until when each version may serve: from the order that brings it until the one that takes its place is carried out."""

    begun: dict[int, list[float]] = field(default_factory=dict)
    serving: int = 0
    found: list[tuple[int, float, float]] = field(default_factory=list)
    since: float = 0.0

    def ordered(self, version: int) -> Callable[[], None]:
        """Call it before the order; what it returns, after that."""
        begun = time.monotonic()

        def carried_out() -> None:
            if self.serving:
                self.found.append((self.serving, self.since, time.monotonic()))
            self.serving, self.since = version, begun

        return carried_out

    def end(self) -> None:
        self.found.append((self.serving, self.since, time.monotonic()))

    def allows(self, version: int, sent: float, done: float) -> bool:
        """Whether it served at some time in between."""
        return any(one == version and begun <= done and sent <= until for one, begun, until in self.found)


class Asking:
    """An open loop over four connections, whose responses are all kept: when each was sent and done, and what it said."""

    def __init__(self, address: str, model: str, version: str = "") -> None:
        self._channels = [grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) for _ in range(4)]
        self._methods = [channel.unary_unary(f"{SERVICE}/ModelInfer") for channel in self._channels]
        self._request = inference.ModelInferRequest(model_name=model, model_version=version)
        self._request.inputs.add(name="x", datatype="FP32", shape=[1, 1])
        self._request.raw_input_contents.append(b"")
        self.answers: list[tuple[float, float, int]] = []  # sent, done, version
        self.failures: Counter[str] = Counter()  # by what went wrong
        self.wrong = 0

    async def ask(self, number: int) -> None:
        """One request of an own value."""
        self._request.raw_input_contents[0] = np.float32(number).tobytes()
        sent = time.monotonic()
        try:
            answer = await self._methods[number % 4](self._request.SerializeToString(), timeout=LIMIT_S)
        except grpc.aio.AioRpcError as error:
            self.failures[f"{error.code().name}: {error.details()}"] += 1
            return
        done, response = time.monotonic(), inference.ModelInferResponse.FromString(answer)
        version = int(np.frombuffer(response.raw_output_contents[0], np.float32)[0]) - number
        if str(version) != response.model_version:
            self.wrong += 1
        self.answers.append((sent, done, version))

    async def until(self, over: asyncio.Event) -> float:
        """At RATE. Returns how long it went on."""
        begun, number, calls = time.monotonic(), 0, set[asyncio.Task[None]]()
        while not over.is_set():
            number += 1
            await asyncio.sleep(begun + number / RATE - time.monotonic())
            calls.add(call := asyncio.create_task(self.ask(number)))
            call.add_done_callback(calls.discard)
        lasted = time.monotonic() - begun
        await asyncio.gather(*calls)
        for channel in self._channels:
            await channel.close()
        return lasted


Order = Callable[[int], Coroutine[Any, Any, None]]


async def change(asking: Asking, order: Order, versions: list[int]) -> tuple[Asking, Spans, float]:
    """Gives the orders for these versions, one after the other, under load. The first one is given before."""
    spans, over = Spans(), asyncio.Event()
    load: asyncio.Task[float] | None = None
    for version in versions:
        carried_out = spans.ordered(version)
        await order(version)
        carried_out()
        load = load or asyncio.create_task(asking.until(over))
        await asyncio.sleep(PAUSE_S)
    over.set()
    assert load is not None
    lasted = await load
    spans.end()
    return asking, spans, lasted


def versions(report: Report, folder: Path) -> None:
    """the version that serves is replaced, and a label moves, under load"""
    repository, to_come = folder / "repository", folder / "to come"
    for version in range(1, CHANGES + 2):
        workloads.put(to_come, "telling", workloads.telling(version), version)
    (repository / "telling").mkdir(parents=True)
    for version in (1, 2):
        workloads.put(repository, "labelled", workloads.telling(version), version)
    (repository / "labelled" / "config.pbtxt").write_text("version_policy { all {} }\n")

    async def both(address: str) -> None:
        async with grpc.aio.insecure_channel(address) as channel:

            async def replace(version: int) -> None:
                (to_come / "telling" / str(version)).rename(repository / "telling" / str(version))
                request = inference.RepositoryModelLoadRequest(model_name="telling")
                await channel.unary_unary(f"{SERVICE}/RepositoryModelLoad")(request.SerializeToString(), timeout=LIMIT_S)

            async def label(version: int) -> None:
                request = options.SetLabelRequest(model_name="labelled", label="stable", version=version)
                await channel.unary_unary("/inferd.v1.ModelControl/SetLabel")(request.SerializeToString(), timeout=LIMIT_S)

            numbers = range(CHANGES + 1)
            judge(report, "version replaced", *await change(Asking(address, "telling"), replace, [1 + number for number in numbers]))
            moves = [1 + number % 2 for number in numbers]
            judge(report, "label moved", *await change(Asking(address, "labelled", "stable"), label, moves))

    with servers.inferd("versions", [repository], folder, "--model-control", "explicit", "--load-model", "labelled") as server:
        asyncio.run(both(server.address))


def judge(report: Report, name: str, asking: Asking, spans: Spans, lasted: float) -> None:
    requests = len(asking.answers) + asking.failures.total()
    gone = sum(not spans.allows(version, sent, done) for sent, done, version in asking.answers)
    p99_ms = float(np.quantile([done - sent for sent, done, _ in asking.answers], 0.99)) * 1e3
    report.add(
        f"{name} {len(spans.found) - 1} times under load", "", f"{requests:,} requests at {requests / lasted:,.0f}/s, p99 {p99_ms:.1f} ms"
    )
    failed = asking.failures.total()
    report.add(f"{name}: failed", "0", f"{failed}" + (f": {dict(asking.failures)}" if failed else ""), failed == 0)
    report.add(f"{name}: wrong", "0", f"{asking.wrong}", asking.wrong == 0)
    report.add(f"{name}: answers by a version that was gone", "0", f"{gone}", gone == 0)
    found = {"requests": requests, "requests_s": round(requests / lasted), "p99_ms": round(p99_ms, 2)}
    report.numbers[name] = {**found, "failed": dict(asking.failures), "wrong": asking.wrong, "gone": gone}


# ---- memory --------------------------------------------------------------------------------------------------------


def memory(report: Report, folder: Path) -> None:
    """what is resident after each of many loads and unloads of one model"""
    repository = folder / "repository"
    small = workloads.identity(repository)
    workload = workloads.squeezenet(folder / "light")
    workloads.put(repository, workload.model, workloads.with_weights(workloads.light("squeezenet")))
    flags = ("--model-control", "explicit", "--load-model", small.model)
    with servers.inferd("memory", [repository], folder, *flags) as server, grpc.insecure_channel(server.address) as channel:
        control, checker = Control(channel), Checker(server.address, workload, answer_of(repository, workload))
        resident = []
        begun = time.monotonic()
        for _ in range(CYCLES):
            control.load(workload.model)
            checker.check()
            control.unload(workload.model)
            resident.append(rss_bytes(server.pid))
        took = time.monotonic() - begun
    later = resident[FIRST:]
    medians = [statistics.median(later[place : place + FIRST]) for place in range(0, len(later), FIRST)]
    grown = max(abs(value / medians[0] - 1) for value in medians)
    said = f"{grown:.1%}, {min(medians) / MIB:.0f} to {max(medians) / MIB:.0f} MiB"
    report.add(f"{CYCLES} loads and unloads: memory moves after the first {FIRST}, medians of {FIRST}", "<= 5 %", said, grown <= 0.05)
    report.add("memory after one unload", "reported", f"{min(later) / MIB:.0f} to {max(later) / MIB:.0f} MiB")
    report.numbers["memory"] = {
        "moved_percent": round(100 * grown, 2),
        "medians_mib": [round(value / MIB, 1) for value in medians],
        "least_mib": round(min(later) / MIB, 1),
        "most_mib": round(max(later) / MIB, 1),
        "cycle_s": round(took / CYCLES, 3),
    }


SECTIONS = {section.__name__: section for section in (ripple, versions, memory)}


def main() -> int:
    asked = sections.parser("Loads, replaces and unloads models under load.", SECTIONS, rounds=5)
    given = asked.parse_args()
    report = Report(given.rounds, 0.0)
    sections.run(report, SECTIONS, given.sections)
    sections.keep(HISTORY, given, report)
    return 0 if report.kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
