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
from typing import TYPE_CHECKING

import numpy as np

from inferd._core.codec.columns import TIMES
from inferd.errors import ConfigError
from inferd.record.form import arrow, schema_of
from inferd.record.npz import write_npz

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from inferd.record.reader import Recorded, Segments

HEADS = ("id", "model", "version", "arm", "arrival", "code", "error")


def export(segments: Segments, to: str, *, model: str = "", version: str = "", count: int | None = None) -> int:
    """The requests as FILE.parquet, FILE.csv, or a folder of .npz files; returns how many. Raises ConfigError."""
    suffix = Path(to).suffix.lower()
    if suffix not in ("", ".parquet", ".csv"):
        raise ConfigError(f"--to {to}: expected a file that ends in .parquet or .csv, or a folder, got {suffix!r}")

    def requests() -> Iterator[Recorded]:
        return islice(segments.found(model, version), count)

    if not suffix:
        return _arrays(requests(), Path(to))
    columns = column_datatypes(requests())
    if suffix == ".csv":
        return _csv(requests(), Path(to), columns)
    from inferd.record.parquet import write_table

    with _whole(Path(to)) as part:
        return write_table(requests(), part, columns)


def merge(segments: Segments, to: str, *, model: str = "", sample: float = 1.0, seed: int = 0) -> int:
    """One record of several, compressed; of one model, and a share of its requests by chance. Returns how many. Raises ConfigError."""
    if Path(to).suffix != ".arrow":
        raise ConfigError(f"--to {to}: expected a file that ends in .arrow")
    pa, chance = arrow(), random.Random(seed)
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


def column_datatypes(requests: Iterable[Recorded]) -> dict[str, str]:
    """The columns of a table, `inputs.NAME` and then `outputs.NAME`, with the datatypes of these tensors. Raises ConfigError where one
    tensor has several."""
    found: dict[str, str] = {}
    for row in requests:
        for kind, tensors in (("inputs", row.input_tensors), ("outputs", row.output_tensors)):
            for tensor in tensors:
                name = f"{kind}.{tensor.name}"
                if found.setdefault(name, tensor.datatype) != tensor.datatype:
                    raise ConfigError(
                        f"{row.where}: {name} is {tensor.datatype}, and {found[name]} in the requests before it: export one model, "
                        "or one version of it, with --model and --version"
                    )
    return dict(sorted(found.items(), key=lambda column: column[0].startswith("outputs.")))


def _csv(requests: Iterator[Recorded], to: Path, columns: Iterable[str]) -> int:
    """A line a request; each tensor is JSON in its cell, which is empty where the request has none of this name."""
    total = 0
    with _whole(to) as part, part.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([*HEADS, *TIMES[1:], *columns])
        for row in requests:
            texts = map(_inert, (row.id, row.model, row.version, row.arm))
            plain = [*texts, f"{np.datetime64(row.arrival_ns, 'ns')}Z", row.code, _inert(row.error)]
            found = {f"inputs.{k}": v for k, v in row.inputs.items()} | {f"outputs.{k}": v for k, v in row.outputs.items()}
            cells = [json.dumps(found[name].tolist(), default=_text) if name in found else "" for name in columns]
            table.writerow([*plain, *row.times_ns.values(), *cells])
            total += 1
    return total


def _inert(text: str) -> str:
    """A cell that a spreadsheet does not run: a client chooses the id, and `=` would begin a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _text(element: object) -> str:
    return element.decode(errors="replace") if isinstance(element, bytes) else str(element)


def _arrays(requests: Iterator[Recorded], to: Path) -> int:
    """inputs-000000.npz of each request, as `inferd infer --npz` and `inferd diff --on` take them, and outputs/outputs-000000.npz: `diff`
    reads every file of the folder itself as inputs."""
    total, outputs = 0, to / "outputs"
    try:
        outputs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--to {to}: cannot be written: {error.strerror or error}") from None
    for number, row in enumerate(requests):
        for path, arrays in ((to / f"inputs-{number:06}.npz", row.inputs), (outputs / f"outputs-{number:06}.npz", row.outputs)):
            if arrays:
                with _whole(path) as part:
                    write_npz(part, arrays)
        total += 1
    return total
