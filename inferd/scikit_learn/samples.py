"""Records to try a pipeline and its graph with: those of a file, or made from what the pipeline learned of its columns.

A sample is one array a column. Numbers, and truth values as 1 and 0, are FP64 with NaN for missing ones, or INT64 where FP64 does not hold
all of them. Texts are objects, with None for missing ones. Never in here: results of models.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from inferd.errors import ConfigError
from inferd.scikit_learn.learned import Learned, is_missing
from inferd.scikit_learn.trained import Trained, library
from inferd.steps.columns import twin_of
from inferd.tensors import Array, objects

MADE_ROWS = 256
EXACT = 1 << 53  # FP64 has every whole number up to it
MOST_ROWS = 10_000  # of a file; more say nothing more


@dataclass(frozen=True)
class Sample:
    """columns: an array a column, by name, in the pipeline's order. whole: those whose numbers have no fractions. flags: those of truth
    values. told: how it was made.

    made: of what the pipeline says; else read of a file. guessed: columns of which it says nothing, so that any value had to do.
    """

    columns: Mapping[str, Array]
    whole: frozenset[str]
    flags: frozenset[str]
    told: tuple[str, ...]
    made: bool = False
    guessed: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        return len(next(iter(self.columns.values())))

    def part(self, rows: Sequence[int]) -> Sample:
        """The same columns at these rows."""
        picked = {name: column[list(rows)] for name, column in self.columns.items()}
        return replace(self, columns=picked)

    def whole_rows(self) -> Sample:
        """Rows of which no value is missing; where there are none such, all, with values of other rows in the gaps."""
        gaps = {name: np.array([is_missing(value) for value in column]) for name, column in self.columns.items()}
        whole = np.flatnonzero(~np.any(list(gaps.values()), axis=0))
        if len(whole):
            return self.part(whole.tolist())
        filled = {}
        for name, column in self.columns.items():
            there = column[~gaps[name]] if not gaps[name].all() else np.array(["" if column.dtype == object else 0.0], dtype=column.dtype)
            filled[name] = np.where(gaps[name], np.resize(there, self.rows), column)
        return replace(self, columns=filled)

    def holding(self, name: str, value: Any) -> Sample:
        """The same with one value in all of a column."""
        column = np.full(self.rows, value, dtype=object if self.columns[name].dtype == object else np.float64)
        return replace(self, columns={**self.columns, name: column})

    def lacking(self, names: Sequence[str]) -> Sample:
        """The same with about half of the values of these columns missing, the same ones each time. INT64 columns stay whole: no frame has
        such numbers beside missing ones."""
        random = np.random.default_rng(0)
        columns = dict(self.columns)
        for name in (name for name in names if columns[name].dtype != np.int64):
            columns[name] = columns[name].copy()
            columns[name][random.integers(0, 2, self.rows) == 1] = None if columns[name].dtype == object else math.nan
        return replace(self, columns=columns)

    def as_input(self, trained: Trained) -> Any:
        """The sample as the pipeline takes it: a DataFrame where it was fitted on one, else an array."""
        if not trained.named:
            arrays = list(self.columns.values())
            mixed = any(array.dtype == object for array in arrays)
            return np.column_stack([array.astype(object) for array in arrays]) if mixed else np.column_stack(arrays)
        learned = zip(self.columns, trained.learned, strict=True)
        return library("pandas").DataFrame({name: self._frame_column(name, each) for name, each in learned})

    def _frame_column(self, name: str, learned: Learned) -> Any:
        column, is_flag = self.columns[name], name in self.flags
        if column.dtype == object or (is_flag and np.isnan(column).any()):
            nothing = None if None in (learned.categories or ()) else math.nan
            values = [nothing if is_missing(value) else bool(value) if is_flag else value for value in column]
            return library("pandas").Series(values, dtype=object)  # else pandas has None as NaN
        if np.isnan(column).any():
            return column
        return column.astype(np.bool_) if is_flag else column.astype(np.int64) if name in self.whole else column

    def records(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Each row as a client sends it: by column name, without what is missing."""
        lists = {name: self._plain(name) for name in names}
        rows = [{name: values[row] for name, values in lists.items()} for row in range(self.rows)]
        return [{name: value for name, value in row.items() if value is not None} for row in rows]

    def _plain(self, name: str) -> list[Any]:
        values: list[Any] = self.columns[name].tolist()
        if self.columns[name].dtype == object:
            return values
        kind = bool if name in self.flags else int if name in self.whole else float
        return [None if math.isnan(value) else kind(value) if math.isfinite(value) else value for value in values]


# ---- of a file


def read_sample(path: Path, trained: Trained) -> Sample:
    """Reads a .csv file with a header, a .npz archive of arrays by column name (or one, X), or a .parquet file. Raises ConfigError.

    The file decides which columns are texts where no step of the pipeline does.
    """
    readers = {".csv": _read_csv, ".npz": _read_npz, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        raise ConfigError(f"--sample {path}: expected a file that ends in .csv, .npz or .parquet")
    try:
        found = readers[path.suffix.lower()](path, trained)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"--sample {path}: it cannot be read: {' '.join(str(error).split())[:200]}") from None
    if not trained.named and set(found) == {"X"} and found["X"].ndim == 2:
        found = {f"x{place}": column for place, column in enumerate(found["X"].T)}
    missing = [name for name in trained.names if name not in found]
    for name in missing:
        if why := twin_of(name, found):
            raise ConfigError(f"--sample {path}: column {name!r}: {why}")
    if missing:
        raise ConfigError(f"--sample {path}: column {missing[0]!r} of the pipeline is missing; it has {', '.join(found) or 'none'}")
    columns, whole, flags = {}, set(), set()
    for name, learned in zip(trained.names, trained.learned, strict=True):
        column = found[name][:MOST_ROWS]
        if learned.kind != "text":
            column = _unboxed(column)
        if learned.kind != "text" and _is_flag(column):
            flags.add(name)
        elif column.dtype.kind in "iu" or (learned.kind == "whole" and _is_whole(column)):
            whole.add(name)
        columns[name] = _settled(column, as_text=learned.kind == "text")
        if columns[name].dtype == object and learned.kind != "text":
            if learned.source:
                raise ConfigError(f"--sample {path}: column {name!r} holds texts, and the pipeline's {learned.source[0]} learned numbers")
            learned.kind = "text"  # no step said what it is
    if len({len(column) for column in columns.values()}) != 1 or not len(columns[trained.names[0]]):
        raise ConfigError(f"--sample {path}: its columns must be of one length, and hold a row at least")
    rows = len(columns[trained.names[0]])
    return Sample(columns, frozenset(whole), frozenset(flags), (f"{path.name}: {rows} rows",))


def _is_whole(column: Array) -> bool:
    return column.dtype.kind == "f" and bool(np.all(np.isnan(column) | (column == np.floor(column))))


def _unboxed(column: Array) -> Array:
    """Objects that are numbers as such, NaN where one is missing; anything else as it is."""
    if column.dtype != object or _is_flag(column):
        return column
    values = [math.nan if is_missing(value) else value for value in column]
    return np.array(values) if all(isinstance(value, Real) for value in values) else column


def _is_flag(column: Array) -> bool:
    """Whether it holds truth values, of which some may be missing."""
    if column.dtype != object:
        return column.dtype.kind == "b"
    there = [value for value in column if not is_missing(value)]
    return bool(there) and all(isinstance(value, (bool, np.bool_)) for value in there)


def _settled(column: Array, *, as_text: bool) -> Array:
    """Numbers and truth values as a sample has them; anything else as objects that are texts, or None."""
    values = [None if is_missing(value) else value for value in column.tolist()]
    if not as_text and (column.dtype.kind in "biuf" or _is_flag(column)):
        return _numbers([math.nan if value is None else value for value in values])
    return objects(None if value is None else str(value) for value in values)


def _numbers(values: Sequence[float]) -> Array:
    """FP64, or INT64 where all are whole numbers of Python and FP64 does not hold them."""
    whole = all(isinstance(value, int) and abs(value) < 1 << 63 for value in values)
    return np.array(values, dtype=np.int64 if whole and any(abs(value) > EXACT for value in values) else np.float64)


def _read_csv(path: Path, trained: Trained) -> dict[str, Array]:
    by_name = dict(zip(trained.names, trained.learned, strict=True))
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file, strict=True)
        header = next(lines, [])
        rows = [line for line, _ in zip(lines, range(MOST_ROWS), strict=False) if line]
    uneven = next((number for number, row in enumerate(rows, 2) if len(row) != len(header)), None)
    if uneven:
        raise ValueError(f"line {uneven} has another number of fields than the header")
    return {name: _column_of([row[place] for row in rows], by_name.get(name, Learned())) for place, name in enumerate(header)}


def _column_of(fields: list[str], learned: Learned) -> Array:
    """Texts where those were learned; else as pandas reads it: whole numbers, numbers, true and false, else texts."""
    nothing = learned.missing_words | {""}
    whole = nothing.isdisjoint(fields)
    for kind, dtype in ((int, np.int64), (float, np.float64)) if learned.kind != "text" else ():
        if dtype is np.int64 and not whole:
            continue
        try:
            return np.array([math.nan if field in nothing else kind(field) for field in fields], dtype=dtype)
        except (ValueError, OverflowError):
            continue
    there = [field for field in fields if field not in nothing]
    flags = learned.kind != "text" and {field.lower() for field in there} <= {"true", "false"}
    return objects(None if field in nothing else field.lower() == "true" if flags else field for field in fields)


def _read_npz(path: Path, trained: Trained) -> dict[str, Array]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] if name == "X" else archive[name].reshape(-1) for name in archive.files}


def _read_parquet(path: Path, trained: Trained) -> dict[str, Array]:
    frame = library("pandas").read_parquet(path)
    # In pandas' own types a missing value is neither None nor NaN.
    own = [name for name in frame.columns if not isinstance(frame[name].dtype, np.dtype)]
    return {str(name): frame[name].to_numpy(dtype=object, na_value=None) if name in own else frame[name].to_numpy() for name in frame}


# ---- made


def made_sample(trained: Trained, rows: int = MADE_ROWS) -> Sample:
    """Records like those that the pipeline was fitted on, as far as its steps say; the same ones each time. `told` says of each how."""
    random = np.random.default_rng(0)
    columns: dict[str, Array] = {}
    told: list[str] = []
    whole: list[str] = []
    flags: list[str] = []
    guessed: list[str] = []
    for place, (name, learned) in enumerate(zip(trained.names, trained.learned, strict=True)):
        columns[name], how = _made(learned, rows, random)
        if place not in trained.used:
            continue
        if learned.kind == "whole":
            (flags if all(isinstance(value, bool) for value in _there(learned)) else whole).append(name)
        if not learned.known:
            guessed.append(name)
        source = " and ".join(learned.source) if learned.known else "a guess: no step says more"
        told.append(f"{name if name.isprintable() else repr(name)}: {how} ({source})")
    return Sample(columns, frozenset(whole), frozenset(flags), tuple(told), made=True, guessed=tuple(guessed))


def varied(sample: Sample, trained: Trained) -> Sample:
    """Rows of a sample with other numbers, where the pipeline says among which its own lie: few that decide are in any sample."""
    made = made_sample(trained)
    columns = dict(sample.part([row % sample.rows for row in range(made.rows)]).columns)
    for name, learned in zip(trained.names, trained.learned, strict=True):
        if learned.kind == "number" and learned.known and name not in sample.flags:
            columns[name] = np.rint(made.columns[name]) if name in sample.whole else made.columns[name]
    return replace(sample, columns=columns)


def _there(learned: Learned) -> list[Any]:
    """Its categories, without what stands for a missing one."""
    return [value for value in learned.categories or () if value is not None and value == value]


def _made(learned: Learned, rows: int, random: np.random.Generator) -> tuple[Array, str]:
    categories = _there(learned)
    if learned.kind == "text":
        if learned.words and not categories:
            return objects([" ".join(random.choice(learned.words, 3)) for _ in range(rows)]), f"texts of {len(learned.words)} words"
        known = categories or [learned.stand_in or "a text"]
        return objects([str(known[place]) for place in random.integers(len(known), size=rows)]), f"{len(known)} categories"
    if categories:
        return _numbers(categories)[random.integers(len(categories), size=rows)], f"{len(categories)} values"
    if not learned.points:
        return _around(learned, rows, random)
    numbers, how = _between(learned.points, rows, random)
    if _are_whole(np.array(learned.points)):
        # Those that come are whole, too, and of neighbors then many are equally near.
        numbers, how = np.where(random.integers(0, 2, rows), np.rint(numbers), numbers), f"{how}, half of them whole"
    if learned.middle is None:
        return numbers, how
    around, also = _around(learned, rows, random)
    return np.where(np.arange(rows) % 2, numbers, around), f"{also}, and {how}"


def _are_whole(points: Array) -> bool:
    """Whether points are whole numbers, apart from a scaler's rounding."""
    return bool(np.all(np.abs(points - np.rint(points)) <= 1e-9 * np.maximum(np.abs(points), 1.0)))


def _around(learned: Learned, rows: int, random: np.random.Generator) -> tuple[Array, str]:
    middle = learned.middle or 0.0
    numbers = random.normal(0, 1.5, rows)
    if learned.spread or not middle:
        spread = learned.spread or 1.0
        return middle + spread * numbers, f"normal around {middle:.10g}, deviation {1.5 * spread:.4g}"
    # How far from it numbers lie, nothing says: all the way from what FP32 cannot tell apart.
    return middle + abs(middle) * numbers * 10 ** random.uniform(-8, 0, rows), f"around {middle:.10g}, near and far"


def _between(points: Sequence[float], rows: int, random: np.random.Generator) -> tuple[Array, str]:
    """Numbers on all sides of all points, or of some where there are more than rows."""
    edges = np.unique(points)
    reach = np.ptp(edges) / 4 or abs(edges[0]) or 1.0
    picked = edges[np.linspace(0, len(edges) - 1, min(len(edges), rows)).astype(int)]
    bounds = np.concatenate([[edges[0] - reach], picked, [edges[-1] + reach]])
    places = random.permutation(np.linspace(0, len(bounds) - 2, rows).astype(int))
    return random.uniform(
        bounds[places], bounds[places + 1]
    ), f"on both sides of {len(edges)} points from {edges[0]:.10g} to {edges[-1]:.10g}"
