"""Prometheus metrics of the server and its models. The one importer of prometheus_client.

A custom collector reads what the models count anyway, when a scraper asks: a request costs nothing here. Never in here:
counting, and durations that no Statistics holds.

Two families of names. `inferd_*` are ours and follow Prometheus's conventions. `nv_*` are Triton's, with its names and types exactly,
so that dashboards, alerts and gateways made for it work: some skip a series without a type. Triton's names break the conventions:
counters without `_total`, gauges ending in `_count`, microseconds as `_us`. `promtool check metrics` says so, and the names win.
OpenMetrics allows no counter without `_total`: there, these counters have the type unknown. docs/metrics.md lists every metric.
"""

from __future__ import annotations

import gzip
import logging
import re
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample as PrometheusSample

from inferd.observe.pages import Family, Sample
from inferd.observe.scrape import ScrapeServer, SharedPages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from inferd._core.metrics.histogram import Histogram
    from inferd.engine.model import Model
    from inferd.engine.repository import Loads, Repository
    from inferd.observe.pages import Page

    Values = Sequence[tuple[str, str, Callable[[Model], float]]]  # of metrics: name, documentation, and what a model has of it

__all__ = ["MergedMetrics", "Metrics"]

log = logging.getLogger(__name__)

STAGES = ("decode", "queue", "preprocess", "execute", "encode", "request")

# Upper bounds of the duration histograms: 5 us, about a tiny model's whole run, to 10 s, in steps of 2 to 2.5.
STAGE_BOUNDS_NS = (5_000, *(step * 10**zeros for zeros in range(3, 9) for step in (10, 25, 50)), 10**10)
BATCH_BOUNDS_ROWS = tuple(2**exponent for exponent in range(11))

FAILURE_REASONS = ("REJECTED", "CANCELED", "BACKEND", "OTHER")  # Triton's; each is always there, at 0 before its first

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
    """What a scraper reads; subclasses collect() it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(self)

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
        metrics_app = make_wsgi_app(self.registry, disable_compression=True)

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            if environ["REQUEST_METHOD"] != "HEAD":
                return answer(environ, start_response)
            status, headers, body = _answered(answer, {**environ, "REQUEST_METHOD": "GET"})
            others = [(name, value) for name, value in headers if name != "Content-Length"]
            start_response(status, [*others, ("Content-Length", str(len(body)))])
            return []

        def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            path = environ.get("PATH_INFO", "")
            if path == "/metrics":
                try:
                    choose_encoder(environ.get("HTTP_ACCEPT", ""))
                except (TypeError, ValueError):  # of a version that is no number
                    environ = {**environ, "HTTP_ACCEPT": ""}
                try:
                    status, headers, body = _answered(metrics_app, environ)
                except Exception:
                    log.exception("metrics could not be collected")
                    return _text(
                        start_response, "500 Internal Server Error", "the metrics could not be collected; the log has the details\n"
                    )
                lines, instead = TRITON_LINES["openmetrics" in dict(headers).get("Content-Type", "")]
                body = lines.sub(instead, body)
                if "gzip" in environ.get("HTTP_ACCEPT_ENCODING", "").lower():
                    body, headers = gzip.compress(body), [*headers, ("Content-Encoding", "gzip")]
                start_response(status, headers)
                return [body]
            if path == "/":
                return _text(start_response, "200 OK", "inferd: metrics for Prometheus are at /metrics\n")
            return _text(start_response, "404 Not Found", "not here; metrics are at /metrics\n")

        return app


class Metrics(Exposition):
    """A collector over `repository`'s models and the counts that `server_counters` returns, called once a scrape.

    server_counters: name -> value, on any thread; a name that ends in _total is a counter, any other a gauge (SERVER_METRICS).
    build: labels of inferd_build_info, such as {"version": "0.1.0", "transport": "native"}.
    """

    def __init__(self, repository: Repository, server_counters: Callable[[], Mapping[str, float]], build: Mapping[str, str]) -> None:
        self._repository = repository
        self._server_counters = server_counters
        self._build = dict(build)
        self._cpu = _CpuTime()
        super().__init__()
        ProcessCollector(registry=self.registry)

    def page(self) -> Page:
        """All of it as plain values, which another process adds to others' (MergedMetrics)."""
        return [_family(metric) for metric in self.registry.collect()]

    def collect(self) -> Iterator[Metric]:
        """Every family, once."""
        models = self._models()
        yield from _triton_families(models)
        yield from _model_families(models)
        yield from _load_families(models, dict(self._repository.loads))
        yield from self._server_families()
        yield from self._machine_families()

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


def _answered(app: WSGIApplication, environ: WSGIEnvironment) -> tuple[str, list[tuple[str, str]], bytes]:
    """Status, headers and body."""
    said: list[Any] = []
    keep = cast("StartResponse", lambda *status_and_headers: said.extend(status_and_headers))
    body = b"".join(app(environ, keep))
    status, headers = said
    return status, headers, body


def _text(start_response: StartResponse, status: str, text: str) -> list[bytes]:
    body = text.encode()
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]


# ---------------------------------------------------------------------------------------------------------------------
# Models


def _labels(model: Model) -> list[str]:
    return [model.name, str(model.version)]


def _triton_families(models: Sequence[Model]) -> Iterator[Metric]:
    values: Values = (
        ("nv_inference_request_success", "Requests answered.", lambda model: model.statistics.request.count),
        ("nv_inference_count", "Rows of answered requests.", lambda model: model.statistics.rows),
        ("nv_inference_exec_count", "Runs of the model, each over one batch.", lambda model: model.statistics.runs),
        ("nv_inference_request_duration_us", "Time in the server, all answered requests.", lambda model: _us(model.statistics.request)),
        ("nv_inference_queue_duration_us", "Time spent waiting, all requests.", lambda model: _us(model.statistics.queue)),
        ("nv_inference_compute_input_duration_us", "Time of preprocess, all requests.", lambda model: _us(model.statistics.preprocess)),
        ("nv_inference_compute_infer_duration_us", "Time of execute, all requests.", lambda model: _us(model.statistics.execute)),
        ("nv_inference_compute_output_duration_us", "Time of encode, all requests.", lambda model: _us(model.statistics.encode)),
    )
    yield from _of_each(_TritonCounter, values, models)
    waiting: Values = (("nv_inference_pending_request_count", "Requests that wait for an instance.", lambda model: model.depth),)
    yield from _of_each(GaugeMetricFamily, waiting, models)
    failures = _TritonCounter("nv_inference_request_failure", "Requests not answered.", labels=["model", "version", "reason"])
    for model in models:
        for reason in FAILURE_REASONS:
            failures.add_metric([*_labels(model), reason], model.failures.get(reason, 0))
    yield failures


class _TritonCounter(Metric):
    """A counter without `_total`."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        super().__init__(name, documentation, "counter")
        self._labels = tuple(labels)

    def add_metric(self, labels: Sequence[str], value: float) -> None:
        self.samples.append(PrometheusSample(self.name, dict(zip(self._labels, labels, strict=True)), value))


def _us(histogram: Histogram) -> int:
    return histogram.sum_ns // 1000


def _model_families(models: Sequence[Model]) -> Iterator[Metric]:
    gauges: Values = (
        ("nv_model_load_duration_secs", "From opening the model's file to the end of its warm-up.", lambda model: model.load_ns / 1e9),
        ("inferd_model_ready", "1 when the version takes requests.", lambda model: model.state == "READY"),
        ("inferd_inline", "1 when the version runs on the event loop, 0 on executor threads.", lambda model: model.inline),
        ("inferd_instances", "Instances of the version.", lambda model: model.instances),
        ("inferd_instances_hung", "Instances whose run was told to end and does not.", lambda model: model.hung),
        ("inferd_queue_depth", "Requests that wait for an instance.", lambda model: model.depth),
        ("inferd_queue_bytes", "Input bytes of the requests that wait.", lambda model: model.depth_bytes),
        ("inferd_arena_bytes", "Memory that runs use, or that is kept for the next run.", lambda model: model.arena_bytes),
        ("inferd_run_peak_bytes", "The most that the runs of the version needed at once.", lambda model: model.run_peak_bytes),
    )
    counters: Values = (
        (
            "inferd_overtaken",
            "Requests that did not wait for those of a busier connection that came before.",
            lambda model: model.overtaken,
        ),
        ("inferd_runs_ended", "Runs told to end: they took longer than max_run_s.", lambda model: model.runs_ended),
        ("inferd_evicted", "Requests rejected after waiting: a connection with fewer needed room.", lambda one: one.evictions),
    )
    yield from _of_each(GaugeMetricFamily, gauges, models)
    yield GaugeMetricFamily("inferd_requests_waiting", "Requests that wait for an instance, of all models.", sum(m.depth for m in models))
    yield GaugeMetricFamily("inferd_requests_running", "Requests in runs, of all models.", sum(m.running for m in models))
    yield _provenance(models)
    yield _rejections(models)
    yield from _of_each(CounterMetricFamily, counters, models)
    yield _stage_durations(models)
    yield _batch_rows(models)


def _load_families(models: Sequence[Model], loads: Mapping[str, Loads]) -> Iterator[Metric]:
    failures = CounterMetricFamily("inferd_model_load_failures", "Loads of the model that failed.", labels=["model"])
    failing = GaugeMetricFamily("inferd_model_load_failing", "1 when the last load of the model failed.", labels=["model"])
    for name in sorted({*loads, *(model.name for model in models)}):
        failures.add_metric([name], loads[name].failures if name in loads else 0)
        failing.add_metric([name], float(name in loads and loads[name].failing))
    yield from (failures, failing)


def _provenance(models: Sequence[Model]) -> Metric:
    family = InfoMetricFamily("inferd_model", "Where responses of the version come from.", labels=["model", "version"])
    for model in models:
        if model.provenance is not None:
            family.add_metric(_labels(model), model.provenance._asdict())
    return family


def _rejections(models: Sequence[Model]) -> Metric:
    family = CounterMetricFamily("inferd_refusals", "Requests rejected or failed, by reason.", labels=["model", "version", "reason"])
    for model in models:
        for reason, count in sorted(model.failures.items()):
            family.add_metric([*_labels(model), reason], count)
    return family


def _of_each(
    kind: type[_TritonCounter | GaugeMetricFamily | CounterMetricFamily], values: Values, models: Sequence[Model]
) -> Iterator[Metric]:
    """A family for each of the values, with one of every model."""
    for name, documentation, value in values:
        family = kind(name, documentation, labels=["model", "version"])
        for model in models:
            family.add_metric(_labels(model), float(value(model)))
        yield family


def _stage_durations(models: Sequence[Model]) -> Metric:
    family = HistogramMetricFamily(
        "inferd_stage_duration_seconds", "Time that answered requests spent in each stage.", labels=["model", "version", "stage"]
    )
    for model in models:
        for stage in STAGES:
            histogram: Histogram = getattr(model.statistics, stage)
            counts = histogram.buckets(STAGE_BOUNDS_NS)
            buckets = [(_le(bound / 1e9), count) for bound, count in zip(STAGE_BOUNDS_NS, counts, strict=True)]
            # Read after the buckets: a request that ends in between may be missing from a bucket, never from the sum of all.
            family.add_metric([*_labels(model), stage], [*buckets, ("+Inf", histogram.count)], histogram.sum_ns / 1e9)
    return family


def _batch_rows(models: Sequence[Model]) -> Metric:
    family = HistogramMetricFamily("inferd_batch_rows", "Rows of each run of the model.", labels=["model", "version"])
    for model in models:
        runs = {rows: entry[0] for rows, entry in model.statistics.batch_sizes().items()}
        below = [0, *BATCH_BOUNDS_ROWS]
        in_bucket = [
            sum(count for rows, count in runs.items() if low < rows <= high) for low, high in zip(below, BATCH_BOUNDS_ROWS, strict=False)
        ]
        buckets = [(_le(bound), count) for bound, count in zip(BATCH_BOUNDS_ROWS, accumulate(in_bucket), strict=True)]
        family.add_metric(_labels(model), [*buckets, ("+Inf", sum(runs.values()))], sum(rows * count for rows, count in runs.items()))
    return family


def _le(bound: float) -> str:
    """A bucket's label: 5e-06, 0.01, 1.0, as prometheus_client itself writes them."""
    return repr(float(bound))


# ---------------------------------------------------------------------------------------------------------------------
# The machine


class _CpuTime:
    """Busy share of all cores between two looks at /proc/stat."""

    def __init__(self) -> None:
        self._seen = self._read()

    def utilization(self) -> float | None:
        """0 to 1, since the last call; None where /proc does not say or no time has passed."""
        before, self._seen = self._seen, self._read()
        if before is None or self._seen is None or self._seen[1] <= before[1]:
            return None
        return (self._seen[0] - before[0]) / (self._seen[1] - before[1])

    @staticmethod
    def _read() -> tuple[int, int] | None:
        """Busy and total ticks of all cores since boot."""
        try:
            ticks = [int(word) for word in Path("/proc/stat").read_text("ascii").split("\n", 1)[0].split()[1:9]]
        except OSError:
            return None
        return sum(ticks) - ticks[3] - ticks[4], sum(ticks)  # less idle and iowait


def _memory_bytes() -> tuple[int, int]:
    """Memory of the machine in all, and available; 0, 0 where /proc does not say."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return 0, 0
    kib = {name: int(words.split()[0]) for name, _, words in (line.partition(":") for line in lines)}
    return kib.get("MemTotal", 0) * 1024, kib.get("MemAvailable", 0) * 1024
