"""What recording costs a server, and what a record holds after kill -9.

    python benchmarks/record_cost.py [--sections large,tiny,killed] [--rounds 6] [--seconds 5] [--kills 100] [--no-history]

large: requests of 602 KB at full load, 10 % of them recorded. tiny: requests of 64 bytes at half of the server's peak, all of them
recorded. Three servers are alive, of which one records; loads go to them in turn, off, on, off again and back (ABBA), so that off against
off again is the noise. Each second of a load has a p99 of its own, from the intended start; the medians of these are compared. CPU is the
server process's own.

killed: a server that records all requests is killed after a random time of load, many times. Its client numbers the requests: the record
must hold each that was answered more than a batch's age before the kill, and every segment must be readable.

The table is printed, and a line appended to benchmarks/history/record_cost.jsonl.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import grpc
import numpy as np
import sections
import servers
import slices
import workloads
from record import Report
from servers import Running

from inferd.protocol import inference
from inferd.record.reader import Segments

HISTORY = Path(__file__).resolve().parent / "history" / "record_cost.jsonl"
MOST_MORE = 0.10  # p99 with recording, against without
BATCH_S = 1.25  # a batch is written when it is a second old, at the next look, by a thread that waits for a core
ORDER = ("off", "on", "off again", "off again", "on", "off")


class Cost:
    """One run of this program."""

    seconds = 5.0
    kills = 100

    def large(self, report: Report, folder: Path) -> None:
        """pool FP32[1,3,224,224], 602 KB, closed loop of 4 connections, 10 % recorded"""
        workload = workloads.pool(folder / "repository")
        self._compare(report, folder, workload, "0.1", ("--connections", "4", "--concurrency", "1"))

    def tiny(self, report: Report, folder: Path) -> None:
        """identity FP32[1,16], 64 bytes, at half of the peak, 100 % recorded"""
        workload = workloads.identity(folder / "repository")
        with servers.inferd("peak", [folder / "repository"], folder) as server:
            peak = self._bench(server, workload, folder, ("--connections", "4", "--concurrency", "2"))["requests_per_second"]
        report.add("peak of 4 x 2 in a closed loop", "", f"{peak:,.0f} a second")
        load = ("--rate", f"{peak / 2:.0f}", "--arrivals", "poisson", "--connections", "4")
        self._compare(report, folder, workload, "1", load)

    def _compare(self, report: Report, folder: Path, workload: workloads.Workload, sample: str, load: Sequence[str]) -> None:
        found: dict[str, list[dict]] = {name: [] for name in dict.fromkeys(ORDER)}
        with ExitStack() as stack:
            running: dict[str, Running] = {}
            for name in found:
                flags = (
                    ("--record", str(folder / "recorded"), "--record-sample", sample, "--record-limit-bytes", "2GiB")
                    if name == "on"
                    else ()
                )
                running[name] = stack.enter_context(servers.inferd(name, [folder / "repository"], folder, *flags))
            for server in running.values():
                self._bench(server, workload, folder, load)
            began = counted(running["on"])
            for _ in range(report.rounds):
                for name in ORDER:
                    found[name].append(self._bench(running[name], workload, folder, load))
            told = {name: value - began[name] for name, value in counted(running["on"]).items()}
        p99 = {name: [p99_us for each in runs for p99_us in each.pop("p99s_us")] for name, runs in found.items()}
        medians = {name: {key: statistics.median(each[key] for each in runs) for key in runs[0]} for name, runs in found.items()}
        noise = ratio(p99["off again"], p99["off"])
        more = ratio(p99["on"], [*p99["off"], *p99["off again"]])
        report.add("p99 with recording against without", f"at most +{MOST_MORE:.0%}", f"{more - 1:+.1%}", more <= 1 + MOST_MORE)
        report.add("p99 off again against off: the noise", "", f"{noise - 1:+.1%}")
        for name, median in medians.items():
            median["p99_us"] = statistics.median(p99[name])
            said = f"p99 {median['p99_us']:,.0f} us, p50 {median['p50_us']:,.0f} us, {median['requests_per_second']:,.0f} a second"
            report.add(name, "", f"{said}, CPU {median['cpu_us']:.1f} us a request")
        extra_us = medians["on"]["cpu_us"] - statistics.mean(medians[name]["cpu_us"] for name in ("off", "off again"))
        share = float(sample)
        report.add("CPU of recording", "", f"{extra_us:+.2f} us a request, {extra_us / share:+.1f} us a recorded one")
        offered = told["recorded_total"] + told["dropped_total"] + told["lost_total"]
        dropped = told["dropped_total"] + told["lost_total"]
        report.add("dropped, counted", "reported", f"{dropped:,.0f} of {offered:,.0f} ({dropped / max(1, offered):.2%})")
        report.numbers[workload.model] = {"more": more, "noise": noise, "medians": medians, "counted": told, "extra_cpu_us": extra_us}

    def _bench(self, server: Running, workload: workloads.Workload, folder: Path, load: Sequence[str]) -> dict:
        """One load by `inferd bench`."""
        out, samples = folder / "found.json", folder / "samples.npy"
        command = [sys.executable, "-m", "inferd", "bench", server.address, workload.model, "--duration", f"{self.seconds:g}s"]
        command += ["--warm-up", "1s", "--quiet", "--server-pid", str(server.pid), "--json", str(out), "--samples", str(samples), *load]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        told = json.loads(out.read_text())
        (measured,) = told["measurements"]
        if measured["errors"]:
            raise RuntimeError(f"requests failed: {measured['error_messages']}")
        kept = {
            "p50_us": told["latency_us"]["p50"],
            "p99s_us": [1000 * p99_ms for p99_ms in slices.p99s_ms(np.load(samples), self.seconds)],
            "cpu_us": measured["server"]["cpu_us_per_request"],
        }
        return kept | {"requests_per_second": told["requests_per_second"]}

    def killed(self, report: Report, folder: Path) -> None:
        """kill -9 while recording"""
        workload = workloads.identity(folder / "repository")
        chance = random.Random(23)
        unreadable = missing = cut = answered = recorded = 0
        for number in range(self.kills):
            place = folder / f"recorded-{number}"
            with servers.inferd(
                "killed", [folder / "repository"], folder, "--record", str(place), "--record-segment-bytes", "1MiB"
            ) as server:
                ended_s, answers = load_until_killed(server, workload, chance.uniform(0.1, 2.5))
            answered += len(answers)
            segments = Segments([place]) if list(place.glob("*.arrow")) else None
            try:
                ids = {int(row.id) for row in segments.requests() if row.inputs and row.outputs} if segments else set()
            except Exception as error:
                print(f"  kill {number}: {error}")
                unreadable += 1
                continue
            recorded += len(ids)
            cut += len(segments.faults) if segments else 0
            must = {request for request, at_s in answers.items() if at_s < ended_s - BATCH_S}
            holes = set(range(max(ids, default=-1) + 1)) - ids  # the client sends one after the other
            missing += len((must | holes) - ids)
        report.add("kills, of servers that recorded", "", f"{self.kills}, {answered:,} requests answered, {recorded:,} recorded")
        report.add("segments or batches that cannot be read", "0", str(unreadable), unreadable == 0)
        report.add("segments that end within a batch", "", str(cut))
        report.add("requests lost but those of the unflushed batch", "0", str(missing), missing == 0)
        report.numbers["killed"] = {"kills": self.kills, "unreadable": unreadable, "missing": missing, "cut": cut, "recorded": recorded}


def ratio(some: Sequence[float], others: Sequence[float]) -> float:
    return statistics.median(some) / statistics.median(others)


def counted(server: Running) -> dict[str, float]:
    """What the server says of its record."""
    time.sleep(1.5)  # the last batch is written
    with urllib.request.urlopen(f"http://{server.metrics}/metrics") as page:
        found = re.findall(r"^inferd_record_(\w+_total) (\S+)$", page.read().decode(), re.MULTILINE)
    return {name: float(value) for name, value in found}


def load_until_killed(server: Running, workload: workloads.Workload, seconds: float) -> tuple[float, dict[int, float]]:
    """Numbered requests, one after the other; then SIGKILL. When it was killed, and when each request was answered."""
    request = inference.ModelInferRequest.FromString(workload.message())
    answers: dict[int, float] = {}
    end_s = time.monotonic() + seconds
    with grpc.insecure_channel(server.address) as channel:
        infer = channel.unary_unary(workloads.INFER_PATH)
        number = 0
        while (now_s := time.monotonic()) < end_s:
            request.id = str(number)
            infer(request.SerializeToString(), timeout=10)
            answers[number] = time.monotonic()
            number += 1
        os.kill(server.pid, signal.SIGKILL)
    return now_s, answers


def main() -> int:
    cost = Cost()
    known = {"large": cost.large, "tiny": cost.tiny, "killed": cost.killed}
    parser = sections.parser(__doc__ or "", known, seconds=Cost.seconds, lasts="of one load", rounds=6)
    parser.add_argument("--kills", type=int, default=Cost.kills, help="servers that are killed (default %(default)s)")
    given = parser.parse_args()
    cost.seconds, cost.kills = given.seconds, given.kills
    report = Report(rounds=given.rounds, seconds=given.seconds)
    sections.run(report, known, given.sections)
    sections.keep(HISTORY, given, report)
    return 0 if report.kept else 1


if __name__ == "__main__":
    sys.exit(main())
