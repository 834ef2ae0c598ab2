"""A port of REST on the native transport speaks HTTP/2, too, whichever way the client asks for it: gRPC works there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from tests import models
from tests.certificates import Files
from tests.rest import Asker, infer_body
from tests.server_fixtures import LIMIT_S, ServerFixture
from tests.wire import INFER, Caller, infer_request, rows, same


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.repository(tmp_path_factory.mktemp("models"), {"identity": models.identity()})


@pytest.fixture(scope="module")
def served(model: Path) -> Iterator[ServerFixture]:
    with ServerFixture(model, http_port=0) as server:
        yield server


def test_http2_with_prior_knowledge(served: ServerFixture) -> None:
    with Caller(served.http) as caller, Asker(served.http) as asker:
        same(caller.answers("identity", {"x": rows(2)}), {"y": rows(2)})
        assert asker.post("/v2/models/identity/infer", infer_body("x", "FP32", [1, 16], [1] * 16)).status == 200
    assert served.on_loop(lambda: served.server.edge._grpc.counters()["connections_total"]) >= 2


def test_http2_by_tls_keeps_who_the_client_is(model: Path, tmp_path: Path) -> None:
    files = Files.made(tmp_path / "tls")
    rules = {"tls_client_ca": str(files.ca), "tls_allow": ("dns:good.test",)}
    request = infer_request("identity", {"x": np.ones((1, 16), np.float32)}).SerializeToString()
    with ServerFixture(model, http_port=0, **files.settings(**rules)) as served:
        with files.channel(served.http, files.authority.issue_cert("good.test")) as channel:
            assert channel.unary_unary(INFER)(request, timeout=LIMIT_S)
        with files.channel(served.http, files.authority.issue_cert("bad.test")) as channel, pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(INFER)(request, timeout=LIMIT_S)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED  # type: ignore[attr-defined]
