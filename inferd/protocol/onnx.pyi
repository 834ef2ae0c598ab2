"""The part of an ONNX file that inferd changes at load. Written by `make proto`: change proto/*.proto instead."""

# ruff: noqa: N802

from collections.abc import Iterable
from typing import Final, Literal, final

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer, RepeatedScalarFieldContainer
from google.protobuf.message import Message

@final
class ModelProto(Message):
    graph: Final[GraphProto]
    def __init__(self, *, graph: GraphProto | None = ...) -> None: ...
    def HasField(self, field_name: Literal["graph"]) -> bool: ...

@final
class GraphProto(Message):
    node: Final[RepeatedCompositeFieldContainer[NodeProto]]
    output: Final[RepeatedCompositeFieldContainer[ValueInfoProto]]
    def __init__(self, *, node: Iterable[NodeProto] | None = ..., output: Iterable[ValueInfoProto] | None = ...) -> None: ...

@final
class NodeProto(Message):
    output: Final[RepeatedScalarFieldContainer[str]]
    op_type: str
    attribute: Final[RepeatedCompositeFieldContainer[AttributeProto]]
    domain: str
    def __init__(
        self, *, output: Iterable[str] | None = ..., op_type: str = ..., attribute: Iterable[AttributeProto] | None = ...,
        domain: str = ...
    ) -> None: ...

@final
class AttributeProto(Message):
    name: str
    ints: Final[RepeatedScalarFieldContainer[int]]
    strings: Final[RepeatedScalarFieldContainer[bytes]]
    def __init__(self, *, name: str = ..., ints: Iterable[int] | None = ..., strings: Iterable[bytes] | None = ...) -> None: ...

@final
class ValueInfoProto(Message):
    name: str
    type: Final[TypeProto]
    def __init__(self, *, name: str = ..., type: TypeProto | None = ...) -> None: ...
    def HasField(self, field_name: Literal["type"]) -> bool: ...

@final
class TypeProto(Message): ...
