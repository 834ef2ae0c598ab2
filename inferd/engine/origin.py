"""Where a version comes from: one record that a load makes. Never in here: how its parts are found."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from inferd.engine.content import Content
    from inferd.engine.contract import Contract
    from inferd.engine.provenance import Provenance

__all__ = ["Origin"]


class Origin(NamedTuple):
    """content: the files that the version was made of. file_bytes: of the model's file, which holds the weights. steps_bytes: memory of
    its steps. load_ns: from opening the file to the end of the warm-up. own_limits: of QUEUE_LIMITS, those that its own configuration
    sets."""

    content: Content = {}
    contract: Contract | None = None
    provenance: Provenance | None = None
    file_bytes: int = 0
    steps_bytes: int = 0
    load_ns: int = 0
    own_limits: frozenset[str] = frozenset()
