"""Tensors that clients see in another shape than the graph's: `reshape` in a model's configuration. A row keeps its bytes.

As in Triton, clients send and get `dims`, and the graph has `reshape.shape`, both without the batch axis. Axes of any size (-1) correspond
in order. Never in here: arrays, onnxruntime.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from inferd.errors import ConfigError

if TYPE_CHECKING:
    from inferd.protocol.inference import ModelConfig

Shape = tuple[int | str, ...]


class Reshape(NamedTuple):
    """outer: the shape of a row for clients. inner: that in the graph. kept: axes in front of both, the batch axis or none."""

    outer: tuple[int, ...]
    inner: tuple[int, ...]
    kept: int

    def inward(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The graph's shape of an array that clients see in this one."""
        return _converted(shape, self.outer, self.inner, self.kept)

    def outward(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape that clients see; unchanged where the array has not the graph's shape."""
        return _converted(shape, self.inner, self.outer, self.kept)

    def seen(self, graph: Shape) -> Shape:
        """The graph's declared shape as clients see it; '' is any size."""
        return (*graph[: self.kept], *("" if size < 0 else size for size in self.outer))


def _converted(shape: Sequence[int], source: Sequence[int], target: Sequence[int], kept: int) -> tuple[int, ...]:
    row = shape[kept:]
    if len(row) != len(source) or any(want not in (-1, got) for want, got in zip(source, row, strict=True)):
        return tuple(shape)
    free = iter([got for want, got in zip(source, row, strict=True) if want < 0])
    return (*shape[:kept], *(next(free) if size < 0 else size for size in target))


def holds_as_much(outer: Sequence[int], inner: Sequence[int]) -> bool:
    """Whether both have as many elements for all sizes of the free axes: as many before, between and behind these."""
    return _runs(outer) == _runs(inner)


def _runs(sizes: Sequence[int]) -> list[int]:
    """Elements before, between and behind the free axes."""
    runs = [1]
    for free, group in groupby(sizes, lambda size: size < 0):
        if free:
            runs += [1 for _ in group]
        else:
            runs[-1] *= math.prod(group)
    return runs


def find_reshapes(config: ModelConfig, graph: Mapping[str, Shape], where: str) -> dict[str, Reshape]:
    """The reshapes by tensor. graph: the declared shapes of all inputs and outputs. Raises ConfigError where reshape differs from one."""
    found: dict[str, Reshape] = {}
    for side, entries in (("input", config.input), ("output", config.output)):
        for entry in entries:
            if entry.HasField("reshape") and entry.name in graph:
                inner, declared = tuple(entry.reshape.shape), graph[entry.name]
                kept = len(declared) - len(inner) if declared else int(config.max_batch_size > 0)
                if not _fits(inner, declared, kept) or (config.max_batch_size > 0 and kept != 1):
                    without = " (without the batch axis, as max_batch_size is over 0)" if config.max_batch_size > 0 else ""
                    shown = ", ".join(str(size) or "any" for size in declared[int(config.max_batch_size > 0) :])
                    raise ConfigError(
                        f"{where}: {side} {entry.name!r}: reshape.shape is {list(inner)}, and the graph says [{shown}]{without}: write the "
                        "graph's shape into reshape, and what clients see into dims"
                    )
                found[entry.name] = Reshape(tuple(entry.dims), inner, kept)
    return found


def _fits(inner: Sequence[int], declared: Shape, kept: int) -> bool:
    if not declared:
        return True  # a scalar, or of unknown rank: onnxruntime does not say which
    return kept in (0, 1) and all(isinstance(size, str) or want == size for want, size in zip(inner, declared[kept:], strict=True))
