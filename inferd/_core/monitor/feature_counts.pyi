from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, Final, Self, final

from inferd._core.batching.batch import Batch
from inferd._core.batching.request import Request
from inferd._core.tensor.tensor import Tensors

HEAD: tuple[str, ...]
UNIT: int

class Side(IntEnum):
    SENT = 0
    TAKEN = 1
    GIVEN = 2
    WHOLE = 3

class Reading(IntEnum):
    ELEMENT = 0
    TEXT = 1
    LENGTH = 2
    MEAN = 3
    SPREAD = 4
    CLASS = 5
    WAVES = 6
    ROW = 7
    SCORE = 8

@final
class FeatureCounts:
    """The counts of one version's features; feature_counts.pyx says which keys a feature has, and what `words` are."""

    def __new__(cls, features: Sequence[Mapping[str, Any]], words: Sequence[Any]) -> Self: ...
    count: Final[int]
    def see(self, batch: Batch, outputs: Tensors) -> None: ...
    def add(self, request: Request, outputs: Tensors, first_row: int) -> None: ...
    def take_example(self, feature: int) -> str | None: ...
    def texts_of(self, feature: int) -> list[bytes]: ...
    def scores(self, rows: int) -> list[float]: ...

def words_of(feature: Mapping[str, Any]) -> int: ...
