"""Records as Parquet: a column for each input and output, with its elements, and one with its shape.

The metadata of a column is its datatype, and that of the file the version of the record's format. So a file of this kind can be read
back. Every file that is read is foreign: its schema, its sizes and its nulls are checked before a row is used. Never in here: which
requests are written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inferd.errors import ConfigError
from inferd.record.decoded import Tensor, bytes_of
from inferd.record.footer import group_nbytes
from inferd.record.form import MAX_RANK, arrow, check_format, format_metadata
from inferd.record.reader import DATATYPES, Recorded, newest_batches

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["newest_of_table", "write_table"]

GROUP_ROWS = 4096  # of a row group,
GROUP_NBYTES = 64 << 20  # whose tensors have about so many bytes at most
READ_ROWS = 64  # at once
MAX_GROUP_NBYTES = 512 << 20  # of a row group that is read; GROUP_NBYTES of UINT8 take four times as much in Parquet
PLAIN = ("id", "model", "version", "arm", "code", "error")
ARROW_TYPES = {"BOOL": "bool_", "FP16": "float16", "FP32": "float32", "FP64": "float64", "BYTES": "binary", "BF16": "uint16"}
DATATYPE_KEY = b"inferd.datatype"
AGAIN = "write the file again with `inferd record export`"


def write_table(requests: Iterator[Recorded], path: Path, columns: Mapping[str, str]) -> int:
    """columns: those of tensors, with their datatypes. Returns how many requests there are; one at least."""
    import pyarrow.parquet as parquet

    total, writer = 0, None
    try:
        for rows in _groups(requests):
            table = _table(rows, columns)
            writer = writer or parquet.ParquetWriter(str(path), table.schema, compression="zstd", use_dictionary=False)
            writer.write_table(table)
            total += len(rows)
    finally:
        if writer is not None:
            writer.close()
    return total


def newest_of_table(path: Path, model: str, where: str) -> list[Recorded]:
    """Some of the newest requests of one model, in any order. Raises ConfigError where there are none, or where it is no such file."""
    pa = arrow()
    import pyarrow.parquet as parquet

    try:
        with parquet.ParquetFile(str(path), memory_map=True) as file:
            check_format(file.schema_arrow, where)
            _check_schema(file.schema_arrow, where)
            _check_sizes(path, where)
            batches = newest_batches(((path, batch) for batch in _checked(file, where)), model, where)
        return [row for _, batch in batches for row in _rows(batch, path)]
    except (pa.ArrowException, OSError, ValueError, LookupError) as error:
        raise ConfigError(f"{where}: expected Parquet, as `inferd record export` writes it: {error}") from None


def _arrow_type(word: str) -> Any:
    """Of the elements of a datatype."""
    return getattr(arrow(), ARROW_TYPES.get(word, word.lower()))()


def _words(schema: Any) -> dict[str, str]:
    """The columns of tensors, with their datatypes."""
    return {field.name: field.metadata[DATATYPE_KEY].decode() for field in schema if DATATYPE_KEY in (field.metadata or {})}


def _times(schema: Any) -> list[str]:
    """The columns of stages. A tensor's may end so, too: it has a dot."""
    return [name for name in schema.names if name.endswith("_ns") and "." not in name]


def _check_schema(schema: Any, where: str) -> None:
    """Raises ConfigError where a column is missing, is there twice or has another type."""
    pa, words = arrow(), _words(schema)
    expected = dict.fromkeys(PLAIN, pa.string()) | {"code": pa.int32(), "arrival": pa.timestamp("ns", "UTC")}
    expected |= dict.fromkeys(_times(schema), pa.int64())
    for name, word in words.items():
        if word not in DATATYPES or not name.startswith(("inputs.", "outputs.")):
            raise ConfigError(f"{where}: expected columns of inputs and outputs, got {name!r:.100} of datatype {word!r:.20}: {AGAIN}")
        expected |= {name: pa.list_(_arrow_type(word)), f"{name}.shape": pa.list_(pa.int64())}
    for name, kind in expected.items():
        found = [field.type for field in schema if field.name == name]
        if len(found) != 1 or not _alike(found[0], kind):
            got = ", ".join(map(str, found)) or "none"
            raise ConfigError(f"{where}: expected one column {name!r:.100} of type {kind}, got {got:.200}: {AGAIN}")


def _alike(found: Any, kind: Any) -> bool:
    """Whatever the elements of lists are called."""
    if arrow().types.is_list(found) and arrow().types.is_list(kind):
        return bool(found.value_type == kind.value_type)
    return bool(found == kind)


def _check_sizes(path: Path, where: str) -> None:
    """Raises ConfigError where a row group takes too much memory."""
    for number, nbytes in enumerate(group_nbytes(path)):
        if nbytes > MAX_GROUP_NBYTES:
            raise ConfigError(
                f"{where}: expected row groups of {MAX_GROUP_NBYTES >> 20} MiB at most, got up to {nbytes:,} bytes in row group {number}: "
                "export fewer or smaller requests"
            )


def _checked(file: Any, where: str) -> Iterator[Any]:
    """Batches without nulls, except tensors that a request does not have. Raises ConfigError."""
    for batch in file.iter_batches(batch_size=READ_ROWS):
        for name in (*PLAIN, "arrival", *_times(batch.schema)):
            if batch.column(name).null_count:
                raise ConfigError(f"{where}: expected a value in each row of the column {name!r:.100}, got null: {AGAIN}")
        for name in _words(batch.schema):
            values, shapes = batch.column(name), batch.column(f"{name}.shape")
            if not values.is_null().equals(shapes.is_null()) or values.flatten().null_count or shapes.flatten().null_count:
                raise ConfigError(f"{where}: expected elements and a shape in the column {name!r:.100}, got null: {AGAIN}")
            if any((rank or 0) > MAX_RANK for rank in shapes.value_lengths().to_pylist()):
                raise ConfigError(f"{where}: expected shapes of {MAX_RANK} sizes at most in the column {name!r:.100}, got more: {AGAIN}")
        yield batch


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
        kind = _arrow_type(word)
        arrays = [each.get(name) for each in found]
        columns[name] = pa.array([None if array is None else array.ravel() for array in arrays], pa.list_(kind))
        columns[f"{name}.shape"] = pa.array([None if array is None else list(array.shape) for array in arrays], pa.list_(pa.int64()))
        fields += [pa.field(name, pa.list_(kind), metadata={DATATYPE_KEY: word}), pa.field(f"{name}.shape", pa.list_(pa.int64()))]
    return pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields, format_metadata()))


def _rows(batch: Any, path: Path) -> Iterator[Recorded]:
    plain = {name: batch.column(name).to_pylist() for name in PLAIN}
    arrivals = batch.column("arrival").cast("int64").to_pylist()
    times = {name: batch.column(name).to_pylist() for name in _times(batch.schema)}
    words = _words(batch.schema)
    for row in range(batch.num_rows):
        tensors: dict[str, list[Tensor]] = {"inputs": [], "outputs": []}
        for column, word in words.items():
            kind, _, name = column.partition(".")
            values, shape = batch.column(column)[row].values, batch.column(f"{column}.shape")[row].as_py()
            if values is not None:
                data = bytes_of(word, values.to_numpy(zero_copy_only=False))
                tensors[kind].append(Tensor(name, word, tuple(shape), data))
        yield Recorded(
            plain["id"][row],
            plain["model"][row],
            plain["version"][row],
            plain["arm"][row],
            arrivals[row],
            {name: values[row] for name, values in times.items()},
            plain["code"][row],
            plain["error"][row],
            tensors["inputs"],
            tensors["outputs"],
            path.name,
        )
