"""What makes the arm of each kind of rollout."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from inferd.rollout.rollouts import Arm, Site
    from inferd.rollout.state import Kind, Rollout

__all__ = ["KINDS"]

KINDS: Mapping[Kind, Callable[[Rollout, Site], Arm]] = {}
