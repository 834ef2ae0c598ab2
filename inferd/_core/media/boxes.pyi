from typing import Any, TypeAlias

import numpy as np

_Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

MAX_CANDIDATES: int
"""Boxes of one image that enter the suppression, best first."""

def detect_boxes(
    array: _Array, layout: int, transposed: bool, score_threshold: float, overlap_threshold: float, max_boxes: int
) -> tuple[_Array, _Array, _Array, _Array]:
    """FP32 [images, boxes, values], or transposed [images, values, boxes] -> boxes FP32 [images, max_boxes, 4] as x1, y1, x2, y2 in the
    graph's units, scores FP32 [images, max_boxes], classes INT64 [images, max_boxes], counts INT32 [images, 1]; best first, then zeros.

    layout: DetectBoxes.Layout. Kept is what scores more than score_threshold and overlaps no better box of its class by more than
    overlap_threshold; equal scores in the order of the boxes. A score that is NaN, a class that is no number from 0, a box that is not
    finite or has a negative side: ignored. Raises ValueError for an array, a layout or a max_boxes that is none.
    """
