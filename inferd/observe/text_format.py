"""Writes metrics that many models have as Prometheus's text, and as OpenMetrics: a table at a time, in slices.

prometheus_client makes an object of each sample, and a thousand models have 170,000 samples. Here a table has one template for all of
its rows. Python's other threads wait while one writes, the event loop too: so the text comes in slices, with a rest after each.

Never in here: what the values mean, prometheus_client, HTTP.
"""

from __future__ import annotations

import time
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from inferd.part.table import Column, Table

PIECES = 8  # between two looks at the clock
SLICE_S = 0.001  # of writing, and then
REST_S = 0.0001  # of rest: a thread that only gives Python up for a moment would get it again before the event loop has woken


def in_slices(
    pieces: Iterable[bytes],
    *,
    rest_s: float = REST_S,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[bytes]:
    """The text in parts that each took SLICE_S to make, or as long as PIECES take. Rests between two of them."""
    slice_: list[bytes] = []
    due_s = clock() + SLICE_S
    left = iter(pieces)
    while some := list(islice(left, PIECES)):
        slice_ += some
        if clock() >= due_s:
            yield b"".join(slice_)
            slice_.clear()
            if rest_s:
                sleep(rest_s)
            due_s = clock() + SLICE_S
    yield b"".join(slice_)


def lines_of(table: Table, *, openmetrics: bool) -> Iterator[bytes]:
    """The table's text: its head, and then the lines of one row at a time.

    It is as prometheus_client writes it, except Triton's counters. They keep their names, and so have no type in OpenMetrics, where a
    counter's name ends in _total."""
    name, suffix = table.name, table.columns[0].suffix
    kind: str = table.kind
    documentation = table.documentation.replace("\\", r"\\").replace("\n", r"\n")
    if openmetrics:
        documentation = documentation.replace('"', r"\"")
        kind = "unknown" if kind == "counter" and not suffix else kind
    elif kind in ("counter", "info"):
        name += suffix
        kind = "gauge" if kind == "info" else kind
    yield f"# HELP {name} {documentation}\n# TYPE {name} {kind}\n".encode()
    whole = "".join(map(_line(table), table.columns))
    if not table.labels:
        for _, values in table.rows:
            yield (whole % tuple(map(_number, values))).encode()
        return
    first = _place(table.labels[0])
    zeros = ("0.0",) * len(table.columns)
    templates: dict[tuple[str, ...], tuple[str, list[bytes]]] = {}  # by all labels but the first, which most rows share; and cut, of zeros
    for labels, values in table.rows:
        found = templates.get(labels[1:])
        if found is None:
            template = whole
            for label, value in zip(table.labels[1:], labels[1:], strict=True):
                template = template.replace(_place(label), _escaped(value).replace("%", "%%"))
            found = templates[labels[1:]] = template, (template % zeros).encode().split(first.encode())
        template, cut = found
        if any(values):
            yield (template % tuple(map(_number, values))).replace(first, _escaped(labels[0])).encode()
        else:
            yield _encoded(labels[0]).join(cut)


def _line(table: Table) -> Callable[[Column], str]:
    def line(column: Column) -> str:
        labels = {label: _place(label) for label in table.labels} | {label: _escaped(value) for label, value in column.labels.items()}
        told = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items())).replace("%", "%%")
        return f"{table.name}{column.suffix}{{{told}}} %s\n" if labels else f"{table.name}{column.suffix} %s\n"

    return line


def _place(label: str) -> str:
    """Where the value of a row's label is put: no value has zero bytes."""
    return f"\0{label}\0"


@lru_cache(4096)
def _escaped(value: str) -> str:
    return value.replace("\0", "").replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


@lru_cache(4096)
def _encoded(value: str) -> bytes:
    return _escaped(value).encode()


@lru_cache(4096)
def _number(value: float) -> str:
    """As Go writes a float, and prometheus_client: 1.5, 1.234567e+06."""
    text = repr(float(value))
    dot = text.find(".")
    if value > 0 and dot > 6:
        mantissa = f"{text[0]}.{text[1:dot]}{text[dot + 1 :]}".rstrip("0.")
        return f"{mantissa}e+{dot - 1:02d}"
    return text
