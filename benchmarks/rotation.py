"""Certificates replaced under load: how many calls fail? None may.

    python benchmarks/rotation.py [--sections alone,mutual,workers] [--rotations 20] [--seconds 2] [--no-history]

The files are replaced by renaming, the certificate first and its key a moment later, as tools do it; nobody tells the server, which looks
by itself. Meanwhile some clients call all the time on connections that last, and others on a new connection each time. Each new
certificate must be the one that new handshakes show, of every process. Where clients show certificates, their authority is replaced, too,
without a gap: the file has the present one and the next, and callers change to the next once it is read. The replacement after that takes
the first one away; its clients must be refused from then on. The result is printed, and one line appended to
benchmarks/history/rotation.jsonl.
"""

from __future__ import annotations

import os
import socket
import ssl
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import grpc
import numpy as np
import sections
import servers
import trustme
import workloads
from proxies import SERVER_NAME, wait_for
from record import Report
from workloads import INFER_PATH, Workload

from inferd.protocol import inference

HISTORY = Path(__file__).resolve().parent / "history" / "rotation.jsonl"
LASTING, FRESH = 4, 2  # callers of each kind
PAUSE_S = 0.005  # between two calls of one caller
LIMIT_S = 30.0
LOOKS = 2  # connections for each process, open at one time, that are to show the new certificate: who has least gets the next one


class Certificates:
    """The server's certificate and its key in files, of an authority that stays. mutual: also the authorities of clients, two at a time."""

    def __init__(self, folder: Path, *, mutual: bool) -> None:
        folder.mkdir()
        self.mutual = mutual
        self.chain, self.key, self.client_ca = folder / "server.pem", folder / "server.key", folder / "clients.pem"
        self._authority = trustme.CA()
        self._client_authorities = [trustme.CA()] if mutual else []
        self._clients = [authority.issue_cert("caller.internal") for authority in self._client_authorities]
        self.replace()
        self.take_up()

    def replace(self) -> None:
        """The first of the authorities of clients goes, and another one comes."""
        if self._client_authorities:
            self._client_authorities = [self._client_authorities[-1], trustme.CA()]
            _rename_to(self.client_ca, b"".join(authority.cert_pem.bytes() for authority in self._client_authorities))
        leaf = self._authority.issue_cert(SERVER_NAME)
        _rename_to(self.chain, leaf.cert_chain_pems[0].bytes())
        _rename_to(self.key, leaf.private_key_pem.bytes())

    def take_up(self) -> None:
        """Callers show a certificate of the newest authority, from now on."""
        if self._client_authorities:
            self._clients = [self._clients[-1], self._client_authorities[-1].issue_cert("caller.internal")]

    def flags(self) -> list[str]:
        found = ["--transport", "native", "--tls-cert", str(self.chain), "--tls-key", str(self.key)]
        return [*found, "--tls-client-ca", str(self.client_ca)] if self._client_authorities else found

    def credentials(self) -> grpc.ChannelCredentials:
        """Of a caller."""
        key, chain = None, None
        if self._clients:
            key, chain = self._clients[-1].private_key_pem.bytes(), self._clients[-1].cert_chain_pems[0].bytes()
        return grpc.ssl_channel_credentials(self._authority.cert_pem.bytes(), key, chain)

    def shown_by(self, address: str, connections: int) -> set[str]:
        """The serial numbers of those that so many new handshakes show."""
        with ExitStack() as opened:
            return {_serial_of(opened.enter_context(self._shaken(address, *self._clients[-1:]))) for _ in range(connections)}

    def former_is_refused(self, address: str) -> bool:
        """A client of the authority that the last replacement took away."""
        try:
            with self._shaken(address, self._clients[0]) as made:
                made.recv(1)
        except ssl.SSLError as error:
            return "ALERT" in str(error.reason)
        return False

    def _shaken(self, address: str, *clients: trustme.LeafCert) -> ssl.SSLSocket:
        host, _, port = address.rpartition(":")
        context = ssl.create_default_context(cadata=self._authority.cert_pem.bytes().decode())
        context.set_alpn_protocols(["h2"])
        for client in clients:
            client.configure_cert(context)
        return context.wrap_socket(socket.create_connection((host, int(port)), LIMIT_S), server_hostname=SERVER_NAME)


def _serial_of(made: ssl.SSLSocket) -> str:
    told = made.getpeercert()
    assert told
    return str(told["serialNumber"])


def _rename_to(path: Path, content: bytes) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    os.replace(fresh, path)


class Callers:
    """Threads that ask and compare, until `stop` is set. A call that fails is kept with the code and its words."""

    def __init__(self, address: str, certificates: Certificates, workload: Workload) -> None:
        self.stop = threading.Event()
        self.calls: Counter[str] = Counter()
        self.failures: list[str] = []
        self.latencies_s: list[float] = []
        self._address, self._certificates, self._workload = address, certificates, workload
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
        return grpc.secure_channel(self._address, self._certificates.credentials(), options)

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


def rotate(
    certificates: Certificates, address: str, rotations: int, connections: int, pause: Callable[[], object]
) -> tuple[list[float], list[bool]]:
    """So many times; after how many seconds each new certificate was shown, and whether a client of the authority that went was refused,
    where clients show certificates."""
    took, refused = [], []
    for _ in range(rotations):
        pause()
        before = certificates.shown_by(address, connections)
        certificates.replace()
        begun = time.monotonic()
        wait_for(lambda before=before: before.isdisjoint(certificates.shown_by(address, connections)), "the new certificate is not shown")
        took.append(time.monotonic() - begun)
        if certificates.mutual:
            refused.append(certificates.former_is_refused(address))
        certificates.take_up()
    pause()
    return took, refused


def replaced(report: Report, folder: Path, name: str, workers: int, *, mutual: bool) -> None:
    certificates = Certificates(folder / "certificates", mutual=mutual)
    workload = workloads.identity(folder / "models")
    flags = [*certificates.flags(), "--workers", str(workers)]
    with ExitStack() as stack:
        server = stack.enter_context(servers.inferd("rotation", [folder / "models"], folder, *flags))
        callers = Callers(server.address, certificates, workload)
        callers.start()
        stack.callback(callers.end)
        begun = time.monotonic()
        took, refused = rotate(certificates, server.address, report.rounds, LOOKS * workers, lambda: time.sleep(report.seconds))
        callers.end()
        judge(report, name, callers, took, refused, time.monotonic() - begun)


def judge(report: Report, name: str, callers: Callers, took: list[float], refused: list[bool], lasted: float) -> None:
    calls, failures = callers.calls, Counter(callers.failures)
    report.add(f"{name}: rotations", "", f"{len(took)} in {lasted:.0f} s")
    shown = f"after {statistics.median(took):.1f} s, {max(took):.1f} s at most"
    report.add(f"{name}: the new certificate is shown", "each", shown, True)
    if refused:
        count = f"{sum(refused)} of {len(refused)}"
        report.add(f"{name}: clients of an authority that is taken away are refused", "each", count, all(refused))
    rate = f"{calls.total() / lasted:,.0f}/s"
    report.add(f"{name}: calls", "", f"{calls['lasting']:,} on connections that last, {calls['fresh']:,} on new ones; {rate}")
    report.add(f"{name}: failed calls", "0", f"{failures.total()}" + (f": {dict(failures)}" if failures else ""), not failures)
    latency_ms = {q: float(np.quantile(callers.latencies_s, q)) * 1e3 for q in (0.5, 0.99, 1.0)}
    report.add(f"{name}: latency", "", f"p50 {latency_ms[0.5]:.1f} ms, p99 {latency_ms[0.99]:.1f} ms, max {latency_ms[1.0]:.1f} ms")
    report.numbers[name] = {
        "calls": dict(calls),
        "failures": dict(failures),
        "shown_s": [round(seconds, 2) for seconds in took],
        "refused": sum(refused),
        "latency_ms": {"p50": round(latency_ms[0.5], 2), "p99": round(latency_ms[0.99], 2), "max": round(latency_ms[1.0], 2)},
    }


def alone(report: Report, folder: Path) -> None:
    """One process; clients show no certificate."""
    replaced(report, folder, "alone", 1, mutual=False)


def mutual(report: Report, folder: Path) -> None:
    """One process; clients show certificates, whose authority is replaced, too."""
    replaced(report, folder, "mutual", 1, mutual=True)


def workers(report: Report, folder: Path) -> None:
    """Two processes on one address, each of which reads the files by itself; clients show certificates."""
    replaced(report, folder, "workers", 2, mutual=True)


SECTIONS = {section.__name__: section for section in (alone, mutual, workers)}


def main() -> int:
    asked = sections.parser(
        "Replaces certificates under load.", SECTIONS, seconds=2, lasts="between two, beside the time until it is shown"
    )
    asked.add_argument("--rotations", type=int, default=20, help="how often (default 20)")
    given = asked.parse_args()
    report = Report(given.rotations, given.seconds)
    sections.run(report, SECTIONS, given.sections)
    sections.keep(HISTORY, given, report)
    return 0 if report.kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
