"""Memory goes back to the system, and when the server gives it."""

from __future__ import annotations

import os
import ssl
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from inferd.serving import connection, memory, native
from tests import models
from tests.certificates import Files
from tests.http2_peer import EMPTY_SETTINGS, NO_PING, PREFACE, Peer, connected
from tests.server_fixtures import LIMIT_S, ServerFixture

BLOCK_NBYTES, BLOCKS = 60_000, 1000  # small enough for the heap


def rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(memory._trim is None, reason="not glibc")
@pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="the address sanitizer's allocator, not glibc's")
def test_pages_that_hold_nothing_go_back() -> None:
    blocks: list[Any] = [bytearray(b"x") * BLOCK_NBYTES for _ in range(BLOCKS)]
    keep = blocks[99::100]  # the heap does not shrink by itself
    full = rss_bytes()
    blocks.clear()
    memory.give_back()
    assert rss_bytes() < full - BLOCK_NBYTES * BLOCKS / 2
    assert keep


@pytest.mark.parametrize("secure", [True, False])
def test_after_many_connections_by_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secure: bool) -> None:
    given: list[float] = []
    monkeypatch.setattr(native, "give_back", lambda: given.append(served.server._transport.counters()["connections_total"]))
    monkeypatch.setattr(native, "STALL_CHECK_S", 0.01)
    monkeypatch.setattr(native, "GIVE_BACK_CONNECTIONS", 4)
    files = Files.made(tmp_path / "tls")
    model = models.repository(tmp_path / "models", {"identity": models.identity()})
    listen = ("plaintext:127.0.0.1:0",) if secure else ("127.0.0.1:0",)
    with ServerFixture(model, listen=listen, **(files.settings() if secure else {})) as served:
        address = served.addresses["listen"][0].removeprefix("plaintext:")
        for _ in range(4):
            with connected(address):
                pass
        end = time.monotonic() + LIMIT_S
        while served.server._transport.counters()["connections_total"] < 4 or (secure and not given):
            assert time.monotonic() < end
        assert given == ([4] if secure else [])


def test_after_connections_by_tls_that_the_server_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When they are gone, not when HTTP/2 is: until then each has its buffers."""
    given: list[float] = []
    monkeypatch.setattr(native, "give_back", lambda: given.append(served.server._transport.counters()["connections"]))
    monkeypatch.setattr(native, "STALL_CHECK_S", 0.01)
    monkeypatch.setattr(native, "GIVE_BACK_CONNECTIONS", 4)
    monkeypatch.setattr(connection, "CLOSE_TIMEOUT_S", 0.5)
    files = Files.made(tmp_path / "tls")
    model = models.repository(tmp_path / "models", {"identity": models.identity()})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with ServerFixture(model, listen=("127.0.0.1:0",), **files.settings()) as served, ExitStack() as opened:
        for _ in range(4):
            client = opened.enter_context(context.wrap_socket(connected(served.addresses["listen"][0])))
            client.sendall(PREFACE + EMPTY_SETTINGS + NO_PING)
            while client.recv(1 << 16):
                pass
        end = time.monotonic() + LIMIT_S
        while not given:
            assert time.monotonic() < end
        assert given == [0]


@pytest.mark.parametrize("of", ["connections", "calls"])
def test_after_a_wave(of: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without TLS, too. One that was smaller is none."""
    given: list[int] = []
    monkeypatch.setattr(native, "give_back", lambda: given.append(getattr(transport.endpoint, of)))
    monkeypatch.setattr(native, "STALL_CHECK_S", 0.01)
    monkeypatch.setattr(native, "GIVE_BACK_WAVES", (8, 1000) if of == "connections" else (1000, 8))
    model = models.repository(tmp_path / "models", {"identity": models.identity()})
    with ServerFixture(model) as served:
        transport: Any = served.server._transport
        wave = transport._call_wave if of == "calls" else transport._connection_wave
        until = time.monotonic() + LIMIT_S
        for count, times in ((7, 0), (8, 1), (7, 1), (8, 2)):
            with ExitStack() as opened:
                peers = [opened.enter_context(Peer(served.address)) for _ in range(count if of == "connections" else 1)]
                for _ in range(count if of == "calls" else 0):
                    peers[0].open()
                while wave._most < count or getattr(transport.endpoint, of) < count:
                    assert time.monotonic() < until
            while getattr(transport.endpoint, of) or len(given) < times:
                assert time.monotonic() < until
            assert len(given) == times
            assert all(left <= 8 // 4 for left in given)
