"""ModelOptions: the part of a ModelConfig that is inferd's own. Written by `make proto`: change proto/*.proto instead."""

# ruff: noqa: N802

from typing import Literal, NewType, final

from google.protobuf.internal.enum_type_wrapper import _EnumTypeWrapper
from google.protobuf.message import Message

@final
class ModelOptions(Message):
    class _Inline:
        ValueType = NewType("ValueType", int)

    class _InlineWrapper(_EnumTypeWrapper[ModelOptions._Inline.ValueType], type):
        AUTO: ModelOptions._Inline.ValueType
        ON: ModelOptions._Inline.ValueType
        OFF: ModelOptions._Inline.ValueType

    class Inline(_Inline, metaclass=_InlineWrapper):
        """Where a batch runs."""

    AUTO: ModelOptions.Inline.ValueType
    ON: ModelOptions.Inline.ValueType
    OFF: ModelOptions.Inline.ValueType

    inline: ModelOptions.Inline.ValueType
    """Default AUTO."""
    inline_limit_us: int
    """AUTO: the longest run of one batch, in microseconds, that may stay on the event loop. Default 100."""
    inline_busy_percent: int
    """AUTO: the largest share of the event loop's time, in percent (1 to 100), that this model's runs may take
    before it leaves the loop. Default 50.
    """
    intra_op_threads: int
    """Threads inside one operator of one run. Default: the planner's choice from cores, affinity and cgroup quota."""
    inter_op_threads: int
    """Threads across operators of one run; more than 1 also turns on ONNX Runtime's parallel execution. Default 1."""
    spinning: bool
    """Whether ONNX Runtime's threads spin while they wait for work: shorter runs, but an idle server burns cores.
    Default: the server's setting, which is off.
    """
    max_queue_requests: int
    """The most requests that wait for this model; one more is refused with RESOURCE_EXHAUSTED. Default: the server's
    setting.
    """
    max_queue_bytes: int
    """The most input bytes that wait for this model; a request beyond it is refused with RESOURCE_EXHAUSTED.
    Default: the server's setting.
    """
    def __init__(
        self,
        *,
        inline: ModelOptions.Inline.ValueType = ...,
        inline_limit_us: int = ...,
        inline_busy_percent: int = ...,
        intra_op_threads: int = ...,
        inter_op_threads: int = ...,
        spinning: bool = ...,
        max_queue_requests: int = ...,
        max_queue_bytes: int = ...,
    ) -> None: ...
    def HasField(self, field_name: Literal["spinning"]) -> bool: ...
