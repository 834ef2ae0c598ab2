"""Labels of a model's classes: a text file in its folder, a label a line. Read when the model is loaded, never later."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from inferd.steps.pipeline import Array, Wrong

MAX_LABELS_BYTES = 4 << 20
SHOWN_CHARACTERS = 100


def read_labels(path: Path, wrong: Wrong) -> Array:
    """The lines of a file as an array of str objects. A line feed or CR LF ends each; behind the last one it may be missing.

    Raises the ConfigError that `wrong` makes: unreadable, larger than MAX_LABELS_BYTES, not UTF-8, empty.
    """
    name = path.name
    try:
        with path.open("rb") as file:
            content = file.read(MAX_LABELS_BYTES + 1)
    except OSError as error:
        raise wrong(f"labels {name!r} cannot be read: {error.strerror}") from None
    if len(content) > MAX_LABELS_BYTES:
        raise wrong(f"labels {name!r} has more than {MAX_LABELS_BYTES} bytes, the most that are read: a label a line, and nothing else")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise wrong(f"labels {name!r}, line {line}: not UTF-8 text: save the file as UTF-8") from None
    lines = text.removesuffix("\n").split("\n") if text else []
    if not lines:
        raise wrong(f"labels {name!r} is empty: write a label a line")
    labels = np.empty(len(lines), dtype=object)
    labels[:] = [line.removesuffix("\r") for line in lines]
    return labels


def shown_ends(labels: Array) -> str:
    """The first and last of labels, for an error: what else is in the file is mostly seen there."""
    first, last = (str(label)[:SHOWN_CHARACTERS] for label in (labels[0], labels[-1]))
    return f"from {first!r} to {last!r}"
