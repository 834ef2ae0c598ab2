"""Tables as text: what prometheus_client would write, in slices."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from inferd.observe import text_format
from inferd.observe.text_format import in_slices, lines_of
from inferd.part.table import Column, Table

NAMES = ("plain", 'quo"te\\', "two\nlines", "a%sb", "\x01version\x01", "ä")
NUMBERS = (0, 1, True, 1.5, 5e-06, 999_999, 1_234_567, 1e15, 1e16, 1.25e300, -3)


def tables() -> list[Table]:
    """Of each kind, with every name, version and number."""
    rows = [((name, str(version)), [number]) for name in NAMES for version in (1, 11) for number in NUMBERS]
    buckets = [Column("_bucket", {"le": bound, "stage": "% of it"}) for bound in ("1e-06", "0.5", "+Inf")]
    histogram = [*buckets, Column("_count", {"stage": "% of it"}), Column("_sum", {"stage": "% of it"})]
    told = 'Says \\ and "more" on\ntwo lines, 100 %.'
    labels = ("model", "version")
    return [
        Table("some_gauge", told, "gauge", labels, [Column()], rows),
        Table(
            "some_things",
            told,
            "counter",
            labels,
            [Column("_total", {"reason": reason}) for reason in "zb"],
            [(of, [*n, 2]) for of, n in rows],
        ),
        Table(
            "some_time", told, "histogram", labels, histogram, [(of, [*n, 0, 3, 3, 0.25]) for of, n in rows] + [(("idle", "1"), [0] * 5)]
        ),
        Table("some_fact", told, "info", ("model", "digest"), [Column("_info")], [((name, "%d"), [1]) for name in NAMES]),
        Table("nobody", told, "gauge", ["model"], [Column()], []),
    ]


class Oracle(Collector):
    def collect(self) -> Any:
        for table in tables():
            metric = Metric(table.name, table.documentation, table.kind)
            for labels, values in table.rows:
                for column, value in zip(table.columns, values, strict=True):
                    of = {**dict(zip(table.labels, labels, strict=True)), **column.labels}
                    metric.samples.append(Sample(table.name + column.suffix, of, float(value)))
            yield metric


@pytest.mark.parametrize("openmetrics", [False, True])
def test_text_is_as_prometheus_client_writes_it(openmetrics: bool) -> None:
    registry = CollectorRegistry()
    registry.register(Oracle())
    expected = generate_openmetrics(registry).removesuffix(b"# EOF\n") if openmetrics else generate_latest(registry)
    written = b"".join(line for table in tables() for line in lines_of(table, openmetrics=openmetrics))
    assert written.split(b"\n") == expected.split(b"\n")


def test_a_value_cannot_stand_for_another_label() -> None:
    table = Table("odd", "Odd.", "gauge", ("model", "version"), [Column()], [(("\0version\0", "\0model\0"), [1])])
    assert list(lines_of(table, openmetrics=False))[1] == b'odd{model="version",version="model"} 1.0\n'


def test_the_writer_rests_after_each_slice() -> None:
    """A look's pieces take 0.4 of a slice, and the event loop's turn comes after the third look."""
    now_s, rests, pieces = [0.0], [0], [b"%d\n" % number for number in range(8 * text_format.PIECES)]

    def made() -> Any:
        for piece in pieces:
            now_s[0] += 0.4 * text_format.SLICE_S / text_format.PIECES
            yield piece

    def sleep(rest_s: float) -> None:
        assert rest_s == text_format.REST_S
        rests[0] += 1
        now_s[0] += 1

    slices = list(in_slices(made(), clock=lambda: now_s[0], sleep=sleep))
    assert [len(part.split()) // text_format.PIECES for part in slices] == [3, 3, 2]
    assert b"".join(slices) == b"".join(pieces)
    assert rests == [2]
