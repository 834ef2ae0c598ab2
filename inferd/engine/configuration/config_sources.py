"""The two sources of a model's configuration: the text that a user wrote, and the server's defaults for all that it leaves out.

Values only. Never in here: files, the graph, how the two are put together (model_config.py, batching.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inferd.protocol.inference import ModelConfig


@dataclass(frozen=True, slots=True)
class Defaults:
    """The server's choices for models whose configuration has none. The fields are the server settings of the same names."""

    max_batch_size: int = 64
    batching: str = "auto"
    max_queue_requests: int = 4096
    max_queue_bytes: int = 0
    max_queue_wait_us: int = 0
    providers: tuple[str, ...] = ("cpu",)
    instances: int = 0
    intra_op_threads: int = 0
    spinning: bool = False
    inline: str = "auto"
    inline_limit_us: int = 100
    max_run_s: int = 0
    max_run_bytes: int = 0
    require_signature: str | None = None
    triton_statuses: bool = False

    @classmethod
    def of(cls, settings: Any) -> Defaults:
        """From anything that has some of these as attributes, such as the server's Settings."""
        return cls(**{name: getattr(settings, name) for name in cls.__slots__ if hasattr(settings, name)})


@dataclass(frozen=True, slots=True)
class Written:
    """A user's text: the message, the file that errors should name, and the top-level fields that the text has."""

    config: ModelConfig
    where: str
    fields: frozenset[str]
