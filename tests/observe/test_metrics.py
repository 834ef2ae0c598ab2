"""What a scraper reads, over HTTP, and what promtool says of it."""

from __future__ import annotations

import gzip
import http.client
import itertools
import re
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from native_access import record_request, record_run
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from inferd._core.metrics.histogram import Histogram
from inferd.config import Settings
from inferd.engine.embedded import Engine
from inferd.engine.files.provenance import Provenance
from inferd.engine.loading.origin import Origin
from inferd.errors import StartError
from inferd.feedback import metrics as feedback
from inferd.feedback.writer import Writer
from inferd.monitor import metrics as monitor
from inferd.monitor.notices import Notices, Ways
from inferd.monitor.watcher import Watcher
from inferd.observe.metrics import Exposition, MergedMetrics, Metrics
from inferd.observe.model_metrics import BATCH_BOUNDS_ROWS, STAGE_BOUNDS_NS, STAGES
from inferd.observe.pages import merge
from inferd.observe.scrape import PAGE_S, PAGES_AT_ONCE
from inferd.part import Table, counter, durations, gauge
from inferd.record.recorder import Recorder
from inferd.rollout.metrics import tables_of
from inferd.rollout.state import Evidence, Kind, Rollout
from inferd.serving.on_demand import OnDemand
from inferd.serving.parts.connections import COUNTERS, Connections
from inferd.serving.parts.credentials import Credentials
from inferd.serving.parts.health.part import Health
from inferd.serving.parts.live_settings.part import LiveSettingsPart
from inferd.serving.parts.models.part import ModelMetrics
from inferd.serving.processes.worker_metrics import WorkerMetrics
from inferd.serving.service import InferenceService
from tests import models
from tests.fake_repository import FakeModel, FakeQueues, FakeRepository
from tests.feedback import stores
from tests.monitor.profiles import requests, write_beside
from tests.server_fixtures import ServerFixture

LIMIT_S = 20
MODEL = ("model", "version")
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "metrics.md"


def busy_model() -> FakeModel:
    """Two requests of 3 and 1 rows that ran together, then one of 2 rows alone; some were rejected."""
    model = FakeModel(failures={"REJECTED": 5, "OTHER": 1}, queues=FakeQueues(7, 448), instances=2, inline=True)
    for rows, scale in ((3, 1), (1, 2), (2, 3)):
        record_request(
            model.statistics, rows, 1_000 * scale, 20_000 * scale, 3_000 * scale, 400_000 * scale, 5_000 * scale, 500_000_000 * scale
        )
    record_run(model.statistics, 4, 3_000, 400_000, 5_000)
    model.origin = Origin(provenance=Provenance("a1", "", "onnxruntime 1.32.0", "CPUExecutionProvider", "c2"), load_ns=250_000_000)
    record_run(model.statistics, 2, 9_000, 1_200_000, 15_000)
    return model


def metrics_of(*models: FakeModel, further: Callable[[], Iterable[Table]] = tuple) -> Metrics:
    part = ModelMetrics(FakeRepository(*models))  # type: ignore[arg-type]
    return Metrics(lambda: [*part.metrics(), *further()], {"version": "0.1.0", "transport": "native"})


@contextmanager
def serving(metrics: Exposition, host: str = "127.0.0.1") -> Iterator[int]:
    with closing(metrics.bind(host, 0)) as server:
        server.start()
        yield server.server_port


def get(port: int, path: str = "/metrics", host: str = "127.0.0.1", method: str = "GET", **headers: str | bytes) -> tuple[int, str, bytes]:
    with closing(http.client.HTTPConnection(host, port, timeout=LIMIT_S)) as connection:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Content-Type", ""), answer.read()


def samples(metrics: Exposition) -> dict[tuple[str, tuple[str, ...]], float]:
    """(name, label values without model and version) -> value, as a scraper reads them."""
    with serving(metrics) as port:
        text = get(port)[2].decode()
    return {
        (exact(sample.name), tuple(value for label, value in sorted(sample.labels.items()) if label not in MODEL)): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


def exact(name: str) -> str:
    """Triton's counters have no `_total`: prometheus_client's parser adds it, Prometheus's does not."""
    return name.removesuffix("_total") if name.startswith("nv_") else name


def test_triton_names_are_exact() -> None:
    seen = samples(metrics_of(busy_model()))
    expected = {
        "nv_inference_request_success": 3,
        "nv_inference_count": 6,
        "nv_inference_exec_count": 2,
        "nv_inference_request_duration_us": 3_000_000,
        "nv_inference_queue_duration_us": 120,
        "nv_inference_compute_input_duration_us": 18,
        "nv_inference_compute_infer_duration_us": 2_400,
        "nv_inference_compute_output_duration_us": 30,
        "nv_inference_pending_request_count": 7,
    }
    assert {name: seen[name, ()] for name in expected} == expected
    failures = {reason: seen["nv_inference_request_failure", (reason,)] for reason in ("REJECTED", "CANCELED", "BACKEND", "OTHER")}
    assert failures == {"REJECTED": 5, "CANCELED": 0, "BACKEND": 0, "OTHER": 1}


def test_models_are_labelled_with_name_and_version() -> None:
    with serving(metrics_of(FakeModel(version=2), FakeModel(name='quo"te\\', version=11))) as port:
        families = list(parse_text(get(port)[2].decode()))
    labels = {
        (s.labels["model"], s.labels["version"])
        for family in families
        for s in family.samples
        if "version" in s.labels and "model" in s.labels
    }
    assert labels == {("m", "2"), ('quo"te\\', "11")}


def test_stage_histograms_hold_every_answered_request() -> None:
    seen = samples(metrics_of(busy_model()))
    for stage, unit_ns in zip(STAGES, (1_000, 20_000, 3_000, 400_000, 5_000, 500_000_000), strict=True):
        durations = [unit_ns * scale for scale in (1, 2, 3)]
        assert seen["inferd_stage_duration_seconds_count", (stage,)] == 3
        assert seen["inferd_stage_duration_seconds_sum", (stage,)] == pytest.approx(sum(durations) / 1e9)
        counts = [seen["inferd_stage_duration_seconds_bucket", (repr(bound / 1e9), stage)] for bound in STAGE_BOUNDS_NS]
        assert counts == sorted(counts)
        for bound, count in zip(STAGE_BOUNDS_NS, counts, strict=True):  # the histogram's own precision is 1/16
            assert sum(d <= bound * 15 / 16 for d in durations) <= count <= sum(d <= bound * 17 / 16 for d in durations)
        assert seen["inferd_stage_duration_seconds_bucket", ("+Inf", stage)] == 3


def test_batch_rows_are_counted_by_run() -> None:
    seen = samples(metrics_of(busy_model()))
    counts = [seen["inferd_batch_rows_bucket", (repr(float(bound)),)] for bound in BATCH_BOUNDS_ROWS]
    assert counts == [0, 1, *[2] * (len(BATCH_BOUNDS_ROWS) - 2)]
    assert (seen["inferd_batch_rows_count", ()], seen["inferd_batch_rows_sum", ()]) == (2, 6)


def test_rejections_and_gauges() -> None:
    seen = samples(metrics_of(busy_model()))
    assert seen["inferd_refusals_total", ("REJECTED",)] == 5
    assert (seen["inferd_queue_depth", ()], seen["inferd_queue_bytes", ()], seen["inferd_instances", ()]) == (7, 448, 2)
    assert seen["inferd_inline", ()] == 1
    assert seen["inferd_model_ready", ()] == 1
    assert samples(metrics_of(FakeModel(state="UNAVAILABLE")))["inferd_model_ready", ()] == 0


def test_a_table_without_labels_is_one_sample() -> None:
    waits = Histogram()
    waits.add(3_000_000)
    seen = samples(
        metrics_of(
            further=lambda: [
                counter("a_done", "Done.", 4),
                gauge("a_open", "Open.", 0.5),
                durations("a_wait_seconds", "W.", waits, [10**6, 10**7]),
            ]
        )
    )
    assert (seen["a_done_total", ()], seen["a_open", ()]) == (4, 0.5)
    assert [seen["a_wait_seconds_bucket", (bound,)] for bound in ("0.001", "0.01", "+Inf")] == [0, 1, 1]
    assert (seen["a_wait_seconds_count", ()], seen["a_wait_seconds_sum", ()]) == (1, pytest.approx(0.003))


def test_the_build_and_the_process_are_there() -> None:
    seen = samples(metrics_of())
    assert seen["inferd_build_info", ("native",)] == 1
    assert seen["process_resident_memory_bytes", ()] > 0
    assert 0 < seen["nv_cpu_memory_used_bytes", ()] < seen["nv_cpu_memory_total_bytes", ()]


def test_a_version_that_is_being_replaced_is_shown_once() -> None:
    old, new = FakeModel(state="UNLOADING", queues=FakeQueues(1)), FakeModel(queues=FakeQueues(2))
    for order in ((old, new), (new, old)):
        with serving(metrics_of(*order)) as port:
            text = get(port)[2].decode()
        assert re.findall(r"^inferd_queue_depth\{.*", text, re.MULTILINE) == ['inferd_queue_depth{model="m",version="1"} 2.0']


def test_counts_grow_between_scrapes() -> None:
    model = FakeModel()
    with serving(metrics_of(model)) as port:
        for expected in range(3):
            assert f'nv_inference_request_success{{model="m",version="1"}} {expected}.0' in get(port)[2].decode()
            record_request(model.statistics, 1, 1, 1, 1, 1, 1, 1)


def rows_of(page: str) -> list[str]:
    return [line for line in page.splitlines() if line.startswith(("| `nv_", "| `inferd_"))]


def every_table(folder: Path) -> Iterator[Table]:
    """The tables of all parts that a server may have, and of a supervisor."""
    own: Any = SimpleNamespace(rejections=Counter({"any": 1}), _watchers=(), _children={}, restarted=0, starts_failed=0)
    own._tls = SimpleNamespace(expires_s=2e9, file_failures=1)
    own._access = SimpleNamespace(asks_for_tokens=True, token_file_failures=1)
    own._servers = [SimpleNamespace(counters=lambda: dict.fromkeys(COUNTERS, 1.0))]
    repository = SimpleNamespace(left_requests=0, models=list, evictions=0, memory_bytes=lambda: 0, on_demand=())
    own._repository, own._hits, own._gone_on, own.durations = repository, 0, 0, Histogram()
    rollout = Rollout(id=16 * "0", model="m", kind=Kind.SHADOW, stable=1, candidate=2, counts={"seen": 1}, evidence=(Evidence("flips"),))
    kinds = InferenceService, Health, LiveSettingsPart, OnDemand, Connections, Credentials
    tables = [*chain.from_iterable(kind.metrics(own) for kind in kinds), *WorkerMetrics.tables(own), *tables_of([rollout])]
    tables += Recorder(Settings(record=str(folder)), 1 << 30).metrics()
    store = stores.made(folder / f"{len(list(folder.iterdir()))}")  # a new one each time
    store.write([stores.prediction("one", "a")] * 2, [stores.report(("one", 0, "a"))])
    tables += feedback.tables_of(Writer(store, (), 1 << 30))
    tables += drift_tables(folder)
    yield from {table.name: table for table in tables}.values()


def drift_tables(folder: Path) -> list[Table]:
    """Those of a version that is watched, after a window."""
    file = models.write(folder, "watched", models.identity(dims=(1,)))
    rows = {"x": np.random.default_rng(0).normal(size=(100, 1)).astype(np.float32)}
    write_beside(file, rows)
    with Engine(file) as engine:
        watcher = Watcher(None, 100, 60)
        watcher.watch(engine._lookup(None, ""))
        for given in requests(rows):
            engine.infer(None, given)
        watcher.look()
        return list(monitor.tables_of(watcher, Notices(Ways("http://127.0.0.1:1/"))))


def test_the_documentation_lists_every_metric(tmp_path: Path) -> None:
    suffixes = {"counter": "_total", "info": "_info"}
    metrics = metrics_of(busy_model(), further=lambda: every_table(tmp_path))
    families: list[Metric] = []
    deadline = time.monotonic() + LIMIT_S
    while "nv_cpu_utilization" not in {family.name for family in families}:  # there once a tick of the kernel's clock has passed
        assert time.monotonic() < deadline
        families = list(metrics.collect())
    expected = []
    for family in families:
        labels = dict.fromkeys(f"`{label}`" for sample in family.samples for label in sample.labels if label != "le")
        kind = family.type.replace("info", "gauge")
        name = exact(family.name + suffixes.get(family.type, ""))
        expected.append(f"| `{name}` | {kind} | {', '.join(labels) or 'none'} | {family.documentation} |")
    assert sorted(rows_of(DOCUMENTATION.read_text("utf-8"))) == sorted(expected)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed here; `make test` installs it")
def test_promtool_objects_to_nothing_but_tritons_names(tmp_path: Path) -> None:
    """docs/metrics.md quotes what it says. Without Triton's counters and its gauge of what waits it has no objection."""
    with serving(metrics_of(busy_model(), FakeModel(version=2), further=lambda: every_table(tmp_path))) as port:
        text = get(port)[2].decode()
    verdict = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, timeout=LIMIT_S, check=False)
    assert verdict.returncode == 3
    said = sorted(line for line in (verdict.stdout + verdict.stderr).splitlines() if line)
    assert said == sorted(re.findall("^    (nv_inference_.*)$", DOCUMENTATION.read_text("utf-8"), re.MULTILINE))
    names = {line.split()[0] for line in said}
    assert names == set(re.findall("^# TYPE (nv_inference_[a-z_]+) ", text, re.MULTILINE))
    without = "".join(line for line in text.splitlines(keepends=True) if not names & set(re.findall("[a-z_]+", line)))
    subprocess.run(["promtool", "check", "metrics"], input=without, text=True, check=True, timeout=LIMIT_S)


# As Triton's core/src/metrics.cc has them.
TRITON_TYPES = {
    "nv_inference_request_success": "counter",
    "nv_inference_request_failure": "counter",
    "nv_inference_count": "counter",
    "nv_inference_exec_count": "counter",
    "nv_inference_request_duration_us": "counter",
    "nv_inference_queue_duration_us": "counter",
    "nv_inference_compute_input_duration_us": "counter",
    "nv_inference_compute_infer_duration_us": "counter",
    "nv_inference_compute_output_duration_us": "counter",
    "nv_inference_pending_request_count": "gauge",
}


def types_of(page: str) -> dict[str, str]:
    return dict(re.findall(r"^# TYPE (nv_inference_\w+) (\w+)$", page, re.MULTILINE))


def test_types_are_tritons_of_one_process_and_of_several() -> None:
    """In OpenMetrics, which has no counter without `_total`, the counters have no type; their names are the same."""
    metrics = metrics_of(busy_model())
    merged = MergedMetrics(lambda own: merge([metrics.page(), metrics.page(), own]), dict)
    for exposition in (metrics, merged):
        with serving(exposition) as port:
            text = get(port)[2].decode()
            plain = gzip.decompress(get(port, Accept_Encoding="gzip")[2]).decode()
            openmetrics = get(port, Accept="application/openmetrics-text; version=1.0.0")[2].decode()
        assert types_of(text) == types_of(plain) == TRITON_TYPES
        assert types_of(openmetrics) == {name: kind.replace("counter", "unknown") for name, kind in TRITON_TYPES.items()}
        for page in (text, openmetrics):
            assert set(re.findall(r"^(?:# HELP )?(nv_inference_\w+)[ {]", page, re.MULTILINE)) == set(TRITON_TYPES)
        assert list(parse_openmetrics(openmetrics))


def as_a_gateway_reads(text: str, name: str) -> float:
    """As llm-d-router's extractor does: the first series of a family, and 0 where its type is neither gauge nor counter."""
    if types := re.search(rf"^# TYPE {name} (gauge|counter)$", text, re.MULTILINE):
        series = re.search(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text[types.end() :], re.MULTILINE)
        return float(series[1]) if series else 0
    return 0


def test_a_gateway_sees_the_queue() -> None:
    """By the names that it has for Triton, one model's; by those of docs/metrics.md, all models'."""
    with serving(
        metrics_of(FakeModel(name="a", queues=FakeQueues(3), running=2), FakeModel(name="b", queues=FakeQueues(4), running=1))
    ) as port:
        text = get(port)[2].decode()
    assert as_a_gateway_reads(text, "nv_inference_pending_request_count") == 3
    documented = re.findall(r"(\w+)RequestsSpec: (\w+)", DOCUMENTATION.read_text("utf-8"))
    assert {what: as_a_gateway_reads(text, name) for what, name in documented} == {"queued": 7, "running": 3}


@pytest.mark.parametrize("version", ["1.x", "x"])
def test_a_version_that_is_no_number_is_answered_with_the_plain_format(version: str, caplog: pytest.LogCaptureFixture) -> None:
    for kind in ("application/openmetrics-text", "text/plain"):
        with serving(metrics_of()) as port:
            status, content_type, body = get(port, Accept=f"{kind}; version={version}".encode())
        assert (status, content_type.partition(";")[0]) == (200, "text/plain")
        assert b"# TYPE" in body
    assert not caplog.records


def test_openmetrics_is_answered_to_who_asks_for_it(tmp_path: Path) -> None:
    with serving(metrics_of(busy_model(), further=lambda: every_table(tmp_path))) as port:
        status, content_type, body = get(port, Accept="application/openmetrics-text; version=1.0.0")
        assert status == 200
        assert content_type.startswith("application/openmetrics-text")
        names = {family.name for family in parse_openmetrics(body.decode())}
        assert {"nv_inference_count", "inferd_stage_duration_seconds", "inferd_refusals"} <= names
        assert get(port)[1].startswith("text/plain")
        assert gzip.decompress(get(port, Accept_Encoding="gzip")[2]).startswith(b"# HELP")


def test_one_page_of_several_is_as_one_of_one(tmp_path: Path) -> None:
    """Names, types and labels; what is the process's own comes on top."""
    metrics = metrics_of(busy_model(), FakeModel(version=2), further=lambda: every_table(tmp_path))
    merged = MergedMetrics(lambda own: merge([metrics.page(), own]), dict)
    with serving(metrics) as one, serving(merged) as several:
        pages = [get(port)[2].decode().splitlines() for port in (one, several)]
    first, second = ({line for line in page if "process_" not in line and "nv_cpu" not in line} for page in pages)
    assert first == second
    busy = metrics_of(busy_model()).page()
    seen = samples(MergedMetrics(lambda own: merge([busy, busy, own]), lambda: [gauge("inferd_workers", "Workers.", 2)]))
    assert (seen["nv_inference_count", ()], seen["inferd_stage_duration_seconds_count", ("request",)]) == (12, 6)
    assert (seen["inferd_queue_depth", ()], seen["inferd_workers", ()]) == (14, 2)


def test_other_paths() -> None:
    with serving(metrics_of()) as port:
        status, content_type, body = get(port, "/")
        assert (status, content_type) == (200, "text/plain; charset=utf-8")
        assert b"/metrics" in body
        assert get(port, "/nothing")[0] == 404
        assert get(port, "/metrics", method="POST")[0] == 405


@pytest.mark.parametrize(("path", "expected"), [("/metrics", 200), ("/", 200), ("/nothing", 404)])
def test_head_is_get_without_the_body(path: str, expected: int) -> None:
    with serving(metrics_of()) as port, socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        status, content_type, body = get(port, path)
        client.sendall(b"HEAD %b HTTP/1.0\r\n\r\n" % path.encode())
        came = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, after = came.decode().partition("\r\n\r\n")
    lines = [line.partition(": ") for line in head.split("\r\n")[1:]]
    headers = {name.lower(): value for name, _, value in lines}
    assert len(headers) == len(lines), "no header is there twice"
    assert (status, int(head.split()[1]), after) == (expected, expected, "")
    assert headers["content-type"] == content_type
    assert len(body) / 2 < int(headers["content-length"]) < len(body) * 2, "numbers grow between the two"


def test_ipv6() -> None:
    with serving(metrics_of(), "::1") as port:
        assert get(port, host="::1")[0] == 200


def test_a_port_in_use_is_a_start_error_that_names_it() -> None:
    with serving(metrics_of()) as port, pytest.raises(StartError, match=f"127.0.0.1 port {port}.*metrics_port"):
        metrics_of().bind("127.0.0.1", port)


def test_a_collector_that_fails_says_nothing_of_why(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Iterable[Table]:
        raise ValueError("secret")

    with serving(metrics_of(further=broken)) as port:
        status, _, body = get(port)
    assert status == 500
    assert b"secret" not in body
    assert "secret" in caplog.text


def test_a_scrape_during_traffic_is_consistent() -> None:
    """Buckets rise to the count, and no sample is lost, while another thread answers requests."""
    model, stop = FakeModel(), threading.Event()

    def traffic() -> None:
        for duration_ns in itertools.cycle((1_000, 30_000, 2_000_000, 40_000_000, 20_000_000_000)):
            record_request(model.statistics, 1, *[duration_ns] * 6)
            record_run(model.statistics, 1, duration_ns, duration_ns, duration_ns)
            if stop.is_set():
                return

    metrics = metrics_of(model)
    thread = threading.Thread(target=traffic)
    thread.start()
    try:
        for _ in range(50):
            for family in metrics.collect():
                if family.type == "histogram":
                    check_histogram(family)
    finally:
        stop.set()
        thread.join()


def check_histogram(family: Metric) -> None:
    series: dict[tuple[str, ...], list[float]] = {}
    counts: dict[tuple[str, ...], float] = {}
    for sample in family.samples:
        key = tuple(value for label, value in sorted(sample.labels.items()) if label != "le")
        if sample.name.endswith("_bucket"):
            series.setdefault(key, []).append(sample.value)
        elif sample.name.endswith("_count"):
            counts[key] = sample.value
    for key, values in series.items():
        assert values == sorted(values)
        assert values[-1] == counts[key]


def test_scrapes_without_a_pause_wait(served: ServerFixture) -> None:
    host, _, port = served.metrics.rpartition(":")
    count = 4
    begun_s = time.monotonic()
    for _ in range(PAGES_AT_ONCE + count):
        assert get(int(port), host=host)[0] == 200
    assert time.monotonic() - begun_s >= 0.99 * count * PAGE_S


def test_a_real_server_is_scraped(served: ServerFixture) -> None:
    host, _, port = served.metrics.rpartition(":")
    text = get(int(port), host=host)[2].decode()
    seen = {(exact(sample.name), sample.labels.get("model")): sample.value for family in parse_text(text) for sample in family.samples}
    assert seen["inferd_model_ready", "identity"] == 1
    assert seen["inferd_model_info", "identity"] == 1
    assert seen["nv_inference_request_success", "identity"] >= 0
    assert seen["inferd_streams_opened_total", None] >= 0
    assert f'transport="{served.transport}"' in text
    assert list(parse_openmetrics(get(int(port), host=host, Accept="application/openmetrics-text; version=1.0.0")[2].decode()))
