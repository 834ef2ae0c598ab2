"""Clients over HTTP, both kinds: connections, timeouts, retries, hedging, TLS; with servers that misbehave as inferd never does."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from inferd_client import TLS, Client, InferenceError, Retry, http_channel

from tests.certificates import SERVER_NAME, Certificates
from tests.http_echo_server import HttpEchoServer, Rejection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.clients.python.conftest import AtEachPause
    from tests.echo_server import Awaited, EchoServer

X = {"x": np.arange(3, dtype=np.float32)}
LIMIT_S = 60


@pytest.fixture
def echoes() -> Iterator[list[HttpEchoServer]]:
    """Two of them."""
    servers = [HttpEchoServer(), HttpEchoServer()]
    yield servers
    for server in servers:
        server.stop()


@pytest.fixture
def echo(echoes: list[HttpEchoServer]) -> HttpEchoServer:
    return echoes[0]


@pytest.fixture
def http(echo: HttpEchoServer, connect: Callable[..., Awaited]) -> Awaited:
    return connect(echo.url, timeout=LIMIT_S)


@pytest.mark.parametrize("binary", [True, False])
async def test_values_come_back(echo: HttpEchoServer, http: Awaited, binary: bool) -> None:
    echo.binary = binary
    inputs = {
        "numbers": np.random.default_rng(1).random((2, 3), np.float32),
        "whole": np.array([2**63 - 1, -1]),
        "truth": np.array([[True], [False]]),
        "texts": np.array(["ümlaut", ""], object),
        "none": np.ones((0, 3), np.uint8),
    }
    result = await http.infer("echo", inputs, request_id="r-1", parameters={"a": 1.5})
    for name, array in inputs.items():
        wanted = [text.encode() for text in array] if name == "texts" else array
        np.testing.assert_array_equal(result[name], wanted)
        assert result[name].shape == array.shape
        assert result[name].flags.writeable
    assert (result.id, result.model_version, result.parameters) == ("r-1", "1", {"a": 1.5})
    await http.infer("echo", inputs)
    assert [request.path for request in echo.requests] == ["/v2", "/v2/models/echo/infer", "/v2/models/echo/infer"]
    assert ("inference-header-content-length" in echo.requests[1].headers) == binary


async def test_a_large_tensor(http: Awaited) -> None:
    image = np.random.default_rng(1).random((5, 3, 224, 224), np.float32)
    np.testing.assert_array_equal((await http.infer("echo", {"x": image}))["x"], image)


async def test_what_goes_along(echo: HttpEchoServer, connect: Callable[..., Awaited]) -> None:
    client = connect(echo.url + "/team", token="t", metadata={"X-Tenant": "blue"})
    with pytest.raises(InferenceError, match="NOT_FOUND: there is no /team/v2/health/live"):
        await client.server_live(timeout=1.5)
    [asked] = echo.requests
    assert (asked.headers["x-tenant"], asked.headers["authorization"]) == ("blue", "Bearer t")
    assert 0 < int(asked.headers["inferd-timeout-ms"]) <= 1500
    assert asked.headers["host"] == echo.url.removeprefix("http://")


async def test_a_connection_is_used_again_while_the_server_keeps_it(echo: HttpEchoServer, http: Awaited) -> None:
    for _ in range(3):
        await http.infer("echo", X)
    assert echo.connections == 1
    echo.keeps = False
    for _ in range(3):  # none of which may go to one that was closed
        await http.infer("echo", X)
    assert echo.connections <= 4


def test_a_connection_that_was_idle_for_long_is_not_used_again(echo: HttpEchoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_channel, "IDLE_S", -1.0)
    with Client(echo.url, timeout=LIMIT_S) as client:
        for _ in range(3):
            client.infer("echo", X)
    assert echo.connections == 4


async def test_calls_at_one_time(echo: HttpEchoServer, http: Awaited) -> None:
    arrays = [np.full(3, number, np.float32) for number in range(20)]
    for array, result in zip(arrays, await asyncio.gather(*(http.begin("infer", "echo", {"x": array}) for array in arrays)), strict=True):
        np.testing.assert_array_equal(result["x"], array)


async def test_a_timeout_ends_the_wait_and_the_server_notices(echo: HttpEchoServer, http: Awaited) -> None:
    await http.infer("echo", X)
    echo.gate.clear()
    with pytest.raises(InferenceError, match=r"DEADLINE_EXCEEDED: .*no response within the timeout"):
        await http.infer("echo", X, timeout=0.05)
    assert await asyncio.to_thread(echo.left.wait, LIMIT_S)
    echo.gate.set()
    await http.infer("echo", X)


async def test_closing_ends_calls_under_way_and_later_ones(echo: HttpEchoServer, http: Awaited) -> None:
    await http.infer("echo", X)
    echo.gate.clear()
    begun = http.begin("infer", "echo", X)
    assert await asyncio.to_thread(echo.arrived.wait, LIMIT_S)
    await http.close()
    for call in (begun, http.infer("echo", X)):
        with pytest.raises(InferenceError, match="CANCELLED: the client was closed"):
            await call
    assert repr(http.client).endswith(f"of {echo.url} (plaintext), closed>")


async def test_full_servers_and_lost_ones(
    echoes: list[HttpEchoServer], connect: Callable[..., Awaited], at_each_pause: AtEachPause
) -> None:
    pauses: list[bool] = []
    at_each_pause(lambda: pauses.append(True))
    full = Rejection(429, {"Retry-After-Ms": "5"}, {"error": "full", "code": "RESOURCE_EXHAUSTED"})
    one = connect(echoes[0].url, timeout=LIMIT_S, retry=Retry(initial_delay=0.001))
    echoes[0].rejections.append(full)
    assert (await one.infer("echo", X))["x"].shape == (3,)
    assert pauses
    both = connect([server.url for server in echoes], timeout=LIMIT_S, retry=Retry(initial_delay=0.001))
    echoes[0].stop()
    for _ in range(4):
        await both.infer("echo", X)
    assert len(echoes[1].infers()) == 4
    with pytest.raises(InferenceError, match=r"UNAVAILABLE: http://.*: Connection refused"):
        await connect(echoes[0].url, retry=None).server_live()


async def test_a_hedge_overtakes_a_server_that_hangs(echoes: list[HttpEchoServer], connect: Callable[..., Awaited]) -> None:
    client = connect([server.url for server in echoes], timeout=LIMIT_S, hedge_after=0.02)
    echoes[0].gate.clear()
    while not echoes[0].arrived.is_set():
        await client.infer("echo", X)
    assert await asyncio.to_thread(echoes[0].left.wait, LIMIT_S)


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
async def test_compression_both_ways(echo: HttpEchoServer, connect: Callable[..., Awaited], compression: str) -> None:
    echo.coding = compression
    result = await connect(echo.url, compression=compression, timeout=LIMIT_S).infer("echo", {"x": np.ones(10_000, np.float32)})
    assert result["x"].sum() == 10_000
    [asked] = echo.infers()
    assert (asked.headers["content-encoding"], asked.headers["accept-encoding"]) == (compression, compression)
    assert int(asked.headers["content-length"]) < 1000


async def test_tls_on_both_sides(connect: Callable[..., Awaited], tmp_path: Path) -> None:
    pem = Certificates()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (tmp_path / "server.pem").write_bytes(pem.server + pem.server_key)
    context.load_cert_chain(tmp_path / "server.pem")
    context.load_verify_locations(cadata=pem.ca.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    echo = HttpEchoServer(context=context)
    try:
        tls = TLS(ca=pem.ca, certificate=pem.client, key=pem.client_key, server_name=SERVER_NAME)
        client = connect(echo.url, tls=tls, token="t", timeout=LIMIT_S)
        assert repr(client.client).endswith(f"of {echo.url} (TLS)>")
        assert (await client.infer("echo", X))["x"].shape == (3,)
        assert echo.infers()[0].headers["authorization"] == "Bearer t"
        for other, why in ((TLS(), "its certificate is not trusted"), (TLS(ca=pem.ca, server_name="other.test"), "Hostname mismatch")):
            with pytest.raises(InferenceError, match=rf"UNAVAILABLE: .*{why}"):
                await connect(echo.url, tls=other, retry=None, timeout=LIMIT_S).server_live()
    finally:
        echo.stop()


async def test_a_unix_socket(connect: Callable[..., Awaited], tmp_path: Path) -> None:
    echo = HttpEchoServer(path=tmp_path / "echo.sock")
    try:
        assert (await connect(echo.url, token="t", timeout=LIMIT_S).infer("echo", X))["x"].shape == (3,)
    finally:
        echo.stop()


@pytest.mark.parametrize(
    ("said", "asked_nbytes", "failure"),
    [
        (b'413 Too Large\r\nContent-Length: 17\r\n\r\n{"error":"large"}', 8 << 20, "RESOURCE_EXHAUSTED: large"),
        (b"200 OK\r\nContent-Length: 99999\r\n\r\n{", 1, "UNAVAILABLE: .*closed the connection before the end of its response"),
    ],
)
def test_a_server_that_leaves_within_the_request_or_its_response(tmp_path: Path, said: bytes, asked_nbytes: int, failure: str) -> None:

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 " + said)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        server = threading.Thread(target=serve)
        server.start()
        with Client(f"http+unix:{tmp_path}/s", retry=None, timeout=LIMIT_S) as client, pytest.raises(InferenceError, match=failure):
            client.load_model("m", config=" " * asked_nbytes)
        server.join(LIMIT_S)


async def test_a_port_that_speaks_something_else(server: EchoServer, echo: HttpEchoServer, connect: Callable[..., Awaited]) -> None:
    with pytest.raises(InferenceError, match=r"UNAVAILABLE: .*no response of HTTP/1.1 came .*is it the port for HTTP"):
        await connect(f"http://{server.target}", retry=None, timeout=LIMIT_S).server_live()
    with pytest.raises(InferenceError, match=rf"UNAVAILABLE: .*it speaks no TLS there; write {echo.url}"):
        await connect(echo.url.replace("http", "https"), retry=None, timeout=LIMIT_S).server_live()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"token": "t"}, "token: without TLS whoever is on the way to 'http://inferd:8000' can read it; write https://"),
        ({"metadata": {"authorization": "x"}}, "metadata: authorization: without TLS"),
        ({"tls": TLS()}, "tls: http://inferd:8000 is plain HTTP; write https:// for TLS"),
        ({"credentials": grpc.ssl_channel_credentials()}, "credentials: they are gRPC's; for an https:// URL pass tls"),
        ({"options": [("grpc.lb_policy_name", "x")]}, "options: they are arguments of gRPC's channels"),
    ],
)
def test_arguments_that_do_not_fit_a_url(connect: Callable[..., Awaited], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        connect("http://inferd:8000", **arguments)


def test_without_aiohttp_there_is_the_blocking_client() -> None:
    program = (
        "import sys; sys.modules['aiohttp'] = None\n"
        "from inferd_client import AsyncClient, Client\n"
        "Client('http://localhost:1'); AsyncClient('localhost:1')\n"
        "AsyncClient('http://localhost:1')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT_S)
    assert "AsyncClient of a URL needs aiohttp: pip install 'inferd-client[http]'" in done.stderr.splitlines()[-1]


def test_threads_share_a_client(echo: HttpEchoServer) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with Client(echo.url, timeout=LIMIT_S) as client, ThreadPoolExecutor(8) as threads:
        rows = [np.full(3, number, np.float32) for number in range(64)]
        for row, result in zip(rows, threads.map(lambda row: client.infer("echo", {"x": row}), rows), strict=True):
            np.testing.assert_array_equal(result["x"], row)
    assert echo.connections <= 9
