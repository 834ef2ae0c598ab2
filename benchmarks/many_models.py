"""What 1,000 models cost a server that is asked for one of them: loading, memory, idle CPU, a request, and a scrape of the metrics.

    python benchmarks/many_models.py [--sections models,trained,profiles,tables] [--rounds 5] [--no-history]

A server of one model runs beside it, and is asked in turn. Every answer is checked. One line is appended to
benchmarks/history/many_models.jsonl.
"""

from __future__ import annotations

import json
import shutil
import statistics
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import sections
import servers
import workloads
from load import Load, Target, cpu_ns, drive, requests_for, rss_bytes
from record import ROOT, Report
from server_cost import Checker, answer_of, checked
from servers import Running
from workloads import INFER_PATH, Workload

HISTORY = Path(__file__).resolve().parent / "history" / "many_models.jsonl"
MODELS = 1000
IDLE_S = 10.0
LONE_REQUESTS, LONE_PAUSE_S = 1000, 0.003
LOAD, LOAD_S = Load(8, 1), 1.0
BETWEEN_SCRAPES_S = 0.3  # pages are made a few a second


def models(report: Report, folder: Path) -> None:
    """1,000 models of one node, beside a server of one of them."""
    measure(report, folder, "models", workloads.identity(folder / "repository"))


def trained(report: Report, folder: Path) -> None:
    """The same of 1,000 networks of three layers, each of 20 KB of weights."""
    shutil.copytree(ROOT / "examples" / "models" / "digits", folder / "repository" / "digits")
    value = np.random.default_rng(0).random((1, 8, 8), dtype=np.float32)
    measure(report, folder, "trained", Workload("digits", "image", "probabilities", value))


def profiles(report: Report, folder: Path) -> None:
    """1,000 models of one node, each with a reference profile, so that all of them are watched."""
    from inferd.engine.embedded import Engine
    from inferd.monitor.profiling import profile
    from inferd.monitor.reference import path_of, write

    workload = workloads.identity(folder / "repository")
    file = folder / "repository" / workload.model / "1" / "model.onnx"
    rows = np.random.default_rng(0).normal(size=(1000, *workload.value.shape[1:])).astype(np.float32)
    with Engine(file) as engine:
        requests = [{workload.input: rows[first : first + 50]} for first in range(0, len(rows), 50)]
        write(profile(engine._lookup(None, ""), requests, lambda given: engine.infer(None, given)), path_of(file))
    measure(report, folder, "profiles", workload)


def tables(report: Report, folder: Path) -> None:
    """1,000 tables: their threads, and their memory once each was asked, against what model_memory counts."""
    repository = folder / "repository"
    for number in range(MODELS):
        model = repository / f"table{number}"
        (model / "1").mkdir(parents=True)
        (model / "1" / "model.onnx").write_bytes(table_graph())
        (model / "config.toml").write_text(TABLE_CONFIG)
    message = record_message("table0")
    with servers.inferd("tables", [repository], folder) as running:
        ready = threads_of(running.pid)
    report.numbers["tables"] = numbers = {"threads": ready}
    report.add(f"tables: threads of {MODELS:,}", "<= 40", f"{ready}", ready <= 40)
    with servers.inferd("tables on demand", [repository], folder, "--model-memory", "4GiB") as running:
        ask(running, [message])
        rss, counted = rss_bytes(running.pid), counted_bytes(running)
        ask(running, [record_message(f"table{number}") for number in range(1, MODELS)])
        until_idle(running.pid)
        rss_kb, counted_kb = ((rss_bytes(running.pid) - rss) / 1e3 / (MODELS - 1), (counted_bytes(running) - counted) / 1e3 / (MODELS - 1))
    numbers |= {"kb_each": round(rss_kb, 1), "counted_kb_each": round(counted_kb, 1)}
    ratio = counted_kb / rss_kb
    report.add(
        "tables: counted against resident memory", "0.85 to 1.15", f"{ratio:.2f} ({counted_kb:.0f} KB, {rss_kb:.0f})", 0.85 <= ratio <= 1.15
    )


def table_graph() -> bytes:
    """Eight numbers and four texts, of which each gives two numbers: a linear model."""
    from onnx import TensorProto, helper, numpy_helper

    numbers = [f"number{place}" for place in range(8)]
    texts = [f"text{place}" for place in range(4)]
    nodes = [
        helper.make_node(
            "LabelEncoder",
            [name],
            [f"{name}.place"],
            domain="ai.onnx.ml",
            keys_strings=WORDS,
            values_floats=[float(place) for place in range(len(WORDS))],
        )
        for name in texts
    ]
    nodes.append(helper.make_node("Concat", [*numbers, *(f"{name}.place" for name in texts)], ["all"], axis=1))
    nodes.append(helper.make_node("MatMul", ["all", "weights"], ["y"]))
    weights = numpy_helper.from_array(np.ones((12, 2), np.float32), "weights")
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 1]) for name in numbers]
    inputs += [helper.make_tensor_value_info(name, TensorProto.STRING, ["N", 1]) for name in texts]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])]
    graph = helper.make_graph(nodes, "table", inputs, outputs, [weights])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


WORDS = [f"word {number}" for number in range(100)]
TABLE_CONFIG = "[[inferd.preprocess]]\n[[inferd.preprocess.steps]]\ncolumns.columns = [\n{}]\n".format(
    "".join(
        [f'  {{ name = "number{place}", datatype = "FP32", missing = "NaN" }},\n' for place in range(8)]
        + [f'  {{ name = "text{place}", datatype = "BYTES", allowed = {WORDS} }},\n'.replace("'", '"') for place in range(4)]
    )
)


def record_message(model: str) -> bytes:
    from inferd.protocol import inference

    record = {f"number{place}": 1.5 for place in range(8)} | {f"text{place}": WORDS[place] for place in range(4)}
    content = json.dumps(record).encode()
    request = inference.ModelInferRequest(model_name=model)
    request.inputs.add(name="record", datatype="BYTES", shape=[1, 1])
    request.raw_input_contents.append(struct.pack("<I", len(content)) + content)
    return bytes(request.SerializeToString())


def ask(running: Running, messages: Sequence[bytes]) -> None:
    """Sends each, and checks its response."""
    import grpc

    from inferd.protocol import inference

    with grpc.insecure_channel(running.address) as channel:
        infer = channel.unary_unary(INFER_PATH, response_deserializer=inference.ModelInferResponse.FromString)
        for message in messages:
            answer = infer(message, timeout=60)
            found = np.frombuffer(answer.raw_output_contents[0], np.float32)
            if not np.array_equal(found, [18.0, 18.0]):  # 8 * 1.5 + 0 + 1 + 2 + 3
                raise RuntimeError(f"a table answered {found}")


def threads_of(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())


def until_idle(pid: int) -> None:
    """Until the executor threads have gone that ran the requests; a minute at most."""
    for _ in range(60):
        if threads_of(pid) <= 40:
            return
        time.sleep(1)
    raise RuntimeError(f"{threads_of(pid)} threads a minute after the last request")


def counted_bytes(running: Running) -> float:
    page = subprocess.run(["curl", "-s", "-f", f"http://{running.metrics}/metrics"], capture_output=True, text=True, check=True).stdout
    return next(float(line.split()[1]) for line in page.splitlines() if line.startswith("inferd_model_memory_bytes "))


def measure(report: Report, folder: Path, section: str, workload: Workload) -> None:
    repository, many = folder / "repository", folder / "many"
    model = repository / workload.model / "1" / "model.onnx"
    many.mkdir()
    profile = model.with_name("reference.parquet")
    for number in range(MODELS - 1):
        shutil.copy(model, many / f"model{number}.onnx")
        if profile.exists():
            shutil.copy(profile, many / f"model{number}.onnx.{profile.name}")
    expected = answer_of(repository, workload)
    with ExitStack() as stack:
        one = stack.enter_context(servers.inferd("one model", [repository], folder))
        all_of_them = stack.enter_context(servers.inferd("many models", [repository, many], folder))
        running = (one, all_of_them)
        load_cpu_s = (cpu_ns(all_of_them.pid) - cpu_ns(one.pid)) / 1e9
        each_kb = (rss_bytes(all_of_them.pid) - rss_bytes(one.pid)) / (MODELS - 1) / 1e3
        checkers = [Checker(server.address, workload, expected) for server in running]
        idle_percent = idle(running)
        cost_us = median_of(report.rounds, lambda: request_us(running, checkers, workload, folder))
        lone_us = median_of(report.rounds, lambda: lone_p99_us(checkers))
        scrapes = [scrape_ms(all_of_them, *encoding) for encoding in (GZIP, PLAIN) for _ in range(report.rounds)]
        gzip_ms, plain_ms = (statistics.median(part) for part in (scrapes[: report.rounds], scrapes[report.rounds :]))
        still_ms, pause_ms = median_of(report.rounds, lambda: longest_ms(all_of_them, checkers[1]))
    report.numbers[section] = {
        "start_s": round(all_of_them.start_s, 2),
        "load_cpu_s": round(load_cpu_s, 2),
        "kb_each": round(each_kb, 1),
        "idle_percent": round(idle_percent[1], 2),
        "cpu_us": round(cost_us[1], 2),
        "cpu_us_one": round(cost_us[0], 2),
        "lone_p99_us": round(lone_us[1], 1),
        "lone_p99_us_one": round(lone_us[0], 1),
        "first_scrape_ms": round(scrapes[0], 1),
        "scrape_gzip_ms": round(gzip_ms, 1),
        "scrape_ms": round(plain_ms, 1),
        "longest_ms_in_scrape": round(pause_ms, 2),
        "longest_ms": round(still_ms, 2),
    }
    ratio, p99_ratio = cost_us[1] / cost_us[0], lone_us[1] / lone_us[0]
    start = f"{all_of_them.start_s:.2f} s ({load_cpu_s:.2f} s of CPU)"
    report.add(f"{section}: exec to ready", "<= 12 s", start, all_of_them.start_s <= 12)
    report.add(f"{section}: memory of each", "<= 200 KB", f"{each_kb:.0f} KB", each_kb <= 200)
    report.add(f"{section}: idle CPU", "<= 1 %", f"{idle_percent[1]:.2f} % (one model {idle_percent[0]:.2f})", idle_percent[1] <= 1)
    cost = f"{ratio:.2f} ({cost_us[1]:.1f} us, {cost_us[0]:.1f})"
    report.add(f"{section}: CPU a request against one model's", "<= 1.1", cost, ratio <= 1.1)
    lone = f"{p99_ratio:.2f} ({lone_us[1]:.0f} us, {lone_us[0]:.0f})"
    report.add(f"{section}: a lone request's p99 against one model's", "<= 1.2", lone, p99_ratio <= 1.2)
    scraped = f"{gzip_ms:.0f} ms with gzip, {plain_ms:.0f} plain (the first one {scrapes[0]:.0f})"
    report.add(f"{section}: a scrape", "<= 100 ms", scraped, gzip_ms <= 100)
    pause = f"{pause_ms:.1f} ms (without {still_ms:.1f})"
    report.add(f"{section}: a request's longest wait in a scrape", "<= 5 ms more", pause, pause_ms - still_ms <= 5)


def median_of(rounds: int, measured: Callable[[], Sequence[float]]) -> list[float]:
    """Of each figure, over the rounds."""
    return [statistics.median(found) for found in zip(*(measured() for _ in range(rounds)), strict=True)]


def idle(running: Sequence[Running]) -> list[float]:
    """Each server's share of a core, in percent, while nobody asks."""
    before = [cpu_ns(server.pid) for server in running]
    time.sleep(IDLE_S)
    return [(cpu_ns(server.pid) - busy_ns) / 1e7 / IDLE_S for server, busy_ns in zip(running, before, strict=True)]


def request_us(running: Sequence[Running], checkers: Sequence[Checker], workload: Workload, folder: Path) -> list[float]:
    """Each server's CPU a request, of a load of so many that the first one takes LOAD_S."""
    body = workload.write_body(folder)
    targets = [Target(f"http://{server.address}{INFER_PATH}", body) for server in running]
    requests = requests_for(running[0].pid, targets[0], LOAD, LOAD_S)
    return [
        checked(checker, lambda server=server, target=target: drive(server.pid, target, LOAD, requests)).cpu_us
        for server, target, checker in zip(running, targets, checkers, strict=True)
    ]


def lone_p99_us(checkers: Sequence[Checker]) -> list[float]:
    """Each server's, of requests that come one at a time, to the servers in turn, with a pause before each."""
    found: list[list[float]] = [[] for _ in checkers]
    for _ in range(LONE_REQUESTS):
        for checker, durations in zip(checkers, found, strict=True):
            time.sleep(LONE_PAUSE_S)
            durations.append(timed_ms(checker.check) * 1e3)
    return [float(np.quantile(durations, 0.99)) for durations in found]


PLAIN, GZIP = (), ("-H", "Accept-Encoding: gzip")


def scrape_ms(server: Running, *encoding: str, path: str = "/metrics") -> float:
    """How long curl takes for the page."""
    time.sleep(BETWEEN_SCRAPES_S)
    command = ["curl", "-s", "-f", "-o", "/dev/null", "-w", "%{time_total}", *encoding, f"http://{server.metrics}{path}"]
    return 1e3 * float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def longest_ms(server: Running, checker: Checker) -> list[float]:
    """The longest of the requests that come one after the other, without a scrape and during one. Without, curl asks for a page of one
    line: to start a process holds up this one for some milliseconds."""
    ended, durations = threading.Event(), []

    def ask() -> None:
        while not ended.is_set():
            durations.append(timed_ms(checker.check))

    found = []
    for path in ("/", "/metrics"):
        ended.clear()
        durations.clear()
        asking = threading.Thread(target=ask)
        asking.start()
        scrape_ms(server, *GZIP, path=path)
        ended.set()
        asking.join()
        found.append(max(durations))
    return found


def timed_ms(done: Callable[[], object]) -> float:
    begun_ns = time.perf_counter_ns()
    done()
    return (time.perf_counter_ns() - begun_ns) / 1e6


SECTIONS = {section.__name__: section for section in (models, trained, profiles, tables)}


def main() -> int:
    asked = sections.parser("Measures what many models cost a server.", SECTIONS, rounds=5)
    asked.add_argument("--note", default="", help="a word for the line of history")
    given = asked.parse_args()
    report = Report(given.rounds, IDLE_S)
    sections.run(report, SECTIONS, given.sections)
    sections.keep(HISTORY, given, report)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
