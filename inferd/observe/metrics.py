"""Prometheus metrics of the server and its models. The one importer of prometheus_client.

A custom collector reads what the parts of the server and the models count anyway, when a scraper asks: a request costs nothing here.
Tables (part/table.py) are written without prometheus_client (text_format.py), since there may be a thousand models. Never in here:
counting, and what a part says of itself.

Two families of names. `inferd_*` are ours and follow Prometheus's conventions. `nv_*` are Triton's, with its names and types exactly, for
dashboards, alerts and gateways made for it: some skip a series without a type. Triton's names break the conventions: counters without
`_total`, gauges ending in `_count`, microseconds as `_us`. `promtool check metrics` complains, and Triton's names stay.
OpenMetrics allows no counter without `_total`: there, these counters have the type unknown. docs/metrics.md lists every metric.
"""

from __future__ import annotations

import logging
import re
import zlib
from itertools import chain
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, make_wsgi_app
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample as PrometheusSample

from inferd.observe.pages import Family, Sample
from inferd.observe.scrape import ScrapeServer, SharedPages, response_of
from inferd.observe.text_format import REST_S, in_slices, lines_of
from inferd.part.table import Column, Table, gauge
from inferd.system.cpu_time import ticks
from inferd.system.memory_limit import meminfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from inferd.observe.pages import Page

log = logging.getLogger(__name__)

# Replacements in the lines that prometheus_client writes for Triton's counters. In the text format it adds `_total` to their names, and in
# OpenMetrics it gives them a type that they cannot have.
TRITON_LINES = {
    False: (re.compile(rb"^(# (?:HELP|TYPE) nv_\w+)_total ", re.MULTILINE), rb"\1 "),
    True: (re.compile(rb"^(# TYPE nv_\w+) counter$", re.MULTILINE), rb"\1 unknown"),
}


class Exposition(Collector):
    """The page that a scraper reads. Subclasses collect() it, and may give a part of it as `tables`, which suit many models."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()  # all of it
        self.registry.register(self)
        self.beside_tables = self.registry

    def tables(self) -> Iterable[Table]:
        """Those that are not in `beside_tables`."""
        return ()

    def bind(self, host: str, port: int) -> ScrapeServer:
        """Takes the address, where /metrics is served once the ScrapeServer is started. StartError if it is taken."""
        return ScrapeServer(host, port, SharedPages(self.wsgi_app()))

    def wsgi_app(self) -> WSGIApplication:
        """GET /metrics in the format that the scraper prefers, and a line at / for people who look in. HEAD is GET without the body."""
        library = make_wsgi_app(self.registry, disable_compression=True)

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            if environ["REQUEST_METHOD"] != "HEAD":
                return respond(environ, start_response)
            respond({**environ, "REQUEST_METHOD": "GET"}, start_response)
            return []

        def respond(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            path = environ.get("PATH_INFO", "")
            if path == "/metrics":
                try:
                    choose_encoder(environ.get("HTTP_ACCEPT", ""))
                except (TypeError, ValueError):  # of a version that is no number
                    environ = {**environ, "HTTP_ACCEPT": ""}
                is_whole = environ["REQUEST_METHOD"] == "GET" and "name[]" not in parse_qs(environ.get("QUERY_STRING", ""))
                gzip = "gzip" in environ.get("HTTP_ACCEPT_ENCODING", "").lower()
                try:
                    status, headers, parts = self._whole(environ, gzip=gzip) if is_whole else response_of(library, environ)
                    body = _gzipped(parts) if gzip else list(parts)
                except Exception:
                    log.exception("metrics could not be collected")
                    return _text(
                        start_response, "500 Internal Server Error", "the metrics could not be collected; the log has the details\n"
                    )
                encoding = [("Content-Encoding", "gzip")] if gzip else []
                start_response(status, [*headers, *encoding, ("Content-Length", str(sum(map(len, body))))])
                return body
            if path == "/":
                return _text(start_response, "200 OK", "inferd: metrics for Prometheus are at /metrics\n")
            return _text(start_response, "404 Not Found", "not here; metrics are at /metrics\n")

        return app

    def _whole(self, environ: WSGIEnvironment, *, gzip: bool) -> tuple[str, list[tuple[str, str]], Iterator[bytes]]:
        encode, content_type = choose_encoder(environ.get("HTTP_ACCEPT", ""))
        return "200 OK", [("Content-Type", content_type)], self._parts(encode, openmetrics="openmetrics" in content_type, gzip=gzip)

    def _parts(self, encode: Callable[[CollectorRegistry], bytes], *, openmetrics: bool, gzip: bool) -> Iterator[bytes]:
        written = (line for table in self.tables() for line in lines_of(table, openmetrics=openmetrics))
        yield from in_slices(written, rest_s=0 if gzip else REST_S)  # other threads run while zlib compresses a slice
        lines, instead = TRITON_LINES[openmetrics]
        yield lines.sub(instead, encode(self.beside_tables))  # the last part: it ends the page, as OpenMetrics wants


class Metrics(Exposition):
    """The metrics of one process. tables(): all that its parts say, called once a scrape. build: labels of inferd_build_info, such as
    {"version": "0.1.0", "transport": "native"}."""

    def __init__(self, tables: Callable[[], Iterable[Table]], build: Mapping[str, str]) -> None:
        self._tables = tables
        rows = [(tuple(build.values()), (1,))]
        self._build = Table("inferd_build", "Version and transport of this server.", "info", list(build), [Column("_info")], rows, "max")
        self._cpu = _CpuTime()
        super().__init__()
        ProcessCollector(registry=self.registry)
        self.beside_tables = CollectorRegistry()
        ProcessCollector(registry=self.beside_tables)

    def page(self) -> Page:
        """All of it as plain values, which another process adds to others' (MergedMetrics)."""
        return [*map(_family_of, self.tables()), *map(_family, self.beside_tables.collect())]

    def collect(self) -> Iterator[Metric]:
        """Every family, once."""
        return (_metric(_family_of(table)) for table in self.tables())

    def tables(self) -> Iterator[Table]:
        return chain(self._tables(), [self._build], self._machine())

    def _machine(self) -> Iterator[Table]:
        """Triton's gauges of the machine; where /proc does not say, none."""
        busy = self._cpu.utilization()
        if busy is not None:
            yield gauge("nv_cpu_utilization", "Share of all cores that was busy since the last scrape, 0 to 1.", busy, combine="max")
        memory = meminfo()
        if total := memory.get("MemTotal"):
            yield gauge("nv_cpu_memory_total_bytes", "Memory of the machine.", total, combine="max")
            yield gauge(
                "nv_cpu_memory_used_bytes", "Memory of the machine that is in use.", total - memory.get("MemAvailable", 0), combine="max"
            )


class MergedMetrics(Exposition):
    """The metrics of several processes on one page. page(): all that they say, added up; tables(): what only this process counts."""

    def __init__(self, page: Callable[[Page], Page], tables: Callable[[], Iterable[Table]]) -> None:
        self._page = page
        self._own = tables
        self._process = ProcessCollector(registry=None)
        super().__init__()

    def collect(self) -> Iterator[Metric]:
        """Every family, once."""
        own = [*map(_family, self._process.collect()), *map(_family_of, self._own())]
        return map(_metric, self._page(own))


def _family(metric: Metric) -> Family:
    """A metric of prometheus_client as a Family. The start time of the server is that of its oldest process."""
    samples = [Sample(sample.name, dict(sample.labels), float(sample.value)) for sample in metric.samples]
    return Family(metric.name, metric.documentation, metric.type, samples, "min" if metric.name == "process_start_time_seconds" else "sum")


def _family_of(table: Table) -> Family:
    samples = []
    for labels, values in table.rows:
        row = dict(zip(table.labels, labels, strict=True))
        for (suffix, further), value in zip(table.columns, values, strict=True):
            samples.append(Sample(table.name + suffix, {**row, **further}, float(value)))
    return Family(table.name, table.documentation, table.kind, samples, table.combine)


def _metric(family: Family) -> Metric:
    metric = Metric(family.name, family.documentation, family.kind)
    metric.samples = [PrometheusSample(sample.name, sample.labels, sample.value) for sample in family.samples]
    return metric


def _gzipped(parts: Iterable[bytes]) -> list[bytes]:
    """At the fastest level, which makes a thousand models' page smaller by 98 % and a higher one by little more."""
    compressing = zlib.compressobj(1, wbits=zlib.MAX_WBITS | 16)
    return [*map(compressing.compress, parts), compressing.flush()]


def _text(start_response: StartResponse, status: str, text: str) -> list[bytes]:
    body = text.encode()
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]


# ---------------------------------------------------------------------------------------------------------------------
# The machine


class _CpuTime:
    """Busy share of all cores between two looks at /proc/stat."""

    def __init__(self) -> None:
        self._seen = ticks()

    def utilization(self) -> float | None:
        """0 to 1, since the last call; None where /proc does not say or no time has passed."""
        (idle, total), self._seen = self._seen, ticks()
        idle, total = self._seen[0] - idle, self._seen[1] - total
        return 1 - idle / total if total > 0 else None
