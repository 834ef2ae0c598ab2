"""A rollout's memory, as the file has it: whether it can go on from there. Never in here: the file, decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from inferd.rollout.messages import Found
from inferd.rollout.policy import Seen

if TYPE_CHECKING:
    from inferd.rollout.state import Rollout


class Memory(msgspec.Struct, forbid_unknown_fields=True):
    """seen: by a canary. found: by a shadow, also by one beside a canary. Each is None until there is something."""

    seen: Seen | None = None
    found: Found | None = None


def check_memory(rollout: Rollout) -> None:
    """Raises ValueError that says what is wrong."""
    seen = msgspec.convert(rollout.memory, Memory).seen
    if seen is not None and rollout.steps and seen.step >= len(rollout.steps):
        raise ValueError(f"memory.seen.step: expected one of {len(rollout.steps)} steps, from 0, got {seen.step}")
