"""Records as Parquet: a column for each input and output, with its elements, and one with its shape.

The metadata of a column is its datatype, and that of the file the version of the record's format. Never in here: which requests are
written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inferd.errors import ConfigError
from inferd.record.form import arrow, format_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from inferd.record.reader import Recorded

GROUP_ROWS = 4096  # of a row group,
GROUP_NBYTES = 64 << 20  # whose tensors have about so many bytes at most
PLAIN = ("id", "model", "version", "arm", "code", "error")
ARROW_TYPES = {"BOOL": "bool_", "FP16": "float16", "FP32": "float32", "FP64": "float64", "BYTES": "binary", "BF16": "uint16"}
DATATYPE_KEY = b"inferd.datatype"


def write_table(requests: Iterator[Recorded], path: Path, columns: Mapping[str, str]) -> int:
    """columns: those of tensors, with their datatypes. Returns how many requests there are; one at least."""
    import pyarrow.parquet as parquet

    total, writer = 0, None
    try:
        for rows in _groups(requests):
            table = _table(rows, columns)
            writer = writer or parquet.ParquetWriter(str(path), table.schema, compression="zstd")
            writer.write_table(table)
            total += len(rows)
    finally:
        if writer is not None:
            writer.close()
    return total


def _groups(requests: Iterator[Recorded]) -> Iterator[list[Recorded]]:
    rows: list[Recorded] = []
    nbytes = 0
    for row in requests:
        rows.append(row)
        nbytes += sum(memoryview(tensor.data).nbytes for tensor in (*row.input_tensors, *row.output_tensors))
        if len(rows) == GROUP_ROWS or nbytes >= GROUP_NBYTES:
            yield rows
            rows, nbytes = [], 0
    if rows:
        yield rows


def _table(rows: Sequence[Recorded], words: Mapping[str, str]) -> Any:
    pa = arrow()
    columns = {name: pa.array([getattr(row, name) for row in rows], pa.int32() if name == "code" else pa.string()) for name in PLAIN}
    columns["arrival"] = pa.array([row.arrival_ns for row in rows], pa.timestamp("ns", "UTC"))
    columns |= {name: pa.array([row.times_ns[name] for row in rows], pa.int64()) for name in rows[0].times_ns}
    fields = [pa.field(name, column.type) for name, column in columns.items()]
    found = [{f"inputs.{k}": v for k, v in row.inputs.items()} | {f"outputs.{k}": v for k, v in row.outputs.items()} for row in rows]
    for name, word in words.items():
        kind = getattr(pa, ARROW_TYPES.get(word, word.lower()))()
        arrays = [each.get(name) for each in found]
        columns[name] = pa.array([None if array is None else array.ravel() for array in arrays], pa.list_(kind))
        columns[f"{name}.shape"] = pa.array([None if array is None else list(array.shape) for array in arrays], pa.list_(pa.int64()))
        fields += [pa.field(name, pa.list_(kind), metadata={DATATYPE_KEY: word}), pa.field(f"{name}.shape", pa.list_(pa.int64()))]
    return pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields, format_metadata()))


def columns_of(path: Path) -> list[str]:
    """The names of the columns of any Parquet file. Raises ConfigError."""
    pa = arrow()
    import pyarrow.parquet as parquet

    try:
        return list(parquet.read_schema(path).names)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{path}: cannot be read as Parquet: {str(error)[:200]}") from None


def read_columns(path: Path, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Rows of some columns of any Parquet file, as Python's values; None for a column that it does not have. Raises ConfigError."""
    pa = arrow()
    import pyarrow.parquet as parquet

    try:
        with parquet.ParquetFile(path) as file:
            there = [name for name in names if name in file.schema_arrow.names]
            for batch in file.iter_batches(GROUP_ROWS, columns=there):
                columns = [batch.column(name).to_pylist() if name in there else [None] * batch.num_rows for name in names]
                yield from zip(*columns, strict=True)
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{path}: cannot be read as Parquet: {str(error)[:200]}") from None
