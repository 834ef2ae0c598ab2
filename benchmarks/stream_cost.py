"""What a message of ModelStreamInfer costs the server, beside a call of ModelInfer, in one interleaved run.

    python benchmarks/stream_cost.py [--sections tiny] [--rounds 5] [--messages 1000000] [--no-history]

Eight connections have one stream each, with 1 or 8 requests in flight, or as many calls. The client works in lockstep
(lockstep.py), so that both have the same batches. CPU is the server process's user and system time, divided by the requests; the
table has the median of the rounds. tritonclient checks an answer by value before and after, all responses are equal, and the
model's own statistics must have counted each request. The table is printed, and a line appended to
benchmarks/history/stream_cost.jsonl.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import sections
import servers
import workloads
from instructions import GRPC
from load import Load, cpu_ns
from lockstep import Lockstep, Request
from record import Report
from server_cost import Checker, answer_of

HISTORY = Path(__file__).resolve().parent / "history" / "stream_cost.jsonl"
LOADS = (Load(8, 1), Load(8, 8))
PATHS = {"ModelInfer": workloads.INFER_PATH, "ModelStreamInfer": workloads.STREAM_PATH}


class Cost:
    """One run of this program."""

    messages = 1_000_000  # of streams with 8 requests in flight; a tenth with one

    def tiny(self, report: Report, folder: Path) -> None:
        """identity FP32[1,16], eight connections"""
        repository = folder / "repository"
        workload = workloads.identity(repository)
        body = workload.write_body(folder).read_bytes()
        with servers.inferd("native", [repository], folder, "--transport", "native") as server:
            checker = Checker(server.address, workload, answer_of(repository, workload))
            for load in LOADS:
                at_once = load.connections * load.streams
                turns = self.messages // (1 if load.streams > 1 else 10) // report.rounds // at_once
                costs: dict[str, list[float]] = {name: [] for name in PATHS}
                for _ in range(report.rounds):
                    for name, path in PATHS.items():
                        request = Request({":method": "POST", ":path": path, **GRPC}, body)
                        streaming = path == workloads.STREAM_PATH
                        with (
                            checker.counting(lambda sent=turns * at_once: sent),  # type: ignore[misc]
                            Lockstep(server.pid, server.address, request, load.connections, load.streams, streaming) as client,
                        ):
                            before = cpu_ns(server.pid)
                            sent = client.run(turns)
                            costs[name].append((cpu_ns(server.pid) - before) / sent / 1e3)
                medians = {name: statistics.median(found) for name, found in costs.items()}
                report.numbers[str(load)] = {
                    name: {"cpu_us": round(median, 3), "requests": turns * at_once * report.rounds} for name, median in medians.items()
                }
                for name, median in medians.items():
                    report.add(f"{name} {load}: CPU a request", "", f"{median:.2f} us")
                ratio = medians["ModelStreamInfer"] / medians["ModelInfer"]
                report.add(f"{load}: a message of a stream against a call", "<= 1", f"{ratio:.2f}", ratio <= 1)


def main() -> int:
    cost = Cost()
    every = {"tiny": cost.tiny}
    made = sections.parser("Measures what a message of a stream costs the server.", every, rounds=5)
    made.add_argument("--messages", type=int, default=cost.messages, help=f"of a stream's load (default {cost.messages})")
    given = made.parse_args()
    cost.messages = given.messages
    report = Report(given.rounds, 0.0)
    sections.run(report, every, given.sections)
    sections.keep(HISTORY, given, report)
    return 0 if report.kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
