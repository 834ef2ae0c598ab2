"""protobuf's EnumTypeWrapper, as a class whose instances are the enum's numbers. Only stubs know it. Written by `make proto`."""

# ruff: noqa: N802

from typing import Self

class Enum(int):
    @classmethod
    def Name(cls, number: int) -> str: ...
    @classmethod
    def Value(cls, name: str) -> Self: ...
    @classmethod
    def keys(cls) -> list[str]: ...
    @classmethod
    def values(cls) -> list[Self]: ...
    @classmethod
    def items(cls) -> list[tuple[str, Self]]: ...
