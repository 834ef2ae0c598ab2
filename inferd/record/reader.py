"""Reads records back: segments of one or several folders as requests, in the order in which each process recorded them.

A segment may be cut off or damaged anywhere: all batches before that place are read, and `Segments.faults` names it. No file
is trusted. Arrow checks each batch in full before anything of it is used, and none unpacks to more than MAX_BATCH_NBYTES. Never in here:
what requests are for.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inferd.arrow_messages import unpacked_nbytes
from inferd.errors import ConfigError
from inferd.record.decoded import Tensor
from inferd.record.form import MAX_RANK, SUFFIX, arrow, changed_of, check_schema, schema_of
from inferd.record.writer import segments_of
from inferd.tensors import DTYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from inferd.tensors import Array

CUT = "its end is missing; all batches before it are read"
DAMAGED = "damaged at batch {}; only the batches before it are read"
MAX_BATCH_NBYTES = 1 << 30  # of a packed batch, unpacked
SHOWN = 10  # models that an error names
NEWEST_ROWS = 2048  # where only the newest requests are wanted,
NEWEST_NBYTES = 64 << 20  # of about so many bytes at most


@dataclass
class Recorded:
    """One request with its response. arrival_ns: wall clock; times_ns: of its stages, by the names of the columns. code: gRPC's, 0: OK.
    BYTES are arrays of bytes objects, BF16 of uint16."""

    id: str
    model: str
    version: str
    arm: str
    arrival_ns: int
    times_ns: dict[str, int]
    code: int
    error: str
    input_tensors: list[Tensor] = field(repr=False)
    output_tensors: list[Tensor] = field(repr=False)
    where: str = ""  # the segment, and the row if it is known, for messages

    @cached_property
    def inputs(self) -> dict[str, Array]:
        """Raises ConfigError where a tensor's bytes are not those of its shape."""
        return self._arrays(self.input_tensors)

    @cached_property
    def outputs(self) -> dict[str, Array]:
        return self._arrays(self.output_tensors)

    @property
    def datatypes(self) -> dict[str, str]:
        """The outputs' datatypes, in the protocol's words."""
        return {tensor.name: tensor.datatype for tensor in self.output_tensors}

    def _arrays(self, tensors: Sequence[Tensor]) -> dict[str, Array]:
        arrays = {}
        for tensor in tensors:
            try:
                if tensor.datatype not in DTYPES or any(size < 0 for size in tensor.shape):
                    raise ValueError("expected a datatype of the protocol and sizes of 0 or more")
                arrays[tensor.name] = tensor.array()
            except ValueError as error:
                what = f"{tensor.datatype:.20} {list(tensor.shape)}"
                raise ConfigError(f"{self.where}: the tensor {tensor.name!r:.100} of {what} holds other bytes: {error}") from None
        return arrays


class Segments:
    """The segments below some paths: folders of a record, or single files. Raises ConfigError where there is none, where one cannot be
    read, is no record or is of a newer format."""

    def __init__(self, paths: Iterable[str | Path], where: str = "record") -> None:
        self.where = where
        self.files: list[Path] = []
        for path in map(Path, paths):
            if path.is_dir():
                found = segments_of(path)
                if not found:
                    raise ConfigError(f"{where} {path}: expected a record, got a folder without {SUFFIX} files")
                self.files += found
            else:
                self.files.append(path)
        self.faults: dict[Path, str] = {}  # why a file was not read to its end, once it was read; for messages
        self.changed: dict[str, str] = {}  # tensors that are left out or hashed, of those that were read

    def batches(self) -> Iterator[tuple[Path, Any]]:
        """Every record batch with its file."""
        pa = arrow()
        for path in self.files:
            try:
                with pa.memory_map(str(path)) as file:
                    yield from ((path, batch) for batch in self._of_file(path, file))
            except OSError as error:
                raise ConfigError(f"{self.where} {path}: cannot be read: {error.strerror or error}") from None

    def _of_file(self, path: Path, file: Any) -> Iterator[Any]:
        pa = arrow()
        try:
            schema = pa.ipc.open_stream(file).schema
            check_schema(schema, f"{self.where} {path}")
            self.changed |= changed_of(schema)
        except (pa.ArrowException, OSError, ValueError) as error:
            if _is_begun(path):
                self.faults[path] = CUT
                return
            raise ConfigError(f"{self.where} {path}: expected an Arrow IPC stream, as `inferd serve --record` writes it: {error}") from None
        columns = schema_of().names
        messages = pa.ipc.MessageReader.open_stream(file)  # which goes on behind the schema
        number = 0
        while True:
            number += 1
            try:
                message = messages.read_next_message()
            except StopIteration:
                return
            except (pa.ArrowException, OSError, ValueError):
                self.faults[path] = CUT if file.tell() == file.size() else DAMAGED.format(number)
                return
            try:
                self._check_unpacked(path, number, message)
                batch = pa.ipc.read_record_batch(message, schema)
                batch.validate(full=True)
                _check_values(batch)
            except (pa.ArrowException, OSError, ValueError, struct.error):
                self.faults[path] = DAMAGED.format(number)
                return
            yield batch.select(columns)

    def _check_unpacked(self, path: Path, number: int, message: Any) -> None:
        nbytes = unpacked_nbytes(message)
        if nbytes > MAX_BATCH_NBYTES:
            raise ConfigError(
                f"{self.where} {path}: expected batches of {MAX_BATCH_NBYTES >> 20} MiB at most, got {nbytes:,} bytes in batch {number}: "
                "leave this file out, or record fewer or smaller tensors"
            )

    def requests(self, model: str = "", version: str = "") -> Iterator[Recorded]:
        """Each request; of one model, or one version of it, where they are given."""
        for path, batch in self.batches():
            for number, row in enumerate(_rows(batch, path.name)):
                if (model and row.model != model) or (version and row.version != version):
                    continue
                row.where = f"{path.name}, row {number} of a batch"
                yield row

    def found(self, model: str = "", version: str = "") -> Iterator[Recorded]:
        """The same as `requests`. Raises ConfigError where there is none."""
        found = False
        for request in self.requests(model, version):
            found = True
            yield request
        if not found:
            there = ", ".join(f"{name} ({count})" for name, count in sorted(self.models().items())[:SHOWN]) or "no requests"
            asked = f"requests of the model {model!r}{f' version {version}' if version else ''}" if model else "requests"
            raise ConfigError(f"{self.where}: expected {asked}, got a record of: {there}")

    def newest(self, model: str) -> list[Recorded]:
        """Some of the newest requests of one model, in any order. Raises ConfigError where there are none."""
        where = f"{self.where} {self.files[-1]}"
        batches = _newest_batches(self.batches(), model, where)
        return [row for path, batch in batches for row in _rows(batch, path.name)]

    def models(self) -> dict[str, int]:
        """How many requests of each model there are."""
        counts: dict[str, int] = {}
        for _, batch in self.batches():
            for name in batch.column("model").to_pylist():
                counts[name] = counts.get(name, 0) + 1
        return counts


def read(paths: Sequence[str | Path] | str | Path, model: str = "", version: str = "", where: str = "record") -> Iterator[Recorded]:
    """Every request of a record; of one model where it is given. Raises ConfigError, also where none of it is of that model."""
    return Segments([paths] if isinstance(paths, str | Path) else paths, where).found(model, version)


def _newest_batches(batches: Iterable[tuple[Path, Any]], model: str, where: str) -> list[tuple[Path, Any]]:
    """The last batches with requests of one model, cut to these: NEWEST_ROWS and NEWEST_NBYTES, or the last batch alone. Raises
    ConfigError where there are none."""
    pa, kept = arrow(), deque[tuple[Path, Any]]()
    rows = nbytes = 0
    others: set[str] = set()
    for path, batch in batches:
        names = batch.column("model").to_pylist()
        mask = [name == model for name in names]
        if not any(mask):
            others |= set(names[:SHOWN])
            continue
        own = batch.filter(pa.array(mask))
        own = own.slice(max(0, own.num_rows - NEWEST_ROWS))
        kept.append((path, own))
        rows, nbytes = rows + own.num_rows, nbytes + own.nbytes
        while len(kept) > 1 and (rows > NEWEST_ROWS or nbytes > NEWEST_NBYTES):
            _, oldest = kept.popleft()
            rows, nbytes = rows - oldest.num_rows, nbytes - oldest.nbytes
    if not kept:
        there = ", ".join(sorted(others)[:SHOWN]) or "no requests"
        raise ConfigError(f"{where}: expected requests of the model {model!r}, got a record of: {there}")
    return list(kept)


def is_record(path: str | Path) -> bool:
    """Whether a path that may name other files, too, is meant as a record."""
    return Path(path).is_dir() or Path(path).suffix == SUFFIX


def _is_begun(path: Path) -> bool:
    """Whether it is a segment whose process ended before its schema was written: a head of 8 bytes, which says how long that is."""
    with path.open("rb") as file:
        head = file.read(8)
    whole_nbytes = 8 + int.from_bytes(head[4:], "little")
    return head[:4] == b"\xff\xff\xff\xff"[: len(head)] and (len(head) < 8 or path.stat().st_size < whole_nbytes)


def _check_values(batch: Any) -> None:
    """Raises ValueError where a value is null, or shapes have more sizes than tensors may have: each would become a Python object."""
    arrays = [batch.column(name) for name in schema_of().names]
    for tensors in (batch.column(name).values for name in ("inputs", "outputs")):
        shapes = tensors.field("shape")
        if len(shapes.values) > MAX_RANK * len(shapes):
            raise ValueError
        arrays += [tensors, shapes.values, *(tensors.field(place) for place in range(tensors.type.num_fields))]
    if any(array.null_count for array in arrays):
        raise ValueError


def _rows(batch: Any, where: str) -> Iterator[Recorded]:
    plain = {name: batch.column(name).to_pylist() for name in ("id", "model", "version", "arm", "code", "error")}
    arrivals = batch.column("arrival").cast("int64").to_pylist()
    times = {name: batch.column(name).to_pylist() for name in batch.schema.names if name.endswith("_ns")}
    inputs, outputs = (_Tensors(batch.column(name)) for name in ("inputs", "outputs"))
    for row in range(batch.num_rows):
        yield Recorded(
            plain["id"][row],
            plain["model"][row],
            plain["version"][row],
            plain["arm"][row],
            arrivals[row],
            {name: values[row] for name, values in times.items()},
            plain["code"][row],
            plain["error"][row],
            inputs.of(row),
            outputs.of(row),
            where,
        )


class _Tensors:
    """The inputs or outputs of a batch, as views of Arrow's memory."""

    def __init__(self, column: Any) -> None:
        each = column.values
        self._first = column.offsets.to_pylist()
        self._names, self._words = (each.field(name).to_pylist() for name in ("name", "datatype"))
        shapes = each.field("shape")
        self._sizes, self._size_at = shapes.values.to_pylist(), shapes.offsets.to_pylist()
        data = each.field("data")
        _, offsets, memory = data.buffers()
        count = len(data)
        self._at = memoryview(offsets)[: 8 * (data.offset + count + 1)].cast("q")[data.offset :].tolist() if count else []
        self._memory = memoryview(memory) if memory is not None else memoryview(b"")

    def of(self, row: int) -> list[Tensor]:
        return [
            Tensor(
                self._names[i],
                self._words[i],
                tuple(self._sizes[self._size_at[i] : self._size_at[i + 1]]),
                self._memory[self._at[i] : self._at[i + 1]],
            )
            for i in range(self._first[row], self._first[row + 1])
        ]
