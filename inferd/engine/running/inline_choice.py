"""Whether a model version runs on the event loop or on executor threads, as found at its load. Never in here: runs, logs, moving a model
(model.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferd._core.inference.inline_policy import InlinePolicy
from inferd.engine.configuration.batching import shares_runs
from inferd.protocol.options import ModelOptions

if TYPE_CHECKING:
    from inferd.protocol.inference import ModelConfig

DEFAULT_LIMIT_US = 100
DEFAULT_BUSY_PERCENT = 50


def never_inline(config: ModelConfig, *, has_loop: bool, instances: int, prepares: bool) -> str:
    """Why a model cannot be inline, however short its runs are; empty when it can. prepares: it has preprocess steps."""
    if not has_loop:
        return "there is no event loop"
    if instances != 1:
        return f"it has {instances} instances"
    if prepares:
        return "its inputs are made by preprocess threads"
    if shares_runs(config) and config.dynamic_batching.max_queue_delay_microseconds:
        return "max_queue_delay_microseconds is set"
    return ""


def policy_of(config: ModelConfig, never: str) -> InlinePolicy | None:
    """The policy of a model that is or may become inline by itself; None where it cannot. never: from `never_inline`."""
    own = config.inferd
    if own.inline != ModelOptions.AUTO or never:
        return None
    return InlinePolicy(1000 * (own.inline_limit_us or DEFAULT_LIMIT_US), (own.inline_busy_percent or DEFAULT_BUSY_PERCENT) / 100)


def choose(mode: int, never: str, unbounded: str, policy: InlinePolicy | None, measured_ns: int | None) -> tuple[bool, str]:
    """Whether a model is inline, and why, for people. mode: ModelOptions.inline. unbounded: why shapes do not bound its runs, or ''.
    measured_ns: a run of one row or of the most rows, whichever is longer; None: none was measured."""
    if mode == ModelOptions.OFF:
        return False, "executor thread: inline is off"
    if never:
        return False, f"executor thread: {never}"
    if mode == ModelOptions.ON:
        return True, "inline: inline is on"
    if unbounded:
        return False, f"executor thread: {unbounded}"
    if measured_ns is None or policy is None:
        return False, "executor thread: it could not be measured"
    inline = policy.admits(measured_ns)
    place = "inline" if inline else "executor thread"
    return inline, f"{place}: a run takes {measured_ns / 1e3:.0f} us, the limit is {policy.limit_ns / 1e3:.0f} us"
