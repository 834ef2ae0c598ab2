"""One metric of a part or a model, as a table. Never in here: formats, HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from inferd._core.metrics.histogram import Histogram

    Row = tuple[tuple[str, ...], Sequence[float]]  # a value for each of the table's labels, and one for each column
    Kind = Literal["counter", "gauge", "histogram", "info"]

Combine = Literal["sum", "max", "min"]


class Column(NamedTuple):
    """One sample of each row. suffix: appended to the table's name. labels: beside those of the row."""

    suffix: str = ""
    labels: Mapping[str, str] = {}


class Table(NamedTuple):
    """One metric. A counter whose column has no suffix is one of Triton's. rows: made while they are written; a table without labels has
    one. combine: how the values of several workers become one."""

    name: str
    documentation: str
    kind: Kind
    labels: Sequence[str]
    columns: Sequence[Column]
    rows: Iterable[Row]
    combine: Combine = "sum"


def counter(name: str, documentation: str, value: float) -> Table:
    """name: without _total."""
    return Table(name, documentation, "counter", (), [Column("_total")], [((), (value,))])


def gauge(name: str, documentation: str, value: float, *, combine: Combine = "sum") -> Table:
    return Table(name, documentation, "gauge", (), [Column()], [((), (value,))], combine)


def durations(name: str, documentation: str, histogram: Histogram, bounds_ns: Sequence[int]) -> Table:
    """A histogram in seconds."""
    counts = histogram.buckets(bounds_ns)
    count = histogram.count  # after the buckets: a request that ends in between may be missing in a bucket, but never in the total
    values = (*counts, count, count, histogram.sum_ns / 1e9)
    return Table(name, documentation, "histogram", (), list(histogram_columns([bound / 1e9 for bound in bounds_ns], {})), [((), values)])


def histogram_columns(bounds: Sequence[float], labels: Mapping[str, str]) -> Iterator[Column]:
    """The columns of a histogram. Bounds are labels in prometheus_client's form: 5e-06, 0.01, 1.0."""
    for bound in [*(repr(float(bound)) for bound in bounds), "+Inf"]:
        yield Column("_bucket", {**labels, "le": bound})
    yield Column("_count", labels)
    yield Column("_sum", labels)
