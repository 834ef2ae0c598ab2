"""A server's own figures for the measured requests: times of its stages, batch sizes, CPU, memory, and the price.

A Reader looks before and after, and the difference is the measurement's. A missing figure gives a notice; only an impossible flag is an
error. Never in here: load, and numbers that the server did not give.
"""

from __future__ import annotations

import math
import os
import re
import time
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from inferd.bench.measurement import WHOLE, ServerSide, Stage
from inferd.client_inputs.connections import HTTP1, context_of
from inferd.client_inputs.over_http import HttpEndpoint
from inferd.client_inputs.reach import PLAINTEXT, Reach
from inferd.client_inputs.targets import require_client
from inferd.config import is_http, parse_address
from inferd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from ssl import SSLContext

TIMEOUT_S = 5.0
HURRIED_S = 0.5  # the same after Ctrl-C
MAX_PAGE_BYTES = 16 << 20
MORE, FEW = 1.01, 10  # a health check now and then, or a count that is read a moment too early, is no other traffic
# Stage -> its field in ModelStatistics, and the report's own one; decode is only on inferd's metrics page.
STAGES = {
    "decode": ("", ""),
    "queue": ("queue", "queue_us"),
    "preprocess": ("compute_input", "compute_input_us"),
    "execute": ("compute_infer", "compute_infer_us"),
    "encode": ("compute_output", "compute_output_us"),
    WHOLE: ("success", ""),
}
DURATIONS = "inferd_stage_duration_seconds"

Metrics = dict[tuple[str, tuple[tuple[str, str], ...]], float]  # (name, labels in order) -> value


class Look(NamedTuple):
    """The server at one moment. None or empty: not to be had."""

    statistics: dict[str, Any]  # version -> inference.ModelStatistics
    metrics: Metrics
    cpu_ns: dict[int, int]  # process -> user and system time; only with a pid


class Reader:
    """Reads the figures of one model on one server. `before()` and `after(...)` go around a measurement. version: empty for all versions.

    address: host:port, unix:/path or a URL. metrics_url: a page for Prometheus. None: /metrics of the URL, or the port
    where inferd has it: the first after a gRPC port, the second after a URL's. That page must be about this model. server_pid: the server's
    process on this machine; it counts with all its children. rows: of one request, for the price of a prediction. Raises ConfigError for
    impossible flags.
    """

    def __init__(
        self,
        address: str,
        model: str,
        version: str = "",
        *,
        metrics_url: str | None = None,
        server_pid: int | None = None,
        dollars_per_hour: float | None = None,
        rows: float = 1.0,
        metadata: Sequence[tuple[str, str]] = (),
        reach: Reach = PLAINTEXT,
    ) -> None:
        self._address, self._model, self._version = address, model, version
        self._metadata, self._reach = list(metadata), reach
        self._pid, self._dollars_per_hour, self._rows = server_pid, dollars_per_hour, rows
        if dollars_per_hour is not None and not 0 <= dollars_per_hour < float("inf"):
            raise ConfigError(f"--dollars-per-hour {dollars_per_hour:g}: expected 0 or more")
        self._notices: list[str] = []
        self._timeout_s = TIMEOUT_S
        self._metrics_url = _checked_url(metrics_url) if metrics_url else self._guessed_url()
        self._before = Look({}, {}, {})

    def before(self) -> None:
        """Looks before the load. Processor time comes last, so that looking does not count."""
        self._notices = []
        statistics, metrics = self._statistics(), self._metrics()
        self._before = Look(statistics, metrics, self._cpu_ns())

    def after(
        self,
        requests: int,
        requests_per_second: float = 0.0,
        *,
        answered: int = 0,
        hurried: bool = False,
        sent_more: bool = False,
    ) -> ServerSide:
        """The difference since `before`.

        requests: those that were sent, for servers that don't count them. `answered`: at least so many had the response OK.
        requests_per_second: the same, for the price. hurried: the user waits, and the server may hang. sent_more: the number sent may be
        higher than is known."""
        self._timeout_s = HURRIED_S if hurried else TIMEOUT_S
        cpu_ns = self._cpu_ns()
        after = Look(self._statistics(), self._metrics(), cpu_ns)
        side = ServerSide()
        self._say_stages(side, after)
        self._compare_counts(side, None if sent_more else requests, answered)
        self._say_processor(side, after, side.requests or requests)
        side.rss_bytes = self._rss_bytes(after.metrics)
        if self._dollars_per_hour is not None and requests_per_second > 0:
            side.dollars_per_million = self._dollars_per_hour / (requests_per_second * self._rows * 3600) * 1e6
        elif self._dollars_per_hour is not None:
            self._note("no price: nothing was answered")
        side.notices = self._notices
        return side

    def rss_bytes(self) -> int | None:
        """The server's resident memory now; None: not to be had."""
        return self._rss_bytes({} if self._pid is not None else self._metrics())

    def _note(self, text: str) -> None:
        if text not in self._notices:
            self._notices.append(text)

    # ModelStatistics

    def _statistics(self) -> dict[str, Any]:
        library = require_client()
        try:
            options = self._reach.options(library)
            with library.Client(self._address, timeout=self._timeout_s, metadata=self._metadata, **options) as client:
                return {entry.version: entry for entry in client.statistics(self._model, self._version) if entry.name == self._model}
        except (library.InferenceError, ValueError, OSError, ConfigError) as error:  # the latter of files that have gone meanwhile
            self._note(f"no times of stages, no batch sizes: {error}")
            return {}

    def _say_stages(self, side: ServerSide, after: Look) -> None:
        """Sums over the versions that were there before."""
        known = self._before.statistics
        pairs = [(known[version], entry) for version, entry in after.statistics.items() if version in known]
        if not pairs:
            return
        if any(new.inference_stats.success.count < old.inference_stats.success.count for old, new in pairs):
            self._note("no times of stages, no batch sizes: the server's counts fell meanwhile, so it was started anew")
            return
        side.runs = sum(new.execution_count - old.execution_count for old, new in pairs)
        stats = [(old.inference_stats, new.inference_stats) for old, new in pairs]
        side.requests = sum(new.success.count - old.success.count + new.fail.count - old.fail.count for old, new in stats)
        for name, (counted, field) in STAGES.items():
            p50_us, p99_us, mean_us, least_us = self._quantiles(name, after.metrics)
            if counted:
                count = sum(getattr(new, counted).count - getattr(old, counted).count for old, new in stats)
                ns = sum(getattr(new, counted).ns - getattr(old, counted).ns for old, new in stats)
                mean_us = ns / count / 1e3 if count > 0 else None
            if mean_us is not None:
                side.stages[name] = Stage(mean_us, p50_us, p99_us, least_us)
            if field:
                setattr(side, field, mean_us)
        sizes: dict[int, int] = {}
        for old, new in pairs:
            for entry, sign in [*((each, 1) for each in new.batch_stats), *((each, -1) for each in old.batch_stats)]:
                sizes[entry.batch_size] = sizes.get(entry.batch_size, 0) + sign * entry.compute_infer.count
        side.batch_sizes = {size: runs for size, runs in sorted(sizes.items()) if runs > 0}

    def _quantiles(self, stage: str, after: Metrics) -> tuple[float | None, float | None, float | None, float]:
        """p50, p99 and mean of a stage in us by inferd's histograms, and their least bound; None where there are none."""

        def grown(name: str) -> dict[str, float]:
            """By the bucket's bound; the sum of what has none has an empty one."""
            found: dict[str, float] = {}
            for (series, labels), value in after.items():
                if series == name and self._is_own(own := dict(labels), stage):
                    bound = own.get("le", "")
                    found[bound] = found.get(bound, 0.0) + value - self._before.metrics.get((series, labels), 0.0)
            return found

        buckets = sorted((float(bound), count) for bound, count in grown(f"{DURATIONS}_bucket").items())
        seconds = grown(f"{DURATIONS}_sum").get("", 0.0)
        if not buckets or buckets[-1][1] <= 0:
            return None, None, None, 0.0
        return 1e6 * quantile(buckets, 0.5), 1e6 * quantile(buckets, 0.99), 1e6 * seconds / buckets[-1][1], 1e6 * buckets[0][0]

    def _is_own(self, labels: Mapping[str, str], stage: str) -> bool:
        ours = labels.get("model") == self._model and labels.get("stage") == stage
        return ours and (not self._version or labels.get("version") == self._version)

    def _compare_counts(self, side: ServerSide, sent: int | None, answered: int) -> None:
        """A notice where the server speaks of other requests than were sent from here. sent: None where nobody knows how many."""
        counted = side.requests
        if counted is None:
            return
        if sent is not None and counted > MORE * sent + FEW:
            self._note(
                f"the server counted {counted:,} requests, and {sent:,} were sent from here: others ask it, too, so its stages, batches "
                "and CPU a request are of all traffic"
            )
        elif answered > MORE * counted + FEW:
            self._note(
                f"the server counted {counted:,} requests, and {answered:,} were answered: it is not the only one that answers there, or "
                "does not count all, so its stages, batches and CPU a request are of a part"
            )

    # Processor and memory

    def _say_processor(self, side: ServerSide, after: Look, requests: int) -> None:
        if self._pid is not None:
            used_ns = sum(ns - self._before.cpu_ns.get(pid, 0) for pid, ns in after.cpu_ns.items())
            if set(self._before.cpu_ns) - set(after.cpu_ns):
                self._note("a process of the server ended meanwhile; its CPU time is not counted")
            known = bool(self._before.cpu_ns and after.cpu_ns)
        else:
            old, new = (look.metrics.get(("process_cpu_seconds_total", ())) for look in (self._before, after))
            used_ns = int((new - old) * 1e9) if old is not None and new is not None else 0
            known = old is not None and new is not None
        if not known:
            self._note("no CPU time of the server: give --server-pid, or --metrics-url of a page with process_cpu_seconds_total")
        elif used_ns < 0:
            self._note("no CPU time of the server: it fell meanwhile, so the server was started anew")
        elif requests:
            side.cpu_us_per_request = used_ns / requests / 1e3

    def _cpu_ns(self) -> dict[int, int]:
        used: dict[int, int] = {}
        for pid in family(self._pid) if self._pid is not None else ():
            try:
                used[pid] = time.clock_gettime_ns((~pid << 3) | 2)  # MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED)
            except (OSError, OverflowError, AttributeError):  # ended; a number that no process has; not Linux
                continue
        if self._pid is not None and not used:
            self._note(f"--server-pid {self._pid}: there is no such process here")
        return used

    def _rss_bytes(self, metrics: Metrics) -> int | None:
        if self._pid is None:
            value = metrics.get(("process_resident_memory_bytes", ()))
            return None if value is None else int(value)
        return rss_bytes(family(self._pid))

    # The metrics page

    def _guessed_url(self) -> str | None:
        for url in self._guesses():
            if any(name == "inferd_model_ready" and ("model", self._model) in labels for name, labels in self._fetched(url)):
                return url
        return None

    def _guesses(self) -> Iterator[str]:
        over_http = is_http(self._address)
        try:
            address = HttpEndpoint.of(self._address).address if over_http else parse_address(self._address)
        except (ValueError, ConfigError):
            return
        if address.path:
            return
        if over_http:
            yield f"{self._address}/metrics"
        if 0 < (port := address.port + (2 if over_http else 1)) <= 65535:
            yield f"http://{address._replace(port=port)}/metrics"

    def _fetched(self, url: str) -> Metrics:
        """The page's series; none where it is not to be had. The server that is measured is asked as requests ask it."""
        own = is_http(self._address) and url.startswith(f"{self._address}/")
        headers = [*self._metadata, *self._reach.metadata()] if own else []
        context = context_of(self._reach, HTTP1) if own and self._reach.by_tls else None
        return _fetched(url, self._timeout_s, headers, context)

    def _metrics(self) -> Metrics:
        if self._metrics_url is None:
            return {}
        metrics = self._fetched(self._metrics_url)
        if not metrics:
            self._note(f"no metrics: {self._metrics_url} does not answer with a page for Prometheus")
        return metrics


def quantile(buckets: Sequence[tuple[float, float]], q: float) -> float:
    """The quantile of buckets (upper bound, how many are at most that), ascending, the last one infinite.

    Within a bucket it is interpolated, as in PromQL's histogram_quantile."""
    rank = q * buckets[-1][1]
    low, below = 0.0, 0.0
    for high, count in buckets:
        if count >= rank:
            return low if high == math.inf else low + (high - low) * (rank - below) / (count - below or 1.0)
        low, below = high, count
    return low


def _checked_url(text: str) -> str:
    """host:port, or a URL, of which /metrics may be left out."""
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        secret = parts.username is not None
    except ValueError:
        fits = secret = False
    if secret:
        raise ConfigError("--metrics-url: expected a URL without user and password, which are not sent")
    if not fits:
        raise ConfigError(f"--metrics-url {text}: expected a URL such as http://host:8002/metrics")
    return url if parts.path.strip("/") else url.rstrip("/") + "/metrics"


def _fetched(url: str, timeout_s: float, headers: Iterable[tuple[str, str]] = (), context: SSLContext | None = None) -> Metrics:
    """The page's series; none where it is not to be had, whole and in time. Goes straight there, through no proxy."""
    until_s = time.monotonic() + timeout_s
    page = bytearray()
    handlers = [ProxyHandler({}), *([HTTPSHandler(context=context)] if context else [])]
    try:
        with build_opener(*handlers).open(Request(url, headers=dict(headers)), timeout=timeout_s) as response:
            while piece := response.read1(1 << 16):  # the timeout is of one piece: a page may still come for ever
                page += piece
                if len(page) > MAX_PAGE_BYTES or time.monotonic() > until_s:
                    return {}
        return parse_metrics(page.decode("utf-8", "replace"))
    except (URLError, HTTPException, OSError, ValueError):
        return {}


def parse_metrics(page: str) -> Metrics:
    """Series of Prometheus's text format; what is no series is left out."""
    found: Metrics = {}
    for line in page.splitlines():
        match = re.match(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})?[ \t]+(\S+)", line, re.ASCII)
        if match:
            labels = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or "")
            try:
                found[match[1], tuple(sorted(labels))] = float(match[3])
            except ValueError:
                continue
    return found


def rss_bytes(pids: Iterable[int]) -> int | None:
    """Resident memory of processes; what they share counts for each. None: not to be had."""
    pages = 0
    for pid in pids:
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
        except (OSError, IndexError, ValueError):
            continue
    return pages * os.sysconf("SC_PAGE_SIZE") or None


def family(pid: int) -> list[int]:
    """A process and all that descend from it, as far as the kernel says."""
    found = [pid]
    for parent in found:  # grows on the way
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, children.read_text("ascii").split())
            except (OSError, ValueError):
                continue
    return found
