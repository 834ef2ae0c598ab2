"""The class of the live rollout of each kind of rollout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferd.rollout.canary import Canary
from inferd.rollout.shadow import Shadow
from inferd.rollout.state import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from inferd.rollout.live_rollout import LiveRollout, Site
    from inferd.rollout.state import Rollout

KINDS: Mapping[Kind, Callable[[Rollout, Site], LiveRollout]] = {Kind.SHADOW: Shadow, Kind.CANARY: Canary}
