"""What feedback costs a server, how fast labels join, and what is left of them after kill -9.

    python benchmarks/feedback_cost.py [--sections labels,killed,cost] [--rounds 4] [--labels 1000000] [--kills 100] [--no-history]

labels: a store has one prediction for each of so many requests. `inferd feedback` sends their labels in another order, 1,000 in a message,
and sends them again: all must join, and then all must be repeated.

killed: a client sends requests with an id, then their labels, one message after the other, until the server is killed after a random time.
The next server, on the same store, gets the labels that were acknowledged once more: each must be repeated, for one that joins was lost.

cost: identity FP32[1,16], each request with an id of its own, in a closed loop of 8. Two servers are alive, of which one has feedback.
Loads go to them in turn, off, on, on, off (ABBA). CPU is the server process's own.

The table is printed, and a line appended to benchmarks/history/feedback_cost.jsonl.
"""

from __future__ import annotations

import csv
import os
import random
import statistics
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import sections
import servers
import workloads
from record import Report
from servers import Running

from inferd.feedback.prediction import Prediction
from inferd.feedback.schema import reading
from inferd.feedback.store import Store
from inferd.protocol import inference, options

HISTORY = Path(__file__).resolve().parent / "history" / "feedback_cost.jsonl"
MOST_S = 60.0  # for a million labels
CLASSES = 10
SENT = 20_000  # requests of one load
IN_FLIGHT = 8
PIECE = 20  # requests, and then labels, of a client of a server that is killed
TICKS = os.sysconf("SC_CLK_TCK")


class Feedback:
    """One run of this program."""

    labels_sent = 1_000_000
    kills = 100

    def labels(self, report: Report, folder: Path) -> None:
        """labels of as many requests, by `inferd feedback`"""
        workload, count, place = workloads.identity(folder / "repository"), self.labels_sent, folder / "kept"
        store = Store(place, limit_bytes=8 << 30, keep_s=86_400)
        shares = np.full((1, CLASSES), 1 / CLASSES, np.float32)
        now_ns, began_s = time.time_ns(), time.monotonic()
        for begin in range(0, count, 1000):
            store.write(
                [Prediction(f"request-{each}", workload.model, 1, now_ns + each, ["1"], shares) for each in range(begin, begin + 1000)]
            )
        report.add("predictions that are written", "", f"{count / (time.monotonic() - began_s):,.0f} a second")
        report.add("on disk, with probabilities of 10 classes", "", f"{store.used_bytes / count:.0f} bytes a prediction")
        store.close()
        order = np.random.default_rng(33).permutation(count).tolist()
        with (folder / "labels.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("request_id", "label"), *((f"request-{each}", each % CLASSES) for each in order)])
        flags = ("--feedback", str(place), "--feedback-limit-bytes", "8GiB")
        with servers.inferd("labels", [folder / "repository"], folder, *flags) as server:
            seconds, told = self._sent(server, workload, folder, "feedback", "--file", str(folder / "labels.csv"))
            joined = f"{count:,} joined" in told
            words = f"{count:,} labels: {seconds:.1f} s, {count / seconds:,.0f} a second"
            report.add(
                "labels that join", f"at most {MOST_S:.0f} s for 1,000,000, none lost", words, joined and seconds / count * 1e6 <= MOST_S
            )
            again_s, told = self._sent(server, workload, folder, "feedback", "--file", str(folder / "labels.csv"))
            report.add("the same labels again", "all repeated", f"{again_s:.1f} s", f"{count:,} repeated" in told)
            shown_s, _ = self._sent(server, workload, folder, "performance")
            report.add("inferd performance, of the newest 200,000 rows", "", f"{shown_s:.1f} s with the start of the command")
        report.numbers["labels"] = {"labels": count, "seconds": seconds, "again_s": again_s, "performance_s": shown_s}

    def _sent(self, server: Running, workload: workloads.Workload, folder: Path, verb: str, *flags: str) -> tuple[float, str]:
        """How long a command takes, and what it says, with one space between words."""
        began_s = time.monotonic()
        command = [sys.executable, "-m", "inferd", verb, server.address, workload.model, *flags]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)
        return time.monotonic() - began_s, " ".join(done.stdout.split())

    def killed(self, report: Report, folder: Path) -> None:
        """kill -9 while labels come"""
        workload, place, chance = workloads.identity(folder / "repository"), folder / "kept", random.Random(33)
        acknowledged: list[str] = []
        fates: Counter[str] = Counter()
        total = 0
        for number in range(self.kills + 1):
            with (
                servers.inferd("killed", [folder / "repository"], folder, "--feedback", str(place)) as server,
                grpc.insecure_channel(server.address) as channel,
            ):
                for begin in range(0, len(acknowledged), 1000):
                    fates += reported(channel, workload, acknowledged[begin : begin + 1000])
                if number < self.kills:
                    acknowledged = until_killed(channel, workload, server, f"{number}", chance.uniform(0.05, 0.6))
                    total += len(acknowledged)
        with reading(place) as connection:
            (kept,) = connection.execute("SELECT COUNT(*) FROM outcomes").fetchone()
            (joined,) = connection.execute("SELECT count FROM counts WHERE kind = 'joined'").fetchone()
        report.add("kills, of servers that took labels", "", f"{self.kills}, {total:,} labels acknowledged")
        lost = total - fates["repeated"]
        report.add("acknowledged labels that are lost", "0", str(lost), lost == 0)
        report.add("labels that joined twice", "0", str(joined - kept), joined == kept)
        report.numbers["killed"] = {"kills": self.kills, "acknowledged": total, "lost": lost, "joined": joined, "kept": kept}

    def cost(self, report: Report, folder: Path) -> None:
        """identity FP32[1,16] with and without feedback"""
        workload = workloads.identity(folder / "repository")
        found: dict[str, list[float]] = {"off": [], "on": []}
        with ExitStack() as stack:
            running = {
                name: stack.enter_context(servers.inferd(name, [folder / "repository"], folder, *flags))
                for name, flags in (("off", ()), ("on", ("--feedback", str(folder / "kept"))))
            }
            for name, server in running.items():
                cpu_us(server, workload, f"warm-up {name}")
            for number in range(report.rounds):
                for place, name in enumerate(("off", "on", "on", "off")):
                    found[name].append(cpu_us(running[name], workload, f"{number} {place}"))
        medians = {name: statistics.median(each) for name, each in found.items()}
        for name, median in medians.items():
            report.add(f"CPU of a request, feedback {name}", "", f"{median:.1f} us")
        report.add("CPU of feedback", "", f"{medians['on'] - medians['off']:+.1f} us a request, most of it on a thread of its own")
        report.numbers["cost"] = {name: {"median_us": medians[name], "all_us": each} for name, each in found.items()}


def reported(channel: grpc.Channel, workload: workloads.Workload, ids: Sequence[str]) -> Counter[str]:
    request = options.ReportLabelsRequest(
        model_name=workload.model, labels=[options.RequestLabel(request_id=each, text="0") for each in ids]
    )
    ask: Any = channel.unary_unary("/inferd.v1.Feedback/Report")
    told = options.ReportLabelsResponse.FromString(ask(request.SerializeToString(), timeout=30))
    return Counter({field.name: value for field, value in told.ListFields()})


def until_killed(channel: grpc.Channel, workload: workloads.Workload, server: Running, name: str, seconds: float) -> list[str]:
    """The ids whose labels were acknowledged before the server was killed."""
    request = inference.ModelInferRequest.FromString(workload.message())
    infer: Any = channel.unary_unary(workloads.INFER_PATH)
    done: list[str] = []
    killer = subprocess.Popen(["sh", "-c", f"sleep {seconds:.3f}; kill -9 {server.pid}"])
    try:
        while True:
            ids = [f"{name}-{len(done) + each}" for each in range(PIECE)]
            for request.id in ids:
                infer(request.SerializeToString(), timeout=30)
            fates = reported(channel, workload, ids)
            if fates != {"joined": PIECE}:
                raise RuntimeError(f"labels of requests that had their responses: {fates}")
            done += ids
    except grpc.RpcError:
        killer.wait()
        return done


def cpu_us(server: Running, workload: workloads.Workload, name: str) -> float:
    """Of one request, over a load."""
    request = inference.ModelInferRequest.FromString(workload.message())
    before = used_s(server.pid)
    with grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        infer: Any = channel.unary_unary(workloads.INFER_PATH)
        flying: deque[Any] = deque()
        for number in range(SENT):
            request.id = f"{name} {number}"
            flying.append(infer.future(request.SerializeToString(), timeout=30))
            if len(flying) == IN_FLIGHT:
                flying.popleft().result()
        for each in flying:
            each.result()
    time.sleep(1.5)  # the last predictions are written
    return (used_s(server.pid) - before) / SENT * 1e6


def used_s(pid: int) -> float:
    """Processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def main() -> int:
    feedback = Feedback()
    known = {"labels": feedback.labels, "killed": feedback.killed, "cost": feedback.cost}
    parser = sections.parser(__doc__ or "", known, rounds=4)
    parser.add_argument("--kills", type=int, default=Feedback.kills, help="servers that are killed (default %(default)s)")
    parser.add_argument("--labels", type=int, default=Feedback.labels_sent, help="labels that are sent (default %(default)s)")
    given = parser.parse_args()
    feedback.kills, feedback.labels_sent = given.kills, given.labels
    report = Report(rounds=given.rounds, seconds=0.0)
    sections.run(report, known, given.sections)
    sections.keep(HISTORY, given, report)
    return 0 if report.kept else 1


if __name__ == "__main__":
    sys.exit(main())
