"""What a server says of a load: of a real one all of it, of others what there is, and a notice for what is not."""

from __future__ import annotations

import math
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inferd_client import Client

from inferd.bench import server_side
from inferd.bench.server_side import Reader, parse_metrics, quantile, rss_bytes
from inferd.errors import ConfigError
from tests import models
from tests.command import FREE_PORTS, Serving

X = {"x": np.ones((2, 16), np.float32)}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("server_side")
    versions = {"both": {1: models.identity(), 2: models.doubled()}}
    repository = models.repository(folder / "models", versions, {"both": "version_policy { all {} }"})
    with Serving(folder, repository, *FREE_PORTS) as server:
        yield server


def ask(serving: Serving, version: str, times: int) -> None:
    with Client(serving.addresses["grpc"], timeout=30) as client:
        for _ in range(times):
            client.infer("both", X, version=version)


def test_stages_batches_processor_and_price(serving: Serving) -> None:
    reader = Reader(
        serving.addresses["grpc"],
        "both",
        "2",
        metrics_url=serving.addresses["metrics"],
        server_pid=serving.process.pid,
        dollars_per_hour=3.6,
        rows=2,
    )
    ask(serving, "2", 3)
    for _ in range(2):
        reader.before()
        ask(serving, "1", 5)
        ask(serving, "2", 7)
        side = reader.after(12, requests_per_second=1000)
        assert (side.requests, side.runs, side.batch_sizes) == (7, 7, {2: 7})
        assert min(side.queue_us, side.compute_input_us, side.compute_infer_us, side.compute_output_us) > 0
        assert side.cpu_us_per_request > 0
        assert side.rss_bytes > 1 << 20
        assert side.dollars_per_million == pytest.approx(0.5)
        assert side.notices == []
        assert list(side.stages) == ["decode", "queue", "preprocess", "execute", "encode", "request"]
        assert side.stages["execute"].mean_us == side.compute_infer_us
        assert side.stages["request"].mean_us > side.stages["execute"].mean_us
        for stage in side.stages.values():
            assert 0 < stage.p50_us <= stage.p99_us
            assert stage.least_us == 5


@pytest.mark.parametrize(
    ("counts", "q", "seconds"),
    [
        ([0, 10, 10, 10], 0.5, 0.015),
        ([5, 10, 10, 10], 0.99, 0.0198),
        ([0, 0, 4, 8], 0.5, 0.04),
        ([0, 0, 4, 8], 0.99, 0.04),  # past the last bound nothing more is known
    ],
)
def test_a_quantile_is_that_of_promql(counts: list[int], q: float, seconds: float) -> None:
    buckets = list(zip((0.01, 0.02, 0.04, math.inf), map(float, counts), strict=True))
    assert quantile(buckets, q) == pytest.approx(seconds, rel=0.01)


def test_no_version_is_all_of_them(serving: Serving) -> None:
    reader = Reader(serving.addresses["grpc"], "both", metrics_url=f"http://{serving.addresses['metrics']}/metrics")
    reader.before()
    ask(serving, "1", 2)
    ask(serving, "2", 3)
    side = reader.after(5)
    assert (side.requests, side.batch_sizes) == (5, {2: 5})
    assert side.cpu_us_per_request is not None
    assert side.rss_bytes > 1 << 20


@pytest.mark.parametrize(
    ("sent", "answered", "says"),
    [
        (40, 40, []),
        (30, 30, []),  # a health check or two
        (50, 40, []),  # some were refused, or lost, before they were counted
        (29, 29, ["the server counted 40 requests, and 29 were sent from here: others ask it, too, so its stages, batches and CPU"]),
        (60, 51, ["the server counted 40 requests, and 51 were answered: it is not the only one"]),
    ],
)
def test_what_the_server_counted_is_held_against_what_was_sent(serving: Serving, sent: int, answered: int, says: list[str]) -> None:
    reader = Reader(serving.addresses["grpc"], "both", "2", server_pid=serving.process.pid)
    reader.before()
    ask(serving, "2", 40)
    notices = reader.after(sent, answered=answered).notices
    assert len(notices) == len(says)
    assert all(notice.startswith(said) for notice, said in zip(notices, says, strict=True))


def test_where_more_may_have_been_sent_nobody_else_is_said_to_ask(serving: Serving) -> None:
    """As of a worker of the generator that died, and took along how much it had sent."""
    reader = Reader(serving.addresses["grpc"], "both", "2", server_pid=serving.process.pid)
    reader.before()
    ask(serving, "2", 40)
    assert reader.after(5, answered=5, sent_more=True).notices == []


def test_without_a_page_and_a_process_there_is_a_notice(serving: Serving) -> None:
    reader = Reader(serving.addresses["grpc"], "both", dollars_per_hour=1)
    reader.before()
    side = reader.after(0)
    assert side.requests == 0
    assert (side.queue_us, side.cpu_us_per_request, side.rss_bytes, side.dollars_per_million) == (None, None, None, None)
    assert len(side.notices) == 2
    assert "give --server-pid, or --metrics-url" in side.notices[0]
    assert side.notices[1] == "no price: nothing was answered"


def test_a_server_that_is_not_there_is_a_notice(ended_pid: int) -> None:
    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody_listens.getsockname()[1]}"
        reader = Reader(address, "both", metrics_url=address, server_pid=ended_pid)
        reader.before()
        side = reader.after(10, 100)
    assert (side.requests, side.rss_bytes) == (None, None)
    for part in ("no times of stages, no batch sizes: UNAVAILABLE", "does not answer with a page", "there is no such process here"):
        assert any(part in notice for notice in side.notices), side.notices


def test_a_server_that_was_started_anew_meanwhile(tmp_path: Path) -> None:
    model, address = models.write(tmp_path, "both", models.identity()), f"unix:{tmp_path / 's'}"
    reader = Reader(address, "both")
    for look in (reader.before, lambda: reader.after(1)):
        with Serving(tmp_path, model, *FREE_PORTS, "--listen", address):
            if look == reader.before:
                with Client(address, timeout=30) as client:
                    client.infer("both", X)
            side = look()
    assert side.requests is None
    assert "the server's counts fell meanwhile" in side.notices[0]


@pytest.fixture
def ended_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(60)
    return process.pid


def test_a_process_counts_with_its_children() -> None:
    child = "import sys; sys.stdin.read()"
    parent = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {child!r}]).pid, flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        child_pid = int(process.stdout.readline())
        assert server_side.family(process.pid) == [process.pid, child_pid]
        assert rss_bytes([process.pid, child_pid]) > rss_bytes([process.pid])
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(60)
    assert rss_bytes([process.pid]) is None


PAGE = b"""# HELP inferd_model_ready 1 when the version takes requests.
inferd_model_ready{model="both",version="1"} 1.0
process_cpu_seconds_total 2.5
process_resident_memory_bytes 4096
"""


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def page() -> Iterator[WSGIServer]:
    def app(environ, start_response):
        start_response("200 OK" if environ["PATH_INFO"] == "/metrics" else "404 Not Found", [])
        return [PAGE]

    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join(60)


def test_the_port_after_the_servers_is_used_if_it_is_about_the_model(page: WSGIServer) -> None:
    for model, rss in {"both": 4096, "other": None}.items():
        reader = Reader(f"127.0.0.1:{page.server_port - 1}", model)
        reader.before()
        assert reader.after(1).rss_bytes == rss


@pytest.mark.parametrize("after", [0, 2])
def test_a_url_has_its_page_itself_or_on_the_second_port_after_it(page: WSGIServer, after: int) -> None:
    reader = Reader(f"http://127.0.0.1:{page.server_port - after}", "both")
    assert reader.after(1).rss_bytes == 4096


@pytest.mark.parametrize("limit", ["TIMEOUT_S", "MAX_PAGE_BYTES"])
def test_a_page_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(server_side, limit, {"TIMEOUT_S": 0.05, "MAX_PAGE_BYTES": 1 << 20}[limit])
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def pour() -> None:
            accepted, _ = listening.accept()
            with accepted, suppress(OSError):
                accepted.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while True:
                    accepted.sendall(PAGE)

        thread = threading.Thread(target=pour)
        thread.start()
        reader = Reader("127.0.0.1:1", "both", metrics_url=f"127.0.0.1:{listening.getsockname()[1]}")
        assert reader._metrics() == {}
        thread.join(60)
        assert not thread.is_alive(), "the connection was not closed"


def test_a_server_that_hangs_is_not_waited_for_once_somebody_hurries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_side, "TIMEOUT_S", 600.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        reader = Reader("127.0.0.1:1", "both", metrics_url=address)
        side = reader.after(1, hurried=True)
    assert side.rss_bytes is None
    assert any("no metrics" in notice for notice in side.notices)


def test_series_of_a_page() -> None:
    series = parse_metrics('# HELP a b\na{x="1,}\\"",b="2"} 3 1700000000\nb 1e3\nc{} NaN\nnot a series\nd{e="f"} x\n')
    assert series["a", (("b", "2"), ("x", '1,}\\"'))] == 3
    assert series["b", ()] == 1000
    assert len(series) == 3


@given(st.text(max_size=60))
def test_any_page_is_read(text: str) -> None:
    assert isinstance(parse_metrics(text), dict)


def test_flags_that_cannot_be_right() -> None:
    for url in ("ftp://host", "http://", "http://host:x/metrics", "file://host/page"):
        with pytest.raises(ConfigError, match="expected a URL such as"):
            Reader("127.0.0.1:1", "m", metrics_url=url)
    with pytest.raises(ConfigError, match="--dollars-per-hour -1: expected 0 or more"):
        Reader("127.0.0.1:1", "m", dollars_per_hour=-1)
