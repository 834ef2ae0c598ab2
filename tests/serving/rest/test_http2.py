"""REST by HTTP/2, with clients that people have: on the port of REST and on gRPC's, in plaintext and by TLS (ALPN)."""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests import models
from tests.certificates import Files
from tests.rest import Asker, infer_body
from tests.server_fixtures import ServerFixture

PATH = "/v2/models/identity/infer"
BODY = json.dumps(infer_body("x", "FP32", [1, 16], list(range(16))))


@pytest.fixture(scope="module", params=["plaintext", "tls"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFixture]:
    folder = models.repository(tmp_path_factory.mktemp("models"), {"identity": models.identity()})
    keys = Files.made(tmp_path_factory.mktemp("tls")).settings() if request.param == "tls" else {}
    with ServerFixture(folder, http_port=0, **keys) as server:
        yield server


def curl(served: ServerFixture, address: str, path: str, *words: str) -> tuple[str, bytes]:
    """The version of HTTP and the status, and the body."""
    tls = served.settings.tls_cert
    how = ["--http2", "--cacert", str(Path(tls).parent / "ca.pem")] if tls else ["--http2-prior-knowledge"]
    url = f"{'https' if tls else 'http'}://{address}{path}"
    done = subprocess.run(["curl", "-sS", *how, "-w", "\n%{http_version} %{http_code}", *words, url], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    body, _, said = done.stdout.rpartition(b"\n")
    return said.decode(), body


def test_both_ports_speak_it(served: ServerFixture) -> None:
    for address in (served.http, served.address):
        assert curl(served, address, "/v2/health/ready") == ("2 200", b'{"ready":true}')
        said, body = curl(served, address, PATH, "-d", BODY)
        assert (said, json.loads(body)["outputs"][0]["data"]) == ("2 200", list(range(16)))
        said, body = curl(served, address, "/v2/models/nosuch/infer", "-d", BODY)
        assert (said, json.loads(body)["code"]) == ("2 404", "NOT_FOUND")


def test_it_says_what_http_1_says(served: ServerFixture) -> None:
    tls = served.settings.tls_cert
    with Asker(served.http, ssl.create_default_context(cafile=str(Path(tls).parent / "ca.pem")) if tls else None) as asker:
        for path in ("/v2", "/v2/models/identity", "/v2/nothing"):
            answer = asker.get(path)
            assert curl(served, served.http, path) == (f"2 {answer.status}", answer.body)


def test_binary_tensors_both_ways(served: ServerFixture, tmp_path: Path) -> None:
    row = np.arange(16, dtype=np.float32).tobytes()
    head = json.dumps(
        {
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 16], "parameters": {"binary_data_size": len(row)}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    (tmp_path / "body").write_bytes(head + row)
    length = f"Inference-Header-Content-Length: {len(head)}"
    said, body = curl(served, served.http, PATH, "--data-binary", f"@{tmp_path / 'body'}", "-H", length)
    assert (said, body[-len(row) :]) == ("2 200", row)


def test_many_streams_of_one_connection(served: ServerFixture, tmp_path: Path) -> None:
    (tmp_path / "body").write_text(BODY)
    url = f"{'https' if served.settings.tls_cert else 'http'}://{served.http}{PATH}"
    done = subprocess.run(
        ["h2load", "-n", "300", "-c", "2", "-m", "20", "-d", str(tmp_path / "body"), url], capture_output=True, check=True
    )
    assert b"status codes: 300 2xx" in done.stdout
