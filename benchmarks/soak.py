"""Ten million mixed requests to one server: is an answer wrong, does its memory grow?

    python benchmarks/soak.py [--requests 10000000] [--rounds 10] [--no-history]

In each round all kinds of requests come side by side: good ones (`inferd bench`, which reads every answer and compares every tenth by
value), bad ones, expired ones, compressed ones and TLS (h2load), some that are reset at once (by hand), and a real client that asks one
of each kind in turn and compares. What h2load does not look at is counted on the server: results, refusals by reason and abandoned
calls must be as many as were asked for. Resident memory is read after each round, when nothing is open; the first round warms up. The
result is printed, and one line appended to benchmarks/history/soak.jsonl.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import by_hand
import grpc
import load
import numpy as np
import servers
import workloads
from load import Load, Target, missing_programs, rss_bytes
from proxies import SERVER_NAME, Files
from record import Report, append
from servers import Running
from workloads import INFER_PATH, Workload

from inferd.protocol import inference

HISTORY = Path(__file__).resolve().parent / "history" / "soak.jsonl"
GROWTH_BYTES = 5e6  # after the first round, at most
# Of all requests; the rest is good. "unknown", "shape" and "garbage" are the bad ones.
SHARES = {"unknown": 0.03, "shape": 0.03, "garbage": 0.02, "expired": 0.04, "compressed": 0.04, "tls": 0.05, "cancelled": 0.03}
REASONS = {"not_found": ("unknown",), "invalid": ("shape", "garbage")}  # why which kinds are refused when they come in
VERIFY_EVERY = 10
WIDE_ROWS = 64  # 4 KB: an answer that is worth compressing
SETTLE_S = 30.0
FLAGS = ["--transport", "native", "--compression", "gzip", "--listen", "plaintext:127.0.0.1:0"]


class Wrong(Exception):
    """The server did what it should not."""


@dataclass
class Counts:
    """What the server says of itself, or how much that has changed."""

    results: int
    refusals: Counter[str]
    abandoned: int
    streams: int  # open now
    connections: int
    message_nbytes: int

    @classmethod
    def of(cls, page: str) -> Counts:
        """From its metrics."""

        def total(name: str) -> int:
            return int(sum(float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", page, re.MULTILINE)))

        refusals = Counter(
            {
                reason: int(float(value))
                for reason, value in re.findall(r'^inferd_server_refusals_total{reason="(\w+)"} (\S+)$', page, re.MULTILINE)
            }
        )
        answered = re.findall(r'^inferd_stage_duration_seconds_count{[^}]*stage="request"[^}]*} (\S+)$', page, re.MULTILINE)
        return cls(
            int(sum(map(float, answered))),
            refusals,
            total("inferd_streams_abandoned_total"),
            total("inferd_streams"),
            total("inferd_connections"),
            total("inferd_message_bytes"),
        )

    def since(self, before: Counts) -> Counts:
        return replace(
            self,
            results=self.results - before.results,
            refusals=self.refusals - before.refusals,
            abandoned=self.abandoned - before.abandoned,
        )


@dataclass
class Soaked:
    """A server under all kinds of requests."""

    server: Running
    metrics: str
    files: Files
    workload: Workload
    model: Path
    folder: Path
    bodies: dict[str, Path] = field(default_factory=dict)

    @property
    def plain(self) -> str:
        return self.server.further[0]

    def counts(self) -> Counts:
        with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=SETTLE_S) as page:
            return Counts.of(page.read().decode())

    def settled(self) -> Counts:
        """When nothing is open any more."""
        end = time.monotonic() + SETTLE_S
        while (counts := self.counts()).streams or counts.connections:
            if time.monotonic() > end:
                raise Wrong(f"{counts.streams} streams and {counts.connections} connections stay open")
            time.sleep(0.05)
        return counts

    def write_bodies(self) -> None:
        wide = replace(self.workload, value=np.arange(WIDE_ROWS * 16, dtype=np.float32).reshape(WIDE_ROWS, 16))
        messages = {
            "good": self.workload.message(),
            "unknown": replace(self.workload, model="no-such-model").message(),
            "shape": replace(self.workload, value=np.zeros((1, 17), np.float32)).message(),
            "garbage": b"\xff" * 100,
            "compressed": gzip.compress(wide.message()),
        }
        for kind, message in messages.items():
            self.bodies[kind] = self.folder / f"{kind}.body"
            self.bodies[kind].write_bytes(struct.pack(">BI", kind == "compressed", len(message)) + message)

    def target(self, kind: str) -> Target:
        """Where h2load sends requests of that kind."""
        if kind == "tls":
            return Target(f"https://{self.server.address}{INFER_PATH}", self.bodies["good"])
        headers = {"expired": ("grpc-timeout: 1n",), "compressed": ("grpc-encoding: gzip", "grpc-accept-encoding: gzip")}
        body = self.bodies["good" if kind == "expired" else kind]
        return Target(f"http://{self.plain}{INFER_PATH}", body, headers.get(kind, ()))


def drive_h2load(soaked: Soaked, kind: str, count: int) -> None:
    shape = Load(2, 4)
    done = subprocess.run(load.command(soaked.target(kind), shape, count), capture_output=True, text=True, check=True)
    if load.parse(done.stdout)[0] != count:
        raise Wrong(f"{kind}: not all requests were answered:\n{done.stdout}")


def drive_bench(soaked: Soaked, count: int) -> None:
    """Good requests, answers compared; inferd bench's own exit code says whether all is well."""
    command = [sys.executable, "-m", "inferd", "bench", soaked.plain, soaked.workload.model, "--quiet", "--warm-up", "0s"]
    command += ["--requests", str(count), "--connections", "4", "--concurrency", "16", "--json", str(soaked.folder / "bench.json")]
    command += ["--verify", str(soaked.model), "--verify-every", str(VERIFY_EVERY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Wrong(f"inferd bench ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    told = json.loads((soaked.folder / "bench.json").read_text())
    if told["requests"] != count or told["errors"]:
        raise Wrong(f"inferd bench: {told['requests']} of {count} requests, errors {told['errors']}")


def drive(soaked: Soaked, kind: str, count: int) -> None:
    if kind == "good":
        drive_bench(soaked, count)
    elif kind == "cancelled":
        by_hand.cancel(soaked.plain, soaked.workload.message(), count)
    else:
        drive_h2load(soaked, kind, count)


# ---------------------------------------------------------------------------------------------------------------------
# A real client beside it


class Asker:
    """Asks one request of each kind in turn, compares each answer, and counts what was asked."""

    def __init__(self, soaked: Soaked) -> None:
        self.soaked = soaked
        self.asked: Counter[str] = Counter()
        credentials = grpc.ssl_channel_credentials(soaked.files.authority)
        self.channels = {
            "good": grpc.insecure_channel(soaked.plain),
            "compressed": grpc.insecure_channel(soaked.plain, compression=grpc.Compression.Gzip),
            "tls": grpc.secure_channel(soaked.server.address, credentials, [("grpc.ssl_target_name_override", SERVER_NAME)]),
        }

    def close(self) -> None:
        for channel in self.channels.values():
            channel.close()

    def ask_each(self, turn: int) -> None:
        for kind in self.channels:
            self.ask(kind, turn)
        for kind, code in (("unknown", "NOT_FOUND"), ("shape", "INVALID_ARGUMENT"), ("garbage", "INVALID_ARGUMENT")):
            self.ask_refused(kind, code)

    def ask(self, kind: str, turn: int) -> None:
        rows = WIDE_ROWS if kind == "compressed" else 1
        value = np.random.default_rng(turn).random((rows, 16), np.float32)
        message = replace(self.soaked.workload, value=value).message()
        self.asked[kind] += 1
        answer = self.channels[kind].unary_unary(INFER_PATH)(message, timeout=SETTLE_S)
        got = inference.ModelInferResponse.FromString(answer).raw_output_contents[0]
        if got != value.tobytes():
            raise Wrong(f"{kind}: another value came back than was sent")

    def ask_refused(self, kind: str, code: str) -> None:
        message = self.soaked.bodies[kind].read_bytes()[5:]
        self.asked[kind] += 1
        try:
            self.channels["good"].unary_unary(INFER_PATH)(message, timeout=SETTLE_S)
        except grpc.RpcError as error:
            if error.code().name == code:
                return
            raise Wrong(f"{kind}: expected {code}, got {error.code().name}") from None
        raise Wrong(f"{kind}: expected {code}, got an answer")


def ask_until(stop: threading.Event, soaked: Soaked) -> Counter[str]:
    asker, turn = Asker(soaked), 0
    try:
        while not stop.is_set():
            asker.ask_each(turn := turn + 1)
    finally:
        asker.close()
    return asker.asked


# ---------------------------------------------------------------------------------------------------------------------
# Rounds


def one_round(soaked: Soaked, counts: Mapping[str, int]) -> Counter[str]:
    """All kinds side by side, so many of each; how many were asked in all. Raises Wrong, from whichever it is."""
    before, stop = soaked.settled(), threading.Event()
    with ThreadPoolExecutor(len(counts) + 1) as pool:
        asking = pool.submit(ask_until, stop, soaked)
        driving = [pool.submit(drive, soaked, kind, count) for kind, count in counts.items()]
        try:
            for one in driving:
                one.result()
        finally:
            stop.set()
        asked = asking.result()
    asked.update(counts)
    check(asked, soaked.settled().since(before))
    return asked


def check(asked: Counter[str], told: Counts) -> None:
    """Holds what the server counted against what it was asked. A request that is reset may have been answered before."""
    for reason, kinds in REASONS.items():
        if told.refusals[reason] != sum(asked[kind] for kind in kinds):
            raise Wrong(f"{told.refusals[reason]} requests were refused ({reason}), asked were {dict(asked)}")
    if other := set(told.refusals) - set(REASONS) - {"deadline"}:
        raise Wrong(f"requests were refused that should not be: {', '.join(sorted(other))}, of {dict(told.refusals)}")
    good = sum(asked[kind] for kind in ("good", "compressed", "tls"))
    if told.abandoned > asked["cancelled"] or told.results + told.abandoned != good + asked["cancelled"]:
        raise Wrong(f"{told.results} results and {told.abandoned} abandoned calls, asked were {dict(asked)}")


def shares(requests: int) -> dict[str, int]:
    """Of so many requests, how many of each kind."""
    counts = {kind: max(int(requests * share) // 8 * 8, 8) for kind, share in SHARES.items()}  # as h2load's streams take them
    return {"good": requests - sum(counts.values())} | counts


def soak(folder: Path, requests: int, rounds: int, told: Callable[[str], None]) -> tuple[Counter[str], list[int], Counts]:
    """What was asked, resident memory after each round, and the server's counts at the end."""
    repository, files = folder / "repository", Files(folder / "certificates")
    workload = workloads.identity(repository)
    asked: Counter[str] = Counter()
    sizes: list[int] = []
    tls = ["--tls-cert", str(files.folder / "server.pem"), "--tls-key", str(files.folder / "server.key")]
    with servers.inferd("soak", [repository], folder, *FLAGS, *tls) as server:
        soaked = Soaked(server, server.metrics, files, workload, repository / workload.model / "1" / "model.onnx", folder)
        soaked.write_bodies()
        for number in range(1, rounds + 1):
            begun = time.monotonic()
            asked += one_round(soaked, shares(requests // rounds))
            sizes.append(rss_bytes(server.pid))
            took = time.monotonic() - begun
            told(f"  round {number}: {asked.total():,} requests, {sizes[-1] / 1e6:.2f} MB, {took:.0f} s")
        return asked, sizes, soaked.settled()


def judge(report: Report, asked: Counter[str], sizes: list[int], last: Counts, seconds: float) -> None:
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(asked.items()))
    report.add("requests", "", f"{asked.total():,} in {seconds:.0f} s: {kinds}")
    report.add("wrong answers", "0", "0", True)  # the first one ends the run
    grown = max(sizes[1:], default=sizes[0]) - sizes[0]
    measured = f"{grown / 1e6:+.2f} MB at most ({sizes[0] / 1e6:.1f} after the first round, {sizes[-1] / 1e6:.1f} after the last)"
    report.add("memory after the first round", f"<= {GROWTH_BYTES / 1e6:.0f} MB more", measured, grown <= GROWTH_BYTES)
    report.add("bytes that messages hold at the end", "0", str(last.message_nbytes), last.message_nbytes == 0)
    report.numbers["soak"] = {"asked": dict(asked), "seconds": round(seconds, 1), "rss_bytes": sizes, "grown_bytes": grown}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Ten million mixed requests to one server.")
    parser.add_argument("--requests", type=int, default=10_000_000, help="in all (default 10000000)")
    parser.add_argument("--rounds", type=int, default=10, help="memory is read after each (default 10)")
    parser.add_argument("--no-history", action="store_true", help="print only")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    if missing := missing_programs(["h2load"]):
        print(f"missing programs: {', '.join(missing)}; `make bench` installs them", file=sys.stderr)
        return 2
    report, begun = Report(given.rounds, 0.0), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        try:
            found: Any = soak(Path(folder), given.requests, given.rounds, lambda line: print(line, flush=True))
        except Wrong as wrong:
            print(f"WRONG: {wrong}", file=sys.stderr)
            return 1
    judge(report, *found, time.monotonic() - begun)  # type: ignore[call-arg]
    print("\n" + report.table())
    if not given.no_history:
        settings = {"requests": given.requests, "load_1m": report.load_1m}
        append(HISTORY, report, settings, {"h2load": "--version"})
    return 0 if report.kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
