"""One measured load on a peer, and what it cost all of the peer's processes. Never in here: what a request holds.

Closed loops are h2load's, which speaks HTTP/2 and HTTP/1.1 and costs the two cores least. It counts HTTP 200 and looks at no answer:
the bytes of all answers must be those of as many right ones, which no error is. Open loops are `inferd bench`'s: their latency counts
from the time that the schedule named, which h2load's --rps does not.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import load

from . import running
from .asking import Question
from .models import Model
from .running import Running

SHAPES = {1: (1, 1), 8: (4, 2), 64: (4, 16)}  # in flight -> connections, streams on each, over HTTP/2
FEWEST_ARRIVALS = 30
ENOUGH = 300  # requests of a round, so that three are slower than its p99
AIM = 1.1 * ENOUGH  # a rate is a guess, and arrivals are random
LONGER = 6.0  # times as long as asked a turn may last to have so many
FEWEST = 3  # requests for each in flight, however slow
GRACE_S = 90.0
TRIES = 3  # of an open loop


class Load(NamedTuple):
    """So many in flight in a closed loop, or an open loop of so many requests a second."""

    in_flight: int = 0
    rate: float = 0.0

    def __str__(self) -> str:
        return f"{self.rate:g}/s" if self.rate else f"{self.in_flight} in flight"


class Figures(NamedTuple):
    """What one round showed. CPU is of all processes of the peer, user and system."""

    requests: int
    requests_s: float
    p50_us: float
    p99_us: float
    cpu_us: float


class Unmeasured(Exception):
    """There is no figure, and why."""


class GeneratorLate(Unmeasured):
    """The load generator could not keep the rate: the figures would be its own."""


def h2load(server: Running, question: Question, in_flight: int, requests: int, log: Path) -> Figures:
    """`requests` requests, or one more for each connection."""
    connections, streams = (in_flight, 1) if server.peer.http1 else SHAPES[in_flight]
    requests = -(-requests // connections) * connections
    words = ["h2load", "-n", str(requests), "-c", str(connections), "-m", str(streams), "--log-file", str(log)]
    words += ["--h1"] if server.peer.http1 else []
    for name, value in question.headers.items():
        words += ["-H", f"{name}: {value}"]
    words += ["-d", str(question.body)] if question.body else []
    before = running.cpu_ns(server)
    try:
        output = subprocess.run([*words, question.url], capture_output=True, text=True, check=True, timeout=GRACE_S).stdout
    except subprocess.TimeoutExpired:
        raise Unmeasured(f"{requests} requests were not answered in {GRACE_S:.0f} s") from None
    cpu = running.spent_ns(before, running.cpu_ns(server))
    try:
        done, rate, _ = load.parse(output)
    except RuntimeError:
        raise Unmeasured(f"requests failed: {first(output, 'requests:')}; {first(output, 'status codes:')}") from None
    check_nbytes(output, done, question.answer_nbytes)
    # One line a request: start in us since the epoch, HTTP status, duration in us.
    latencies = sorted(int(line.split()[2]) for line in log.read_text().splitlines())
    log.unlink()
    return Figures(done, rate, at(latencies, 0.5), at(latencies, 0.99), cpu / done / 1e3)


def first(output: str, word: str) -> str:
    return next((line for line in output.splitlines() if line.startswith(word)), f"no line {word}")


def check_nbytes(output: str, done: int, answer_nbytes: int) -> None:
    """An error has another size than the answer that was checked."""
    found = re.search(r"^traffic: .*\((\d+)\) data$", output, re.MULTILINE)
    if found is None or int(found[1]) != done * answer_nbytes:
        raise Unmeasured(f"{done} right answers are {done * answer_nbytes} bytes, and {found[1] if found else '?'} came")


def at(latencies: list[int], q: float) -> float:
    return float(latencies[min(len(latencies) - 1, int(q * len(latencies)))])


def requests_for(server: Running, question: Question, in_flight: int, seconds: float, log: Path) -> int:
    """How many a turn of about `seconds` asks for; warms the peer up on the way."""
    rate = h2load(server, question, in_flight, max(in_flight, 8), log).requests_s
    if rate * seconds > 20 * in_flight:
        rate = h2load(server, question, in_flight, int(rate * seconds * 0.2), log).requests_s
    return max(int(rate * turn_s(rate, seconds)), FEWEST * in_flight)


def turn_s(rate: float, seconds: float) -> float:
    """How long a turn lasts: until it has what a p99 needs; where that takes too long, for twice the time, which does for the median."""
    wanted = AIM / rate
    return max(seconds, wanted) if wanted <= LONGER * seconds else 2 * seconds


@cache
def has_bench() -> bool:
    """Whether this tree's `inferd bench` is there."""
    return subprocess.run([sys.executable, "-m", "inferd", "bench", "--help"], capture_output=True, check=False).returncode == 0


def open_loop_s(rate: float, seconds: float) -> float:
    """The same for an open loop; a slow model's lasts until a few dozen have arrived."""
    return max(turn_s(rate, seconds), FEWEST_ARRIVALS / rate)


def bench_command(server: Running, model: Model, body: Path, rate: float, seconds: float, seed: int, report: Path) -> list[str]:
    """`inferd bench` over the very bytes that h2load sends. seed: of the arrivals."""
    words = [sys.executable, "-m", "inferd", "bench", server.address, model.name, "--recorded", str(body)]
    words += ["--rate", f"{rate:g}", "--arrivals", "poisson", "--connections", "4", "--duration", f"{seconds:g}s", "--warm-up", "0.5s"]
    words += ["--seed", str(seed)]
    return [*words, "--json", str(report)]


def bench(server: Running, model: Model, question: Question, rate: float, seconds: float, report: Path, seed: int = 0) -> Figures:
    """An open loop with Poisson arrivals; once more where the generator itself was late, which on cores that it shares happens."""
    tries = 1
    while True:
        try:
            return open_loop(server, model, question, rate, seconds, report, seed)
        except GeneratorLate:
            if tries == TRIES:
                raise
            tries += 1


def open_loop(server: Running, model: Model, question: Question, rate: float, seconds: float, report: Path, seed: int) -> Figures:
    assert question.body is not None
    command = bench_command(server, model, question.body, rate, seconds, seed, report)
    report.unlink(missing_ok=True)
    before = running.cpu_ns(server)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + GRACE_S)
    cpu = running.spent_ns(before, running.cpu_ns(server))
    if not report.exists():
        raise Unmeasured(f"inferd bench: {done.stderr.strip().splitlines()[-1:]}")
    return read_bench(report.read_text("utf-8"), cpu)


def read_bench(text: str, cpu_ns: int) -> Figures:
    """Its report. The peer's CPU is read around the whole run: the warm-up's requests share it, at the same rate."""
    report = json.loads(text)
    if report["errors"]:
        raise Unmeasured(f"requests failed: {report['errors']}")
    if report.get("client_bound"):
        raise GeneratorLate(f"the generator could not keep the rate, {TRIES} times: {report['measurements'][-1]['client_bound_reason']}")
    requests, latency = report["requests"], report["latency_us"]
    measurement = report["measurements"][-1]
    asked = measurement["load"]
    whole = requests * (1 + asked["warm_up_s"] / measurement["duration_s"])
    return Figures(requests, report["requests_per_second"], latency["p50"], latency["p99"], cpu_ns / 1e3 / whole)


def in_process(command: list[str], model: Model, in_flight: int, seconds: float) -> tuple[Figures, float, int]:
    """A peer without a server: figures, seconds from its start to its first answer, its memory."""
    begun = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    words = [*command, str(model.path), str(in_flight), str(seconds), str(model.threads), str(begun), str(ENOUGH)]
    done = subprocess.run(words, input=bundle(model), capture_output=True, check=False, timeout=seconds + GRACE_S)
    if done.returncode:
        raise Unmeasured(done.stderr.decode(errors="replace").strip().splitlines()[-1])
    found = json.loads(done.stdout)
    figures = Figures(*(found[name] for name in Figures._fields))
    return figures, found["start_s"], found["memory_bytes"]


def bundle(model: Model) -> bytes:
    """The inputs and the right answer, as an .npz."""
    import io

    import numpy as np

    file = io.BytesIO()
    arrays: dict[str, Any] = {f"input{at}": value for at, value in enumerate(model.inputs.values())}
    np.savez(file, expected=model.expected, **arrays)
    return file.getvalue()
