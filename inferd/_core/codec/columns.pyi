from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias, final

from inferd._core.base.idle_thread import IdleThread
from inferd._core.batching.tap import Tapped

TIMES: tuple[str, ...]

_Change: TypeAlias = Callable[[str, bytes], bytes]

@final
class Buffer:
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Texts:
    offsets: Final[Buffer]
    data: Final[Buffer]

@final
class TensorColumns:
    row_offsets: Final[Buffer]
    names: Final[Texts]
    datatypes: Final[Texts]
    shape_offsets: Final[Buffer]
    sizes: Final[Buffer]
    data_offsets: Final[Buffer]
    data: Final[Buffer]
    count: Final[int]

@final
class Columns:
    def __init__(self, max_rows: int = ..., max_nbytes: int = ..., copier: IdleThread | None = None) -> None: ...
    rows: Final[int]
    nbytes: Final[int]
    full: Final[bool]
    half_full: Final[bool]
    began_ns: Final[int]
    ids: Final[Texts]
    models: Final[Texts]
    versions: Final[Texts]
    arms: Final[Texts]
    errors: Final[Texts]
    codes: Final[Buffer]
    times: Final[list[Buffer]]
    inputs: Final[TensorColumns]
    outputs: Final[TensorColumns]
    def enter(self) -> bool: ...
    def leave(self) -> None: ...
    def clear(self) -> None: ...
    def add(
        self,
        tapped: Tapped,
        wall_offset_ns: int,
        changes: dict[str, _Change | None] | None,
        outputs: Sequence[tuple[str, str, tuple[int, ...], Any]] | None = None,
        arm: str = "",
    ) -> bool: ...
