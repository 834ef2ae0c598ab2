"""1,000 small models in the memory of 50: requests by Zipf's law, how many find their model in memory, and how long the others wait.

    python benchmarks/overcommit.py [--rounds 3] [--no-history]

A server that has all models in memory gets the same requests, in turn. Every answer is checked: each model adds a number of its own. One
line is appended to benchmarks/history/overcommit.jsonl.
"""

from __future__ import annotations

import statistics
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc
import numpy as np
import onnx
import sections
import servers
from load import rss_bytes
from onnx import TensorProto, helper, numpy_helper
from prometheus_client.parser import text_string_to_metric_families
from record import Report

from inferd.protocol import inference

HISTORY = Path(__file__).resolve().parent / "history" / "overcommit.jsonl"
MODELS, FIT = 1000, 50
MODEL_KIB = 265  # that inferd expects of one of these
EXPONENT = 1.1  # of Zipf's law: the 50 most popular models get 69 % of the requests
CLIENTS, REQUESTS = 4, 20_000  # at once; of a round
METHOD = "/inference.GRPCInferenceService/ModelInfer"


def overcommit(report: Report, folder: Path) -> None:
    """A server of 1,000 models in the memory of 50, beside one that has all in memory."""
    repository = folder / "repository"
    for number in range(MODELS):
        put(repository / f"m{number}" / "1" / "model.onnx", number)
    with ExitStack() as stack:
        few = stack.enter_context(servers.inferd("few", [repository], folder, "--model-memory", f"{FIT * MODEL_KIB}KiB"))
        every = stack.enter_context(servers.inferd("all", [repository], folder))
        clients = [Client(server.address) for server in (few, every)]
        order = by_zipf(0)
        clients[0].errors_and_latencies(order[: REQUESTS // 4])  # the popular ones come into memory
        rounds = []
        for number in range(1, report.rounds + 1):
            order = by_zipf(number)
            before = counters(few)
            errors, latencies_us = clients[0].errors_and_latencies(order)
            after = counters(few)
            others, all_latencies_us = clients[1].errors_and_latencies(order)
            misses = after["misses"] - before["misses"]
            latencies_us.sort()  # a miss takes longer than any hit, but for some hits beside a load
            hits_us, misses_us = latencies_us[:-misses], latencies_us[-misses:]
            quantiles = (np.quantile(found, share) for found in (misses_us, hits_us, all_latencies_us) for share in (0.5, 0.99))
            rounds.append((errors + others, 100 * (after["hits"] - before["hits"]) / REQUESTS, *quantiles))
        mib = [rss_bytes(server.pid) / 2**20 for server in (few, every)]
        in_memory = after["memory_bytes"] / 1024 / MODEL_KIB
    errors = sum(round_[0] for round_ in rounds)
    hit_percent, miss_p50_us, miss_p99_us, *others = (float(statistics.median(column)) for column in list(zip(*rounds, strict=True))[1:])
    names = ["hit_percent", "miss_p50_us", "miss_p99_us", "hit_p50_us", "hit_p99_us", "all_in_memory_p50_us", "all_in_memory_p99_us"]
    names += ["start_s", "start_s_all", "rss_mib", "rss_mib_all"]
    found = (hit_percent, miss_p50_us, miss_p99_us, *others, few.start_s, every.start_s, *mib)
    report.numbers["overcommit"] = {"errors": errors} | {name: round(value, 2) for name, value in zip(names, found, strict=True)}
    report.add("errors and wrong answers", "0", f"{errors} of {2 * report.rounds * REQUESTS}", errors == 0)
    report.add("requests whose model was in memory", "reported", f"{hit_percent:.1f} %")
    report.add("a request that waits for its model", "reported", f"p50 {miss_p50_us / 1e3:.1f} ms, p99 {miss_p99_us / 1e3:.1f} ms")
    report.add("a request whose model is in memory", "reported", "p50 {:.0f} us, p99 {:.0f} us".format(*others[:2]))
    report.add("the same where all are in memory", "reported", "p50 {:.0f} us, p99 {:.0f} us".format(*others[2:]))
    report.add("models in memory at the end", f"<= {FIT}", f"{in_memory:.1f}", in_memory <= FIT)
    report.add("resident memory", "reported", f"{mib[0]:.0f} MiB ({mib[1]:.0f} with all in memory)")
    report.add("exec to ready", "reported", f"{few.start_s:.2f} s ({every.start_s:.2f} with all in memory)")


def put(path: Path, number: int) -> None:
    """x -> y = x + number."""
    path.parent.mkdir(parents=True)
    node = helper.make_node("Add", ["x", "number"], ["y"])
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 16]) for name in "xy"]
    constants = [numpy_helper.from_array(np.array([number], np.float32), "number")]
    model = helper.make_model(helper.make_graph([node], "graph", tensors[:1], tensors[1:], constants))
    model.ir_version = 8
    onnx.save(model, path)


def by_zipf(seed: int) -> list[int]:
    """The models that the requests of a round name."""
    weights = np.arange(1, MODELS + 1) ** -EXPONENT
    popular = np.random.default_rng(0).permutation(MODELS)  # which is popular has nothing to do with its name
    chosen: list[int] = popular[np.random.default_rng(seed).choice(MODELS, REQUESTS, p=weights / weights.sum())].tolist()
    return chosen


class Client:
    """Sends requests on connections of its own, each of which has one in flight."""

    def __init__(self, address: str) -> None:
        self._channels = [grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) for _ in range(CLIENTS)]
        self._messages = [_message(number) for number in range(MODELS)]
        self._expected = [(np.arange(16, dtype=np.float32) + number).tobytes() for number in range(MODELS)]

    def errors_and_latencies(self, order: Sequence[int]) -> tuple[int, list[float]]:
        with ThreadPoolExecutor(CLIENTS) as pool:
            found = list(pool.map(self._send, range(CLIENTS), (order[number::CLIENTS] for number in range(CLIENTS))))
        return sum(errors for errors, _ in found), [latency for _, latencies in found for latency in latencies]

    def _send(self, client: int, order: Sequence[int]) -> tuple[int, list[float]]:
        infer = self._channels[client].unary_unary(METHOD)
        errors, latencies_us = 0, []
        for number in order:
            begun_ns = time.perf_counter_ns()
            try:
                response = inference.ModelInferResponse.FromString(infer(self._messages[number], timeout=60))
            except grpc.RpcError as error:
                errors += 1
                print(f"  m{number}: {error.code()}: {error.details()}", flush=True)
                continue
            latencies_us.append((time.perf_counter_ns() - begun_ns) / 1e3)
            errors += response.model_name != f"m{number}" or response.raw_output_contents[0] != self._expected[number]
        return errors, latencies_us


def _message(number: int) -> bytes:
    request = inference.ModelInferRequest(model_name=f"m{number}")
    request.inputs.add(name="x", datatype="FP32", shape=(1, 16))
    request.raw_input_contents.append(np.arange(16, dtype=np.float32).tobytes())
    return request.SerializeToString()


def counters(server: servers.Running) -> dict[str, int]:
    with urllib.request.urlopen(f"http://{server.metrics}/metrics", timeout=60) as page:
        families = list(text_string_to_metric_families(page.read().decode()))
    names = {"inferd_model_hits_total": "hits", "inferd_model_misses_total": "misses", "inferd_model_memory_bytes": "memory_bytes"}
    return {names[sample.name]: int(sample.value) for family in families for sample in family.samples if sample.name in names}


SECTIONS = {section.__name__: section for section in (overcommit,)}


def main() -> int:
    asked = sections.parser("Measures a server of more models than fit.", SECTIONS, rounds=3)
    asked.add_argument("--note", default="", help="a word for the line of history")
    given = asked.parse_args()
    report = Report(given.rounds, 0)
    sections.run(report, SECTIONS, given.sections)
    sections.keep(HISTORY, given, report)
    return 0 if report.kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
