"""Which features of a version are watched: its inputs as clients send them and as the graph takes them, and its outputs.

Never in here: references, counting.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from inferd._core.monitor.feature_counts import Reading, Side
from inferd.monitor.feature import Feature, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferd._core.tensor.signature import Signature

MAX_ELEMENTS = 64  # of a row that are features of their own; of a longer one, its mean, spread and pattern
MAX_FEATURES = 256

Spec = tuple[str, str, tuple[int, ...]]  # name, datatype, shape as Signature has it


def features_of(clients: Signature, graph: Signature) -> list[Feature]:
    """All features of a version, not learned yet, the first MAX_FEATURES. clients, graph: signatures of what clients send and get, and of
    what the graph takes; one, where the model has no steps."""
    found: list[Feature] = []
    if clients is not graph:
        found += _of_tensors(Side.SENT, clients.input_specs)
    found += _of_tensors(Side.TAKEN, graph.run_input_specs if clients is not graph else clients.input_specs)
    outputs = list(_of_tensors(Side.GIVEN, clients.output_specs))
    room = MAX_FEATURES - 2 - min(len(outputs), MAX_FEATURES // 2)
    whole = [Feature(side=Side.WHOLE, reading=reading, kind=Kind.ROWS) for reading in (Reading.ROW, Reading.SCORE)]
    return [*found[:room], *outputs[: MAX_FEATURES // 2], *whole]


def _of_tensors(side: Literal[Side.SENT, Side.TAKEN, Side.GIVEN], specs: tuple[Spec, ...]) -> Iterator[Feature]:
    for index, (name, datatype, shape) in enumerate(specs):
        elements = math.prod(shape[1:]) if all(size >= 0 for size in shape[1:]) else 0

        def feature(
            reading: Reading, kind: Kind = Kind.RANGES, place: int = 0, *, tensor: str = name, at: int = index, count: int = elements
        ) -> Feature:
            return Feature(side=side, reading=reading, kind=kind, tensor=tensor, index=at, place=place, elements=count)

        single = range(elements) if 0 < elements <= MAX_ELEMENTS else range(0)
        if datatype == "BYTES":
            for place in single:
                yield feature(Reading.TEXT, Kind.TEXTS, place)
                yield feature(Reading.LENGTH, place=place)
            continue
        if side == Side.GIVEN and elements > 1:
            yield feature(Reading.CLASS)
        for place in single:
            yield feature(Reading.ELEMENT, place=place)
        if not single:
            if not elements:
                yield feature(Reading.LENGTH)
            yield feature(Reading.MEAN)
            yield feature(Reading.SPREAD)
            if elements and side != Side.GIVEN:
                yield feature(Reading.WAVES, Kind.WAVES)
