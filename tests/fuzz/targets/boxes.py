"""Detections: of any numbers what the plain version finds, as the array lies and transposed.

Input: 5 bytes for the layout, the sizes and the thresholds, and values, FP32 each.
"""

from __future__ import annotations

import warnings

import numpy as np

from tests._core.media import test_boxes

MODULES = ("media.boxes",)
DICTIONARY = (b"\0\0\x80\x3f", b"\0\0\0\x3f", b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff", b"\0\0\0\x80", b"\0\0\x80\x3e")
HEAD_NBYTES = 5


def check(data: bytes) -> None:
    if len(data) < HEAD_NBYTES:
        return
    layout, images, kinds = data[0] % 3, 1 + (data[0] >> 2 & 1), 1 + data[1] % 8
    values = 6 if layout == test_boxes.CORNERS_SCORE_CLASS else kinds + (4 if layout == test_boxes.CENTER_CLASSES else 5)
    content = np.frombuffer(data[HEAD_NBYTES : len(data) - (len(data) - HEAD_NBYTES) % 4], np.float32)
    array = content[: len(content) // (images * values) * images * values].reshape(images, -1, values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numpy's, where the plain version meets what is no number
        test_boxes.check(np.ascontiguousarray(array), layout, data[2] / 128, data[3] / 255, 1 + data[4] % 16)


def seeds() -> list[bytes]:
    random = np.random.default_rng(0)
    found = []
    for layout in range(3):
        values = random.random((12, 8), np.float32)
        values[:, :4] *= 40
        found += [bytes((layout | images, 3, 32, 115, 9)) + values.tobytes() for images in (0, 4)]
    return found
