from typing import Any, TypeAlias

import numpy as np

_Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

MAX_CANDIDATES: int
"""Boxes of one image that enter the suppression, best first."""

def detect_boxes(
    array: _Array, layout: int, transposed: bool, score_threshold: float, overlap_threshold: float, max_boxes: int
) -> tuple[_Array, _Array, _Array, _Array]:
    """Finds the best boxes of FP32 [images, boxes, values], or transposed [images, values, boxes]. -> (boxes, scores, classes, counts), the
    best first, then zeros.

    boxes: FP32 [images, max_boxes, 4] as x1, y1, x2, y2 in the graph's units. scores: FP32 [images, max_boxes]. classes: INT64 [images,
    max_boxes]. counts: INT32 [images, 1].
    layout: DetectBoxes.Layout. A box is kept if it scores more than score_threshold and overlaps no better box of its class by more than
    overlap_threshold. Equal scores stay in the order of the boxes. A box is ignored if its score is NaN, its class is no number from 0,
    it is not finite, or has a negative side. Raises ValueError for a wrong array, layout or max_boxes.
    """
