"""What leaves the cache when it is full, and what does not because a process uses it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from inferd.engine.remote import cache as caches
from inferd.engine.remote.cache import Cache, FileRecord, default_folder, nbytes_in, sha256_of, state_of
from inferd.errors import StartError

if TYPE_CHECKING:
    from inferd.engine.remote.cache import Entry, Snapshot

USES = """
import sys
from pathlib import Path
from inferd.engine.remote.cache import Cache, _snapshot
Cache(Path()).use(_snapshot(Path(sys.argv[1])))
print("uses", flush=True)
sys.stdin.read()
"""


def put(cache: Cache, key: str, nbytes: int, used_s: int) -> Snapshot:
    """A URL whose one state was last used at a time."""
    with cache.entry(key, 1) as entry:
        new = entry.begin(caches.state_of({"model.onnx": "1"}))
        (new / "files").mkdir()
        (new / "files" / "model.onnx").write_bytes(bytes(nbytes))
        snapshot = entry.commit(new, f"s3://{key}", {"model.onnx": FileRecord(nbytes, caches.sha256_of(new / "files" / "model.onnx"))})
    cache.use(snapshot)
    caches.release()
    os.utime(snapshot.folder / "lock", (used_s, used_s))
    return snapshot


def make_room(cache: Cache, entry: Entry, nbytes: int) -> None:
    with cache.room(entry, entry.begin("0" * 24), nbytes):
        pass


def test_the_least_recently_used_leaves_first_and_never_what_a_process_uses(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit_bytes=45_000)
    foreign = tmp_path / "photos" / ("0" * 24)
    foreign.mkdir(parents=True)
    busy, old, new = (put(cache, key, 10_000, used_s) for key, used_s in (("busy", 1), ("old", 2), ("new", 3)))
    with subprocess.Popen([sys.executable, "-c", USES, str(busy.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"uses\n"
        with cache.entry("next", 1) as entry:
            make_room(cache, entry, 20_000)
            assert [busy.folder.exists(), old.folder.exists(), new.folder.exists()] == [True, False, True]
            with pytest.raises(StartError, match=r"40000 bytes are to be downloaded .* of 45000 \(model_cache_bytes\) 10\d\d\d are in use"):
                make_room(cache, entry, 40_000)
            assert [busy.folder.exists(), new.folder.exists()] == [True, False]
            other.kill()
            other.wait()
            make_room(cache, entry, 40_000)
            assert not busy.folder.exists()
    assert foreign.exists(), "it is not ours"


def test_room_is_given_once(tmp_path: Path) -> None:
    """Two threads download at the same time: what one has still to write is no room for the other."""
    cache = Cache(tmp_path, limit_bytes=30_000)
    with cache.entry("one", 1) as one, cache.entry("two", 1) as two:
        new, other = one.begin("0" * 24), two.begin("0" * 24)
        with cache.room(one, new, 20_000):
            for written in (b"", b"x" * 5_000):
                (new / "part").write_bytes(written)
                with pytest.raises(StartError, match="20000 bytes are to be downloaded"):
                    cache.room(two, other, 20_000).__enter__()
                with cache.room(two, other, 10_000):
                    pass
        (new / "part").unlink()
        with cache.room(two, other, 20_000):
            pass


def test_files_that_go_while_they_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(b"x" * 10)
    status_of = os.lstat

    def lstat(path: str) -> os.stat_result:
        Path(path).with_name("b").unlink(missing_ok=True)
        return status_of(path)

    monkeypatch.setattr(os, "lstat", lstat)
    assert nbytes_in(tmp_path) == nbytes_in(tmp_path / "gone") + 10


def test_one_process_at_a_time_fetches_a_url(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    cache = Cache(tmp_path)
    with (
        cache.entry("digits", 1),
        pytest.raises(StartError, match=r"another process has fetched into .* for more than 0 s"),
        cache.entry("digits", 0),
    ):
        pass
    assert "another process fetches into" in caplog.text


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StartError, match=r"model_cache: .* cannot be written: Not a directory; name a folder"),
        Cache(tmp_path / "file").entry("k", 1),
    ):
        pass


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"XDG_CACHE_HOME": "/x", "HOME": "/root"}, "/x/inferd/models"),
        ({"HOME": "/tmp"}, "/tmp/.cache/inferd/models"),
        ({"HOME": "/nonexistent"}, "/var/cache/inferd/models"),
        ({}, "/var/cache/inferd/models"),
    ],
)
def test_the_default_folder(environment: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert str(default_folder()) == folder


@pytest.mark.parametrize("manifest", [b"", b'{"url": "s3://b/m", "fet'], ids=["empty", "cut"])
def test_a_state_whose_manifest_is_cut_is_replaced(tmp_path: Path, manifest: bytes) -> None:
    cache, state = Cache(tmp_path), state_of({"m": "1"})
    with cache.entry("key", 1) as entry:
        (entry.folder / state / "files").mkdir(parents=True)
        (entry.folder / state / "files" / "left").touch()
        (entry.folder / state / "manifest.json").write_bytes(manifest)
        assert entry.find(state) is None
        new = entry.begin(state)
        (new / "files").mkdir()
        (new / "files" / "m").write_bytes(b"one")
        entry.commit(new, "s3://b/m", {"m": FileRecord(3, sha256_of(new / "files" / "m"))})
        found = entry.find(state)
        assert found is not None
        assert [path.name for path in found.files.iterdir()] == ["m"]
        assert found.damaged() == []
