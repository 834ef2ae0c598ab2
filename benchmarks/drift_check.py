"""Whether a server finds drift and faults in real data, and nothing where there is none; and how well it finds outliers.

    python benchmarks/drift_check.py [--sections free,moved,faults,outliers] [--no-history]

Each data set becomes a model whose inputs are its columns, and which gives their mean. A profile is learned from one half of the rows, by
`inferd profile`'s own code, and the rest comes in windows of 1,000 through the embedded engine. Native code counts them, as in a server.

free: 100 windows of rows of the other half, in random order, for each set. Asked: no finding at all.

moved: rows of a later time. The features that moved are those whose distance to the reference is above 0.1 over all later rows (all of a
part that lasts). They must be named within two windows, and no other one.

faults: one feature at a time is changed: another unit, a gain of 1.3, a category that is new, a value that is stuck, one that is missing;
and digits are moved by one pixel. The feature must be named within two windows, and no other one.

outliers: profiles of normal rows score normal rows of the other half and all outliers. Asked: an AUC of 0.95 times that of scikit-learn's
IsolationForest on three sets.

One line is appended to benchmarks/history/drift_check.jsonl.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import drift_data
import numpy as np
import onnx
import sections
from drift_data import Columns, Data, count_of, rows_of
from onnx import TensorProto, helper
from record import Report

from inferd.compare.distributions import distance
from inferd.engine.embedded import Engine
from inferd.monitor.judging import Finding
from inferd.monitor.learning import binned
from inferd.monitor.profiling import profile
from inferd.monitor.reference import Reference
from inferd.monitor.watch import Watch

HISTORY = Path(__file__).resolve().parent / "history" / "drift_check.jsonl"
WINDOW = 1000
PIECE = 50  # rows of a request
WINDOWS = 100
SIZES = {"digits": 700}  # rows of the reference; else half of them
WHEELS = Path(__file__).resolve().parent.parent / ".peers" / "wheels"
RATIO = 0.95


def model_of(columns: Columns, path: Path) -> Path:
    """Inputs of one element a row by column; y is the mean of the numbers."""
    kinds = {name: TensorProto.STRING if column.dtype == object else TensorProto.FLOAT for name, column in columns.items()}
    inputs = [helper.make_tensor_value_info(name, kind, ("N", 1)) for name, kind in kinds.items()]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("N", 1))]
    nodes = [helper.make_node("Mean", [name for name, kind in kinds.items() if kind == TensorProto.FLOAT], ["y"])]
    for place, name in enumerate(name for name, kind in kinds.items() if kind == TensorProto.STRING):
        outputs.append(helper.make_tensor_value_info(f"text {place}", TensorProto.STRING, ("N", 1)))
        nodes.append(helper.make_node("Identity", [name], [f"text {place}"]))
    graph = helper.make_graph(nodes, "columns", inputs, outputs)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, path)
    return path


class Watched:
    """A version that is watched, fed from columns."""

    def __init__(self, engine: Engine, reference: Columns) -> None:
        self.engine = engine
        model = engine._lookup(None, "")
        self.reference: Reference = profile(model, list(pieces(reference)), self.infer)
        self.watch = Watch(model, self.reference, None, 0)
        self.now_ns = 0

    def infer(self, given: Columns) -> None:
        self.engine.infer(None, given, outputs=["y"])

    def window(self, rows: Columns) -> dict[str, set[Finding]]:
        """Findings after one window more, by feature of inputs."""
        for given in pieces(rows):
            self.infer(given)
        self.now_ns += 10**9
        self.watch.look(self.now_ns, count_of(rows), 10**18)
        found: dict[str, set[Finding]] = {}
        for each in self.watch.track().found:
            feature = self.reference.features[each.place]
            if not feature.is_output:
                found.setdefault(feature.name.removeprefix("length of "), set()).add(each.finding)
        return found


def pieces(columns: Columns) -> Iterator[Columns]:
    for first in range(0, count_of(columns), PIECE):
        yield {name: column[first : first + PIECE, None] for name, column in columns.items()}


@contextmanager
def watched(columns: Columns, folder: Path, reference: Columns) -> Iterator[Watched]:
    with Engine(model_of(columns, folder / "columns.onnx"), instances=1, intra_op_threads=1) as engine:
        yield Watched(engine, reference)


def halves(data: Data, rng: np.random.Generator) -> tuple[Columns, Columns]:
    """The reference, and rows of the same time that it has not seen."""
    order = rng.permutation(count_of(data.reference))
    size = SIZES.get(data.name, len(order) // 2)
    return rows_of(data.reference, order[:size]), rows_of(data.reference, order[size:])


def windows_of(columns: Columns, rng: np.random.Generator) -> Iterator[Columns]:
    """Windows of rows in random order, each row once until all were there."""
    while True:
        order = rng.permutation(count_of(columns))
        for first in range(0, len(order) - WINDOW + 1, WINDOW):
            yield rows_of(columns, order[first : first + WINDOW])


def sets() -> list[Data]:
    WHEELS.mkdir(parents=True, exist_ok=True)
    return drift_data.watched(WHEELS)


def free(report: Report, folder: Path) -> None:
    """100 windows of 1,000 rows of the reference's time"""
    for data in sets():
        rng = np.random.default_rng(33)
        reference, rest = halves(data, rng)
        findings: list[str] = []
        with watched(data.reference, folder, reference) as version:
            for window, rows in zip(range(WINDOWS), windows_of(rest, rng), strict=False):
                told = version.window(rows)
                if count_of(rest) < 2 * WINDOW:
                    told.pop("repeated rows", None)  # for there are no others
                findings += [f"{window} {name} {each}" for name, kinds in told.items() for each in kinds]
        report.add(f"free of drift, {data.name}", "0 findings", f"{len(findings)} in {WINDOWS} windows {findings[:3] or ''}", not findings)
        report.numbers[f"free: {data.name}"] = {"windows": WINDOWS, "features": len(data.reference), "findings": findings}


def far_apart(version: Watched, rows: Columns) -> dict[str, float]:
    """The effect of each column over all of these rows, apart from counting and windows."""
    found = {}
    for feature in version.reference.features:
        if feature.tensor not in rows or feature.name.startswith("length of "):
            continue
        column = rows[feature.tensor]
        if feature.texts:
            places = {text.encode(): place for place, text in enumerate(feature.texts)}
            column = np.array([float(places.get(value, -1)) if value else np.nan for value in column])
        values = column.astype(float)
        counts = np.bincount(binned(feature, values[np.isfinite(values)]), minlength=len(feature.shares)).astype(float)
        found[feature.name] = distance(np.asarray(feature.shares) * feature.rows * (1 - feature.missing), counts).effect
    return found


def moved(report: Report, folder: Path) -> None:
    """rows of a later time, in order"""
    for data in sets():
        if data.later is None:
            continue
        reference, rest = halves(data, np.random.default_rng(33))
        last = rows_of(data.later, slice(count_of(data.later) * 3 // 4, None))
        with watched(data.reference, folder, reference) as version:
            effects = far_apart(version, last)
            for first in range(0, 3 * WINDOW, WINDOW):
                version.window(rows_of(rest, slice(first, first + WINDOW)))
            told = [version.window(rows_of(last, slice(first, first + WINDOW))) for first in range(0, 2 * WINDOW, WINDOW)]
        named = {name for name, findings in told[-1].items() if name in effects and findings & {Finding.DRIFT, Finding.NEW_VALUES}}
        wanted = {name for name, effect in effects.items() if effect > 0.12}
        others = {name for name, effect in effects.items() if effect < 0.08}
        missed, wrong = sorted(wanted - named), sorted(named & others)
        words = f"{', '.join(sorted(named)) or 'none'}; not named: {', '.join(missed) or 'none'}; wrongly: {', '.join(wrong) or 'none'}"
        report.add(f"later rows, {data.name}", f"all of {len(wanted)}, no other", words, not missed and not wrong)
        report.numbers[f"moved: {data.name}"] = {
            "named": sorted(named),
            "effects": {name: round(each, 3) for name, each in effects.items()},
        }


Change = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]
FAULTS: dict[str, tuple[Change, Finding | None]] = {
    "times 1000": (lambda column: column * np.float32(1000), Finding.UNITS),
    "times 2.54": (lambda column: column * np.float32(2.54), Finding.UNITS),
    "gain 1.3": (lambda column: column * np.float32(1.3), None),
    "stuck": (lambda column: np.full_like(column, column[0]), Finding.CONSTANT),
    "missing": (lambda column: np.where(np.arange(len(column)) % 10, column, np.float32(np.nan)), Finding.MISSING),
    "new category": (lambda column: np.where(np.arange(len(column)) % 20, column, b"a new one"), Finding.NEW_VALUES),
}
ONE_EACH: dict[str, dict[str, tuple[str, ...]]] = {
    "car loans": {"car_value": ("times 1000", "times 2.54", "gain 1.3", "stuck", "missing"), "salary_range": ("new category", "stuck")},
    "employment": {"AGEP": ("times 1000", "times 2.54", "gain 1.3", "stuck", "missing")},
    "credit cards": {"credit_bureau_score": ("times 1000", "times 2.54", "gain 1.3", "stuck", "missing"), "acq_channel": ("new category",)},
    "shuttle": {},
    "digits": {"p20": ("times 1000", "stuck", "missing")},
}


def faults(report: Report, folder: Path) -> None:
    """one feature at a time that is wrong"""
    for data in sets():
        rng = np.random.default_rng(33)
        reference, rest = halves(data, rng)
        wanted = dict(ONE_EACH[data.name])
        if data.name == "shuttle":
            wanted = {next(iter(data.reference)): ("times 1000", "gain 1.3", "stuck", "missing")}
        for column, names in wanted.items():
            for name in names:
                change, finding = FAULTS[name]
                with watched(data.reference, folder, reference) as version:
                    windows = windows_of(rest, rng)
                    for _ in range(3):
                        version.window(next(windows))
                    told: dict[str, set[Finding]] = {}
                    for _ in range(2):
                        rows = next(windows)
                        rows[column] = change(rows[column])
                        told = version.window(rows)
                others = sorted(set(told) - {column, "outliers", *(["repeated rows"] if count_of(rest) < 2 * WINDOW else [])})
                right = bool(told.get(column)) and (finding is None or finding in told[column]) and not others
                words = f"{', '.join(sorted(told.get(column, []))) or 'nothing'}{f'; wrongly {others}' if others else ''}"
                report.add(f"{name}, {column} of {data.name}", f"{finding or 'named'}, no other feature", words, right)
                report.numbers[f"fault: {data.name} {column} {name}"] = {each: sorted(findings) for each, findings in told.items()}
        if data.name == "digits":
            shifted(report, folder, reference, rest)


def shifted(report: Report, folder: Path, reference: Columns, rest: Columns) -> None:
    """Digits that are one pixel to the right."""
    rng = np.random.default_rng(34)
    with watched(reference, folder, reference) as version:
        told: dict[str, set[Finding]] = {}
        for _ in range(2):
            rows = rows_of(rest, rng.permutation(count_of(rest))[:WINDOW])
            pixels = np.roll(np.stack(list(rows.values()), axis=1).reshape(-1, 8, 8), 1, axis=2).reshape(-1, 64)
            told = version.window({name: pixels[:, place] for place, name in enumerate(rows)})
    report.add(
        "digits, one pixel to the right", "drift", f"{len(told)} features named", any(Finding.DRIFT in each for each in told.values())
    )
    report.numbers["fault: digits shifted"] = {each: sorted(findings) for each, findings in told.items()}


def outliers(report: Report, folder: Path) -> None:
    """outlier scores beside IsolationForest's"""
    segments = [aucs(data, folder) for data in drift_data.segments(WHEELS)]
    found = {data.name: aucs(data, folder) for data in (drift_data.tumours(), drift_data.shuttle(WHEELS))}
    found["image segments, mean of 7"] = (float(np.mean([own for own, _ in segments])), float(np.mean([other for _, other in segments])))
    for name, (own, other) in found.items():
        words = f"AUC {own:.4f}, IsolationForest {other:.4f}, ratio {own / other:.3f}"
        report.add(f"outliers, {name}", f"at least {RATIO} of it", words, own >= RATIO * other)
        report.numbers[f"outliers: {name}"] = {"auc": own, "isolation_forest": other}
    words = ", ".join(f"{own:.3f} and {other:.3f}" for own, other in segments)
    report.add("outliers, image segments, each kind", "", words)


def aucs(data: Data, folder: Path) -> tuple[float, float]:
    """Own, and of IsolationForest."""
    from sklearn.ensemble import IsolationForest
    from sklearn.metrics import roc_auc_score

    assert data.outliers is not None
    normal = np.random.default_rng(0).permutation(np.flatnonzero(data.outliers == 0))
    learned, rest = normal[: len(normal) // 2], np.concatenate([normal[len(normal) // 2 :], np.flatnonzero(data.outliers)])
    scores: list[float] = []
    with watched(data.reference, folder, rows_of(data.reference, learned)) as version:
        for given in pieces(rows_of(data.reference, rest)):
            version.infer(given)
            scores += version.watch.scores(len(next(iter(given.values()))))
    matrix = np.stack(list(data.reference.values()), axis=1)
    forest = IsolationForest(random_state=0).fit(matrix[learned])
    own = float(roc_auc_score(data.outliers[rest], scores))
    return own, float(roc_auc_score(data.outliers[rest], -forest.score_samples(matrix[rest])))


if __name__ == "__main__":
    logging.getLogger("inferd").setLevel(logging.ERROR)
    known = {"free": free, "moved": moved, "faults": faults, "outliers": outliers}
    sys.exit(sections.checked(__doc__ or "", known, HISTORY))
