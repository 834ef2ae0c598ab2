"""Data sets of the drift benchmarks, as columns by name.

Car loans, employment in Massachusetts and credit cards are in nannyml's wheel, shuttles and image segments in river's, digits and tumours
in scikit-learn. pip downloads the wheels, and nobody installs them. Measures nothing.
"""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

NANNYML = "nannyml==0.13.1"  # Apache-2.0
RIVER = "river==0.26.1"  # BSD-3-Clause
LEFT_OUT = ("id", "identifier", "timestamp", "y_true", "repaid", "employed")

Columns = dict[str, np.ndarray[Any, Any]]  # float32, or bytes as objects


class Data(NamedTuple):
    """reference: rows of one time. later: those of a later one, in order; None: there is none. outliers: 1 where a row is one."""

    name: str
    reference: Columns
    later: Columns | None = None
    outliers: np.ndarray[Any, Any] | None = None


def wheel(folder: Path, requirement: str) -> zipfile.ZipFile:
    name = requirement.partition("==")[0]
    if not list(folder.glob(f"{name}-*.whl")):
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement], check=True)
    return zipfile.ZipFile(next(folder.glob(f"{name}-*.whl")))


def columns_of(table: Any) -> Columns:
    """Texts and truth values as bytes, numbers as float32."""
    found: Columns = {}
    for name in table.columns:
        column = table[name]
        if name in LEFT_OUT or name.startswith("Unnamed"):
            continue
        if column.dtype.kind in "iuf":
            found[name] = column.to_numpy(np.float32)
        else:
            found[name] = np.array([str(value).encode() for value in column], object)
    return found


def nannyml(folder: Path, name: str, reference: str, later: str) -> Data:
    import pandas as pd

    def read(file: str) -> Any:
        content = io.BytesIO(wheel(folder, NANNYML).read(f"nannyml/datasets/data/{file}"))
        return pd.read_parquet(content) if file.endswith(".pq") else pd.read_csv(content)

    first, second = read(reference), read(later)
    return Data(name, columns_of(first[[each for each in first.columns if each in second.columns]]), columns_of(second))


def shuttle(folder: Path) -> Data:
    import pandas as pd

    table = pd.read_csv(io.BytesIO(gzip.decompress(wheel(folder, RIVER).read("river/datasets/shuttle.csv.gz"))))
    label = table.iloc[:, -1]
    return Data("shuttle", columns_of(table.iloc[:, :-1]), outliers=(label == label.value_counts().index[-1]).to_numpy(int))


def digits() -> Data:
    from sklearn.datasets import load_digits

    pixels = load_digits().data.astype(np.float32)
    return Data("digits", {f"p{place:02d}": pixels[:, place] for place in range(pixels.shape[1])})


def tumours() -> Data:
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    rows = {str(name): found.data[:, place].astype(np.float32) for place, name in enumerate(found.feature_names)}
    return Data("breast cancer", rows, outliers=(found.target == 0).astype(int))


def segments(folder: Path) -> Iterator[Data]:
    """Each of seven kinds of image segments in turn as the outliers among the others."""
    import pandas as pd

    packed = zipfile.ZipFile(io.BytesIO(wheel(folder, RIVER).read("river/datasets/segment.csv.zip")))
    table = pd.read_csv(packed.open(packed.namelist()[0]))
    columns, label = columns_of(table.iloc[:, :-1]), table.iloc[:, -1]
    for kind in sorted(label.unique()):
        yield Data(f"image segments, {kind}", columns, outliers=(label == kind).to_numpy(int))


def watched(folder: Path) -> list[Data]:
    """Those whose drift is watched."""
    return [
        nannyml(folder, "car loans", "synthetic_car_loan_reference.csv", "synthetic_car_loan_analysis.csv"),
        nannyml(folder, "employment", "employment_MA_reference.pq", "employment_MA_analysis.pq"),
        nannyml(folder, "credit cards", "mc_reference.csv", "mc_analysis.csv"),
        shuttle(folder),
        digits(),
    ]


def rows_of(columns: Columns, rows: Any) -> Columns:
    return {name: column[rows] for name, column in columns.items()}


def count_of(columns: Columns) -> int:
    return len(next(iter(columns.values())))
