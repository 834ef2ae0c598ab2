"""Named arrays as text for people, as JSON, or as a .npz file. Shows values; changes none."""

from __future__ import annotations

import base64
import json
import math
from typing import TYPE_CHECKING

import numpy as np

from inferd.record.npz import write_npz
from inferd.tensors import Array, objects, widened, word_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BAR = 30  # characters of the longest bar
MOST_LABEL = 40  # characters of a label in a table
BEST = 5  # classes of a row in a table
MOST_VALUES = 100  # of an output that is shown whole
EDGE = 4  # rows, or values along an axis, that are shown of both ends of one that is not


def as_text(outputs: Mapping[str, Array], datatypes: Mapping[str, str], classes: Mapping[str, Sequence[str]] | None = None) -> str:
    """Name, datatype and shape of each output, then its values, abbreviated in the middle when they are many.

    A ranked output with labels is shown as a table with bars. An output with known classes is shown so, too, with its best ones.
    classes: names of classes by the output's name."""
    lines = []
    shown_with_another: set[str] = set()
    for name, array in outputs.items():
        if name in shown_with_another:
            continue
        labels = outputs.get(f"{name}_label", outputs.get(f"{name}_index"))
        if labels is not None and _is_ranked(array, labels.shape):
            shown_with_another |= {f"{name}_label", f"{name}_index"}
            lines += _ranking(name, array, _readable(f"{name}_label", labels, datatypes))
            continue
        lines.append(f"{name}  {_word(name, array, datatypes)} {list(array.shape)}")
        named = (classes or {}).get(name, ())
        if named and _is_ranked(array, (*array.shape[:1], len(named))):
            lines += _best(name, array, objects(each if each.isprintable() else repr(each) for each in named))
            continue
        shown = np.array2string(_readable(name, array, datatypes), threshold=MOST_VALUES, edgeitems=EDGE, max_line_width=110, precision=6)
        lines += ["  " + line for line in shown.splitlines()]
    return "\n".join(lines)


def _is_ranked(array: Array, shape: tuple[int, ...]) -> bool:
    return array.ndim == 2 and array.shape == shape and array.dtype.kind == "f"


def _best(name: str, scores: Array, classes: Array) -> list[str]:
    """The best classes of each row; of many rows the first and last."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :BEST]
    ranked, labels = np.take_along_axis(scores, order, axis=1), classes[order]
    if scores.size <= MOST_VALUES or len(scores) <= 2 * EDGE:
        return _ranking(name, ranked, labels)
    last = len(scores) - EDGE
    return [*_ranking(name, ranked[:EDGE], labels[:EDGE]), "...", *_ranking(name, ranked[last:], labels[last:], first=last)]


def _ranking(name: str, scores: Array, labels: Array, first: int = 0) -> list[str]:
    """The rows of a top-k, numbered from `first`: place, label, score, and a bar that shows the score relative to the best."""
    width = min(max((len(str(label)) for label in labels.reshape(-1)), default=0), MOST_LABEL)
    lines = []
    for row, (row_scores, row_labels) in enumerate(zip(scores.tolist(), labels.tolist(), strict=True), first):
        lines.append(name if len(scores) == 1 else f"{name}, row {row}")
        best = max((abs(score) for score in row_scores if math.isfinite(score)), default=0.0)
        for place, (score, label) in enumerate(zip(row_scores, row_labels, strict=True), 1):
            share = max(score, 0.0) / best if best and math.isfinite(score) else 0.0
            lines.append(f"  {place:>2}  {str(label)[:MOST_LABEL]:<{width}}  {score:8.4f}  {'█' * round(BAR * share)}".rstrip())
    return lines


def as_json(model: str, version: str, outputs: Mapping[str, Array], datatypes: Mapping[str, str]) -> str:
    """One object with every value, on one line.

    NaN and infinities are strings, as in protobuf's JSON. Bytes that are no UTF-8 are base64. Control characters are escaped, for a
    terminal may obey them."""
    tensors = [
        {
            "name": name,
            "datatype": _word(name, array, datatypes),
            "shape": list(array.shape),
            "data": _plain(_readable(name, array, datatypes).tolist()),
        }
        for name, array in outputs.items()
    ]
    text = json.dumps({"model_name": model, "model_version": version, "outputs": tensors}, ensure_ascii=False, allow_nan=False)
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def save_npz(path: str, outputs: Mapping[str, Array], datatypes: Mapping[str, str]) -> None:
    """All outputs under their names. A graph in this process gives texts, and a server bytes: both become bytes."""
    write_npz(path, {name: array.astype(object) if _word(name, array, datatypes) == "BYTES" else array for name, array in outputs.items()})


def _word(name: str, array: Array, datatypes: Mapping[str, str]) -> str:
    return datatypes.get(name) or word_of(array.dtype)


def _readable(name: str, array: Array, datatypes: Mapping[str, str]) -> Array:
    """BF16 bits as numbers, byte strings as text where they are UTF-8; anything else as it is."""
    word = _word(name, array, datatypes)
    if word == "BF16":
        return widened(array)
    if word == "BYTES":
        return objects(map(_text, array.flat), array.shape)
    return array


def _text(value: object) -> object:
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return "base64:" + base64.b64encode(value).decode()
    return value


def _plain(value: object) -> object:
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
