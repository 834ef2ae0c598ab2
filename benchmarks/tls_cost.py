"""What TLS costs the server: the same requests by plaintext and by TLS, handshakes, and the memory of idle connections.

    python benchmarks/tls_cost.py [--sections requests,image,handshakes,idle] [--rounds 5] [--seconds 1.5] [--no-history]

One server process has a port of each kind, and the rounds are interleaved. CPU is the process's own by the kernel's clock, divided by
the requests: h2load's handshakes are part of it. TLS is 1.3 with one cipher and one curve (AES-128-GCM, X25519), the certificate's key
is P-256. Answers are checked as server_cost.py does. The table is printed, and one line appended to benchmarks/history/tls_cost.jsonl.
"""

from __future__ import annotations

import socket
import ssl
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import by_hand
import sections
import servers
import workloads
from load import Load, Run, Target, cpu_ns, drive, missing_programs, requests_for, rss_bytes
from proxies import SERVER_NAME, Files
from record import Report
from server_cost import Checker, answer_of, as_numbers, checked, figures, median
from servers import Running
from workloads import INFER_PATH, Workload

HISTORY = Path(__file__).resolve().parent / "history" / "tls_cost.jsonl"
ASKED = {Load(4, 16): 1.4, Load(64, 1): 2.4, Load(8, 1): None, Load(1, 1, pinned=True): None}  # TLS against plaintext
PLAIN, TLS, MUTUAL = "plaintext", "TLS", "TLS with client certificates"
HANDSHAKES = 200  # of one kind in a round
IDLE = 400  # connections of one wave
WAVES = 4
WAVE_PAUSE_S = 2.0  # between two of them: the server looks once a second whether memory can be given back
LIMIT_S = 30


def tls_flags(files: Files, *more: str) -> list[str]:
    folder = files.folder
    return ["--transport", "native", "--tls-cert", str(folder / "server.pem"), "--tls-key", str(folder / "server.key"), *more]


@contextmanager
def both_ports(repository: Path, folder: Path, files: Files) -> Iterator[tuple[Running, dict[str, str]]]:
    """A server, and its URL by plaintext and by TLS."""
    with servers.inferd("tls", [repository], folder, *tls_flags(files, "--listen", "plaintext:127.0.0.1:0")) as server:
        yield server, {PLAIN: f"http://{server.further[0]}{INFER_PATH}", TLS: f"https://{server.address}{INFER_PATH}"}


def compared(report: Report, folder: Path, make: Callable[[Path], Workload], loads: dict[Load, float | None]) -> None:
    """Rounds of each load; in each round both ports have their turn, with as many requests."""
    repository = folder / "repository"
    workload = make(repository)
    body, expected = workload.write_body(folder), answer_of(repository, workload)
    with both_ports(repository, folder, Files(folder / "certificates")) as (server, urls):
        checker = Checker(server.further[0], workload, expected)
        targets = {kind: Target(url, body) for kind, url in urls.items()}
        for load, asked in loads.items():
            count = requests_for(server.pid, targets[PLAIN], load, report.seconds)
            drive(server.pid, targets[TLS], load, count // 4)
            runs: dict[str, list[Run]] = {kind: [] for kind in targets}
            for _ in range(report.rounds):
                for kind, target in targets.items():

                    def measure(target: Target = target, load: Load = load, count: int = count) -> Run:
                        return drive(server.pid, target, load, count)

                    runs[kind].append(checked(checker, measure))
            judge(report, workload, load, asked, runs)


def judge(report: Report, workload: Workload, load: Load, asked: float | None, runs: dict[str, list[Run]]) -> None:
    what = f"{workload.model} {load}"
    report.numbers.setdefault("requests", {})[what] = {kind: as_numbers(found) for kind, found in runs.items()}
    for kind, found in runs.items():
        report.add(f"{what}, {kind}", "", figures(found))
    ratio = median(runs[TLS], "cpu_us") / median(runs[PLAIN], "cpu_us")
    report.numbers["requests"][what]["ratio"] = round(ratio, 3)
    kept = None if asked is None else ratio <= asked
    report.add(f"{what}: CPU by TLS against plaintext", f"<= {asked}" if asked else "reported", f"{ratio:.2f}", kept)


def requests(report: Report, folder: Path) -> None:
    """identity FP32[1,16] under four shapes of traffic."""
    compared(report, folder, workloads.identity, ASKED)


def image(report: Report, folder: Path) -> None:
    """602 KB a request into a model that pools it."""
    compared(report, folder, workloads.pool, {Load(4, 2): None})


# ---------------------------------------------------------------------------------------------------------------------
# Connections made by hand


class Client:
    """Makes connections to one port, each with one request. context: None: plaintext."""

    def __init__(self, address: str, request: bytes, context: ssl.SSLContext | None = None) -> None:
        self.host, _, port = address.rpartition(":")
        self.port, self.request, self.context = int(port), request, context
        self.session: ssl.SSLSession | None = None
        self.resumed = 0

    def connect(self, resume: bool = False) -> socket.socket:
        """An open connection whose one request was answered."""
        connection = socket.create_connection((self.host, self.port), LIMIT_S)
        if self.context is None:
            connection.sendall(self.request)
            by_hand.read_answer(connection)
            return connection
        made = self.context.wrap_socket(connection, server_hostname=SERVER_NAME, session=self.session if resume else None)
        made.sendall(self.request)
        by_hand.read_answer(made)
        self.session = made.session
        self.resumed += bool(made.session_reused)
        return made

    def cpu_us(self, pid: int, count: int, resume: bool = False) -> float:
        """The server's CPU for a connection with one request, one after the other."""
        cpu = cpu_ns(pid)
        for _ in range(count):
            self.connect(resume).close()
        return (cpu_ns(pid) - cpu) / count / 1e3


def client_context(files: Files, certificate: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=files.authority.decode())
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    if certificate:
        context.load_cert_chain(files.folder / "proxy-with-key.pem")
    return context


@contextmanager
def started(kind: str, repository: Path, folder: Path, files: Files, request: bytes) -> Iterator[tuple[Running, Client]]:
    """A server that has one port, and a client of it."""
    authority = ("--tls-client-ca", str(files.folder / "authority.pem")) if kind == MUTUAL else ()
    flags = ["--transport", "native"] if kind == PLAIN else tls_flags(files, *authority)
    with servers.inferd(kind, [repository], folder, *flags) as server:
        yield server, Client(server.address, request, None if kind == PLAIN else client_context(files, certificate=kind == MUTUAL))


def handshakes(report: Report, folder: Path) -> None:
    """What a connection with one request costs, with a full handshake and a resumed one."""
    repository, files = folder / "repository", Files(folder / "certificates")
    request = by_hand.hello() + by_hand.request(workloads.identity(repository).message())
    with ExitStack() as stack:
        running = {kind: stack.enter_context(started(kind, repository, folder, files, request)) for kind in (PLAIN, TLS, MUTUAL)}
        kinds = [(kind, resume) for kind in running for resume in (False, True) if kind != PLAIN or not resume]
        found: dict[tuple[str, bool], list[float]] = {kind: [] for kind in kinds}
        resumed = dict.fromkeys(kinds, 0)
        for round_number in range(report.rounds + 1):  # the first one warms up
            for kind, resume in kinds:
                server, client = running[kind]
                client.resumed = 0
                cost = client.cpu_us(server.pid, HANDSHAKES, resume)
                if round_number:
                    found[kind, resume].append(cost)
                    resumed[kind, resume] += client.resumed
    numbers = report.numbers.setdefault("handshakes", {})
    for (kind, resume), costs in found.items():
        cost, share = statistics.median(costs), resumed[kind, resume] / (report.rounds * HANDSHAKES)
        what = f"a connection with one request, {kind}" + (", the client resumes" if resume else "")
        numbers[f"{kind}{' resuming' if resume else ''}"] = {"cpu_us": round(cost, 1), "resumed_share": round(share, 3)}
        told = f", {share:.0%} resumed" if resume else ""
        report.add(what, "reported", f"{cost:.0f} us CPU, {1e6 / cost:,.0f}/s a core{told}")


def idle(report: Report, folder: Path) -> None:
    """The memory of connections that have asked once, and what waves of them leave behind."""
    repository, files = folder / "repository", Files(folder / "certificates")
    request = by_hand.hello() + by_hand.request(workloads.identity(repository).message())
    numbers = report.numbers.setdefault("idle", {})
    for kind in (PLAIN, TLS, MUTUAL):
        with started(kind, repository, folder, files, request) as (server, client):
            client.connect().close()
            before, sizes = rss_bytes(server.pid), []
            for _ in range(WAVES):
                opened = [client.connect() for _ in range(IDLE)]
                sizes.append(rss_bytes(server.pid))
                for connection in opened:
                    connection.close()
                time.sleep(WAVE_PAUSE_S)
        each = (sizes[0] - before) / IDLE / 1e3
        grown = (sizes[-1] - sizes[0]) / IDLE / 1e3
        numbers[kind] = {"connection_kb": round(each, 1), "grown_kb": round(grown, 2)}
        measured = f"{each:.0f} KB, {grown:+.1f} KB from the first wave of {IDLE} to the {WAVES}th"
        report.add(f"an idle connection, {kind}", "reported", measured)


SECTIONS = {section.__name__: section for section in (requests, image, handshakes, idle)}


def main() -> int:
    asked = sections.parser("Measures what TLS costs the server.", SECTIONS, rounds=5, seconds=1.5, lasts="that one run lasts, about")
    given = asked.parse_args()
    if missing := missing_programs(["h2load", "taskset"]):
        print(f"missing programs: {', '.join(missing)}; `make bench` installs them", file=sys.stderr)
        return 2
    report = Report(given.rounds, given.seconds)
    sections.run(report, SECTIONS, given.sections)
    report.numbers["openssl"] = ssl.OPENSSL_VERSION
    sections.keep(HISTORY, given, report, {"h2load": "--version"})
    return 0 if report.kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
