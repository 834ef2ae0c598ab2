"""REST over HTTP/1.1 as clients see it: bodies, codings, deadlines, tokens, TLS, drain.

The same server serves REST beside grpcio: tests of its life and of access take both transports."""

from __future__ import annotations

import gc
import gzip
import json
import re
import socket
import ssl
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferd._core.grpc import message as messages
from tests import models
from tests.certificates import Files
from tests.rest import LIMIT_S, Asker, infer_body
from tests.server_fixtures import TRANSPORTS, Program, ServerFixture, until

TOKEN = "a" * 32
LIMITS = {"max_message_bytes": 1 << 20, "max_header_bytes": 4096, "compression": "gzip"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.repository(
        tmp_path_factory.mktemp("models"),
        {
            "identity": models.identity(),
            "text": models.text(),
            "sentence": models.text((1,)),
            "add": models.add(),
            "wide": models.identity("FP32", (1000,)),
            "slow": models.slow(300),
            "full": models.slow(200),
        },
        {"slow": "max_batch_size: 1", "full": "max_batch_size: 1 inferd { max_queue_requests: 1 inline: OFF }"},
    )


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[ServerFixture]:
    with ServerFixture(folder, http_port=0, **LIMITS) as server:
        yield server


@pytest.fixture
def asker(served: ServerFixture) -> Iterator[Asker]:
    with Asker(served.http) as asker:
        yield asker


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ones(model: str = "x", size: int = 16, value: float = 1) -> dict[str, Any]:
    return infer_body(model, "FP32", [1, size], [value] * size)


# ---- bodies


def test_json_in_and_out(asker: Asker) -> None:
    answer = asker.post("/v2/models/identity/infer", {**ones(value=0.1), "id": "7"})
    assert answer.json == {
        "model_name": "identity",
        "model_version": "1",
        "id": "7",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 16], "data": [0.1] * 16}],
    }
    assert asker.post("/v2/models/identity/versions/1/infer", ones()).json["model_version"] == "1"
    assert asker.post("/v2/models/identity/versions/2/infer", ones()).status == 404


def test_text(asker: Asker) -> None:
    answer = asker.post("/v2/models/text/infer", infer_body("x", "BYTES", [1, 2], [["ä", 'a"\n']]))
    assert answer.json["outputs"][0]["data"] == ["ä", 'a"\n']


def test_binary_in_and_out(asker: Asker) -> None:
    array = np.arange(16, dtype=np.float32)
    tensors = [{"name": name, "datatype": "FP32", "shape": [1, 16], "parameters": {"binary_data_size": 64}} for name in "ab"]
    document = json.dumps({"inputs": tensors, "outputs": [{"name": "sum", "parameters": {"binary_data": True}}, {"name": "difference"}]})
    body = document.encode() + array.tobytes() + array.tobytes()
    answer = asker.post("/v2/models/add/infer", body, inference_header_content_length=str(len(document)))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/octet-stream")
    nbytes = int(answer.headers["inference-header-content-length"])
    total, difference = json.loads(answer.body[:nbytes])["outputs"]
    assert (total["parameters"], difference["data"]) == ({"binary_data_size": 64}, [0] * 16)
    assert answer.body[nbytes:] == (array + array).tobytes()


@pytest.mark.parametrize(
    ("model", "row", "response"),
    [
        ("identity", np.arange(16, dtype=np.float32).tobytes(), np.arange(16, dtype=np.float32).tobytes()),
        ("sentence", b"ab", b"\x02\0\0\0ab"),
    ],
)
def test_a_row_of_bytes(asker: Asker, model: str, row: bytes, response: bytes) -> None:
    answer = asker.post(f"/v2/models/{model}/infer", row, inference_header_content_length="0")
    assert (answer.status, answer.body[int(answer.headers["inference-header-content-length"]) :]) == (200, response)
    answer = asker.post("/v2/models/add/infer", row, inference_header_content_length="0")
    assert (answer.status, "is for models of one input, this one has 2" in answer.error) == (400, True), answer.error


def test_long_json(asker: Asker) -> None:
    """So long that a thread reads it, and writes the response."""
    data = [index / 8 for index in range(40_000)]
    answer = asker.post("/v2/models/wide/infer", infer_body("x", "FP32", [40, 1000], data))
    assert answer.json["outputs"][0]["data"] == data


def test_chunks(asker: Asker) -> None:
    text = json.dumps(ones()).encode()
    assert asker.post("/v2/models/identity/infer", iter([text[:7], text[7:]])).status == 200


def test_pipelined_requests_are_answered_in_order(served: ServerFixture) -> None:
    host, _, port = served.http.rpartition(":")
    with socket.create_connection((host, int(port)), LIMIT_S) as client:
        client.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /v2/nosuch HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        said = b"".join(iter(lambda: client.recv(1 << 16), b""))
    assert re.findall(rb"HTTP/1.1 (\d+) ", said) == [b"200", b"404"]


def test_expect(served: ServerFixture) -> None:
    host, _, port = served.http.rpartition(":")
    body = json.dumps(ones()).encode()
    head = b"POST /v2/models/identity/infer HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection((host, int(port)), LIMIT_S) as client, client.makefile("rb") as said:
        client.sendall(head % len(body))
        assert said.readline() == b"HTTP/1.1 100 Continue\r\n"
        client.sendall(body)
        assert b"HTTP/1.1 200 OK" in said.read()


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_requests(asker: Asker, coding: str, pack: Any) -> None:
    text = json.dumps(ones()).encode()
    assert asker.post("/v2/models/identity/infer", pack(text), content_encoding=coding).status == 200
    answer = asker.post("/v2/models/identity/infer", text, content_encoding=coding)
    assert (answer.status, f"expected {coding}" in answer.error) == (400, True)
    bomb = asker.post("/v2/models/identity/infer", pack(bytes(8 << 20)), content_encoding=coding)
    assert (bomb.status, "max_message_bytes" in bomb.error) == (413, True)


def test_compressed_responses(asker: Asker) -> None:
    large = ones(size=1000)
    plain = asker.post("/v2/models/wide/infer", large)
    packed = asker.post("/v2/models/wide/infer", large, accept_encoding="deflate, gzip")
    assert ("content-encoding" in plain.headers, packed.headers["content-encoding"]) == (False, "gzip")
    assert gzip.decompress(packed.body) == plain.body
    assert "content-encoding" not in asker.post("/v2/models/identity/infer", ones(), accept_encoding="gzip").headers


# ---- rejections


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b"{", {}, 400, "JSON"),
        (ones("z"), {}, 400, "'z'"),
        (bytes(2 << 20), {}, 413, "expected at most 1048576 bytes (max_message_bytes"),
        ([bytes(1 << 20), bytes(1)], {}, 413, "max_message_bytes"),  # in chunks
        (ones(), {"inference_header_content_length": "x"}, 400, "Inference-Header-Content-Length: expected a number"),
        (ones(), {"inference_header_content_length": "9999"}, 400, "Inference-Header-Content-Length: expected at most"),
        (ones(), {"inferd_timeout_ms": "-1"}, 400, "Inferd-Timeout-Ms: expected a number"),
        (ones(), {"inferd_timeout_ms": "0"}, 504, "deadline"),
        (ones(), {"content_encoding": "br"}, 415, "Content-Encoding: expected gzip, deflate or identity"),
        (ones(), {"expect": "200-ok"}, 417, "Expect: expected 100-continue"),
    ],
    ids=str,
)
def test_rejections(asker: Asker, body: Any, headers: dict[str, str], status: int, words: str) -> None:
    answer = asker.post("/v2/models/identity/infer", iter(body) if isinstance(body, list) else body, **headers)
    assert (answer.status, words in answer.error) == (status, True), answer.error


def test_long_headers(asker: Asker) -> None:
    answer = asker.get("/v2", x_long="x" * 10_000)
    assert (answer.status, "max_header_bytes" in answer.error) == (431, True)


def test_many_headers(served: ServerFixture) -> None:
    """Their sum counts, also before the head is whole."""
    for source in (b"GET /v2 HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 2000 + end for end in (b"\r\n", b"")):
        host, _, port = served.http.rpartition(":")
        with socket.create_connection((host, int(port)), LIMIT_S) as client:
            client.sendall(source)
            assert re.match(rb"HTTP/1.[01] 431 ", client.recv(1 << 16))


def test_what_is_no_http(served: ServerFixture) -> None:
    host, _, port = served.http.rpartition(":")
    with socket.create_connection((host, int(port)), LIMIT_S) as client:
        client.sendall(b"\x16\x03\x01\x00\xa5 hello\r\n\r\n")
        said = b"".join(iter(lambda: client.recv(1 << 16), b""))
    assert said.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert b'"error"' in said


def test_the_deadline_of_a_request_that_waits(asker: Asker) -> None:
    for name in ("inferd_timeout_ms", "x_envoy_expected_rq_timeout_ms"):
        answer = asker.post("/v2/models/slow/infer", ones(size=64), **{name: "20"})
        assert (answer.status, answer.json["code"]) == (504, "DEADLINE_EXCEEDED")


def test_a_full_queue_says_when_to_come_back(served: ServerFixture) -> None:
    answers = []

    def ask() -> None:
        with Asker(served.http) as asker:
            answers.append(asker.post("/v2/models/full/infer", ones(size=64)))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    rejected = [answer for answer in answers if answer.status != 200]
    assert rejected
    assert {(answer.status, answer.json["code"]) for answer in rejected} == {(429, "RESOURCE_EXHAUSTED")}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in rejected)


def test_a_client_that_leaves_cancels_its_request(served: ServerFixture) -> None:
    host, _, port = served.http.rpartition(":")
    body = json.dumps(ones(size=64)).encode()
    head = b"POST /v2/models/slow/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    clients = [socket.create_connection((host, int(port)), LIMIT_S) for _ in range(5)]
    for client in clients:
        client.sendall(head + body)
    until(lambda: served.on_loop(lambda: served.measured("inferd_streams")[()]) == 5)
    for client in clients:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        client.close()
    until(lambda: served.on_loop(lambda: served.measured("inferd_streams")[()]) == 0)
    assert sum(model.failures["CANCELED"] for model in served.on_loop(lambda: list(served.server.repository.models()))) >= 3


def test_request_ids_come_back(asker: Asker) -> None:
    assert asker.get("/v2/nosuch", x_request_id="a-1").headers["x-request-id"] == "a-1"


def test_headers_beyond_ascii(served: ServerFixture) -> None:
    host, _, port = served.http.rpartition(":")
    with socket.create_connection((host, int(port)), LIMIT_S) as client, client.makefile("rb") as said:
        client.sendall("GET /v2 HTTP/1.1\r\nHost: x\r\nX-Request-Id: ä\r\n".encode() + b"X-Any: \xff\r\nConnection: close\r\n\r\n")
        response = said.read()
    assert response.startswith(b"HTTP/1.1 200 ")
    assert "x-request-id: ä\r\n".encode() in response.replace(b"X-Request-Id", b"x-request-id")


def test_no_word_of_what_serves(asker: Asker) -> None:
    assert asker.get("/v2").headers.get("server", "inferd") == "inferd"


# ---- who may ask


def test_pages_of_another_origin_with_tokens(folder: Path, transport: str, tmp_path: Path) -> None:
    """A browser sends no token when it asks first, and shows a page only what says its origin."""
    (tmp_path / "tokens").write_text(f"{TOKEN}\n")
    (tmp_path / "tokens").chmod(0o600)
    origin = "https://a.example"
    settings = {"token_file": str(tmp_path / "tokens"), "cors_origin": [origin], "http_port": 0}
    with ServerFixture(folder / "identity", transport=transport, **settings) as server, Asker(server.http) as client:
        asked = client.ask("OPTIONS", "/v2/models/identity/infer", Origin=origin, Access_Control_Request_Method="POST")
        assert (asked.status, asked.headers["access-control-allow-origin"]) == (204, origin)
        for answer in (client.get("/v2", Origin=origin), client.post("/v2/models/identity/infer", {}, Origin=origin)):
            assert (answer.status, answer.headers["access-control-allow-origin"]) == (401, origin)


def test_wrong_bodies_are_forgotten(asker: Asker) -> None:
    """Long ones, which a thread reads: without the collector of cycles, which a server calls rarely."""
    before_nbytes = messages.in_use()
    gc.disable()
    try:
        for _ in range(3):
            assert asker.post("/v2/models/identity/infer", b"[" * 900_000).status == 400
        until(lambda: messages.in_use() < before_nbytes + 900_000)
    finally:
        gc.enable()


def test_paths_that_are_none(asker: Asker) -> None:
    for path in ("/v2/models/identity/infer/", "//v2/models/identity/infer", "/v2/models//infer"):
        assert asker.post(path, {}).status == 404
    for path in ("/v2/models/%ff/infer", "/v2/models/identity/versions/%ff/infer"):
        with Asker(f"127.0.0.1:{asker.connection.port}") as other:  # what is wrong in a head ends the connection
            answer = other.post(path, {})
            assert (answer.status, answer.error) == (400, "path: expected names in UTF-8, percent-encoded, got bytes that are none")


def test_tokens(folder: Path, transport: str, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(f"{TOKEN}\n")
    (tmp_path / "tokens").chmod(0o600)
    settings = {"token_file": str(tmp_path / "tokens"), "http_port": 0}
    with ServerFixture(folder / "identity", transport=transport, **settings) as served, Asker(served.http) as asker:
        assert asker.get("/v2/health/ready").status == 200  # a probe has none
        answer = asker.get("/v2")
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert asker.post("/v2/models/identity/infer", ones(), authorization=f"Bearer {TOKEN[1:]}b").status == 401
        paths = ("/v2/nothing", "/v2/models/none", "/v2/repository/models/m/load", "/v2/health", "/v2/models/none/infer", "/v2/logging")
        for verb in ("GET", "POST", "PUT"):  # nothing tells what is here: no 404, 405 or 412
            assert [asker.ask(verb, path, b"{}").status for path in paths] == [401] * len(paths)
        answers = [asker.post(path, b"{}", authorization=f"Bearer {TOKEN}").status for path in paths]
        assert answers == [404, 405, 412, 404, 404, 200]
        assert asker.post("/v2/models/identity/infer", ones(), authorization=f"Bearer {TOKEN}").status == 200


def test_tls_and_names(folder: Path, transport: str, tmp_path: Path) -> None:
    files = Files.made(tmp_path / "tls")
    rules = {"tls_client_ca": str(files.ca), "tls_allow": ("dns:good.test",), "listen": ("http:plaintext:127.0.0.1:0",)}
    with ServerFixture(folder / "identity", transport=transport, http_port=0, **files.settings(**rules)) as served:
        for name, status in (("good.test", 200), ("bad.test", 403)):
            context = ssl.create_default_context(cadata=files.authority.cert_pem.bytes().decode())
            files.authority.issue_cert(name).configure_cert(context)
            with Asker(served.http.replace("127.0.0.1", "localhost"), context) as asker:
                assert asker.post("/v2/models/identity/infer", ones()).status == status
        (plain,) = served.addresses["listen"]
        with Asker(plain.removeprefix("http:")) as asker:
            assert asker.get("/v2").status == 200


def test_unix_sockets(folder: Path, transport: str, tmp_path: Path) -> None:
    path = f"unix:{tmp_path}/rest.sock"
    with ServerFixture(folder / "identity", transport=transport, listen=(f"http:{path}",)) as served, Asker(path) as asker:
        assert served.http == path
        assert asker.post("/v2/models/identity/infer", ones()).status == 200


# ---- the server's life


def test_what_comes_too_slowly(folder: Path, transport: str) -> None:
    """A head; a body that never ends, whose length nobody knows."""
    head = b"POST /v2/models/identity/infer HTTP/1.1\r\nHost: x\r\n"
    with ServerFixture(folder / "identity", transport=transport, http_port=0, stall_timeout_s=1) as served:
        host, _, port = served.http.rpartition(":")
        clients = [socket.create_connection((host, int(port)), LIMIT_S) for _ in range(2)]
        for client, rest in zip(clients, (b"", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"), strict=True):
            client.sendall(head + rest)
        for client in clients:
            with client, client.makefile("rb") as said:
                response = said.read()
            assert response.startswith(b"HTTP/1.1 408 ")
            assert b'"DEADLINE_EXCEEDED"' in response


def test_a_request_on_its_way_is_answered_before_the_end(folder: Path, transport: str) -> None:
    body = json.dumps(ones()).encode()
    request = b"POST /v2/models/identity/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with ServerFixture(folder / "identity", transport=transport, http_port=0) as served:
        host, _, port = served.http.rpartition(":")
        stopping = threading.Thread(target=served.__exit__, args=(None, None, None))
        clients = {nbytes: socket.create_connection((host, int(port)), LIMIT_S) for nbytes in (20, len(request) - 20)}
        with Asker(served.http) as idle:
            for nbytes, client in clients.items():
                client.sendall(request[:nbytes])
            until(lambda: served.on_loop(lambda: served.measured("inferd_streams")[()]) == 1)
            assert idle.get("/v2/health/ready").status == 200
            stopping.start()
            assert idle.connection.sock.recv(1) == b""
        for nbytes, client in clients.items():
            client.sendall(request[nbytes:])
            with client, client.makefile("rb") as said:
                response = said.read()
            assert response.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"connection: close\r\n" in response.lower()
        stopping.join(LIMIT_S)
        assert not stopping.is_alive()


def test_what_has_come_is_answered_before_the_end(folder: Path, transport: str) -> None:
    with ServerFixture(folder / "slow", transport=transport, http_port=0) as served:
        stopping = threading.Thread(target=served.__exit__, args=(None, None, None))
        with Asker(served.http) as idle, Asker(served.http) as asker:
            assert idle.get("/v2/health/ready").status == 200
            asker.connection.request("POST", "/v2/models/slow/infer", json.dumps(ones(size=64)).encode())
            until(lambda: served.on_loop(lambda: served.measured("inferd_streams")[()]) == 1)
            stopping.start()
            response = asker.connection.getresponse()
            assert (response.status, response.headers["connection"]) == (200, "close")
            assert idle.connection.sock.recv(1) == b""
        stopping.join(LIMIT_S)
        assert not stopping.is_alive()


def test_workers_get_connections_of_rest(folder: Path) -> None:
    with Program(folder / "identity", "--workers", "2", "--http-port", "0") as program:
        for _ in range(3):
            with Asker(program.addresses["http"]) as asker:
                assert asker.post("/v2/models/identity/infer", ones()).status == 200
                assert asker.get("/metrics").status == 501  # this worker's alone are no use
