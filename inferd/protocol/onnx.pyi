"""The part of an ONNX file that inferd changes at load. Written by `make proto`: change proto/*.proto instead."""

# ruff: noqa: N802

from collections.abc import Iterable
from typing import Literal, final

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer, RepeatedScalarFieldContainer
from google.protobuf.message import Message

@final
class ModelProto(Message):
    @property
    def graph(self) -> GraphProto: ...
    def __init__(self, *, graph: GraphProto | None = ...) -> None: ...
    def HasField(self, field_name: Literal["graph"]) -> bool: ...

@final
class GraphProto(Message):
    @property
    def node(self) -> RepeatedCompositeFieldContainer[NodeProto]: ...
    @property
    def output(self) -> RepeatedCompositeFieldContainer[ValueInfoProto]: ...
    def __init__(self, *, node: Iterable[NodeProto] | None = ..., output: Iterable[ValueInfoProto] | None = ...) -> None: ...

@final
class NodeProto(Message):
    """One operator."""

    @property
    def output(self) -> RepeatedScalarFieldContainer[str]: ...
    op_type: str
    @property
    def attribute(self) -> RepeatedCompositeFieldContainer[AttributeProto]: ...
    domain: str
    def __init__(
        self, *, output: Iterable[str] | None = ..., op_type: str = ...,
        attribute: Iterable[AttributeProto] | None = ..., domain: str = ...
    ) -> None: ...

@final
class AttributeProto(Message):
    name: str
    @property
    def ints(self) -> RepeatedScalarFieldContainer[int]: ...
    @property
    def strings(self) -> RepeatedScalarFieldContainer[bytes]: ...
    def __init__(self, *, name: str = ..., ints: Iterable[int] | None = ..., strings: Iterable[bytes] | None = ...) -> None: ...

@final
class ValueInfoProto(Message):
    name: str
    @property
    def type(self) -> TypeProto: ...
    def __init__(self, *, name: str = ..., type: TypeProto | None = ...) -> None: ...
    def HasField(self, field_name: Literal["type"]) -> bool: ...

@final
class TypeProto(Message):
    def __init__(self) -> None: ...
