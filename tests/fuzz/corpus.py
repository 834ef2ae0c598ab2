"""A target's committed corpus: one zip archive, of the same bytes wherever it is written. Its inputs are stored uncompressed, so that git
keeps only what changes between two versions. `unzip -l tests/fuzz/corpus/http2.zip` lists them."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

CORPUS = Path(__file__).parent / "corpus"


def archive(target: str) -> Path:
    return CORPUS / f"{target}.zip"


def read(target: str) -> dict[str, bytes]:
    """The inputs by name, in the order of their names; none where there is no archive yet."""
    if not archive(target).exists():
        return {}
    with zipfile.ZipFile(archive(target)) as file:
        return {name: file.read(name) for name in sorted(file.namelist())}


def write(target: str, inputs: Iterable[bytes]) -> None:
    """Replaces the archive."""
    named = {name_of(content): content for content in inputs}
    with zipfile.ZipFile(archive(target), "w", zipfile.ZIP_STORED) as file:
        for name in sorted(named):
            entry = zipfile.ZipInfo(name)  # of 1980, whatever the clock says
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            file.writestr(entry, named[name])


def name_of(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()[:12]
