"""The picture kernels with every parameter: each instruction set makes the same of any pixels, and what is no such call is ValueError.

Input: 24 bytes of parameters, and pixels, again and again. Memory that is written beside the result is the sanitizer's to see.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Any

import numpy as np

from inferd._core.media.image import Transform, flatten, instruction_sets
from inferd._core.media.orientation import orient

MODULES = ("media.image", "media.orientation")
DICTIONARY = (b"\0\0\x80\x3f", b"\0\0\x80\x7f", b"\0\0\xc0\x7f", b"\xff\xff", b"\x01\0")
PARAMETERS = struct.Struct("<8B2B2B4h2hB")  # see `check`
METHODS = ("BILINEAR", "NEAREST", "BICUBIC", "AREA")
SETS = instruction_sets()
MOST_SIDE = 96  # of pixels and results: many times what a step of a kernel takes at once
EIGHTH = 1 / 8  # of a pixel: boxes begin and end between them


def check(data: bytes) -> None:
    if len(data) < PARAMETERS.size:
        return
    height, width, to_height, to_width, out_height, out_width, channels, how, fill, reverse, factor, orientation, *numbers = (
        PARAMETERS.unpack_from(data)
    )
    top, left, box_height, box_width, corner_top, corner_left, boxed = numbers
    pixels = pixels_of(data[PARAMETERS.size :], (1 + height % MOST_SIDE, 1 + width % MOST_SIDE), (1, 3, 4)[channels % 3])
    box = (top * EIGHTH, left * EIGHTH, box_height * EIGHTH, box_width * EIGHTH) if boxed & 1 else None
    datatype = ("UINT8", "FP32")[how >> 4 & 1]
    options: dict[str, Any] = {
        "method": METHODS[how & 3],
        "antialias": bool(how & 4),
        "exact": bool(how & 8),
        "datatype": datatype,
        "channels_first": bool(how & 32),
        "reverse_channels": bool(reverse & 1),
        "fill": fill,
        "factors": (factor / 64,) * pixels.shape[2] if datatype == "FP32" or factor & 1 else (1.0,),
        "offsets": (-factor / 3,) if datatype == "FP32" else (0.0,),
    }
    size = (1 + out_height % MOST_SIDE, 1 + out_width % MOST_SIDE)
    resized = (1 + to_height % MOST_SIDE, 1 + to_width % MOST_SIDE)
    corner = (corner_top % 512 - 256, corner_left % 512 - 256)
    made = [transformed(pixels, size, resized, corner, box, {**options, "instruction_set": word}) for word in SETS]
    assert len({each is None for each in made}) == 1
    for each in made[1:]:
        if each is not None:
            np.testing.assert_allclose(
                each.astype(np.float64), made[0].astype(np.float64), rtol=1e-4, atol=1.01 if datatype == "UINT8" else 1e-3
            )
    check_flat(pixels, boxed)
    check_upright(pixels, 1 + orientation % 8)


def pixels_of(content: bytes, size: tuple[int, int], channels: int) -> Any:
    return np.resize(np.frombuffer(content or b"\x7f", np.uint8), (*size, channels))


def transformed(pixels: Any, size: Any, resized: Any, corner: Any, box: Any, options: dict[str, Any]) -> Any:
    """The result; None where the call is none."""
    channels = pixels.shape[2]
    shape = (channels, *size) if options["channels_first"] else (*size, channels)
    out = np.full(shape, 77, np.float32 if options["datatype"] == "FP32" else np.uint8)
    with suppress(ValueError):
        Transform(size, channels=channels, **options).apply(pixels, out, resized, corner, box)
        return out
    return None


def check_flat(pixels: Any, how: int) -> None:
    out = np.full((*pixels.shape[:2], 1 if how & 2 else 3), 77, np.uint8)
    with suppress(ValueError):
        flatten(pixels, (how, 0, 255), out)
        assert pixels.shape[2] > 1


def check_upright(pixels: Any, orientation: int) -> None:
    """Turned as numpy turns it."""
    if pixels.shape[2] == 4:
        return
    turned = pixels.transpose(1, 0, 2) if orientation > 4 else pixels
    expected = turned[:: -1 if orientation in (3, 4, 7, 8) else 1, :: -1 if orientation in (2, 3, 6, 7) else 1]
    out = np.full(expected.shape, 77, np.uint8)
    orient(pixels, out, orientation)
    np.testing.assert_array_equal(out, expected)


def seeds() -> list[bytes]:
    found = []
    for how in range(64):
        sizes = (40 + how, 33, 7 + how, 90 - how, 24, 24, how, how)
        found.append(PARAMETERS.pack(*sizes, how, how >> 3, 64, how, 8, 16, 200, 160, 256 - how, 256 + how // 2, how & 1))
    return [head + bytes(range(0, 256, 3)) for head in found]
