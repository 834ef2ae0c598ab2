"""Random sizes of inputs: what --sizes says, and whether it fits the model.

    --sizes tokens:1=uniform:16..128            whole numbers from 16 to 128, both included
    --sizes tokens:1=normal:64,20               mean and standard deviation, of the sizes themselves
    --sizes tokens,mask:1=lognormal:64,40,512   so, too; longer ones count as 512. Both inputs get the same size in a request
    --sizes '*:1=choice:32,64,128'              all inputs whose axis 1 is open, all of the same size in a request

Never in here: values of tensors.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NamedTuple

from inferd.client_inputs.inputs import listed
from inferd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from inferd.client_inputs.inputs import Spec

MAX_SIZE = 1 << 30
EXPECTED = "expected NAME:AXIS=uniform:16..128, normal:MEAN,SD, lognormal:MEAN,SD or choice:32,64,128"


class Sizes(NamedTuple):
    """The inputs that share each draw ("*": all that have the axis open), the axis, what draws a size, and the text behind it."""

    names: tuple[str, ...]
    axis: int
    draw: Callable[[np.random.Generator], int]
    text: str

    def applies(self, spec: Spec) -> bool:
        if self.names == ("*",):
            return self.axis < len(spec.shape) and spec.shape[self.axis] < 0
        return spec.name in self.names


def parse_sizes(text: str) -> Sizes:
    """NAME[,NAME]:AXIS=KIND:NUMBERS. Sizes are 1 or more. Raises ConfigError."""
    match = re.fullmatch(r"(.+):([0-9]{1,3})=(\w+):(.+)", text, re.ASCII)
    draw = match and _distribution(match[3], match[4])
    if match is None or draw is None:
        raise ConfigError(f"--sizes {text}: {EXPECTED}")
    return Sizes(tuple(match[1].split(",")), int(match[2]), draw, text)


def _distribution(kind: str, numbers: str) -> Callable[[np.random.Generator], int] | None:
    """A function that draws from it; None where it cannot be read."""
    if kind == "uniform":
        parts = numbers.split("..")
        if len(parts) != 2 or not all(map(_is_size, parts)) or int(parts[0]) > int(parts[1]):
            return None
        lowest, highest = map(int, parts)
        return lambda generator: int(generator.integers(lowest, highest, endpoint=True))
    parts = numbers.split(",")
    if kind == "choice":
        choices = [int(part) for part in parts if _is_size(part)]
        return None if len(choices) < len(parts) else lambda generator: choices[generator.integers(len(choices))]
    if kind not in ("normal", "lognormal") or len(parts) not in (2, 3):
        return None
    try:
        mean, deviation, most = (*map(float, parts), float(MAX_SIZE))[:3]
    except ValueError:
        return None
    if not (0 < mean <= MAX_SIZE and 0 <= deviation <= MAX_SIZE and 1 <= most <= MAX_SIZE):
        return None
    if kind == "normal":
        return lambda generator: _size(generator.normal(mean, deviation), most)
    variance = math.log1p((deviation / mean) ** 2)  # of the logarithm, so that the sizes have this mean and deviation
    return lambda generator: _size(generator.lognormal(math.log(mean) - variance / 2, math.sqrt(variance)), most)


def _is_size(text: str) -> bool:
    return re.fullmatch("[0-9]{1,10}", text, re.ASCII) is not None and 1 <= int(text) <= MAX_SIZE


def _size(value: float, most: float) -> int:
    return int(min(max(round(value), 1), most))


def check_sizes(sizes: Sequence[Sizes], specs: Sequence[Spec]) -> None:
    """Raises ConfigError where one is for an input or an axis that is not random, or not open."""
    known = {spec.name for spec in specs}
    taken: dict[tuple[str, int], str] = {}
    for each in sizes:
        fitting = [spec for spec in specs if each.applies(spec)]
        absent = [name for name in each.names if name != "*" and name not in known]
        if absent or not fitting:
            name = (absent or each.names)[0]
            raise ConfigError(f"--sizes {each.text}: no input '{name}' with that axis is random; these are: {listed(specs)}")
        for spec in fitting:
            if each.axis >= len(spec.shape) or spec.shape[each.axis] >= 0:
                raise ConfigError(f"--sizes {each.text}: axis {each.axis} of the input '{spec.name}' ({spec}) is not open")
            if (spec.name, each.axis) in taken:
                raise ConfigError(f"--sizes {each.text}: axis {each.axis} of '{spec.name}' has {taken[spec.name, each.axis]} already")
            taken[spec.name, each.axis] = each.text
