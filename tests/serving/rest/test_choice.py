"""Which server speaks REST, and what is said where the native one was not built."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from inferd.config import Address
from inferd.serving.rest import choice
from tests import models
from tests.rest import Asker, infer_body
from tests.server_fixtures import ServerFixture

GRPC, REST = Address("127.0.0.1", 8001), Address("127.0.0.1", 8000, http=True)


@pytest.fixture
def not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "NATIVE", {"inferd._core.nothing": "libllhttp-dev", "inferd._core.codec.infer": "libyyjson-dev"})


def test_what_is_there_speaks(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda name: None)
    assert (choice.rest_server(native=True), choice.rest_server(native=False)) == ("", "")
    assert choice.served([GRPC, REST], native=True) == [GRPC]
    assert "pip install 'inferd[http]'" in caplog.text
    assert choice.served([GRPC], native=True) == [GRPC]
    monkeypatch.setattr(choice, "find_spec", lambda name: object())
    assert (choice.rest_server(native=True), choice.rest_server(native=False)) == ("native", "aiohttp")
    assert choice.served([GRPC, REST], native=True) == [GRPC, REST]


def test_aiohttp_stands_in_beside_the_native_transport(not_built: None, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    model = models.repository(tmp_path, {"identity": models.identity()})
    with ServerFixture(model, http_port=0) as served, Asker(served.http) as asker:
        assert asker.post("/v2/models/identity/infer", infer_body("x", "FP32", [1, 16], [1] * 16)).status == 200
    assert "served by aiohttp, which is slower: install libllhttp-dev and build inferd again" in caplog.text
    assert "(native transport, REST by aiohttp)" in caplog.text
