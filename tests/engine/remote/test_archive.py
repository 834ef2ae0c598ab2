"""Hostile archives bring nothing outside of their folder, and no more than the limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from inferd.engine.remote.archive import unpack
from inferd.engine.remote.source import SourceError
from tests.engine.remote.archives import archive

if TYPE_CHECKING:
    from pathlib import Path

BOMB = archive({"models/zeros": bytes(2 << 20)})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (archive({"models/../../outside": b""}), "leaves its folder"),
        (archive({"/models/outside": b""}), "leaves its folder"),
        (archive({}, {"models/link": "/etc"}), "'models/link' in an archive is a link or a device"),
        (archive({}, {"models/link": "../outside"}, hard=True), "is a link or a device"),
        (BOMB, "hold more than 1048576 bytes"),
        (BOMB[: len(BOMB) // 2], "cannot be read"),
        (b"\x28\xb5\x2f\xfd rest", "compressed with zstd"),
        (b"no archive", "cannot be read"),
    ],
    ids=["dots", "absolute", "symlink", "hard link", "bomb", "cut", "zstd", "none"],
)
def test_a_hostile_archive_is_rejected(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(SourceError, match=said):
        unpack([tmp_path / "archive"], "models", tmp_path / "in" / "models", 1 << 20)
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path / "in" / "outside").exists()


def test_later_archives_replace_and_delete(tmp_path: Path) -> None:
    layers = [
        archive({"./models/a": b"1", "./models/b/c": b"1", "./models/d/e": b"1", "f": b"1"}),
        archive({"models/a": b"2", "models/b": b"2", "models/d/.wh..wh..opq": b"", "models/.wh.f": b""}, mode="w"),
    ]
    for number, layer in enumerate(layers):
        (tmp_path / str(number)).write_bytes(layer)
    target = tmp_path / "models"
    unpack([tmp_path / "0", tmp_path / "1"], "models", target, 1 << 20)
    assert {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()} == {"a": b"2", "b": b"2"}
