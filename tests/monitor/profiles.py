"""Reference profiles for tests: learned by the real thing from arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from inferd._core.monitor.feature_counts import Reading, Side
from inferd.engine.embedded import Engine
from inferd.monitor.feature import Counts, Feature, Kind
from inferd.monitor.learning import binned, learn
from inferd.monitor.profiling import profile
from inferd.monitor.reference import Reference, path_of, write
from inferd.tensors import Array

ROWS = 64  # of a request


def element(name: str = "x", **changes: object) -> Feature:
    given: dict[str, object] = {"side": Side.TAKEN, "reading": Reading.ELEMENT, "kind": Kind.RANGES, "tensor": name}
    return Feature(**(given | changes))  # type: ignore[arg-type]


def learned(values: Array, repeats: int | None = None, texts: Sequence[str] = (), **changes: object) -> Feature:
    """repeats: None: as many as there are."""
    values = np.asarray(values, float)
    found = learn(element(**changes), values, repeats_of(values) if repeats is None else repeats, texts)
    assert found is not None
    return found


def repeats_of(values: Array) -> int:
    present = values[np.isfinite(values)]
    return int((present[1:] == present[:-1]).sum())


def counts_of(feature: Feature, values: Array) -> Counts:
    """A plain version of what native code counts of one number a row."""
    values = np.asarray(values, float)
    present = values[np.isfinite(values)]
    counts = Counts.none(feature)
    z = (present - feature.centre) / feature.scale
    z = np.clip(z, -65536, 65536)
    sums = np.array([len(values), len(values) - len(present), repeats_of(values), round(z.sum() * 65536), round((z**2).sum() * 65536)])
    counts.words[:5] = sums.astype(np.int64).astype(np.uint64)
    counts.words[5:] = np.bincount(binned(feature, present), minlength=len(feature.at) + 1)
    return counts


def requests(inputs: Mapping[str, Array], rows: int = ROWS) -> list[dict[str, Array]]:
    count = len(next(iter(inputs.values())))
    return [{name: array[first : first + rows] for name, array in inputs.items()} for first in range(0, count, rows)]


def reference_of(file: Path, inputs: Mapping[str, Array], labels: Mapping[str, Sequence[str]] | None = None, rows: int = ROWS) -> Reference:
    """The profile of the only model in a file, or in a folder."""
    with Engine(file) as engine:
        model = engine._lookup(None, "")
        return profile(model, requests(inputs, rows), lambda given: engine.infer(None, given), labels)


def write_beside(file: Path, inputs: Mapping[str, Array], rows: int = ROWS) -> Path:
    """Learns a profile and puts it beside its version. file: the ONNX file."""
    path = path_of(file)
    write(reference_of(file, inputs, rows=rows), path)
    return path
