"""Records as other files: one record of several, Parquet and CSV with a column a tensor, arrays for `inferd infer` and `inferd diff`.

Each file is written beside its place and moved there when it is whole. Never in here: what is printed.
"""

from __future__ import annotations

import csv
import json
import os
import random
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inferd.errors import ConfigError
from inferd.record.form import arrow, schema_of
from inferd.record.reader import Segments, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from inferd.record.decoded import Array
    from inferd.record.reader import Recorded

__all__ = ["export", "merge"]

HEADS = ("id", "model", "version", "arm", "arrival", "code", "error")


def export(paths: Sequence[str], to: str, *, model: str = "", version: str = "", count: int | None = None) -> int:
    """The requests as FILE.parquet, FILE.csv, or a folder of .npz files; returns how many. Raises ConfigError."""
    suffix = Path(to).suffix.lower()
    if suffix not in ("", ".parquet", ".csv"):
        raise ConfigError(f"--to {to}: expected a file that ends in .parquet or .csv, or a folder, got {suffix!r}")
    requests = islice(read(paths, model, version), count)
    if suffix == ".parquet":
        from inferd.record.parquet import write_table

        with _whole(Path(to)) as part:
            return write_table(requests, part)
    return _csv(requests, Path(to)) if suffix == ".csv" else _arrays(requests, Path(to))


def merge(paths: Sequence[str], to: str, *, model: str = "", sample: float = 1.0, seed: int = 0) -> int:
    """One record of several, compressed; of one model, and a share of its requests by chance. Returns how many. Raises ConfigError."""
    if Path(to).suffix != ".arrow":
        raise ConfigError(f"--to {to}: expected a file that ends in .arrow")
    pa, segments, chance = arrow(), Segments(paths), random.Random(seed)
    if Path(to).resolve() in {path.resolve() for path in segments.files}:
        raise ConfigError(f"--to {to}: expected another file than those that are merged")
    there = segments.models()
    if model and model not in there:
        raise ConfigError(f"record: expected requests of the model {model!r}, got a record of: {', '.join(sorted(there))}")
    options, total = pa.ipc.IpcWriteOptions(compression="lz4"), 0
    with _whole(Path(to)) as part, pa.OSFile(str(part), "wb") as file:
        schema = schema_of(segments.changed)
        with pa.ipc.new_stream(file, schema, options=options) as stream:
            for _, batch in segments.batches():
                names = batch.column("model").to_pylist()
                mask = [(not model or name == model) and (sample >= 1 or chance.random() < sample) for name in names]
                if any(mask):
                    kept = batch if all(mask) else batch.filter(pa.array(mask))
                    stream.write_batch(kept.replace_schema_metadata(schema.metadata))
                    total += kept.num_rows
    return total


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A file to write into, which takes its place when it is whole. Raises ConfigError where it cannot be written."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"--to {path}: cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _csv(requests: Iterator[Recorded], to: Path) -> int:
    """A line a request; each tensor is JSON in its cell."""
    first: Recorded | None = next(requests)
    assert first is not None
    names = [f"inputs.{tensor.name}" for tensor in first.input_tensors] + [f"outputs.{tensor.name}" for tensor in first.output_tensors]
    heads = [*HEADS, *first.times_ns]
    total = 0
    with _whole(to) as part, part.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([*heads, *names])
        while first is not None:
            plain = [first.id, first.model, first.version, first.arm, _iso(first.arrival_ns), first.code, first.error]
            found = {f"inputs.{k}": v for k, v in first.inputs.items()} | {f"outputs.{k}": v for k, v in first.outputs.items()}
            if others := sorted(found.keys() - set(names)):
                raise ConfigError(f"{first.where}: it has {others[0]}, and the first request has not: export one model with --model")
            cells = [json.dumps(found[name].tolist(), default=_text) if name in found else "" for name in names]
            table.writerow([*plain, *first.times_ns.values(), *cells])
            total += 1
            first = next(requests, None)
    return total


def _iso(arrival_ns: int) -> str:
    return f"{np.datetime64(arrival_ns, 'ns')}Z"


def _text(element: object) -> str:
    return element.decode(errors="replace") if isinstance(element, bytes) else str(element)


def _arrays(requests: Iterator[Recorded], to: Path) -> int:
    """inputs-000000.npz and outputs-000000.npz of each request, as `inferd infer --npz` takes them."""
    total = 0
    try:
        to.mkdir(parents=True, exist_ok=True)
        for number, row in enumerate(requests):
            for kind, arrays in (("inputs", row.inputs), ("outputs", row.outputs)):
                if arrays:
                    plain: dict[str, Any] = {name: _unboxed(array) for name, array in arrays.items()}
                    np.savez(to / f"{kind}-{number:06}.npz", **plain)
            total += 1
    except OSError as error:
        raise ConfigError(f"--to {to}: cannot be written: {error.strerror or error}") from None
    return total


def _unboxed(array: Array) -> Array:
    """BYTES as numpy's own type, which needs no pickle."""
    return array.astype(np.bytes_) if array.dtype == object else array
