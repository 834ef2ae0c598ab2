"""Tables as a model's inputs. A column of a CSV or Parquet file is an input of its name, or an element of the only input.

Never in here: other kinds of data, running the model.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from inferd.errors import ConfigError
from inferd.record.form import arrow
from inferd.tensors import DTYPES, objects

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from inferd.tensors import Array

KINDS = (".csv", ".parquet", ".pq")
SHOWN = 10  # names that an error lists

Spec = tuple[str, str, tuple[int, ...]]  # name, datatype, shape as Signature has it


class Rows(NamedTuple):
    """inputs: by name. labels: the columns that became the elements of an input."""

    inputs: dict[str, Array]
    labels: dict[str, list[str]]


def read_table(path: Path, specs: Sequence[Spec], columns: Sequence[str] = ()) -> Rows:
    """columns: those to take, in order; empty: those that the model's inputs are named by, or else all. Raises ConfigError, OSError,
    StartError."""
    table = _table(path)
    if missing := [name for name in columns if name not in table.column_names]:
        raise ConfigError(f"--columns: there is no column '{missing[0]}' in {path.name}; there are {_listed(table.column_names)}")
    if not table.num_rows:
        raise ConfigError(f"{path.name}: expected rows, got none")
    if not columns and all(name in table.column_names for name, _, _ in specs):
        return Rows({spec[0]: _stacked(path, table, [spec[0]], spec) for spec in specs}, {})
    if len(specs) != 1:
        lacks = next(name for name, _, _ in specs if name not in table.column_names)
        raise ConfigError(f"{path.name}: expected a column for each input, got none for '{lacks}'; there are {_listed(table.column_names)}")
    taken = list(columns) or list(table.column_names)
    name, _, shape = specs[0]
    elements = math.prod(shape[1:])
    if len(taken) != elements and elements >= 0:
        raise ConfigError(
            f"{path.name}: the input '{name}' has {elements} elements in a row, and the file has {len(taken)} columns: name them in order "
            f"with --columns; there are {_listed(table.column_names)}"
        )
    return Rows({name: _stacked(path, table, taken, specs[0])}, {name: taken})


def _table(path: Path) -> Any:
    pa = arrow("tables")
    import pyarrow.csv
    import pyarrow.parquet

    try:
        return pyarrow.csv.read_csv(str(path)) if path.suffix.lower() == ".csv" else pyarrow.parquet.read_table(str(path))
    except pa.ArrowException as error:
        raise ConfigError(f"{path.name}: it cannot be read as a table: {error}") from None


def _stacked(path: Path, table: Any, names: Sequence[str], spec: Spec) -> Array:
    """The columns side by side, in the shape and datatype of an input."""
    _, datatype, shape = spec
    read = [_texts(table[name]) if datatype == "BYTES" else _numbers(path, name, table[name], datatype) for name in names]
    sizes = [size if size >= 0 else len(names) for size in shape[1:]]
    stacked: Array = np.stack(read, axis=1)
    return stacked.reshape(len(stacked), *sizes)


def _texts(column: Any) -> Array:
    """An absent value is an empty text."""
    return objects([b"" if value is None else value if isinstance(value, bytes) else str(value).encode() for value in column.to_pylist()])


def _numbers(path: Path, name: str, column: Any, datatype: str) -> Array:
    dtype = DTYPES[datatype]
    try:
        wide: Array = np.asarray(column.to_numpy()).astype(np.float64)
    except (ValueError, TypeError):
        raise ConfigError(f"{path.name}: the column '{name}' has texts, and the model takes {datatype}") from None
    with np.errstate(invalid="ignore", over="ignore"):
        values: Array = wide.astype(dtype)
    if dtype.kind != "f" and not np.array_equal(wide, values):
        raise ConfigError(f"{path.name}: the column '{name}' has values that {datatype} cannot hold, such as absent ones")
    return values


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
