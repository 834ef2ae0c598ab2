"""Prometheus metrics of the server and its models. The one importer of prometheus_client.

A custom collector reads what the models count anyway, when a scraper asks: a request costs nothing here. What each model has
(model_metrics.py) is written without prometheus_client (text_format.py), since there may be a thousand models. Never in here: counting,
and durations that no Statistics holds.

Two families of names. `inferd_*` are ours and follow Prometheus's conventions. `nv_*` are Triton's, with its names and types exactly,
so that dashboards, alerts and gateways made for it work: some skip a series without a type. Triton's names break the conventions:
counters without `_total`, gauges ending in `_count`, microseconds as `_us`. `promtool check metrics` says so, and the names win.
OpenMetrics allows no counter without `_total`: there, these counters have the type unknown. docs/metrics.md lists every metric.
"""

from __future__ import annotations

import logging
import re
import zlib
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample as PrometheusSample

from inferd.cpu_time import ticks
from inferd.observe.model_metrics import tables_of
from inferd.observe.pages import Family, Sample
from inferd.observe.scrape import ScrapeServer, SharedPages
from inferd.observe.text_format import REST_S, in_slices, lines_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from inferd._core.metrics.histogram import Histogram
    from inferd.engine.model import Model
    from inferd.engine.repository import Repository
    from inferd.observe.pages import Page
    from inferd.observe.text_format import Table

__all__ = ["MergedMetrics", "Metrics"]

log = logging.getLogger(__name__)

MISS_BOUNDS_NS = tuple(step * 10**zeros for zeros in range(6, 11) for step in (1, 2, 5))  # 1 ms to 50 s

# What a transport and the message pool count: key of `server_counters` -> name without _total, documentation. A name may
# stand once, with or without _total (OpenMetrics). A key that is not here appears as inferd_<key>.
SERVER_METRICS = {
    "connections": ("inferd_connections", "Open client connections."),
    "connections_limit": ("inferd_connections_limit", "How many there may be: max_connections, or what the limit on open files leaves."),
    "connections_total": ("inferd_connections_opened", "Client connections since the start."),
    "connections_refused_total": (
        "inferd_connections_refused",
        "Client connections closed at once: max_connections were open.",
    ),
    "handshakes": ("inferd_handshakes", "Clients that have connected and not finished their TLS handshakes."),
    "handshakes_failed_total": ("inferd_handshakes_failed", "TLS handshakes that failed, or took too long."),
    "tls_certificate_expires_timestamp_seconds": (
        "inferd_tls_certificate_expires_timestamp_seconds",
        "Last moment of the certificate that clients are shown, since the Unix epoch; only with TLS.",
    ),
    "tls_file_failures_total": (
        "inferd_tls_file_failures",
        "Looks at the files of TLS that found one gone or wrong: those that were read before stay; only with TLS.",
    ),
    "token_file_failures_total": (
        "inferd_token_file_failures",
        "Looks at the token file that found it gone, empty or wrong: the tokens that were read before stay; only with tokens.",
    ),
    "connections_stalled_total": ("inferd_connections_stalled", "Client connections cut off: they held memory and did not move."),
    "connections_dead_total": ("inferd_connections_dead", "Client connections cut off: a PING was not answered (keepalive_timeout_s)."),
    "connections_flooding_total": ("inferd_connections_flooding", "Client connections cut off: too many frames that ask for nothing."),
    "connections_pinging_total": ("inferd_connections_pinging", "Client connections cut off: PINGs too often (min_ping_interval_s)."),
    "connections_resetting_total": ("inferd_connections_resetting", "Client connections cut off: too many streams were reset."),
    "connections_idle_total": ("inferd_connections_idle", "Client connections told to leave: no call for max_connection_idle_s."),
    "connections_retired_total": ("inferd_connections_retired", "Client connections told to leave: older than max_connection_age_s."),
    "connections_overdue_total": ("inferd_connections_overdue", "Client connections cut off: calls left after max_connection_age_grace_s."),
    "connection_bytes": (
        "inferd_connection_bytes",
        "Memory that open connections can hold at most, beside messages: a fixed amount for each, more by TLS.",
    ),
    "streams": ("inferd_streams", "Open RPCs."),
    "streams_total": ("inferd_streams_opened", "RPCs since the start."),
    "streams_abandoned_total": ("inferd_streams_abandoned", "RPCs whose client went away before the response."),
    "streams_refused_total": ("inferd_streams_refused", "RPCs rejected: too many were open of all connections (max_total_streams)."),
    "streams_stalled_total": ("inferd_streams_stalled", "RPCs ended: they held memory and their client did not move."),
    "protocol_errors_total": ("inferd_protocol_errors", "Connections closed for an error in HTTP/2."),
    "received_bytes_total": ("inferd_received_bytes", "Bytes read from clients."),
    "sent_bytes_total": ("inferd_sent_bytes", "Bytes written to clients."),
    "message_threads_waiting": (
        "inferd_message_threads_waiting",
        "Messages that wait for a thread to decompress, compress or unpack them, or that one has.",
    ),
    "decompressed_total": ("inferd_decompressed_messages", "Messages of requests that were decompressed."),
    "decompressed_bytes_total": ("inferd_decompressed_bytes", "What compressed requests became, in bytes."),
    "compressed_total": ("inferd_compressed_messages", "Messages of responses that were compressed."),
    "compression_saved_bytes_total": ("inferd_compression_saved_bytes", "Bytes that compressed responses are smaller for it."),
    "message_bytes": (
        "inferd_message_bytes",
        "Memory that messages and metadata hold: requests that come or wait, unsent responses.",
    ),
    "message_kept_bytes": ("inferd_message_kept_bytes", "Memory of messages that are gone, kept for the next ones."),
    "request_bytes": ("inferd_request_bytes", "Bytes of the requests that are being answered."),
    "model_hits_total": ("inferd_model_hits", "Requests answered whose model was in memory; only with model_memory."),
    "model_misses_total": ("inferd_model_misses", "Requests that waited for their model to be loaded; only with model_memory."),
    "model_evictions_total": ("inferd_model_evictions", "Models that left memory for others; only with model_memory."),
    "model_memory_bytes": ("inferd_model_memory_bytes", "What models in memory hold without runs, estimated; only with model_memory."),
    "models_on_demand": ("inferd_models_on_demand", "Models that are not in memory, and that a request loads; only with model_memory."),
    "record_seen_total": ("inferd_record_seen", "Requests answered of models that are recorded; only with record, as all of these."),
    "record_recorded_total": ("inferd_record_recorded", "Requests that were recorded."),
    "record_dropped_total": (
        "inferd_record_dropped",
        "Requests that were to be recorded and found no room: the disk is slow.",
    ),
    "record_lost_total": ("inferd_record_lost", "Requests whose batch could not be written."),
    "record_write_failures_total": ("inferd_record_write_failures", "Writes into the record that failed."),
    "record_written_bytes_total": ("inferd_record_written_bytes", "Bytes written into the record."),
    "record_waiting_bytes": ("inferd_record_waiting_bytes", "Memory that requests which wait to be recorded hold."),
    "watchers": ("inferd_watchers", "Open Watch streams of the health service."),
    "log_dropped_total": ("inferd_log_dropped", "Log lines that were dropped: stderr was not read fast enough."),
    "workers": ("inferd_workers", "Worker processes that take requests; only with several."),
    "worker_restarts_total": ("inferd_worker_restarts", "Worker processes that had ended and were started again; only with several."),
    "worker_starts_failed_total": ("inferd_worker_starts_failed", "Worker processes that ended before they were ready; only with several."),
}
REJECTIONS = re.compile("rejections_(.+)_total")  # keys that become one counter, by reason
# What prometheus_client writes of Triton's counters, and what stands there instead: in the text format their names had `_total`, and in
# OpenMetrics a type that they cannot have.
TRITON_LINES = {
    False: (re.compile(rb"^(# (?:HELP|TYPE) nv_\w+)_total ", re.MULTILINE), rb"\1 "),
    True: (re.compile(rb"^(# TYPE nv_\w+) counter$", re.MULTILINE), rb"\1 unknown"),
}


class Exposition(Collector):
    """What a scraper reads. Subclasses collect() it, or a part of it as `tables`, which are written for many models."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()  # all of it
        self.registry.register(self)
        self.beside_tables = self.registry

    def tables(self) -> Iterable[Table]:
        """Those that are not in `beside_tables`."""
        return ()

    def serve(self, host: str, port: int) -> tuple[int, Callable[[], None]]:
        """Serves /metrics on threads of its own: the real port, and a function that ends it. StartError if the address is taken."""
        server = self.bind(host, port)
        server.start()
        return server.server_port, server.close

    def bind(self, host: str, port: int) -> ScrapeServer:
        """Takes the address, where /metrics is served once the ScrapeServer is started. StartError if it is taken."""
        return ScrapeServer(host, port, SharedPages(self.wsgi_app()))

    def wsgi_app(self) -> WSGIApplication:
        """GET /metrics in the format that the scraper prefers, and a line at / for people who look in. HEAD is GET without the body."""
        library = make_wsgi_app(self.registry, disable_compression=True)

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            if environ["REQUEST_METHOD"] != "HEAD":
                return answer(environ, start_response)
            answer({**environ, "REQUEST_METHOD": "GET"}, start_response)
            return []

        def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            path = environ.get("PATH_INFO", "")
            if path == "/metrics":
                try:
                    choose_encoder(environ.get("HTTP_ACCEPT", ""))
                except (TypeError, ValueError):  # of a version that is no number
                    environ = {**environ, "HTTP_ACCEPT": ""}
                is_whole = environ["REQUEST_METHOD"] == "GET" and "name[]" not in parse_qs(environ.get("QUERY_STRING", ""))
                gzip = "gzip" in environ.get("HTTP_ACCEPT_ENCODING", "").lower()
                try:
                    status, headers, parts = self._whole(environ, gzip=gzip) if is_whole else _answered(library, environ)
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
    """A collector over `repository`'s models and the counts that `server_counters` returns, called once a scrape.

    server_counters: name -> value, on any thread; a name that ends in _total is a counter, any other a gauge (SERVER_METRICS).
    build: labels of inferd_build_info, such as {"version": "0.1.0", "transport": "native"}. waits: how long requests waited for their
    models to be loaded; None: all are. further: tables beside those of models.
    """

    def __init__(
        self,
        repository: Repository,
        server_counters: Callable[[], Mapping[str, float]],
        build: Mapping[str, str],
        waits: Histogram | None = None,
        further: Callable[[], Iterable[Table]] = tuple,
    ) -> None:
        self._waits, self._further = waits, further
        self._repository = repository
        self._server_counters = server_counters
        self._build = dict(build)
        self._cpu = _CpuTime()
        super().__init__()
        ProcessCollector(registry=self.registry)
        self.beside_tables = CollectorRegistry()
        self.beside_tables.register(_Collected(self._beside_tables))
        ProcessCollector(registry=self.beside_tables)

    def page(self) -> Page:
        """All of it as plain values, which another process adds to others' (MergedMetrics)."""
        return [_family(metric) for metric in self.registry.collect()]

    def collect(self) -> Iterator[Metric]:
        """Every family, once."""
        for table in self.tables():
            yield _metric_of(table)
        yield from self._beside_tables()

    def tables(self) -> Iterator[Table]:
        """Those of which each model, or each rollout, has a row."""
        return chain(tables_of(self._models(), dict(self._repository.loads)), self._further())

    def _beside_tables(self) -> Iterator[Metric]:
        yield from self._sums()
        if self._waits is not None:
            yield _miss_durations(self._waits)
        yield from self._server_families()
        yield from self._machine_families()

    def _sums(self) -> Iterator[Metric]:
        models = self._models()
        yield GaugeMetricFamily(
            "inferd_requests_waiting", "Requests that wait for an instance, of all models.", sum(m.depth for m in models)
        )
        yield GaugeMetricFamily("inferd_requests_running", "Requests in runs, of all models.", sum(m.running for m in models))

    def _models(self) -> list[Model]:
        """Each name and version once: while a version is being replaced there are two, and the ready one counts."""
        unique: dict[tuple[str, int], Model] = {}
        for model in self._repository.models():
            key = model.name, model.version
            if key not in unique or model.state == "READY":
                unique[key] = model
        return [unique[key] for key in sorted(unique)]

    def _server_families(self) -> Iterator[Metric]:
        yield InfoMetricFamily("inferd_build", "What this server is.", self._build)
        yield from _counter_families(self._server_counters())

    def _machine_families(self) -> Iterator[Metric]:
        """Triton's gauges of the machine; where /proc does not say, none."""
        busy = self._cpu.utilization()
        if busy is not None:
            yield GaugeMetricFamily("nv_cpu_utilization", "Share of all cores that was busy since the last scrape, 0 to 1.", busy)
        total, available = _memory_bytes()
        if total:
            yield GaugeMetricFamily("nv_cpu_memory_total_bytes", "Memory of the machine.", total)
            yield GaugeMetricFamily("nv_cpu_memory_used_bytes", "Memory of the machine that is in use.", total - available)


class _Collected(Collector):
    """A function as a collector."""

    def __init__(self, families: Callable[[], Iterator[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return self._families()


class MergedMetrics(Exposition):
    """The metrics of several processes on one page. page(): all that they say, added up; counters(): what only this process counts."""

    def __init__(self, page: Callable[[Page], Page], counters: Callable[[], Mapping[str, float]]) -> None:
        self._page = page
        self._counters = counters
        self._process = ProcessCollector(registry=None)
        super().__init__()

    def collect(self) -> Iterator[Metric]:
        """Every family, once."""
        own = [*self._process.collect(), *_counter_families(self._counters())]
        for family in self._page([_family(metric) for metric in own]):
            yield _metric(family)


def _family(metric: Metric) -> Family:
    samples = [Sample(sample.name, dict(sample.labels), float(sample.value)) for sample in metric.samples]
    return Family(metric.name, metric.documentation, metric.type, samples)


def _metric(family: Family) -> Metric:
    metric = Metric(family.name, family.documentation, family.kind)
    metric.samples = [PrometheusSample(sample.name, sample.labels, sample.value) for sample in family.samples]
    return metric


def _metric_of(table: Table) -> Metric:
    metric = Metric(table.name, table.documentation, table.kind)
    for labels, values in table.rows:
        row = dict(zip(table.labels, labels, strict=True))
        for (suffix, further), value in zip(table.columns, values, strict=True):
            metric.samples.append(PrometheusSample(table.name + suffix, {**row, **further}, float(value)))
    return metric


def _miss_durations(waits: Histogram) -> Metric:
    family = HistogramMetricFamily(
        "inferd_model_miss_duration_seconds", "Time that requests waited for their model to be loaded; only with model_memory."
    )
    counts = waits.buckets(MISS_BOUNDS_NS)
    buckets = [(repr(bound / 1e9), count) for bound, count in zip(MISS_BOUNDS_NS, counts, strict=True)]
    family.add_metric([], [*buckets, ("+Inf", waits.count)], waits.sum_ns / 1e9)
    return family


def _counter_families(counters: Mapping[str, float]) -> Iterator[Metric]:
    rejections = CounterMetricFamily(
        "inferd_server_refusals",
        "RPCs rejected when they came in, by reason; inferd_refusals_total has those for a known model, too.",
        labels=["reason"],
    )
    for key, value in sorted(counters.items()):
        if reason := REJECTIONS.fullmatch(key):
            rejections.add_metric([reason[1]], value)
            continue
        counter = key.endswith("_total")
        name, documentation = SERVER_METRICS.get(key) or (f"inferd_{key.removesuffix('_total')}", f"The server's {key}.")
        yield (CounterMetricFamily if counter else GaugeMetricFamily)(name, documentation, value)
    yield rejections


def _answered(app: WSGIApplication, environ: WSGIEnvironment) -> tuple[str, list[tuple[str, str]], list[bytes]]:
    """Status, headers and body."""
    said: list[Any] = []
    keep = cast("StartResponse", lambda *status_and_headers: said.extend(status_and_headers))
    body = list(app(environ, keep))
    status, headers = said
    return status, headers, body


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


def _memory_bytes() -> tuple[int, int]:
    """Memory of the machine in all, and available; 0, 0 where /proc does not say."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return 0, 0
    kib = {name: int(words.split()[0]) for name, _, words in (line.partition(":") for line in lines)}
    return kib.get("MemTotal", 0) * 1024, kib.get("MemAvailable", 0) * 1024
