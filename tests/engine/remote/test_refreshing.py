"""A store that changes while a server runs, and one that goes away meanwhile."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from inferd.config import Settings
from inferd.engine.remote import cache as caches
from inferd.engine.remote import local_paths, refreshing
from inferd.engine.remote.refreshing import Refresher
from tests.engine.remote.web_server import WebServer
from tests.server_fixtures import until

if TYPE_CHECKING:
    from pathlib import Path


def test_what_changes_in_a_store_is_fetched_to_the_same_path(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)
    with WebServer(b"one") as server:
        settings = Settings(models=(server.url,), model_cache=str(tmp_path))
        (path,) = local_paths(settings)
        refresher = Refresher({server.url: path}, settings, 0.001)
        server.content, server.tag = b"two", '"2"'
        refresher.update(server.url)
        assert path.read_bytes() == b"two"
        assert caplog.messages == []
        server.status = 403
        refresher.update(server.url)
        refresher.update(server.url)
        assert [message.partition("': ")[2] for message in caplog.messages] == [
            "the server does not let these credentials read it (403); what was fetched before stays"
        ]
        server.content, server.tag, server.status = b"three", '"3"', 0
        with monkeypatch.context() as patch:
            patch.setattr(refreshing, "has_changed", lambda *words: int("no number"))
            assert "no number" in refresher.update(server.url)
        refresher.start()
        until(lambda: path.read_bytes() == b"three")
        refresher.stop()
    caches.release()


def test_a_store_that_drips_holds_up_no_other(tmp_path: Path) -> None:
    with WebServer(b"one", name="slow.onnx") as slow, WebServer(b"one") as server:
        settings = Settings(models=(slow.url, server.url), model_cache=str(tmp_path))
        slow_path, path = local_paths(settings)
        slow.head, slow.drips = b"HTTP/1.1 200 OK\r\nX-A: ", True
        refresher = Refresher({slow.url: slow_path, server.url: path}, settings, 0.001)
        refresher.start()
        until(lambda: len(slow.headers) > 2)
        server.content, server.tag = b"two", '"2"'
        until(lambda: path.read_bytes() == b"two")
        refresher.stop()
    caches.release()
