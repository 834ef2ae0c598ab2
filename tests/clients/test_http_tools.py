"""curl and nghttp, HTTP/2 clients that know nothing of gRPC: one call each, in plaintext and by TLS, on both transports.

Trailers, framing and the answer's bytes are looked at as they came.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inferd.protocol import inference
from tests import models
from tests.certificates import Files
from tests.http2_peer import framed
from tests.server_fixtures import TRANSPORTS, ServerFixture
from tests.wire import INFER, infer_request, outputs_of, rows, same

HEADERS = ("-H", "content-type: application/grpc", "-H", "te: trailers")
PREFIX_NBYTES = 5
LARGE = {"x": rows(2_500)}  # 160 KB: more than HTTP/2's first window lets through at once


def program(name: str) -> str:
    found = shutil.which(name)
    assert found, f"{name} is missing: install Debian's {'nghttp2-client' if name == 'nghttp' else name}"
    return found


@pytest.fixture(scope="module", params=[(transport, secure) for transport in TRANSPORTS for secure in (False, True)])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address as a URL, and the folder that holds the authority's certificate, ca.pem."""
    folder = tmp_path_factory.mktemp("tools")
    files = models.repository(folder / "models", {"identity": models.identity()}, {"identity": "max_batch_size: 4096"})
    transport, secure = request.param
    settings = Files.made(folder).settings() if secure else {}
    with ServerFixture(files, transport=transport, **settings) as server:
        yield f"{'https' if secure else 'http'}://{server.address}", folder


def run(command: list[str | Path]) -> bytes:
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def body_of(folder: Path, model: str, inputs: dict[str, Any]) -> Path:
    path = folder / f"{model}.body"
    path.write_bytes(framed(infer_request(model, inputs).SerializeToString()))
    return path


def answer_of(body: bytes) -> dict[str, Any]:
    assert body[:PREFIX_NBYTES] == b"\0" + (len(body) - PREFIX_NBYTES).to_bytes(4, "big")
    return outputs_of(inference.ModelInferResponse.FromString(body[PREFIX_NBYTES:]))


def curl(url: str, folder: Path, model: str, inputs: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    """The body, and headers and trailers together."""
    how = ["--http2", "--cacert", folder / "ca.pem"] if url.startswith("https") else ["--http2-prior-knowledge"]
    head = folder / "head"
    data = f"@{body_of(folder, model, inputs)}"
    body = run([program("curl"), "-sS", *how, *HEADERS, "--data-binary", data, "-D", head, url + INFER])
    lines = [line.partition(": ") for line in head.read_text().splitlines() if ": " in line]
    return body, {name: value for name, _, value in lines}


def test_curl(served: tuple[str, Path]) -> None:
    body, fields = curl(*served, "identity", LARGE)
    assert fields["content-type"] == "application/grpc"
    assert fields["grpc-status"] == "0"
    same(answer_of(body), {"y": LARGE["x"]})


def test_curl_reads_a_refusal(served: tuple[str, Path]) -> None:
    body, fields = curl(*served, "nosuch", {"x": rows(1)})
    assert body == b""
    assert fields["grpc-status"] == "5"
    assert "nosuch" in fields["grpc-message"]


def nghttp(url: str, folder: Path, flag: str) -> bytes:
    return run([program("nghttp"), flag, "--no-verify-peer", *HEADERS, "-d", body_of(folder, "identity", LARGE), url + INFER])


def test_nghttp(served: tuple[str, Path]) -> None:
    same(answer_of(nghttp(*served, "--no-dep")), {"y": LARGE["x"]})
    frames = nghttp(*served, "-nv").decode()
    assert ":status: 200" in frames
    assert "grpc-status: 0" in frames
