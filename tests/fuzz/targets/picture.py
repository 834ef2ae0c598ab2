"""Encoded pictures: decoded to as many pixels as they say, or Unfit. JPEG and WebP by their libraries, everything else by Pillow.

A JPEG file is also read with and without our own reader of its codes, and a WebP file by Pillow, too: both find the same.
"""

from __future__ import annotations

import io
from contextlib import suppress

import numpy as np
from PIL import Image

from inferd._core.media import jpeg, webp
from inferd.steps.geometry import Unfit
from inferd.steps.picture import Decoder
from inferd.steps.picture_file import read_webp
from tests.jpegs import one_component_a_scan, with_one_scan

MODULES = ("media.jpeg", "media.orientation", "media.webp")
LINES = ("inferd.steps.picture", "inferd.steps.picture_file", "inferd.steps.png_text", "inferd.steps.exif")
MARKERS = (b"\xff\xd8", b"\xff\xda", b"\xff\xc0", b"\xff\xc2", b"\xff\xe1", b"Exif\0\0")
WEBP_CHUNKS = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"EXIF", b"ANMF")
DICTIONARY = (*MARKERS, b"II*\0", b"MM\0*", b"IHDR", b"IDAT", b"IEND", b"RIFF", b"WEBP", *WEBP_CHUNKS)
MAX_PIXELS = 10_000
DECODERS = (
    Decoder(max_pixels=MAX_PIXELS, background=(1, 2, 3)),
    Decoder(max_pixels=MAX_PIXELS, scaled=True),
    Decoder(max_pixels=MAX_PIXELS, gray=True),
)


def check(data: bytes) -> None:
    if not data:
        return
    if data[1:3] == MARKERS[0]:
        compare_readers(data[1:], eighths=data[0] % 8 + 1)
    if data[1:5] == b"RIFF":
        compare_libraries(data[1:])
    decoder = DECODERS[data[0] % 3]
    with suppress(Unfit), decoder.decode(memoryview(data)[1:], lambda size: (4, 4)) as picture:
        height, width = picture.size
        assert 0 < height * width <= MAX_PIXELS
        assert picture.pixels.shape[2] == (1 if data[0] % 3 == 2 else 3)
        assert int(picture.pixels.max()) <= 255


def compare_readers(file: bytes, eighths: int) -> None:
    head = jpeg.header(file)
    if head is None or head[0] * head[1] > MAX_PIXELS:
        return
    shape = (*jpeg.scaled_size(head[0], head[1], eighths), 3)
    expected, pixels = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    whole = jpeg.decode(file, expected, jpeg.LIBJPEG)
    if jpeg.decode(file, pixels, jpeg.OURS):
        assert whole
        assert np.array_equal(pixels, expected)


def compare_libraries(file: bytes) -> None:
    head = read_webp(memoryview(file))
    if head is None or head.frames or head.size[0] * head.size[1] > MAX_PIXELS:
        return
    mode = "RGBA" if head.transparent else "RGB"
    pixels = np.zeros((*head.size, len(mode)), np.uint8)
    if webp.decode(head.picture, pixels):
        with suppress(OSError, SyntaxError), Image.open(io.BytesIO(file)) as image:
            expected = np.asarray(image.convert(mode))
            assert np.array_equal(pixels, expected)


def saved(form: str, mode: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((9, 7)).convert(mode).save(file, form, **options)
    return file.getvalue()


def seeds() -> list[bytes]:
    tags = Image.Exif()
    tags[0x0112] = 6
    files = [
        saved("JPEG", "RGB", exif=tags),
        saved("JPEG", "L"),
        saved("JPEG", "RGB", quality=100, restart_marker_blocks=1),
        saved("JPEG", "CMYK"),
        saved("JPEG", "RGB", progressive=True),
    ]
    files += [with_one_scan(files[4]), one_component_a_scan(8, 8, 3), saved("PNG", "RGBA"), saved("PNG", "P"), saved("PNG", "I;16")]
    files += [saved("BMP", "RGB"), saved("WebP", "RGBA", lossless=True), saved("WebP", "RGBA", exif=tags), saved("WebP", "L")]
    return [bytes([decoder]) + file for decoder in range(3) for file in files]
