"""The format of records: a stream of Arrow record batches of one schema, a row a request. docs/records.md describes it for readers.

A segment's schema has metadata. `inferd.record` is the version of the format, and `inferd.version` the server's. `inferd.changed` says as
JSON which tensors were left out or hashed. A change that an earlier reader would misread raises FORMAT. Only record/ and
steps/records.py import `pyarrow`. Never in here: files, servers.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from inferd._core.codec.columns import TIMES
from inferd.errors import ConfigError, StartError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inferd._core.codec.columns import Buffer, Columns, TensorColumns, Texts

FORMAT = 1
FORMAT_KEY, VERSION_KEY, CHANGED_KEY = b"inferd.record", b"inferd.version", b"inferd.changed"
SUFFIX = ".arrow"
MAX_RANK = 8  # sizes of a shape, as in _core/tensor/view.pxd
COLUMNS = ("id", "model", "version", "arm", "arrival", *TIMES[1:], "code", "error", "inputs", "outputs")


@cache
def arrow(needed_by: str = "records") -> Any:
    """The module pyarrow. needed_by: what needs it, for people. Raises StartError where it is not installed."""
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError:
        raise StartError(f"{needed_by} need pyarrow, which is not installed: pip install 'inferd[record]'") from None
    return pyarrow


@cache
def _types() -> tuple[Any, Any, Any]:
    """Arrow types of a tensor, of a list of tensors, and of a list of sizes."""
    pa = arrow()
    sizes = pa.list_(pa.field("item", pa.int64(), nullable=False))
    kinds = {"name": pa.string(), "datatype": pa.string(), "shape": sizes, "data": pa.large_binary()}
    tensor = pa.struct([pa.field(name, kind, nullable=False) for name, kind in kinds.items()])
    return tensor, pa.list_(pa.field("item", tensor, nullable=False)), sizes


def schema_of(changed: Mapping[str, str] | None = None) -> Any:
    """changed: what was done with tensors, by name: "omit" or "hash"."""
    pa = arrow()
    _, tensors, _ = _types()
    kinds = dict.fromkeys(("id", "model", "version", "arm", "error"), pa.string())
    kinds |= {"arrival": pa.timestamp("ns", "UTC"), "code": pa.int32(), "inputs": tensors, "outputs": tensors}
    metadata = format_metadata() | {CHANGED_KEY: json.dumps(dict(changed or {}))}
    return pa.schema([pa.field(name, kinds.get(name, pa.int64()), nullable=False) for name in COLUMNS], metadata)


def format_metadata() -> dict[bytes, str]:
    """A schema's metadata about the format."""
    return {FORMAT_KEY: str(FORMAT), VERSION_KEY: _own_version()}


def changed_of(schema: Any) -> dict[str, str]:
    """Which tensors were left out or hashed, of a segment's schema."""
    told = json.loads(schema.metadata.get(CHANGED_KEY, b"{}"))
    return {str(name): str(what) for name, what in told.items()}


def _own_version() -> str:
    return str(import_module("inferd").__version__)  # an import statement would be a cycle: its public names have the engine


def check_schema(schema: Any, where: str) -> None:
    """Raises ConfigError where it is not a record's, or that of a newer format."""
    metadata = schema.metadata or {}
    if FORMAT_KEY not in metadata:
        raise ConfigError(f"{where}: expected a record of inferd, got another file: its schema has no metadata inferd.record")
    told = metadata[FORMAT_KEY].decode(errors="replace")
    if not told.isdecimal() or int(told) > FORMAT:
        made = metadata.get(VERSION_KEY, b"?").decode(errors="replace")
        raise ConfigError(
            f"{where}: expected a record of format {FORMAT} or older, got format {told:.20}, made by inferd {made:.40}; this is inferd "
            f"{_own_version()}: upgrade it to read this record"
        )
    expected = schema_of()
    for name in COLUMNS:
        found = schema.field(name).type if schema.names.count(name) == 1 else None
        if found is None or not found.equals(expected.field(name).type):
            raise ConfigError(
                f"{where}: expected the column {name} of type {expected.field(name).type}, got {found}: it is no record of inferd"
            )


def batch_of(columns: Columns, schema: Any) -> Any:
    """The rows as a record batch, over the buffers of `columns`: those must not change while it lives."""
    pa, rows = arrow(), columns.rows
    texts = (columns.ids, columns.models, columns.versions, columns.arms)
    times = [_plain(field.type, rows, buffer) for field, buffer in zip(list(schema)[4:11], columns.times, strict=True)]
    code = _plain(pa.int32(), rows, columns.codes)
    arrays = [*(_strings(each, rows) for each in texts), *times, code, _strings(columns.errors, rows)]
    return pa.RecordBatch.from_arrays([*arrays, *(_tensors(each, rows) for each in (columns.inputs, columns.outputs))], schema=schema)


def _plain(kind: Any, rows: int, buffer: Buffer) -> Any:
    return arrow().Array.from_buffers(kind, rows, [None, arrow().py_buffer(buffer)], null_count=0)


def _strings(texts: Texts, rows: int) -> Any:
    pa = arrow()
    return pa.Array.from_buffers(pa.string(), rows, [None, pa.py_buffer(texts.offsets), pa.py_buffer(texts.data)], null_count=0)


def _tensors(columns: TensorColumns, rows: int) -> Any:
    pa, count = arrow(), columns.count
    tensor, tensors, sizes = _types()
    size = _plain(pa.int64(), len(columns.sizes) // 8, columns.sizes)
    shape = pa.Array.from_buffers(sizes, count, [None, pa.py_buffer(columns.shape_offsets)], null_count=0, children=[size])
    buffers = [None, pa.py_buffer(columns.data_offsets), pa.py_buffer(columns.data)]
    data = pa.Array.from_buffers(pa.large_binary(), count, buffers, null_count=0)
    children = [_strings(columns.names, count), _strings(columns.datatypes, count), shape, data]
    each = pa.Array.from_buffers(tensor, count, [None], null_count=0, children=children)
    return pa.Array.from_buffers(tensors, rows, [None, pa.py_buffer(columns.row_offsets)], null_count=0, children=[each])
