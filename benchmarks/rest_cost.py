"""What a request by REST costs the server, beside the same one by gRPC and nginx over HTTP/1.1, in one interleaved run.

    python benchmarks/rest_cost.py [--sections tiny,image,held] [--rounds 5] [--seconds 1.5] [--no-history]

Every figure is the median of the rounds. CPU is the server process's user and system time, divided by the requests. h2load is the client,
on the same cores. In `tiny` and `image` tritonclient checks an answer by value before and after each measurement, and the model's own
statistics must have counted each request. In `held` h2load must have seen nothing but status 200. The table is printed, and one line
appended to benchmarks/history/rest_cost.jsonl.

nginx answers `return 200` with 120 bytes: it reads no body and runs no model.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import dev_packages  # noqa: F401
import orjson
import sections
import servers
import workloads
from load import Load, Run, Target, drive, requests_for
from loop_ticks import WARM_UP_S
from record import Report
from server_cost import Checker, answer_of, as_numbers, checked, figures, median
from workloads import INFER_PATH, Workload

HISTORY = Path(__file__).resolve().parent / "history" / "rest_cost.jsonl"
TICKS = Path(__file__).resolve().parent / "loop_ticks.py"
GRPC, BINARY, JSON, NGINX = "gRPC", "REST, binary", "REST, JSON", "nginx, HTTP/1.1"
LIMITS = {"tiny": {BINARY: 1.2, JSON: 1.8}, "image": {BINARY: 1.2}}
HELD_MS, HELD_LOAD, HELD_REQUESTS = 2.0, Load(4, 1), 400


@dataclass(frozen=True)
class OverHttp1(Target):
    """A POST over HTTP/1.1. Without a body it is a GET."""

    def arguments(self) -> list[str]:
        body = ["-d", str(self.body)] if self.body else []
        return ["--h1", *body, *(part for header in self.headers for part in ("-H", header)), self.url]


def json_body(workload: Workload) -> bytes:
    value = workload.value
    tensor = {"name": workload.input, "datatype": "FP32", "shape": list(value.shape), "data": value.ravel().tolist()}
    return json.dumps({"inputs": [tensor]}, separators=(",", ":")).encode()


def binary_body(workload: Workload) -> tuple[bytes, int]:
    """The body, and the length of its JSON."""
    value = workload.value
    tensor = {"name": workload.input, "datatype": "FP32", "shape": list(value.shape), "parameters": {"binary_data_size": value.nbytes}}
    asked = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    header = json.dumps(asked, separators=(",", ":")).encode()
    return header + value.tobytes(), len(header)


def targets(server: servers.Running, workload: Workload, folder: Path) -> dict[str, Target]:
    """The same request in three forms."""
    url = f"http://{server.http}/v2/models/{workload.model}/infer"
    binary, header_nbytes = binary_body(workload)
    (folder / "binary").write_bytes(binary)
    (folder / "json").write_bytes(json_body(workload))
    header = f"inference-header-content-length: {header_nbytes}"
    return {
        GRPC: Target(f"http://{server.address}{INFER_PATH}", workload.write_body(folder)),
        BINARY: OverHttp1(url, folder / "binary", ("content-type: application/octet-stream", header)),
        JSON: OverHttp1(url, folder / "json", ("content-type: application/json",)),
    }


def compare(report: Report, folder: Path, section: str, workload: Workload, load: Load, *, yardstick: bool) -> None:
    repository = folder / "repository"
    with ExitStack() as stack:
        server = stack.enter_context(servers.inferd("native", [repository], folder, "--transport", "native", "--http-port", "0"))
        checker = Checker(server.address, workload, answer_of(repository, workload))
        asked = targets(server, workload, folder)
        pids = dict.fromkeys(asked, server.pid)
        if yardstick and shutil.which("nginx"):
            nginx = stack.enter_context(servers.nginx(folder, http2=False))
            asked[NGINX], pids[NGINX] = OverHttp1(f"http://{nginx.address}/"), nginx.pid
        counts = {name: requests_for(pids[name], target, load, report.seconds) for name, target in asked.items()}
        runs: dict[str, list[Run]] = {name: [] for name in asked}
        for _ in range(report.rounds):
            for name, target in asked.items():

                def measure(name: str = name, target: Target = target) -> Run:
                    return drive(pids[name], target, load, counts[name])

                runs[name].append(measure() if name == NGINX else checked(checker, measure))
    report.numbers[section] = {str(load): {name: as_numbers(found) for name, found in runs.items()}}
    for name, found in runs.items():
        report.add(f"{section} {load}, {name}", "", figures(found))
    cpu = {name: median(found, "cpu_us") for name, found in runs.items()}
    for name in (BINARY, JSON):
        ratio, limit = cpu[name] / cpu[GRPC], LIMITS[section].get(name)
        kept = None if limit is None else ratio <= limit
        report.add(f"{section} {load}: CPU of {name} against gRPC's", "reported" if limit is None else f"<= {limit}", f"{ratio:.2f}", kept)


def tiny(report: Report, folder: Path) -> None:
    """identity FP32[1,16], 64 connections with a request each"""
    compare(report, folder, "tiny", workloads.identity(folder / "repository"), Load(64, 1), yardstick=True)


def image(report: Report, folder: Path) -> None:
    """FP32[1,3,224,224]: 602 KB in binary, some MB as JSON"""
    compare(report, folder, "image", workloads.pool(folder / "repository"), Load(8, 1), yardstick=False)


def held(report: Report, folder: Path) -> None:
    """JSON of some MB: how long one iteration of the event loop takes at most, and how fast text is read beside orjson"""
    workload = workloads.pool(folder / "repository")
    text = json_body(workload)
    (folder / "json").write_bytes(text)
    held_ms, rates = [], []
    for number in range(report.rounds):
        command = [sys.executable, str(TICKS), str(folder / "repository")]
        with servers.process(command, folder / f"ticks{number}.log") as started:
            assert started.stdout is not None
            address = json.loads(started.stdout.readline())["http"]
            target = OverHttp1(f"http://{address}/v2/models/{workload.model}/infer", folder / "json", ("content-type: application/json",))
            drive(started.pid, target, HELD_LOAD, 10)
            time.sleep(WARM_UP_S)
            run = drive(started.pid, target, HELD_LOAD, HELD_REQUESTS)
            started.terminate()
            held_ms.append(json.loads(started.stdout.readline())["held_ms"])
            rates.append(run.requests_s * len(text) / 1e6)
    begun = time.process_time_ns()
    for _ in range(20):
        orjson.loads(text)
    orjson_ms = (time.process_time_ns() - begun) / 20e6
    most_ms = statistics.median(held_ms)
    report.numbers["held"] = {"held_ms": held_ms, "mb_s": rates, "orjson_ms": orjson_ms, "text_mb": len(text) / 1e6}
    report.add("JSON of one image: MB; orjson parses it in", "", f"{len(text) / 1e6:.2f} MB; {orjson_ms:.2f} ms of CPU")
    report.add(f"JSON of images, {HELD_LOAD}: MB/s through the whole server", "reported", f"{statistics.median(rates):.0f}")
    report.add("the longest iteration of the loop, CPU", f"<= {HELD_MS:g} ms", f"{most_ms:.2f} ms", most_ms <= HELD_MS)


SECTIONS = {section.__name__: section for section in (tiny, image, held)}


def main() -> int:
    given = sections.parser(
        "Measures what a request by REST costs the server.", SECTIONS, rounds=5, seconds=1.5, lasts="how long a measurement takes, about"
    ).parse_args()
    report = Report(given.rounds, given.seconds)
    sections.run(report, SECTIONS, given.sections)
    sections.keep(HISTORY, given, report, {"h2load": "--version", "nginx": "-v"})
    return 0 if report.kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
