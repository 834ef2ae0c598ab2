"""Files that an operator names: what is read of them, when they are read again, and what is no file."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from inferd.errors import ConfigError
from inferd.watched_files import Watched, read_file, require_secret

LIMIT_S = 20.0


def text(found: Mapping[str, bytes]) -> str:
    """What a test makes of its files; two of one first letter belong together."""
    if len({content[:1] for content in found.values()}) > 1:
        raise ConfigError(f"expected files that fit together, got {sorted(found.values())}")
    return b"".join(found.values()).decode()


def again(watched: Watched, asked: bool = False) -> str | None:
    return watched.read_again(text, asked, "nothing changes")


def test_what_is_read_and_what_is_not(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_file(path, 5, "setting") == b"12345"
    with pytest.raises(ConfigError, match=r"setting: expected at most 4 bytes, .* has more"):
        read_file(path, 4, "setting")
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "none", 4, "setting")
    os.mkfifo(tmp_path / "pipe")
    for other, kind in ((tmp_path / "pipe", "pipe"), ("/dev/zero", "device")):
        with pytest.raises(ConfigError, match=f"setting: expected a regular file, got .* which is a {kind}"):
            read_file(other, 4, "setting")
    for other in (tmp_path / "none", tmp_path):
        with pytest.raises(ConfigError, match="setting: expected a file that can be read, got "):
            Watched({"setting": str(other)}, 5).read(text)


def test_a_file_is_read_again_when_it_is_another(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_text("one")
    link.symlink_to(path)
    watched = Watched({"setting": str(link)}, 100)
    assert watched.read(text) == "one"
    assert again(watched) is None
    path.write_text("three")
    assert again(watched) == "three"
    (tmp_path / "new").write_text("four")
    os.replace(tmp_path / "new", path)
    assert again(watched) == "four"
    (tmp_path / "other").write_text("five")
    link.unlink()
    assert [again(watched) for _ in range(3)] == [None] * 3
    assert watched.failures == 3
    assert caplog.text.count("setting: expected a file that can be read, got") == 1, "gone, which is said once"
    link.symlink_to(tmp_path / "other")
    assert again(watched) == "five"
    assert again(watched) is None
    assert watched.failures == 3
    assert again(watched, asked=True) == "five"


def test_a_file_of_the_same_size_and_time_is_another(tmp_path: Path) -> None:
    """As `cp -p` and `rsync -t` leave it."""
    path = tmp_path / "file"
    path.write_text("old")
    os.utime(path, (1, 1))
    watched = Watched({"setting": str(path)}, 100)
    assert watched.read(text) == "old"
    before, limit = path.stat(), time.monotonic() + LIMIT_S
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # the kernel's clock of files is a coarse one
        assert time.monotonic() < limit
        path.write_text("new")
        os.utime(path, (1, 1))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert again(watched) == "new"


def test_what_was_not_taken_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        path.write_text("a")
    watched = Watched({"one": str(one), "other": str(other)}, 100)
    assert watched.read(text) == "aa"
    one.write_text("b")
    good: list[Mapping[str, bytes]] = []
    with caplog.at_level(logging.ERROR, "inferd"):
        assert [again(watched) for _ in range(3)] == [None] * 3
        assert len(caplog.records) == 1, "one line for one reason"
        assert watched.read_again(good.append, False, "") is None
        assert good == [{"one": b"b", "other": b"a"}], "nothing of the files has changed since, and they are taken after all"
        assert again(watched) is None
        assert len(caplog.records) == 1
        assert again(watched, asked=True) is None
        assert len(caplog.records) == 2, "who asks is told each time"
    one.write_text("bc")
    other.write_text("b")
    assert again(watched) == "bcb"


def test_a_pipe_in_place_of_a_file_holds_up_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    watched = Watched({"setting": str(path)}, 100)
    assert watched.read(text) == "one"
    path.unlink()
    os.mkfifo(path)
    assert again(watched) is None
    assert "setting: expected a regular file, got" in caplog.text
    path.unlink()
    path.write_text("two")
    assert again(watched) == "two"


@pytest.mark.parametrize(("given", "why"), [("c2VjcmV0", "No such"), ("c2VjcmV0" * 40, "File name too"), ("c2Vj\0cmV0", "no path")])
def test_a_secret_in_place_of_its_file_is_not_repeated(given: str, why: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"^setting: expected the path of a file that can be read: {why}.*the secret itself$"
    ) as rejected:
        require_secret(given, "setting")
    assert "c2Vj" not in str(rejected.value)


def test_a_secret_may_come_by_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    require_secret(str(tmp_path / "pipe"), "setting")
