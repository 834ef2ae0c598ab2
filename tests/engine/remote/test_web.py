"""One file of a web server: connections that are cut, a process that is killed, a disk that is full."""

from __future__ import annotations

import io
import logging
import os
import resource
import signal
import subprocess
import sys
import tarfile
import threading
from typing import TYPE_CHECKING

import pytest

from inferd.engine.remote import cache as caches
from inferd.engine.remote import download, fetching, web
from inferd.engine.remote.cache import Cache
from inferd.engine.remote.fetching import fetch, has_changed
from inferd.errors import StartError
from tests.engine.remote.archives import archive
from tests.engine.remote.web_server import WebServer
from tests.server_fixtures import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = bytes(range(256)) * (1 << 12)  # 1 MiB
PIECE = 1 << 17
OK = b"HTTP/1.1 200 OK\r\n"
DRIPPING_RANGE = b"HTTP/1.1 206 OK\r\nETag: 1\r\nContent-Range: bytes 0-0/99999\r\nContent-Length: 99999\r\n\r\n"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cache]:
    monkeypatch.setattr(download, "PIECE_BYTES", PIECE)
    monkeypatch.setattr(download, "FIRST_PAUSE_S", 0.001)
    yield Cache(tmp_path / "cache")
    caches.release()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_that_is_cut_is_taken_up_again(cache: Cache, ranges: bool) -> None:
    with WebServer(CONTENT, ranges=ranges, cut_after=PIECE // 2) as server:
        if not ranges:
            with pytest.raises(StartError, match="the connection was closed before all bytes had come"):
                fetch(server.url, cache)
            assert set(server.asked) == {0}
            server.cut_after = 0
        path = fetch(server.url, cache)
        assert path.name == "digits.onnx"
        assert path.read_bytes() == CONTENT
        if ranges:
            assert sorted(server.asked) == list(range(0, len(CONTENT), PIECE // 2)), "nothing is sent twice"


def test_a_server_that_forgets_ranges_is_read_from_the_start(cache: Cache) -> None:
    with WebServer(CONTENT, one_range=True) as server:
        assert fetch(server.url, cache).read_bytes() == CONTENT
        assert set(server.asked) == {0}


@pytest.mark.parametrize("damaged", [False, True])
def test_a_download_that_was_killed_goes_on_where_it_was(cache: Cache, damaged: bool) -> None:
    program = (
        "import sys; from pathlib import Path; from inferd.engine.remote import download, fetching; from inferd.engine.remote.cache import "
        f"Cache; download.PIECE_BYTES = {PIECE}; download.AT_ONCE = 1; fetching.fetch(sys.argv[1], Cache(Path(sys.argv[2])))"
    )
    with WebServer(CONTENT, hold_after=3 * PIECE) as server:
        killed = subprocess.Popen([sys.executable, "-c", program, server.url, str(cache.folder)])
        assert server.held.wait(60)
        until(lambda: any(path.read_text().startswith(f"{3 * PIECE} ") for path in cache.folder.rglob("records/*") if not path.suffix))
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        if damaged:  # as by a power cut
            (part,) = cache.folder.rglob("parts/*")
            with part.open("r+b") as file:
                file.write(bytes(4096))
        server.go.set()
        server.asked.clear()
        assert fetch(server.url, cache).read_bytes() == CONTENT
        assert min(server.asked) == (0 if damaged else 3 * PIECE)


def test_a_download_does_not_keep_its_process_from_ending(cache: Cache) -> None:
    with WebServer(CONTENT, hold_after=PIECE) as server:
        fetcher = threading.Thread(target=fetch, args=(server.url, cache), daemon=True)
        fetcher.start()
        assert server.held.wait(60)
        readers = [thread for thread in threading.enumerate() if thread.name == "inferd-download"]
        assert readers
        assert all(thread.daemon for thread in readers)
        server.go.set()
        fetcher.join()


def test_urls_that_differ_in_their_query_are_two(cache: Cache) -> None:
    with WebServer(b"one") as server:
        first = fetch(f"{server.url}?v=1", cache)
        server.content, server.tag = b"two", '"2"'
        assert fetch(f"{server.url}?v=2", cache).read_bytes() == b"two"
        assert first.read_bytes() == b"one"


def test_a_file_without_a_validator_is_fetched_each_time(cache: Cache) -> None:
    with WebServer(CONTENT, tag="") as server:
        path = fetch(server.url, cache)
        assert server.asked == [0], "several responses might be of several files"
        server.content = CONTENT[::-1]
        assert has_changed(server.url, path)
        assert fetch(server.url, cache).read_bytes() == CONTENT[::-1]


def test_a_store_that_drips_does_not_hold_up_a_start_from_the_cache(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "LOOK_S", 0.1)
    with WebServer(CONTENT) as server:
        path = fetch(server.url, cache)
        server.head, server.drips = OK + b"X-A: ", True
        assert fetch(server.url, cache) == path


@pytest.mark.parametrize(("status", "level"), [(503, "WARNING"), (404, "ERROR"), (410, "ERROR"), (403, "ERROR")])
def test_a_store_that_has_the_file_no_longer_is_an_error_in_the_log(
    cache: Cache, caplog: pytest.LogCaptureFixture, status: int, level: str
) -> None:
    with WebServer(CONTENT) as server:
        path = fetch(server.url, cache)
        server.status = status
        assert fetch(server.url, cache) == path
    (record,) = (record for record in caplog.records if "the copy in the cache is served" in record.message)
    assert record.levelname == level


def test_a_full_disk_is_an_error_and_the_next_attempt_goes_on(cache: Cache) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with WebServer(CONTENT) as server:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(CONTENT) // 2, limits[1]))
        try:
            with pytest.raises(StartError, match=r"cannot be written: File too large; make room, or name another folder \(--model-cache\)"):
                fetch(server.url, cache)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert not list(cache.folder.rglob("files/*.onnx"))
        server.asked.clear()
        assert fetch(server.url, cache).read_bytes() == CONTENT
        assert min(server.asked) == len(CONTENT) // 2


def test_a_disk_without_room_is_not_begun_with(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    free = os.statvfs(cache.folder.parent)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": len(CONTENT) - 1, "of": free}))
    with (
        WebServer(CONTENT) as server,
        pytest.raises(StartError, match=f"{len(CONTENT)} bytes are to be downloaded .* {len(CONTENT) - 1} are free"),
    ):
        fetch(server.url, cache)
    assert server.asked == []


def test_a_file_that_changes_while_it_is_read_is_fetched_as_it_is_then(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "AT_ONCE", 1)
    with WebServer(CONTENT, hold_after=PIECE) as server:
        url = server.url

        def change() -> None:
            server.content, server.tag = CONTENT[::-1], '"2"'

        original = download._Progress.add

        def changed_after_the_first_piece(self: download._Progress, nbytes: int) -> None:
            original(self, nbytes)
            change()
            server.go.set()

        monkeypatch.setattr(download._Progress, "add", changed_after_the_first_piece)
        path = fetch(url, cache)
        assert path.read_bytes() == CONTENT[::-1]
        assert not has_changed(url, path)
        server.tag = '"3"'
        assert has_changed(url, path)


def test_no_secret_of_a_url_is_said(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), WebServer(CONTENT) as server:
        url = f"http://user:s3cret@{server.host}/models/digits.onnx?X-Amz-Signature=s1gned"
        path = fetch(url, cache)
        assert server.headers[-1]["Authorization"] == "Basic dXNlcjpzM2NyZXQ="
        server.status = 403
        assert fetch(url, cache) == path
        caches.release()
        with pytest.raises(StartError) as error:
            fetch(url.replace("digits", "other"), cache)
    said = caplog.text + str(error.value) + "".join(map(str, cache.folder.rglob("*")))
    said += "".join(file.read_text() for file in cache.folder.rglob("manifest.json"))
    assert "s3cret" not in said
    assert "s1gned" not in said
    assert "digits.onnx?..." in said


@pytest.mark.parametrize(
    ("knobs", "limits", "said"),
    [
        ({"status": 404}, {}, "the server responded with 404 Not Found"),
        ({"status": 503}, {}, "the server responded with 503"),
        ({"status": 401}, {}, r"other credentials \(401\)"),
        ({"redirect": "ftp://host/x"}, {}, "redirects to 'ftp://host/x', which is not followed"),
        ({}, {"limit_bytes": len(CONTENT) - 1}, rf"it has {len(CONTENT)} bytes, and {len(CONTENT) - 1} may be downloaded"),
        ({"hold_after": 1}, {"timeout_s": 0.2}, r"it took longer than 0.2 s \(model_download_timeout_s\)"),
        ({"name": "models/"}, {}, "a web server lists no folders: name one file"),
        ({"head": OK + b"Content-Length: \xb2\r\n\r\n"}, {}, "does not say how long the file is"),
        ({"head": OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n"}, {}, "does not say how long the file is"),
        ({"head": b"HTTP/1.1 206 OK\r\nETag: 1\r\nContent-Range: bytes 7-7/9\r\n\r\n"}, {}, "sent other bytes of the file"),
        ({"head": b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 99999\r\n\r\n", "drips": True}, {}, "redirects too often"),
        ({"head": OK + b"X-A: ", "drips": True}, {"timeout_s": 0.2}, "it took longer than 0.2 s"),
        ({"head": OK + b"Content-Length: 99999\r\n\r\n", "drips": True}, {"timeout_s": 0.2}, "it took longer than 0.2 s"),
        ({"head": DRIPPING_RANGE, "drips": True}, {"timeout_s": 0.2}, "it took longer than 0.2 s"),
    ],
)
def test_what_cannot_be_fetched_is_an_error(cache: Cache, knobs: dict[str, object], limits: dict[str, float], said: str) -> None:
    with WebServer(CONTENT, **knobs) as server, pytest.raises(StartError, match=said):
        fetch(server.url, cache, **limits)


def test_a_store_of_the_internet_leads_to_no_address_of_this_network(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    with WebServer(CONTENT, address="127.0.0.2") as inner, WebServer(CONTENT, redirect=inner.url) as outer:
        assert fetch(outer.url, cache).read_bytes() == CONTENT, "here both are of this network"
        inner.headers.clear()
        monkeypatch.setattr(web, "is_inside", lambda address: address == "127.0.0.2")
        with pytest.raises(StartError, match="redirects to an address inside this network, which is not followed"):
            fetch(f"{outer.url}?again", cache)
        assert inner.headers == []
        assert fetch(f"{inner.url}?named", cache).read_bytes() == CONTENT, "the store itself may be there"


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        *(("127.0.0.1", True), ("::1", True), ("169.254.169.254", True), ("fe80::1%eth0", True), ("10.0.0.1", True), ("fd00::1", True)),
        *(("100.64.0.1", True), ("::ffff:10.0.0.1", True), ("0.0.0.0", True), ("8.8.8.8", False), ("2600::1", False)),
    ],
)
def test_addresses_inside_a_network(address: str, inside: bool) -> None:
    assert web.is_inside(address) == inside


def test_an_archive_that_is_rejected_leaves_no_files(cache: Cache) -> None:
    with (
        WebServer(archive({"1/model.onnx": b"one"}, links={"link": "/etc"}), name="digits.tar.gz") as server,
        pytest.raises(StartError, match="'link' in an archive is a link"),
    ):
        fetch(server.url, cache)
    assert not list(cache.folder.rglob("model.onnx"))


def test_an_archive_is_unpacked(cache: Cache) -> None:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as tar:
        info = tarfile.TarInfo("1/model.onnx")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"one"))
    with WebServer(written.getvalue(), name="digits.tar.gz") as server:
        path = fetch(server.url, cache)
        assert path.name == "digits"
        assert (path / "1" / "model.onnx").read_bytes() == b"one"
        assert fetch(server.url, cache) == path
        (path / "1" / "model.onnx").write_bytes(b"two")
        assert (fetch(server.url, cache) / "1" / "model.onnx").read_bytes() == b"one"
