"""Tar archives for tests."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def archive(files: Mapping[str, bytes], links: Mapping[str, str] | None = None, *, mode: str = "w:gz", hard: bool = False) -> bytes:
    """The bytes of one with these files, and links to what they name."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode=mode) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.LNKTYPE if hard else tarfile.SYMTYPE, target
            tar.addfile(info)
    return written.getvalue()
