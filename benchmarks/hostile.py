"""What hostile peers can do: one attack after the other on a real server, beside a client that behaves well. Nothing may crash or hang,
memory has a bound and comes back, and the client's p99 stays within 5 times of what it is without an attack.

    python benchmarks/hostile.py [ATTACK ...] [--seconds 4] [--rounds 3] [--no-history]

The server, with its defaults and the identity model, has the first core for itself. The attacker (attacks.py) has the second, of which it
takes what the client leaves (SCHED_IDLE: by its niceness alone it would keep the core for milliseconds after the client has woken), so
that the client, `inferd bench` at a low fixed rate on the same core, is not what is late: what it waits for is the server. Its p99 is
taken without and with the attack, in turn, in each round; the medians count. An attack goes on, over and over, all the time that the
client measures. Memory is the server's RSS: before, the highest that was seen, and when every connection of the attacker is gone.
The result is printed and, when all attacks were made, appended as one line to benchmarks/history/hostile.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import attacks
import load
import proxies
import servers
import workloads
from record import Report, append

HISTORY = Path(__file__).resolve().parent / "history" / "hostile.jsonl"
RATE, CONNECTIONS = 200, 2  # of the client that behaves well
MOST_TIMES = 5.0  # its p99 beside an attack, in quiet ones
MOST_LEFT_MIB = 160  # more than before when all is over: the pool keeps 64 MiB of free blocks, and malloc some of what was given back
MOST_GROWN_MIB = 64  # more after the last round than after the first: malloc finds its form in some rounds, a leak never does
MOST_MIB = 512  # more at the peak: the answers of one connection (max_unread_bytes, 256 MiB), as much again for messages that come
SETTLED_S = 1.5  # without a fall of the server's memory
LIMIT_S = 60.0  # in which the server answers, and is at rest again; else it hangs
AT_REST = ("inferd_connections", "inferd_streams", "inferd_message_bytes", "inferd_queue_depth")
MIB = 1 << 20


@dataclass(frozen=True)
class Server:
    """The one under attack. tls: its address that speaks it."""

    pid: int
    address: str
    tls: str
    metrics: str

    def rss_mib(self) -> float:
        return load.rss_bytes(self.pid) / MIB

    def held(self) -> dict[str, float]:
        """What it counts of live things."""
        with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=LIMIT_S) as answer:
            text = answer.read().decode()
        found: dict[str, float] = dict.fromkeys(AT_REST, 0.0)
        for name, value in re.findall(r"^(\w+)(?:\{.*\})? ([\d.e+]+)$", text, re.MULTILINE):
            if name in found:
                found[name] += float(value)
        return found


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """`inferd serve` on the first core, with its defaults: TLS on one port, plaintext on another."""
    workloads.identity(folder / "models")
    workloads.put(folder / "models", "wide", workloads.small_model("wide", "Identity", (attacks.WIDTH,), (attacks.WIDTH,)))
    workloads.put(folder / "models", "numbers", workloads.numbers())
    files = proxies.Files(folder / "tls")
    command = ["taskset", "-c", str(load.pin_core()), sys.executable, "-m", "inferd", "serve", str(folder / "models")]
    command += ["--grpc-port", "0", "--http-port", "off", "--metrics-port", "0", "--log-level", "warning", "--transport", "native"]
    command += ["--max-connections", str(2 * attacks.IDLE_CONNECTIONS)]  # or those who are idle would take the room of all others
    command += ["--tls-cert", str(files.folder / "front.pem"), "--tls-key", str(files.folder / "front.key")]
    with servers.process([*command, "--listen", "plaintext:127.0.0.1:0"], folder / "server.log") as started:
        assert started.stdout is not None
        for line in started.stdout:
            word, _, rest = line.partition(" ")
            if word == "ready":
                told = json.loads(rest)
                plain = str(told["listen"][0]).removeprefix("plaintext:")
                yield Server(started.pid, plain, str(told["grpc"]), str(told["metrics"]))
                return
        raise RuntimeError(f"the server ended before it was ready:\n{(folder / 'server.log').read_text()}")


class Client:
    """`inferd bench` at a low rate, on the attacker's core, whom it goes before."""

    def __init__(self, server: Server, folder: Path, seconds: float) -> None:
        self.report = folder / "client.json"
        self.command = ["taskset", "-c", str(other_core()), sys.executable, "-m", "inferd", "bench", server.address, "identity", "--quiet"]
        self.command += ["--json", str(self.report), "--rate", str(RATE), "--connections", str(CONNECTIONS), "--no-spin"]
        self.command += ["--duration", f"{seconds:g}s", "--warm-up", "1s", "--random"]

    def p99_us(self) -> tuple[float, int]:
        """And how many of its calls failed."""
        self.report.unlink(missing_ok=True)
        done = subprocess.run(self.command, capture_output=True, text=True, check=False, timeout=10 * LIMIT_S)
        if not self.report.exists():
            raise RuntimeError(f"inferd bench ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        told = json.loads(self.report.read_text())
        return told["latency_us"]["p99"], sum(told["errors"].values())


def other_core() -> int:
    return max(os.sched_getaffinity(0))


@contextmanager
def attacked(name: str, server: Server, words: Counter[str]) -> Iterator[None]:
    """The attack, while the block runs; what it met is added to `words`."""
    address = server.tls if name in attacks.OF_TLS else server.address
    command = [sys.executable, attacks.__file__, name, address, str(other_core())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as attacker:
        assert attacker.stdin is not None
        assert attacker.stdout is not None
        if attacker.stdout.readline().strip() != "going":
            raise RuntimeError(f"the attack {name!r} did not begin")
        try:
            yield
        finally:
            attacker.stdin.close()
            told = attacker.stdout.read()
            words.update(json.loads(told) if told.strip() else {"the attacker failed": 1})


@contextmanager
def watched(server: Server, peaks: list[float]) -> Iterator[None]:
    """Appends the highest RSS of the time that the block takes, in MiB."""
    over = threading.Event()
    highest = [server.rss_mib()]

    def look() -> None:
        while not over.wait(0.02):
            highest[0] = max(highest[0], server.rss_mib())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join()
        peaks.append(highest[0])


def rest(server: Server, before: dict[str, float]) -> str:
    """Waits until nothing is held for the attacker any more. What is still there after LIMIT_S, in words; "": nothing."""
    until = time.monotonic() + LIMIT_S
    while True:
        now = server.held()
        more = {name: now[name] for name in AT_REST if now[name] > before[name]}
        if not more:
            return ""
        if time.monotonic() > until:
            return ", ".join(f"{name} {value:g}" for name, value in more.items())
        time.sleep(0.1)


def settled(server: Server) -> float:
    """The RSS in MiB once it falls no further: large blocks are given back some at a time, and what many connections had at the server's
    next look at that, a second apart."""
    least, since = server.rss_mib(), time.monotonic()
    while time.monotonic() - since < SETTLED_S:
        time.sleep(0.1)
        if (now := server.rss_mib()) < least - 1:
            least, since = now, time.monotonic()
    return round(server.rss_mib(), 1)


def measure(name: str, server: Server, folder: Path, seconds: float, rounds: int) -> dict[str, Any]:
    """What one attack did."""
    client, words = Client(server, folder, seconds), Counter[str]()
    before, before_mib = server.held(), server.rss_mib()
    quiet_us, beside_us, failed = [], [], 0
    peaks: list[float] = []
    after_mib: list[float] = []
    for _ in range(rounds):
        quiet_us.append(client.p99_us()[0])
        with watched(server, peaks), attacked(name, server, words):
            p99_us, errors = client.p99_us()
        beside_us.append(p99_us)
        failed += errors
        left = rest(server, before)
        after_mib.append(settled(server))
    return {
        "quiet_p99_us": statistics.median(quiet_us),
        "beside_p99_us": statistics.median(beside_us),
        "before_mib": round(before_mib, 1),
        "peak_mib": round(max(peaks), 1),
        "after_mib": after_mib[-1],
        "grown_mib": round(after_mib[-1] - after_mib[0], 1),
        "failed": failed,
        "left": left,
        "words": dict(words),
    }


def judge(report: Report, name: str, found: dict[str, Any]) -> None:
    """Its row, and whether every demand was kept."""
    times = found["beside_p99_us"] / found["quiet_p99_us"]
    kept = {
        f"p99 x {times:.1f}": times <= MOST_TIMES,
        "peak": found["peak_mib"] - found["before_mib"] <= MOST_MIB,
        "after": found["after_mib"] - found["before_mib"] <= MOST_LEFT_MIB,
        f"{found['grown_mib']:.0f} MiB more each time": found["grown_mib"] <= MOST_GROWN_MIB,
        f"{found['failed']} calls failed": found["failed"] == 0,
        f"held: {found['left']}": not found["left"],
    }
    words = ", ".join(f"{count:,} {word}" for word, count in found["words"].items())
    measured = (
        f"p99 {found['quiet_p99_us'] / 1e3:.2f} -> {found['beside_p99_us'] / 1e3:.2f} ms, "
        f"{found['before_mib']:.0f} / {found['peak_mib']:.0f} / {found['after_mib']:.0f} MiB; {words}"
    )
    broken = [what for what, good in kept.items() if not good]
    report.add(name, f"p99 <= x {MOST_TIMES:g}", measured + (f" ({', '.join(broken)})" if broken else ""), not broken)
    report.numbers[name] = found


def run(names: Sequence[str], report: Report) -> None:
    """All of them on one server; where that crashes or hangs, no more."""
    with tempfile.TemporaryDirectory(prefix="hostile-") as text, serving(Path(text)) as server:
        Client(server, Path(text), 1).p99_us()
        for name in names:
            try:
                judge(report, name, measure(name, server, Path(text), report.seconds, report.rounds))
            except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
                report.add(name, "no crash, no hang", f"the server does not answer: {error}", False)
                return


def main() -> int:
    parser = argparse.ArgumentParser(description="Attacks a server in every way that is known, and says what happened.")
    parser.add_argument("attacks", nargs="*", metavar="ATTACK", help=f"which; all without one. One of: {'; '.join(attacks.ATTACKS)}")
    parser.add_argument("--seconds", type=float, default=4, help="that the client measures (default 4)")
    parser.add_argument("--rounds", type=int, default=3, help="of each attack (default 3)")
    parser.add_argument("--no-history", action="store_true", help="print only")
    given = parser.parse_args()
    if unknown := set(given.attacks) - set(attacks.ATTACKS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    report = Report(given.rounds, given.seconds)
    run(given.attacks or list(attacks.ATTACKS), report)
    print("\n" + report.table())
    if not given.attacks and not given.no_history:
        append(HISTORY, report, {"rounds": given.rounds, "seconds": given.seconds, "load_1m": report.load_1m})
    return 0 if report.kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
