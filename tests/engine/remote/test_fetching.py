"""URLs to verified folders: by every kind of store, from the cache, and with a store that is away."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from inferd.config import Settings
from inferd.engine.remote import cache as caches
from inferd.engine.remote import download, local_paths
from inferd.engine.remote.cache import Cache
from inferd.engine.remote.fetching import fetch, has_changed
from inferd.engine.remote.objects import _said
from inferd.errors import ConfigError, StartError
from tests import models
from tests.engine.remote.stores import S3, Azure, GoogleStorage
from tests.engine.remote.web_server import WebServer
from tests.server_fixtures import ServerFixture, until
from tests.wire import LIMIT_S, Caller, infer_request, rows

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET = "a-bucket"


@contextmanager
def found(store: Any) -> Iterator[Any]:
    """A store that clients find by their environment."""
    with store, pytest.MonkeyPatch.context() as patch:
        for name, value in store.environment.items():
            patch.setenv(name, value)
        yield store


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with found(S3()) as store:
        yield store


@pytest.fixture(scope="module", params=["s3", GoogleStorage, Azure], ids=["s3", "gs", "az"])
def store(request: pytest.FixtureRequest) -> Iterator[Any]:
    with nullcontext(request.getfixturevalue("s3")) if request.param == "s3" else found(request.param()) as store:
        store.make(BUCKET)
        yield store


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    yield Cache(tmp_path / "cache")
    caches.release()


def test_a_folder_is_fetched_once_and_again_where_it_changed(store: Any, cache: Cache) -> None:
    for name, content in {"1/model.onnx": b"one", "1/weights.bin": b"w" * (20 << 20), "config.pbtxt": b""}.items():
        store.put(BUCKET, f"models/digits/{name}", content)
    store.put(BUCKET, "models/digits-other/1/model.onnx", b"not this")
    url = f"{store.scheme}://{BUCKET}/models/digits"
    path = fetch(url, cache)
    assert path.name == "digits"
    assert {str(file.relative_to(path)): file.stat().st_size for file in path.rglob("*") if file.is_file()} == {
        "1/model.onnx": 3,
        "1/weights.bin": 20 << 20,
        "config.pbtxt": 0,
    }
    assert not has_changed(url, path)
    assert fetch(url, cache) == path

    states = [path.resolve()]
    for content in (b"two", b"three"):
        store.put(BUCKET, "models/digits/1/model.onnx", content)
        assert has_changed(url, path)
        assert fetch(url, cache) == path
        states.append(path.resolve())
        assert (path / "1" / "model.onnx").read_bytes() == content
        assert (path / "1" / "weights.bin").samefile(states[-2] / "1" / "weights.bin"), "the same weights are downloaded once"
    assert [state.exists() for state in states] == [False, True, True], "what may just be loaded stays"


def test_what_is_not_there_is_an_error_that_says_so(store: Any, cache: Cache) -> None:
    with pytest.raises(StartError, match=f"'{store.scheme}://{BUCKET}/nothing': there is no object of that name"):
        fetch(f"{store.scheme}://{BUCKET}/nothing", cache)
    with pytest.raises(StartError, match=f"'{store.scheme}://no-such-bucket/m': there is no such bucket or object"):
        fetch(f"{store.scheme}://no-such-bucket/m", cache)


def test_a_server_serves_a_bucket_and_one_file_of_it(s3: S3, tmp_path: Path) -> None:
    s3.make("served")
    s3.put("served", "models/add/1/model.onnx", models.add())
    s3.put("served", "single.onnx", models.identity())
    urls = "s3://served/models", "s3://served/single.onnx"
    with ServerFixture(*urls, model_cache=str(tmp_path)) as server, Caller(server.address) as caller:
        assert caller.infer(infer_request("add", {"a": rows(1), "b": rows(1)})).model_version == "1"
        assert caller.infer(infer_request("single", {"x": rows(1)})).model_version == "1"


def test_a_bucket_that_disappears_is_served_from_the_cache(s3: S3, cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    s3.make("gone")
    s3.put("gone", "m/1/model.onnx", b"one")
    path = fetch("s3://gone/m", cache)
    s3.delete("gone", "m/1/model.onnx")
    with caplog.at_level(logging.WARNING):
        assert fetch("s3://gone/m", cache) == path
    assert "'s3://gone/m': there is no such bucket or object; the copy in the cache is served" in caplog.text
    with pytest.raises(StartError, match="no such bucket"):
        has_changed("s3://gone/m", path)
    (path / "1" / "model.onnx").write_bytes(b"two")
    with pytest.raises(StartError, match=r"in the cache 'm/1/model.onnx' is not what was downloaded"):
        fetch("s3://gone/m", cache)


def test_a_file_that_was_changed_in_the_cache_is_fetched_again(s3: S3, cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    s3.make("damaged")
    s3.put("damaged", "m/a.onnx", b"right a")
    s3.put("damaged", "m/b.onnx", b"right b")
    path = fetch("s3://damaged/m", cache)
    kept = (path / "b.onnx").stat().st_ino
    (path / "a.onnx").write_bytes(b"wrong a")
    with caplog.at_level(logging.WARNING):
        assert fetch("s3://damaged/m", cache) == path
    assert "'m/a.onnx' in the cache is not what was downloaded: fetching it again" in caplog.text
    assert (path / "a.onnx").read_bytes() == b"right a"
    assert (path / "b.onnx").stat().st_ino == kept


@pytest.mark.parametrize("name", ["m/../../outside.onnx", "m/a\x07.onnx", "m/a\\b.onnx", "m/" + "n" * 300], ids=repr)
def test_a_hostile_name_in_a_listing_is_rejected(s3: S3, cache: Cache, name: str) -> None:
    bucket = f"hostile-{len(name)}"
    s3.make(bucket)
    s3.put(bucket, "m/1/model.onnx", b"one")
    s3.put(bucket, name.replace("\x07", "%07").replace("\\", "%5C").replace("..", "%2E%2E"), b"two")
    with pytest.raises(StartError, match=r"leaves its folder|character|longer|\.\."):
        fetch(f"s3://{bucket}/m", cache)
    assert [path.name for path in cache.folder.rglob("*.onnx")] == []


def test_the_folders_that_a_console_makes_are_no_files(s3: S3, cache: Cache) -> None:
    s3.make("console")
    for name, content in {"m/": b"", "m/1/": b"", "m/1/model.onnx": b"one"}.items():
        s3.put("console", name, content)
    path = fetch("s3://console/m", cache)
    assert [str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()] == ["1/model.onnx"]


def test_urls_are_fetched_side_by_side(tmp_path: Path) -> None:
    """A store that stands still does not keep the others from being fetched."""
    with WebServer(b"one", "slow.onnx") as slow, WebServer(b"two", "fast.onnx") as fast:
        slow.hold_after = -1
        settings = Settings(models=(slow.url, fast.url), model_cache=str(tmp_path))
        found: list[list[Path]] = []
        thread = threading.Thread(target=lambda: found.append(local_paths(settings)))
        thread.start()
        assert slow.held.wait(LIMIT_S)
        try:
            until(lambda: bool(list(tmp_path.glob("fast.onnx-*/current"))))
        finally:
            slow.go.set()
            thread.join(LIMIT_S)
        assert [path.read_bytes() for path in found[0]] == [b"one", b"two"], "in the order of the setting"


def test_urls_have_one_time_limit_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """One that waits until another one is done has no time of its own. The log says what a start waits for."""
    monkeypatch.setattr(download, "URLS_AT_ONCE", 1)
    monkeypatch.setattr(download, "WAITED_S", 0.05)
    caplog.set_level(logging.INFO)
    with WebServer(b"one", "slow.onnx") as slow, WebServer(b"two", "last.onnx") as last:
        slow.hold_after = -1
        settings = Settings(models=(slow.url, last.url), model_cache=str(tmp_path), model_download_timeout_s=1)
        with pytest.raises(StartError, match=r"slow.onnx': it took longer than 1 s \(model_download_timeout_s\)"):
            local_paths(settings)
        until(lambda: not [thread for thread in threading.enumerate() if thread.name == "inferd-download"])
        assert last.headers == []
    assert f"waiting for '{slow.url}', '{last.url}'; for 1 s more at most" in caplog.text


def test_a_store_s_xml_is_not_shown() -> None:
    document = '<?xml version="1.0"?> <Error><Code>SlowDown</Code><Message>Reduce your rate</Message><HostId>x</HostId></Error>'
    for error, words in (
        (document, "Server returned: SlowDown: Reduce your rate"),
        ("<?xml?><Other/>", "Server returned: an XML document"),
    ):
        assert _said(Exception(f"Server returned: {error}")) == words


def test_without_obstore_the_error_says_what_to_install(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inferd.engine.remote.objects.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"s3:// needs obstore, which is not installed: pip install 'inferd\[remote\]'"):
        fetch("s3://bucket/models", cache)


def test_paths_and_urls_stand_beside_each_other(s3: S3, tmp_path: Path) -> None:
    s3.make("beside")
    s3.put("beside", "m.onnx", b"one")
    settings = Settings(models=("models", "s3://beside/m.onnx"), model_cache=str(tmp_path))
    local, fetched = local_paths(settings)
    assert local == Path("models")
    assert fetched.is_relative_to(tmp_path)
    assert fetched.name == "m.onnx"
