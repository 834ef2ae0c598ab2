"""Hostile archives bring nothing outside of their folder, and no more than the limit."""

from __future__ import annotations

import gzip
import tarfile
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from inferd.engine.remote import archive as archives
from inferd.engine.remote.archive import unpack
from inferd.engine.remote.source import SourceError
from inferd.engine.remote.until import Until
from tests.engine.remote.archives import archive

if TYPE_CHECKING:
    from pathlib import Path

BOMB = archive({"models/zeros": bytes(2 << 20)})


def headers(*entries: tarfile.TarInfo) -> bytes:
    return b"".join(entry.tobuf(tarfile.PAX_FORMAT) for entry in entries)


def entry(name: str, kind: bytes = tarfile.REGTYPE, nbytes: int = 0, **pax: str) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.size, made.pax_headers = kind, nbytes, pax
    return made


def sparse(nbytes: int) -> bytes:
    """An old GNU sparse file that is one hole."""
    header = bytearray(entry("models/zeros", tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT))
    header[386:410], header[483:495] = b"00000000000\0" * 2, b"%011o\0" % nbytes
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


HEADER_BOMB = gzip.compress(headers(entry("x", tarfile.XHDTYPE, 16 << 20)) + bytes(16 << 20))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (archive({"models/../../outside": b""}), "leaves its folder"),
        (archive({"/models/outside": b""}), "leaves its folder"),
        (archive({}, {"models/link": "/etc"}), "'models/link' in an archive is a link, a device or a sparse file"),
        (archive({}, {"models/link": "../outside"}, hard=True), "is a link, a device"),
        (BOMB, "hold more than 1048576 bytes"),
        (BOMB[: len(BOMB) // 2], "cannot be read"),
        (b"\x28\xb5\x2f\xfd rest", "compressed with zstd"),
        (b"no archive", "cannot be read"),
        (sparse(1 << 40), "'models/zeros' in an archive is a link, a device or a sparse file"),
        (headers(entry("models/a", **{"GNU.sparse.size": str(1 << 20), "GNU.sparse.map": "0,0"})), "or a sparse file"),
        (HEADER_BOMB, "an entry's header in an archive is larger than 1 MiB"),
        (headers(entry("models/a")) + headers(entry("x", tarfile.XHDTYPE, 2 << 20)) + bytes(3 << 20), "header .* larger than 1 MiB"),
        (headers(entry("models/a", size="9" * 4000)), "hold more than"),
        (headers(*[entry("x", tarfile.XHDTYPE)] * 1000), "cannot be read"),
        (archive({f"models/{number}": b"" for number in range(11)}), "hold more than 10 files and folders"),
        (archive({"models/" + "a/" * 11: b""}), "hold more than 10 files and folders"),
        (archive({"models/a": b"", "models/.wh..": b""}), "the name '.' leaves its folder"),
        (archive({"models/a": b"", "models/.wh...": b""}), "the name '..' leaves its folder"),
        (archive({"models/a": b"", "models/a/b": b""}), "'models/a/b' in an archive needs a folder where the archive has a file"),
    ],
    ids=[
        *("dots", "absolute", "symlink", "hard link", "bomb", "cut", "zstd", "none", "sparse", "pax sparse", "header bomb", "later header"),
        *("pax size", "headers of headers", "entries", "depth", "whiteout of .", "whiteout of ..", "file and folder"),
    ],
)
def test_a_hostile_archive_is_rejected(content: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_NAMES", 10)
    (tmp_path / "archive").write_bytes(content)
    limit_bytes = 1 << 20 if content is BOMB else 64 << 30
    with pytest.raises(SourceError, match=said):
        unpack([tmp_path / "archive"], "models", tmp_path / "in" / "models", limit_bytes, Until(60))
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path / "in" / "outside").exists()


def test_a_header_is_read_no_further_than_its_limit(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(HEADER_BOMB)
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match="header"):
            unpack([tmp_path / "archive"], "", tmp_path / "models", 64 << 30, Until(60))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_unpacking_ends_when_the_time_is_over(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(archive({"models/a": b""}))
    with pytest.raises(SourceError, match="it took longer than 0 s"):
        unpack([tmp_path / "archive"], "models", tmp_path / "models", 1 << 20, Until(0))


def test_later_archives_replace_and_delete(tmp_path: Path) -> None:
    layers = [
        archive({"./models/a": b"1", "./models/b/c": b"1", "./models/d/e": b"1", "f": b"1"}),
        archive({"models/a": b"2", "models/b": b"2", "models/d/.wh..wh..opq": b"", "models/.wh.f": b""}, mode="w"),
    ]
    for number, layer in enumerate(layers):
        (tmp_path / str(number)).write_bytes(layer)
    target = tmp_path / "models"
    unpack([tmp_path / "0", tmp_path / "1"], "models", target, 1 << 20, Until(60))
    assert {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()} == {"a": b"2", "b": b"2"}
