"""Certificates replaced under load: how many calls fail? None may.

    python benchmarks/rotation.py [--rotations 20] [--every 2] [--no-history]

The files are replaced by renaming, the certificate first and its key a moment later, as tools do it; nobody tells the server, which looks
by itself. Meanwhile some clients call all the time on connections that last, and others on a new connection each time. Each new
certificate must be the one that new handshakes show. The result is printed, and one line appended to benchmarks/history/rotation.jsonl.
"""

from __future__ import annotations

import argparse
import os
import socket
import ssl
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import grpc
import numpy as np
import servers
import trustme
import workloads
from proxies import SERVER_NAME, wait_for
from record import Report, append
from workloads import INFER_PATH, Workload

from inferd.protocol import inference

HISTORY = Path(__file__).resolve().parent / "history" / "rotation.jsonl"
LASTING, FRESH = 4, 2  # callers of each kind
PAUSE_S = 0.005  # between two calls of one caller
LIMIT_S = 30.0


class Certificate:
    """A certificate and its key in files, of an authority that stays."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.chain, self.key = folder / "server.pem", folder / "server.key"
        self._authority = trustme.CA()
        self.authority = self._authority.cert_pem.bytes()
        self.replace()

    def replace(self) -> None:
        leaf = self._authority.issue_cert(SERVER_NAME)
        _rename_to(self.chain, leaf.cert_chain_pems[0].bytes())
        _rename_to(self.key, leaf.private_key_pem.bytes())

    def flags(self) -> list[str]:
        return ["--transport", "native", "--tls-cert", str(self.chain), "--tls-key", str(self.key)]

    def shown_by(self, address: str) -> str:
        """The serial number of the one that a new handshake shows."""
        host, _, port = address.rpartition(":")
        context = ssl.create_default_context(cadata=self.authority.decode())
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection((host, int(port)), LIMIT_S) as plain,
            context.wrap_socket(plain, server_hostname=SERVER_NAME) as made,
        ):
            told = made.getpeercert()
        assert told
        return str(told["serialNumber"])


def _rename_to(path: Path, content: bytes) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    os.replace(fresh, path)


class Callers:
    """Threads that ask and compare, until `stop` is set. A call that fails is kept with the code and its words."""

    def __init__(self, address: str, authority: bytes, workload: Workload) -> None:
        self.stop = threading.Event()
        self.calls: Counter[str] = Counter()
        self.failures: list[str] = []
        self.latencies_s: list[float] = []
        self._address, self._workload = address, workload
        self._credentials = grpc.ssl_channel_credentials(authority)
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._lasting) for _ in range(LASTING)]
        self._threads += [threading.Thread(target=self._fresh) for _ in range(FRESH)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(LIMIT_S)

    def _channel(self) -> grpc.Channel:
        options = [("grpc.ssl_target_name_override", SERVER_NAME), ("grpc.use_local_subchannel_pool", 1)]
        return grpc.secure_channel(self._address, self._credentials, options)

    def _lasting(self) -> None:
        with self._channel() as channel:
            while not self.stop.wait(PAUSE_S):
                self._call("lasting", channel)

    def _fresh(self) -> None:
        while not self.stop.wait(PAUSE_S):
            with self._channel() as channel:
                self._call("fresh", channel)

    def _call(self, kind: str, channel: grpc.Channel) -> None:
        begun, failure = time.monotonic(), ""
        try:
            answer = channel.unary_unary(INFER_PATH)(self._workload.message(), timeout=LIMIT_S)
            value = np.frombuffer(inference.ModelInferResponse.FromString(answer).raw_output_contents[0], np.float32)
            if not np.array_equal(value, self._workload.value.ravel()):
                failure = "another value came back than was sent"
        except grpc.RpcError as error:
            failure = f"{error.code().name}: {error.details()}"
        with self._lock:
            self.calls[kind] += 1
            self.latencies_s.append(time.monotonic() - begun)
            if failure:
                self.failures.append(f"{kind}: {failure}")


def rotate(certificate: Certificate, address: str, rotations: int, pause: Callable[[], object]) -> list[float]:
    """So many times; after how many seconds each new certificate was shown."""
    took = []
    for _ in range(rotations):
        pause()
        before = certificate.shown_by(address)
        certificate.replace()
        begun = time.monotonic()
        wait_for(lambda before=before: certificate.shown_by(address) != before, "the new certificate is not shown")
        took.append(time.monotonic() - begun)
    pause()
    return took


def measure(folder: Path, rotations: int, every_s: float) -> tuple[Callers, list[float], float]:
    """The callers, how long each new certificate took to be shown, and the seconds of all."""
    certificate = Certificate(folder / "certificates")
    workload = workloads.identity(folder / "models")
    with ExitStack() as stack:
        server = stack.enter_context(servers.inferd("rotation", [folder / "models"], folder, *certificate.flags()))
        callers = Callers(server.address, certificate.authority, workload)
        callers.start()
        stack.callback(callers.end)
        begun = time.monotonic()
        took = rotate(certificate, server.address, rotations, lambda: time.sleep(every_s))
        callers.end()
        return callers, took, time.monotonic() - begun


def judge(report: Report, callers: Callers, took: list[float], lasted: float) -> None:
    calls, failures = callers.calls, Counter(callers.failures)
    report.add("rotations", "", f"{len(took)} in {lasted:.0f} s")
    report.add("the new certificate is shown", "each", f"after {statistics.median(took):.1f} s, {max(took):.1f} s at most", True)
    rate = f"{calls.total() / lasted:,.0f}/s"
    report.add("calls", "", f"{calls['lasting']:,} on connections that last, {calls['fresh']:,} on new ones; {rate}")
    report.add("failed calls", "0", f"{failures.total()}" + (f": {dict(failures)}" if failures else ""), not failures)
    latency_ms = {q: float(np.quantile(callers.latencies_s, q)) * 1e3 for q in (0.5, 0.99, 1.0)}
    report.add("latency", "", f"p50 {latency_ms[0.5]:.1f} ms, p99 {latency_ms[0.99]:.1f} ms, max {latency_ms[1.0]:.1f} ms")
    report.numbers["rotation"] = {
        "calls": dict(calls),
        "failures": dict(failures),
        "shown_s": [round(seconds, 2) for seconds in took],
        "latency_ms": {"p50": round(latency_ms[0.5], 2), "p99": round(latency_ms[0.99], 2), "max": round(latency_ms[1.0], 2)},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Replaces certificates under load.")
    parser.add_argument("--rotations", type=int, default=20, help="how often (default 20)")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two, beside the time until it is shown (default 2)")
    parser.add_argument("--no-history", action="store_true", help="print only")
    given = parser.parse_args()
    report = Report(1, 0.0)
    with tempfile.TemporaryDirectory(prefix="rotation-") as folder:
        judge(report, *measure(Path(folder), given.rotations, given.every))
    print("\n" + report.table())
    if not given.no_history:
        append(HISTORY, report, {"rotations": given.rotations, "every_s": given.every, "load_1m": report.load_1m})
    return 0 if report.kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
