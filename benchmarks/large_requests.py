"""Large requests: more than a server can do, clients that begin messages and leave them, and clients that send slowly.

    python benchmarks/large_requests.py [--sections grpc,rest,streams,left,slow] [--seconds 4] [--no-history]

FP32[1,3,224,224], 602 KB, to a GlobalAveragePool, beside a model of 64 bytes that another client asks 100 times a second. A closed loop
finds the peak. Then an open loop asks for 85, 100, 120 and 200 % of it on eight connections, and eight connections have 512 requests in
flight each; REST has these over HTTP/2, by h2load, beside h2load's own peak, and all else over HTTP/1.1. Goodput is OK responses a second
until the last one has come, by the smaller of what was asked and the peak. CPU, page faults and resident memory are the server process's.
After the last load, the first second of a closed loop is compared with the peak.
`left` is an attack: 24 connections finish a message of 1 MiB, begin another, send 36 KB of it and leave it, for a minute, with two limits
of message_memory_bytes. `slow` is another: 8 to 200 connections announce bodies of 1 to 16 MiB and send a seventh of one each quarter of
a second, or nothing, while another client sends bodies of 128 KiB one by one. Limits were set before. The table is printed, and a line
appended to benchmarks/history/large_requests.jsonl.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import sections
import servers
import workloads
from instructions import GRPC
from load import cpu_ns, minor_faults, parse, rss_bytes
from lockstep import DATA, PREFACE, RST_STREAM, SETTINGS, WHOLE_WINDOW, WINDOW_UPDATE, Request, frame
from record import Report
from servers import Running

HISTORY = Path(__file__).resolve().parent / "history" / "large_requests.jsonl"
SHARES = {0.85: 0.95, 1.0: 0.9, 1.2: 0.85, 2.0: 0.85}  # of the peak -> goodput
IN_FLIGHT, IN_FLIGHT_GOODPUT = 512, 0.85
CONNECTIONS = 8
MOST_CPU, MOST_P99, MOST_RSS_MB, NORMAL = 1.5, 5.0, 500, 0.8
SMALL_RATE = 100
ATTACK_S, ATTACKERS, MESSAGE_NBYTES, BEGUN_NBYTES = 60.0, 24, 1 << 20, 36 << 10
SLOW = ((8, 16 << 20, 0.14), (24, 16 << 20, 0.14), (200, 16 << 20, 0.0), (200, 1 << 20, 0.14), (200, 1 << 20, 0.0))  # connections, bytes
# of a body, and the share of it that they send each STEP_S
SLOW_S, STEP_S, MOST_WAIT_S, OTHER_NBYTES = 15.0, 0.25, 2.0, 128 << 10
LIMITS = {"1 GiB": 1 << 30, "64 MiB": 64 << 20}
MORE_MIB = 200  # than the limit
MiB = 1 << 20
MOST_STREAMS = 240  # of a connection, that are left
MOST_LEFT = 500  # connections of one attacker that wait in the middle of a body
MOST_OVER = 1000  # connections of all attackers that have no stream left, and stay open
OPENING_A_STREAM = Request({":method": "POST", ":path": workloads.STREAM_PATH, **GRPC})
OPENING_A_CALL = Request({":method": "POST", ":path": workloads.INFER_PATH, **GRPC})
MAX_FRAME_NBYTES = 16 << 10  # until the server has changed it


@dataclass(frozen=True)
class Load:
    """The figures of one load."""

    asked: float  # a second; 0: a closed loop
    served: float  # OK, a second
    failed: int
    cpu_us: float  # of the server, for each OK response
    faults: float
    rss_mb: float


@contextmanager
def most_rss(pid: int) -> Iterator[list[int]]:
    """[the most that is resident meanwhile]"""
    most, over = [rss_bytes(pid)], threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            most[0] = max(most[0], rss_bytes(pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


def measured(pid: int, asked: float, run: Callable[[], tuple[int, int, float]]) -> Load:
    """run: OK responses, others, seconds."""
    with most_rss(pid) as most:
        cpu, faults = cpu_ns(pid), minor_faults(pid)
        served, failed, seconds = run()
        cpu, faults = cpu_ns(pid) - cpu, minor_faults(pid) - faults
    return Load(asked, served / seconds, failed, cpu / 1e3 / max(served, 1), faults / max(served, 1), most[0] / 1e6)


class Bench:
    """`inferd bench` on one server. target: host:port, or a URL."""

    of_peak = (4, 2)  # connections, and requests in flight on each, of the closed loop that finds the peak

    def __init__(self, server: Running, target: str, folder: Path, seconds: float) -> None:
        self.pid, self.target, self.folder, self.seconds = server.pid, target, folder, seconds

    def start(self, name: str, model: str, *flags: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "inferd", "bench", self.target, model, "--quiet", *flags, "--warm-up", "0s"]
        command += ["--json", str(self.folder / f"{name}.json"), "--samples", str(self.folder / f"{name}.npy")]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def samples(self, name: str, started: subprocess.Popen[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
        """intended, sent, done in ns, code."""
        _, errors = started.communicate(timeout=300)
        if not (self.folder / f"{name}.npy").exists():
            raise RuntimeError(f"inferd bench ended with {started.returncode}:\n{errors}")
        return np.load(self.folder / f"{name}.npy")

    def run(self, *flags: str) -> tuple[int, int, float]:
        found = self.samples("large", self.start("large", "pool", *flags))
        served = int((found[:, 3] == 0).sum())
        return served, len(found) - served, float(found[:, 2].max() - found[:, 0].min()) / 1e9

    def closed(self, connections: int, in_flight: int, seconds: float) -> Load:
        words = ["--connections", str(connections), "--concurrency", str(in_flight), "--duration", f"{seconds:g}s"]
        return measured(self.pid, 0.0, lambda: self.run(*words))

    def open(self, rate: float) -> Load:
        words = ["--connections", str(CONNECTIONS), "--rate", f"{rate:.0f}", "--duration", f"{self.seconds:g}s"]
        return measured(self.pid, rate, lambda: self.run(*words))

    def peak_in_flight(self, peak: Load) -> Load:
        """The peak by the client that has many in flight."""
        return peak


class Rest(Bench):
    """Over HTTP/1.1, and what is in flight together on a connection over HTTP/2, by h2load: HTTP/1.1 has one request at a time."""

    def __init__(self, server: Running, folder: Path, seconds: float) -> None:
        super().__init__(server, f"http://{server.http}", folder, seconds)
        self.body = folder / "image.bin"
        self.body.write_bytes(workloads.image().tobytes())
        self.requests = 0  # of a load over HTTP/2

    def closed(self, connections: int, in_flight: int, seconds: float) -> Load:
        if (connections, in_flight) == self.of_peak:
            return super().closed(connections, in_flight, seconds)
        self._h2load(connections, in_flight, 0)  # warms up, as the loads before do on the other transports
        return measured(self.pid, 0.0, lambda: self._h2load(connections, in_flight, self.requests))

    def peak_in_flight(self, peak: Load) -> Load:
        self.requests = int(peak.served * self.seconds)
        return measured(self.pid, 0.0, lambda: self._h2load(*self.of_peak, self.requests))

    def _h2load(self, connections: int, in_flight: int, requests: int) -> tuple[int, int, float]:
        url = f"{self.target}/v2/models/pool/infer"
        words = ["h2load", "-c", str(connections), "-m", str(in_flight), "-n", str(max(requests, 2 * connections * in_flight))]
        words += ["-d", str(self.body), "-H", "inference-header-content-length: 0", "-H", "content-type: application/octet-stream", url]
        output = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        done, rate, _ = parse(output)
        return done, 0, done / rate


class Streams(Bench):
    """The same with one stream a connection, whose messages are sent as its windows allow."""

    of_peak = (8, 4)  # this client takes longer from a response to the next request

    def __init__(self, server: Running, target: str, folder: Path, seconds: float, body: bytes) -> None:
        super().__init__(server, target, folder, seconds)
        self.body = body

    def closed(self, connections: int, in_flight: int, seconds: float) -> Load:
        return measured(self.pid, 0.0, lambda: self._drive(connections, seconds, lambda _: in_flight))

    def open(self, rate: float) -> Load:
        each = rate / CONNECTIONS
        return measured(self.pid, rate, lambda: self._drive(CONNECTIONS, self.seconds, lambda spent_s: each * spent_s, paced=True))

    def _drive(self, connections: int, seconds: float, allowed: Callable[[float], float], *, paced: bool = False) -> tuple[int, int, float]:
        """allowed(seconds since the begin): how many may have begun on a stream; not paced: how many may be in flight."""
        clients = [StreamClient(self.target, self.body) for _ in range(connections)]
        begun = time.monotonic()
        while (spent_s := time.monotonic() - begun) < seconds or (spent_s < 60 and any(client.waiting for client in clients)):
            for client in clients:
                if spent_s < seconds:
                    target = int(allowed(spent_s)) if paced else client.done + int(allowed(spent_s))
                    client.asked = max(client.asked, target)
                client.move()
        spent_s = time.monotonic() - begun
        for client in clients:
            client.socket.close()
        return sum(client.done for client in clients), sum(client.waiting for client in clients), spent_s


def small_p99_ms(bench: Bench, beside: Callable[[], Load] | None) -> tuple[Load | None, float]:
    """The small model's p99, while the load runs; from the intended time."""
    small = Bench(Running("", bench.pid, "", 0.0), bench.target, bench.folder, bench.seconds)
    words = ["--rate", str(SMALL_RATE), "--connections", "1", "--no-spin", "--duration", f"{bench.seconds:g}s"]
    started = small.start("small", "identity", *words)
    load = beside() if beside is not None else None
    found = small.samples("small", started)
    if (found[:, 3] != 0).any():
        raise RuntimeError("requests to the small model failed")
    return load, float(np.quantile(found[:, 2] - found[:, 0], 0.99)) / 1e6


def overloaded(report: Report, name: str, bench: Bench) -> None:
    bench.closed(*bench.of_peak, 1)  # warms up
    peak = bench.closed(*bench.of_peak, report.seconds)
    words = f"{peak.served:,.0f}/s, {peak.cpu_us:.0f} us, {peak.faults:.1f} faults, {peak.rss_mb:.0f} MB"
    report.add(f"{name}: closed loop, {bench.of_peak[0]} x {bench.of_peak[1]}", "", words)
    _, quiet_ms = small_p99_ms(bench, None)
    report.add(f"{name}: the small model alone, p99", "", f"{quiet_ms:.2f} ms")
    loads = {f"{share:.0%} of the peak": (share * peak.served, least) for share, least in SHARES.items()}
    loads |= {f"{CONNECTIONS} x {IN_FLIGHT} in flight": (0.0, IN_FLIGHT_GOODPUT)}
    peak_in_flight = bench.peak_in_flight(peak)
    found: dict[str, Any] = {"peak": vars(peak), "peak_in_flight": vars(peak_in_flight), "small_quiet_ms": quiet_ms}
    for what, (rate, least) in loads.items():
        run = (lambda rate=rate: bench.open(rate)) if rate else (lambda: bench.closed(CONNECTIONS, IN_FLIGHT, bench.seconds))
        load, p99_ms = small_p99_ms(bench, run)
        assert load is not None
        by = peak if rate else peak_in_flight
        goodput, times = load.served / min(rate or by.served, by.served), load.cpu_us / by.cpu_us
        kept = goodput >= least and not load.failed and times <= MOST_CPU and load.rss_mb <= MOST_RSS_MB
        asked = f">= {least}, CPU <= x {MOST_CPU}, <= {MOST_RSS_MB} MB"
        words = f"{goodput:.2f} ({load.served:,.0f}/s, {load.failed} failed), CPU x {times:.2f}, "
        report.add(f"{name}: {what}", asked, f"{words}{load.faults:.1f} faults, {load.rss_mb:.0f} MB", kept)
        ratio = p99_ms / quiet_ms
        report.add(f"{name}: {what}: the small model's p99", f"<= x {MOST_P99:g}", f"x {ratio:.1f}, {p99_ms:.2f} ms", ratio <= MOST_P99)
        found[what] = vars(load) | {"goodput": goodput, "small_p99_ms": p99_ms}
    after = bench.closed(*bench.of_peak, 1)
    normal = after.served / peak.served
    report.add(f"{name}: the second after it, by the peak", f">= {NORMAL}", f"{normal:.2f} ({after.served:,.0f}/s)", normal >= NORMAL)
    report.numbers[name] = found | {"after": vars(after)}


@contextmanager
def serving(folder: Path, *flags: str) -> Iterator[tuple[Running, bytes]]:
    """A server of both models, and the large request's message with its prefix."""
    repository = folder / "models"
    workload = workloads.pool(repository)
    workloads.identity(repository)
    with servers.inferd("large", [repository], folder, "--transport", "native", "--http-port", "0", *flags) as server:
        yield server, workload.write_body(folder).read_bytes()


def grpc(report: Report, folder: Path) -> None:
    """602 KB over gRPC: open loops around the peak, and 512 in flight on each of eight connections"""
    with serving(folder) as (server, _):
        overloaded(report, "grpc", Bench(server, server.address, folder, report.seconds))


def rest(report: Report, folder: Path) -> None:
    """the same over HTTP/1.1, as binary data; what is in flight on eight connections over HTTP/2"""
    with serving(folder) as (server, _):
        overloaded(report, "rest", Rest(server, folder, report.seconds))


def streams(report: Report, folder: Path) -> None:
    """the same as messages of ModelStreamInfer, one stream a connection"""
    with serving(folder) as (server, body):
        overloaded(report, "streams", Streams(server, server.address, folder, report.seconds, body))


# ---- messages that are begun and left


class Frames:
    """One connection of HTTP/2 that keeps to its windows. `piece` says what is sent next."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        update = struct.pack(">I", WHOLE_WINDOW)
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0) + frame(WINDOW_UPDATE, 0, 0, update))
        self.socket.setblocking(False)
        self.connection_window, self.first_window = 65_535, 65_535
        self.windows: dict[int, int] = {}  # of streams that were opened
        self.unsent, self.received = memoryview(b""), b""
        self.acknowledges = False  # SETTINGS, between two frames

    def piece(self) -> bytes:
        """The next frames; b"": there is nothing to send, or the windows are shut."""
        raise NotImplementedError

    def take_data(self, stream: int, flags: int, payload: bytes) -> None:
        """A part of a response."""

    def data(self, stream: int, content: memoryview, end: bool) -> bytes:
        """As much of it as the windows allow, in one frame."""
        nbytes = min(len(content), self.connection_window, self.windows[stream], MAX_FRAME_NBYTES)
        if nbytes <= 0:
            return b""
        self.connection_window -= nbytes
        self.windows[stream] -= nbytes
        return frame(DATA, int(end and nbytes == len(content)), stream, bytes(content[:nbytes]))

    def move(self) -> bool:
        """False: there is nothing to do now. Raises OSError when the server has closed the connection."""
        moved = False
        with suppress(BlockingIOError):
            self._take(self.socket.recv(1 << 16))
            moved = True
        with suppress(BlockingIOError):
            while self.unsent or self._next():
                self.unsent = self.unsent[self.socket.send(self.unsent) :]
                moved = True
        return moved

    def _next(self) -> bool:
        if self.acknowledges:
            self.acknowledges, self.unsent = False, memoryview(frame(SETTINGS, 1, 0))
        else:
            self.unsent = memoryview(self.piece())
        return bool(self.unsent)

    def _take(self, received: bytes) -> None:
        if not received:
            raise ConnectionResetError
        self.received += received
        while len(self.received) >= 9 and len(self.received) >= (end := 9 + int.from_bytes(self.received[:3])):
            kind, flags, stream = struct.unpack(">BBI", self.received[3:9])
            payload, self.received = self.received[9:end], self.received[end:]
            if kind == WINDOW_UPDATE and stream in self.windows:
                self.windows[stream] += int.from_bytes(payload)
            elif kind == WINDOW_UPDATE and stream == 0:
                self.connection_window += int.from_bytes(payload)
            elif kind == SETTINGS and not flags & 1:
                self.acknowledges = True
                for at in range(0, len(payload), 6):
                    if payload[at : at + 2] == b"\0\4":
                        change, self.first_window = int.from_bytes(payload[at + 2 : at + 6]) - self.first_window, self.first_window
                        self.first_window += change
                        self.windows = {each: window + change for each, window in self.windows.items()}
            elif kind == DATA:
                self.take_data(stream, flags, payload)
            elif kind == RST_STREAM:
                self.windows.pop(stream, None)


class StreamClient(Frames):
    """One stream of ModelStreamInfer. It sends as many requests as were asked for."""

    def __init__(self, address: str, body: bytes) -> None:
        super().__init__(address)
        self.unsent = memoryview(OPENING_A_STREAM.opening(1) + frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", WHOLE_WINDOW)))
        self.windows[1] = self.first_window
        self.body, self.sent_nbytes, self.part = memoryview(body), 0, b""
        self.asked = self.begun = self.done = 0

    @property
    def waiting(self) -> int:
        return self.asked - self.done

    def piece(self) -> bytes:
        if self.sent_nbytes == 0 and self.begun >= self.asked:
            return b""
        found = self.data(1, self.body[self.sent_nbytes :], end=False)
        if found:
            self.begun += self.sent_nbytes == 0
            self.sent_nbytes = (self.sent_nbytes + len(found) - 9) % len(self.body)
        return found

    def take_data(self, stream: int, flags: int, payload: bytes) -> None:
        self.part += payload
        while len(self.part) >= 5 and len(self.part) >= (end := 5 + int.from_bytes(self.part[1:5])):
            self.part = self.part[end:]
            self.done += 1


class Leaving(Frames):
    """It finishes a message, begins another one, sends a little of it and leaves it; and so on, as long as it may open streams."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.stream, self.sent_nbytes = 1, 0
        self.content = memoryview(struct.pack(">BI", 0, MESSAGE_NBYTES - 5) + bytes(MESSAGE_NBYTES - 5))

    def piece(self) -> bytes:
        if self.stream not in self.windows:
            if self.sent_nbytes == 0 and self.stream < 4 * MOST_STREAMS:
                self.windows[self.stream] = self.first_window
                self.sent_nbytes = 1
                return OPENING_A_CALL.opening(1) if self.stream == 1 else OPENING_A_CALL.further(self.stream)
            if self.stream >= 4 * MOST_STREAMS:
                raise ConnectionResetError  # no stream is left
        whole = self.stream % 4 == 1
        most_nbytes = MESSAGE_NBYTES if whole else BEGUN_NBYTES
        done = self.stream not in self.windows or self.sent_nbytes > most_nbytes
        if done:
            self.stream, self.sent_nbytes = self.stream + 2, 0
            return self.piece()
        found = self.data(self.stream, self.content[self.sent_nbytes - 1 : most_nbytes], end=whole)
        self.sent_nbytes += max(0, len(found) - 9)
        return found


class LeavingBodies:
    """The same over HTTP/1.1: each body that is left takes a connection, which stays open."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.address, self.left = (host, int(port)), list[socket.socket]()
        head = b"POST /v2/models/pool/infer HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % MESSAGE_NBYTES
        self.whole, self.begun = head + bytes(MESSAGE_NBYTES), head + bytes(BEGUN_NBYTES)
        self._connect()

    def _connect(self) -> None:
        self.socket = socket.create_connection(self.address)
        self.socket.setblocking(False)
        self.unsent, self.is_left = memoryview(self.whole), False

    def move(self) -> bool:
        try:
            if self.unsent:
                self.unsent = self.unsent[self.socket.send(self.unsent) :]
            elif self.is_left:
                self.left.append(self.socket)
                if len(self.left) > MOST_LEFT:
                    self.left.pop(0).close()
                self._connect()
            elif self.socket.recv(1 << 16):  # the response to the whole one
                self.unsent, self.is_left = memoryview(self.begun), True
            else:
                self._connect()
        except BlockingIOError:
            return False
        return True


def attack(server: Running, http: bool, seconds: float) -> tuple[float, int]:
    """The most that was resident meanwhile, in MiB; connections that were opened."""

    def begin() -> LeavingBodies | Leaving:
        return LeavingBodies(server.http) if http else Leaving(server.address)

    attackers, over = [begin() for _ in range(ATTACKERS)], list[LeavingBodies | Leaving]()
    end = time.monotonic() + seconds
    with most_rss(server.pid) as most:
        while time.monotonic() < end:
            moved = False
            for number, attacker in enumerate(attackers):
                try:
                    moved |= attacker.move()
                except OSError:  # a new connection; the old one stays open
                    over.append(attacker)
                    if len(over) > MOST_OVER:
                        over.pop(0).socket.close()
                    attackers[number] = begin()
            if not moved:
                time.sleep(0.001)
    opened = [each.socket for each in (*attackers, *over)]
    opened += [each for attacker in (*attackers, *over) if isinstance(attacker, LeavingBodies) for each in attacker.left]
    for each in opened:
        each.close()
    return most[0] / MiB, len(opened)


def left(report: Report, folder: Path) -> None:
    """24 connections that finish a message of 1 MiB, begin another and leave it"""
    for name, limit in LIMITS.items():
        own = folder / name.replace(" ", "_")
        own.mkdir()
        with serving(own, "--message-memory-bytes", str(limit)) as (server, _):
            for kind, http in (("gRPC", False), ("REST", True)):
                before = rss_bytes(server.pid) / MiB
                most, opened = attack(server, http, ATTACK_S)
                asked = limit / MiB + MORE_MIB
                words = f"{most:,.0f} MiB ({before:.0f} before, {opened} connections)"
                report.add(f"left, {kind}, limit {name}: resident", f"<= {asked:,.0f} MiB", words, most <= asked)
                report.numbers[f"left {kind} {name}"] = {"most_mib": round(most), "connections": opened}


# ---- messages that come slowly


def send_slowly(address: str, nbytes: int, share: float, over: threading.Event) -> None:
    """Announces a body as soon as the one before it has its place, and was sent: share of it each STEP_S."""
    host, _, port = address.rpartition(":")
    head = b"POST /v2/models/pool/infer HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % nbytes
    while not over.is_set():
        with suppress(OSError), socket.create_connection((host, int(port)), timeout=SLOW_S) as client:
            client.sendall(head)
            client.recv(1 << 16)
            for _ in range(int(1 / share) if share else 1):
                client.sendall(bytes(int(share * nbytes)))
                if over.wait(STEP_S):
                    return


def waits_s(address: str, seconds: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """How long each request of OTHER_NBYTES took, sent one after the other."""
    found, end = [], time.monotonic() + seconds
    connection = HTTPConnection(address, timeout=60)
    while (begun := time.monotonic()) < end:
        connection.request("POST", "/v2/models/pool/infer", bytes(OTHER_NBYTES))  # which is no JSON
        connection.getresponse().read()
        found.append(time.monotonic() - begun)
        time.sleep(0.01)
    connection.close()
    return np.array(found)


def slow(report: Report, folder: Path) -> None:
    """clients that announce large bodies and send them slowly, or not at all, beside one that sends 128 KiB"""
    with serving(folder) as (server, _):
        alone = waits_s(server.http, 2.0)
        for connections, nbytes, share in SLOW:
            over = threading.Event()
            clients = [threading.Thread(target=send_slowly, args=(server.http, nbytes, share, over)) for _ in range(connections)]
            for each in clients:
                each.start()
            time.sleep(1)
            found = waits_s(server.http, SLOW_S)
            over.set()
            for each in clients:
                each.join()
            asked = f"<= {MOST_WAIT_S:g} s"
            words = f"{found.max():.2f} s, median {np.median(found) * 1e3:.1f} ms (alone {np.median(alone) * 1e3:.1f})"
            sends = f"send {share:.0%} in {STEP_S} s" if share else "send nothing"
            name = f"slow: {connections} x {nbytes // MiB} MiB, {sends}: the longest wait of 128 KiB"
            report.add(name, asked, words, bool(found.max() <= MOST_WAIT_S))
            report.numbers[name] = {"most_s": float(found.max()), "median_s": float(np.median(found)), "requests": len(found)}


SECTIONS = {section.__name__: section for section in (grpc, rest, streams, left, slow)}


def main() -> int:
    asked = sections.parser(
        "Large requests: overload, and messages that are left, or come slowly.", SECTIONS, seconds=4, lasts="that a load lasts"
    )
    given = asked.parse_args()
    report = Report(1, given.seconds)
    sections.run(report, SECTIONS, given.sections)
    sections.keep(HISTORY, given, report)
    return 0 if report.kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
