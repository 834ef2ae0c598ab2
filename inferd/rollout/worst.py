"""The place where two responses to one request differ most, in words for people. Never in here: how bad that is, which request it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from inferd.tensors import Array, as_numbers, distances, encoded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inferd.compare.outputs import Difference

MAX_TEXT = 40  # characters of a value


def worst_value(difference: Difference, expected: Mapping[str, Array], got: Mapping[str, Array], datatypes: Mapping[str, str]) -> str:
    """Output, place and both values, and the class where it is another; '' where nothing can be compared. An output with a flip first."""
    ranked = sorted(difference.outputs.items(), key=lambda each: (each[1].flips > 0, each[1].excess), reverse=True)
    for name, output in ranked:
        if not (output.changed_rows or output.flips) or expected[name].shape != got[name].shape:
            continue
        before, after = encoded(expected[name]), encoded(got[name])
        if datatypes.get(name) == "BYTES":
            apart = (before != after).astype(float)
        else:
            before, after = as_numbers(before, datatypes[name]), as_numbers(after, datatypes[name])
            apart = distances(after, before)
        place = np.unravel_index(int(apart.argmax()), apart.shape)
        at = ", ".join(str(int(each)) for each in place)
        said = f"{name}[{at}]: {_shown(before[place])} became {_shown(after[place])}"
        if output.flips and before.ndim > 1 and before.shape[-1] > 1 and datatypes.get(name) != "BYTES":
            row = place[:-1]
            said += f", class {int(before[row].argmax())} became {int(after[row].argmax())}"
        return said
    return ""


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return repr(value)[:MAX_TEXT] if isinstance(value, str) else f"{float(value):.4g}"
