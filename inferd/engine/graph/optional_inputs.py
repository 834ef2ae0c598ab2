"""Inputs that a request may leave out: `optional: true` in a model's configuration, where the graph has a default for them.

The default is the input's initializer in the ONNX file. It replaces an input that a request leaves out, so that requests with and without
it share runs. Never in here: requests, onnxruntime.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from inferd._core.tensor.datatypes import DATATYPES
from inferd.errors import ConfigError
from inferd.tensors import elements_of

if TYPE_CHECKING:
    from inferd._core.tensor.signature import Signature

Default = tuple[tuple[int, ...], bytes, int]  # the shape of a row, the content of as many rows as a run has, bytes of one

MOST_BYTES = 64 << 20  # one default, repeated for all rows of a run


def defaults_of(signature: Signature, values: Mapping[str, bytes], where: str) -> dict[str, Default]:
    """The defaults of the signature's inputs, by name. values: those of the initializers, as requests carry tensors.

    Raises ConfigError where one is not a row of its input, or is too large.
    """
    batched = signature.max_batch_size > 0
    found: dict[str, Default] = {}
    for name, word, shape in signature.input_specs:
        if name not in values:
            continue
        row, value = shape[1:] if batched else shape, values[name]
        if min(row, default=0) < 0 or not _is(word, row, value):
            what = "a row of that, the batch axis not counted" if batched else "that"
            raise ConfigError(
                f"{where}: input {name!r}: optional is true, and the default in the ONNX file is not {what}: {word}{list(row)}: write its "
                "shape into dims, or leave optional out"
            )
        rows = max(signature.max_batch_size, 1)
        if rows * len(value) > MOST_BYTES:
            raise ConfigError(
                f"{where}: input {name!r}: optional is true, and its default for {rows} rows has more than {MOST_BYTES} bytes: leave "
                "optional out, or set a smaller max_batch_size"
            )
        found[name] = row, value * rows, len(value)
    return found


def _is(word: str, row: Sequence[int], value: bytes) -> bool:
    """Whether the bytes hold as many elements as the row has."""
    if word != "BYTES":
        return len(value) == math.prod(row) * DATATYPES[word][1]
    return len(elements_of(value)) == math.prod(row)
