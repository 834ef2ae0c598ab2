"""A record of how a version was made, which each load makes once. Never in here: how its parts are found."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from inferd.engine.checks.contract import Contract
    from inferd.engine.files.content import Content
    from inferd.engine.files.provenance import Provenance


class Origin(NamedTuple):
    """content: digests of the version's files. file_bytes: the size of its ONNX file. steps_bytes: memory of its steps. load_ns: from
    opening the file to the end of the warm-up. own_limits: those of QUEUE_LIMITS that its own configuration sets. file: its ONNX file."""

    content: Content = {}
    contract: Contract | None = None
    provenance: Provenance | None = None
    file_bytes: int = 0
    steps_bytes: int = 0
    load_ns: int = 0
    own_limits: frozenset[str] = frozenset()
    file: Path | None = None
