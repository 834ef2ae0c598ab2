"""The cost of watching a model's data: of a row, of a request, and memory.

    python benchmarks/drift_cost.py [--sections row,server,memory] [--rounds 5] [--no-history]

row: native counting of rows of 16 numbers, in requests of 64 rows and of one row, by the processor's time of this thread.

server: identity FP32[1,16], 4 connections with 16 streams each, by h2load. Three servers are alive, of which one watches its 16 inputs,
repeated rows and outliers, and one its 16 outputs and their class, too. Loads go to them in turn and back (ABBA). CPU is the server
process's own. Asked: at most 8 % more with 16 inputs.

memory: resident memory of one feature, of 200 of a kind: a profile that was read, its counts, and the windows that are kept.

many_models.py has 1,000 models with profiles. One line is appended to benchmarks/history/drift_cost.jsonl.
"""

from __future__ import annotations

import gc
import os
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import sections
import servers
import workloads
from load import Load, Target, drive, requests_for
from record import Report

from inferd._core.batching.local import LocalRequest
from inferd._core.monitor.feature_counts import FeatureCounts, Reading, Side
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.engine.embedded import Engine
from inferd.monitor.counters import Counters
from inferd.monitor.feature import WAVES, Feature, Kind
from inferd.monitor.learning import MOST_TEXTS, learn, learn_waves
from inferd.monitor.profiling import profile
from inferd.monitor.reference import Reference, path_of, read, write
from inferd.monitor.track import LAST, Track

HISTORY = Path(__file__).resolve().parent / "history" / "drift_cost.jsonl"
FEATURES = 16
MOST_US, MOST_MORE, MOST_NBYTES = 1.0, 0.08, 64 << 10
LOAD, LOAD_S = Load(4, 16), 3.0
ROWS = np.random.default_rng(0).normal(size=(2000, FEATURES)).astype(np.float32)


def element(place: int = 0, **changes: Any) -> Feature:
    given: dict[str, Any] = {
        "side": Side.TAKEN,
        "reading": Reading.ELEMENT,
        "kind": Kind.RANGES,
        "tensor": "x",
        "place": place,
        "elements": FEATURES,
    }
    return Feature(**(given | changes))


def learned(values: np.ndarray[Any, Any], texts: list[str] | None = None, **changes: Any) -> Feature:
    found = learn(element(**changes), values.astype(float), 0, texts or [])
    assert found is not None
    return found


def row(report: Report, folder: Path) -> None:
    """native counting of 16 numbers a row"""
    features = [learned(ROWS[:, place], place=place) for place in range(FEATURES)]
    signature = Signature("m", "1", [("x", "FP32", (-1, FEATURES))], [], 64)
    for rows in (64, 1):
        counts = FeatureCounts([each.native() for each in features], [np.zeros(each.words, np.uint64) for each in features])
        request = LocalRequest([("x", "FP32", ROWS[:rows])])
        request.check(signature)
        none = Tensors([], [], True)
        times = 200_000 // rows
        found = []
        for _ in range(report.rounds):
            began_ns = time.thread_time_ns()
            for _ in range(times):
                counts.add(request, none, 0)
            found.append((time.thread_time_ns() - began_ns) / 1e3 / times / rows)
        us = statistics.median(found)
        kept = us <= MOST_US if rows > 1 else None
        report.add(
            f"a row of 16 features, {rows} rows a request", f"at most {MOST_US:g} us" if kept is not None else "", f"{us:.3f} us", kept
        )
        report.numbers[f"row: {rows}"] = us


def server(report: Report, folder: Path) -> None:
    """identity FP32[1,16] at 4x16, watched and not"""
    found: dict[str, list[float]] = {"off": [], "inputs": [], "all": []}
    features = {}
    with ExitStack() as stack:
        running, targets = {}, {}
        for name in found:
            workload = workloads.identity(folder / name)
            file = folder / name / workload.model / "1" / "model.onnx"
            if name != "off":
                reference = profiled(file, workload.input)
                kept = tuple(each for each in reference.features if name == "all" or not each.is_output)
                write(msgspec.structs.replace(reference, features=kept), path_of(file))
                features[name] = len(kept)
            running[name] = stack.enter_context(servers.inferd(name, [folder / name], folder))
            targets[name] = Target(f"http://{running[name].address}{workloads.INFER_PATH}", workload.write_body(folder))
        requests = requests_for(running["off"].pid, targets["off"], LOAD, LOAD_S)
        for _ in range(report.rounds):
            for name in (*found, *reversed(found)):
                found[name].append(drive(running[name].pid, targets[name], LOAD, requests).cpu_us)
    medians = {name: statistics.median(each) for name, each in found.items()}
    for name in features:
        more = medians[name] / medians["off"] - 1
        words = f"{more:+.1%}: {medians[name]:.2f} us a request, {medians['off']:.2f} without"
        kept_so = more <= MOST_MORE if name == "inputs" else None
        asked = f"at most +{MOST_MORE:.0%}" if name == "inputs" else ""
        report.add(f"CPU of a request at 4x16, {features[name]} features", asked, words, kept_so)
    report.numbers["server"] = medians


def profiled(file: Path, name: str) -> Reference:
    with Engine(file) as engine:
        requests = [{name: ROWS[first : first + 50]} for first in range(0, len(ROWS), 50)]
        return profile(engine._lookup(None, ""), requests, lambda given: engine.infer(None, given))


def memory(report: Report, folder: Path) -> None:
    """resident memory of one feature"""
    texts = [f"category {number}" for number in range(MOST_TEXTS)]
    waves = np.cos(np.random.default_rng(0).normal(size=(500, WAVES)))
    kinds = {
        "numbers": learned(ROWS[:, 0]),
        f"{MOST_TEXTS} categories": learned(np.arange(20_000) % MOST_TEXTS, texts, reading=Reading.TEXT),
        "a pattern": learn_waves(element(reading=Reading.WAVES, kind=Kind.WAVES, elements=4096), waves, 0.0, 1.0),
    }
    for name, feature in kinds.items():
        count = 200
        path = folder / "reference.parquet"
        write(Reference(model="m", rows=1, made_unix_ns=0, inputs=(), outputs=(), features=(feature,) * count), path)
        read(path)  # pyarrow is there
        held = []
        gc.collect()
        before = resident_nbytes()
        reference = read(path)
        counters = Counters(folder / f"{name}.counts", [each.words for each in reference.features])
        held.append(FeatureCounts([each.native() for each in reference.features], list(counters.words)))
        for word in counters.words:
            word[:] = 1
        track = Track(base=counters.total().tobytes(), last=[counters.total().tobytes() for _ in range(LAST)])
        gc.collect()
        nbytes = (resident_nbytes() - before) / count
        report.add(f"memory of a feature, {name}", f"at most {MOST_NBYTES >> 10} KiB", f"{nbytes / 1024:.1f} KiB", nbytes <= MOST_NBYTES)
        report.numbers[f"memory: {name}"] = nbytes
        del reference, counters, track, held


def resident_nbytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    known = {"row": row, "server": server, "memory": memory}
    given = sections.parser(__doc__ or "", known, rounds=5).parse_args()
    report = Report(given.rounds, LOAD_S)
    sections.run(report, known, given.sections)
    sections.keep(HISTORY, given, report)
    return 0 if report.kept else 1


if __name__ == "__main__":
    sys.exit(main())
