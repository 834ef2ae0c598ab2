"""A shadow beside a loaded model: does a request of the stable version notice?

    python benchmarks/shadow_cost.py [--sections tiny,pool,resnet50] [--rounds 5] [--no-history]

Each section asks one model in an open loop, at 70 % of what it can do, by `inferd bench`; at less where it cannot sustain that. A round
has four windows: off, on, on, off. In the windows `on` a shadow of the same file runs on all requests. All windows have the same arrivals.
Latency counts from the intended start. Each second of a window, or more where that is fewer than 100 requests, has a p99 of its own. The
median of those with the shadow is divided by that of those without it. The noise is found in the same way, from the last windows of the
rounds against the first ones, both without it. Where that is much, there is no verdict: run it on a quiet machine.
The table is printed, and one line appended to benchmarks/history/shadow_cost.jsonl.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import sections
import servers
import slices
import workloads
from record import Report
from servers import Running

from inferd.protocol import options

HISTORY = Path(__file__).resolve().parent / "history" / "shadow_cost.jsonl"
LIMIT_S = 120.0
SHARES = (0.7, 0.5, 0.25)  # of the peak of a closed loop: the first one that an open loop sustains
PEAK_S, WINDOW_S = 5.0, 8.0
LEAST_REQUESTS, LONGEST_S = 400, 40.0  # of a window of a slow model
MOST = 1.03  # times the p99 without a shadow
MOST_NOISE = 1.1  # beyond that nothing can be said


class Rollouts:
    """The RPCs of a server's rollouts."""

    def __init__(self, channel: grpc.Channel, model: str) -> None:
        self._channel, self._model = channel, model

    def start(self) -> None:
        self._call("Start", options.StartRolloutRequest(model_name=self._model, kind=options.SHADOW, candidate_version=2))

    def stop(self) -> dict[str, int]:
        """Counts of the requests."""
        status = options.RolloutStatus.FromString(self._call("Stop", options.RolloutRequest(model_name=self._model)))
        return dict(status.counts)

    def _call(self, method: str, request: Any) -> bytes:
        answer: bytes = self._channel.unary_unary(f"/inferd.v1.Rollouts/{method}")(request.SerializeToString(), timeout=LIMIT_S)
        return answer


def measured(server: Running, model: str, folder: Path, *load: str) -> Any:
    """Bench's samples of one load."""
    samples = folder / "samples.npy"
    command = [
        sys.executable,
        "-m",
        "inferd",
        "bench",
        server.address,
        model,
        "--quiet",
        "--samples",
        str(samples),
        "--warm-up",
        "1s",
        *load,
    ]
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=LIMIT_S)
    if done.returncode not in (0, 1):  # 1: some requests failed, which is counted
        raise RuntimeError(f"inferd bench ended with {done.returncode}:\n{done.stderr}")
    return np.load(samples)


def peak(server: Running, model: str, folder: Path) -> float:
    """Responses a second in a closed loop."""
    found = measured(server, model, folder, "--connections", "4", "--concurrency", "2", "--duration", f"{PEAK_S:g}s")
    return len(found) / PEAK_S


def p99s_ms(server: Running, model: str, folder: Path, rate: float) -> tuple[list[float], int]:
    """The p99 of each slice of a window, and how many requests failed."""
    seconds = min(max(WINDOW_S, LEAST_REQUESTS / rate), LONGEST_S)
    load = ("--rate", f"{rate:.1f}", "--arrivals", "poisson", "--duration", f"{seconds:.0f}s", "--no-spin")
    found = measured(server, model, folder, *load)
    return slices.p99s_ms(found, seconds), int((found[:, slices.CODE] != 0).sum())


def beside_a_shadow(report: Report, folder: Path, make: Callable[[Path], workloads.Workload]) -> None:
    repository = folder / "repository"
    workload = make(repository)
    name = workload.model
    content = (repository / name / "1" / "model.onnx").read_bytes()
    flags = ("--model-control", "explicit", "--load-model", name)
    windows: list[list[tuple[list[float], int]]] = []
    counts = {"mirrored": 0, "compared": 0, "dropped": 0, "changed": 0}
    with servers.inferd("shadow", [repository], folder, *flags) as server, grpc.insecure_channel(server.address) as channel:
        (repository / name / "2").mkdir()
        (repository / name / "2" / "model.onnx").write_bytes(content)
        rollouts = Rollouts(channel, name)
        most = peak(server, name, folder)
        share = next(share for share in SHARES if share == SHARES[-1] or not p99s_ms(server, name, folder, share * most)[1])
        rate = share * most
        for _ in range(report.rounds):
            before = p99s_ms(server, name, folder, rate)
            rollouts.start()
            time.sleep(1)
            on = [p99s_ms(server, name, folder, rate) for _ in range(2)]
            counts = _added(counts, rollouts.stop())
            windows.append([before, *on, p99s_ms(server, name, folder, rate)])
    p99s = [[p99 for each_round in windows for p99 in each_round[at][0]] for at in range(4)]
    off_ms, on_ms = statistics.median(p99s[0] + p99s[3]), statistics.median(p99s[1] + p99s[2])
    ratio, noise = on_ms / off_ms, statistics.median(p99s[3]) / statistics.median(p99s[0])
    errors = sum(failed for each_round in windows for _, failed in each_round)
    report.add(f"{name}: p99 without a shadow", "", f"{off_ms:.3f} ms at {rate:.0f}/s, {share:.0%} of its peak")
    report.add(f"{name}: noise, p99 of the last windows by the first ones, both without a shadow", "", f"{noise:.3f} times")
    apart = max(noise, 1 / noise)
    kept = ratio <= max(MOST, apart) if apart <= MOST_NOISE else None  # None: the machine is too busy for a verdict
    report.add(f"{name}: p99 with a shadow by p99 without", f"<= {MOST:g} times, or the noise", f"{ratio:.3f} times", kept)
    report.add(f"{name}: requests that failed", "0", str(errors), errors == 0)
    told = f"{counts['mirrored']:,} = {counts['compared']:,} + {counts['dropped']:,}"
    report.add(f"{name}: mirrored = compared + dropped", "equal", told, counts["mirrored"] == counts["compared"] + counts["dropped"])
    report.add(f"{name}: compared requests that changed", "0", str(counts["changed"]), counts["changed"] == 0)
    report.numbers[name] = {
        "rate": round(rate, 1),
        "share": share,
        "p99s_ms": [[round(p99, 4) for p99 in window] for window in p99s],
        "ratio": round(ratio, 4),
        "noise": round(noise, 4),
        "errors": errors,
        **counts,
    }


def _added(counts: dict[str, int], further: dict[str, int]) -> dict[str, int]:
    return {name: count + further[name] for name, count in counts.items()}


def tiny(report: Report, folder: Path) -> None:
    """p99 of a tiny model at 70 % load, with a shadow and without"""
    beside_a_shadow(report, folder, workloads.identity)


def pool(report: Report, folder: Path) -> None:
    """p99 of a model that takes 602 KB at 70 % load, with a shadow and without"""
    beside_a_shadow(report, folder, workloads.pool)


def resnet50(report: Report, folder: Path) -> None:
    """p99 of resnet50 at 70 % load, with a shadow and without"""
    beside_a_shadow(report, folder, workloads.resnet50)


SECTIONS = {section.__name__: section for section in (tiny, pool, resnet50)}


def main() -> int:
    given = sections.parser("A shadow beside a loaded model.", SECTIONS, rounds=5).parse_args()
    report = Report(given.rounds, WINDOW_S)
    sections.run(report, SECTIONS, given.sections)
    sections.keep(HISTORY, given, report)
    return 0 if report.kept else 1


if __name__ == "__main__":
    raise SystemExit(main())
