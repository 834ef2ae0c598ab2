"""The step detect_boxes: a detector's output -> the best box of each object, with its score, class and label.

Here stands how the output's layout is told from its shape; the work is native (_core/media/boxes.pyx). Coordinates stay in the graph's
units: pixels of what it was given mostly, or parts of 1. Never in here: images, what was done to them before.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from inferd._core.media.boxes import detect_boxes
from inferd.protocol import options
from inferd.steps.pipeline import Array, TensorType
from inferd.steps.stage import At, Last

if TYPE_CHECKING:
    from inferd.protocol.options import DetectBoxes

PARTS_OF_ONE = ("sigmoid", "softmax")  # steps that make scores of 0 to 1; what a graph gives may have any size
DEFAULT_SCORE = 0.25
DEFAULT_OVERLAP = 0.45
DEFAULT_BOXES = 100
MAX_BOXES = 1000  # of one image: each candidate is held against all that are kept


def compile_detections(at: At, step: DetectBoxes) -> Last:
    """The step over FP32. Raises ConfigError: a shape that is not the layout's, thresholds and numbers out of range, wrong labels."""
    labels = at.labels(step.labels)
    transposed = _check_shape(at, step, None if labels is None else len(labels))
    score = _part_of(at, "score_threshold", step.score_threshold, DEFAULT_SCORE, 1.0 if at.before in PARTS_OF_ONE else math.inf)
    overlap = _part_of(at, "overlap_threshold", step.overlap_threshold, DEFAULT_OVERLAP, 1.0)
    most = step.max_boxes or DEFAULT_BOXES
    if most > MAX_BOXES:
        raise at.wrong(f"max_boxes is {most}; the most is {MAX_BOXES}")
    layout = int(step.layout)
    outputs = [
        (at.name, TensorType("FP32", (most, 4))),
        (f"{at.name}_score", TensorType("FP32", (most,))),
        (f"{at.name}_class", TensorType("INT64", (most,))),
        (f"{at.name}_count", TensorType("INT32", (1,))),
    ]
    if labels is None:
        return Last(tuple(outputs), lambda array: list(detect_boxes(array, layout, transposed, score, overlap, most)))
    outputs.append((f"{at.name}_label", TensorType("BYTES", (most,))))
    named = np.append(labels, "")  # the last stands for what is no box, and for a class that has no line
    places = np.arange(most)

    def find(array: Array) -> list[Array]:
        boxes, scores, classes, counts = detect_boxes(array, layout, transposed, score, overlap, most)
        known = np.where(places < counts, np.minimum(classes, len(named) - 1), len(named) - 1)
        return [boxes, scores, classes, counts, named.take(known)]

    return Last(tuple(outputs), find)


def _check_shape(at: At, step: DetectBoxes, labels: int | None) -> bool:
    """Whether the output is transposed: [4 + classes, boxes]. Raises ConfigError where it is not of the layout."""
    shape = at.kind.shape
    word = options.DetectBoxes.Layout.Name(step.layout) if step.layout in options.DetectBoxes.Layout.values() else ""
    if not word:
        raise at.wrong(f"layout {step.layout} is none: name one of {', '.join(options.DetectBoxes.Layout.keys())}")
    if len(shape) != 2:
        raise at.wrong(f"layout {word} is [boxes, values], and it is given {at.kind}: export the graph with one output of that rank")
    if word == "CENTER_CLASSES":
        return _is_transposed(at, labels)
    values = at.size(1, "to know what a box's values are")
    if word == "CORNERS_SCORE_CLASS":
        if values != 6:
            raise at.wrong(f"layout {word} is [boxes, 6] (x1, y1, x2, y2, score, class), and it is given {at.kind}: name another layout")
        return False
    if values < 6:
        raise at.wrong(f"layout {word} is [boxes, 5 + classes], and it is given {at.kind}: name another layout")
    if labels is not None and labels != values - 5:
        raise at.wrong(f"labels {step.labels!r} has {labels} lines, and {at.kind} has {values - 5} classes: write a line for each class")
    return False


def _is_transposed(at: At, labels: int | None) -> bool:
    """Whether the shape is [4 + classes, boxes], not [boxes, 4 + classes]. The axis of classes fits the labels, or is fixed, or the
    smaller."""
    first, last = at.kind.shape
    if labels is not None:
        if 4 + labels not in (first, last):
            raise at.wrong(
                f"it has {labels} labels, so that layout CENTER_CLASSES is [boxes, {4 + labels}], or its transpose, and it is given "
                f"{at.kind}: write a line for each class, or name another layout"
            )
        return last != 4 + labels
    if first < 0 and last < 0:
        raise at.wrong(
            f"it is given {at.kind}, and one axis must have a fixed size, to know the classes: write it into the output's dims in the "
            f"configuration, or name labels"
        )
    transposed = last < 0 or 0 <= first < last
    if (first if transposed else last) < 5:
        raise at.wrong(f"layout CENTER_CLASSES is [boxes, 4 + classes], or its transpose, and it is given {at.kind}: name another layout")
    return transposed


def _part_of(at: At, field: str, value: float, default: float, most: float) -> float:
    """A threshold: above 0, or the default."""
    if not 0 <= value <= most or math.isinf(value):
        raise at.wrong(f"{field} is {value:g}; it must be a number above 0{' and at most 1' if most == 1 else ''}, or 0 for {default}")
    return value or default
