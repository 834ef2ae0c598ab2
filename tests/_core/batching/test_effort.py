"""What preparing a request is charged, by the heads of files that other libraries wrote."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from inferd._core.batching.local import LocalRequest
from inferd._core.tensor.signature import Signature
from inferd.steps.pipeline import Content

SIGNATURE = Signature("m", "1", [("file", "BYTES", (-1, 1)), ("x", "FP32", (-1, 4))], [("y", "FP32", (-1, 1))], 64, binary=["file"])
ROW_US, PIXEL_US, HIDDEN_PIXELS = 10, 0.008, 50_000_000


def charged(*files: bytes, content: Content, numbers: Content = Content.UNPREPARED) -> int:
    elements = np.empty((len(files), 1), object)
    elements[:, 0] = files
    request = LocalRequest([("file", "BYTES", elements), ("x", "FP32", np.zeros((len(files), 4), np.float32))])
    request.check(SIGNATURE)
    return request.charge(bytes([content, numbers]))


def picture(form: str, size: tuple[int, int] = (211, 97), **how: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (9, 99, 199)).save(file, form, **how)
    return file.getvalue()


def clip(seconds: int, form: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros((8000 * seconds, 1), np.float32), 8000, format=form, subtype=subtype)
    return file.getvalue()


def with_exif(orientation: int = 6) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize(
    "file",
    [
        picture("JPEG"),
        picture("JPEG", progressive=True),
        picture("JPEG", exif=with_exif(), comment=b"it has more segments"),
        picture("PNG"),
        picture("BMP"),
        picture("WebP"),
        picture("WebP", lossless=True),
        picture("WebP", exif=with_exif()),
    ],
    ids=["jpeg", "progressive", "exif", "png", "bmp", "webp", "lossless", "extended"],
)
def test_a_picture_costs_its_pixels_and_bytes(file: bytes) -> None:
    expected = ROW_US + 211 * 97 * PIXEL_US + len(file) / 100
    assert charged(file, content=Content.PICTURE) == int(expected)
    assert charged(file, file, file, content=Content.PICTURE) == int(3 * expected)


def test_a_bmp_from_the_top_has_a_negative_height() -> None:
    file = bytearray(picture("BMP"))
    file[22:26] = (-97).to_bytes(4, "little", signed=True)
    assert charged(bytes(file), content=Content.PICTURE) == charged(picture("BMP"), content=Content.PICTURE)


@pytest.mark.parametrize("padding", [b"\xff", b"\xff\x01", b"\xff\xd0"], ids=["fill byte", "TEM", "RST0"])
def test_a_jpeg_with_markers_that_have_no_length_pays_for_a_large_one(padding: bytes) -> None:
    """Decoders pass over them. Whoever takes the bytes behind them for a length finds a size where it likes."""
    file = picture("JPEG")
    lie = b"\xff\xe0\x00\x10" + b"\xff\xc0\x00\x11\x08\x00\x01\x00\x01" + bytes(5)
    assert charged(file[:2] + padding + lie + file[2:], content=Content.PICTURE) > HIDDEN_PIXELS * PIXEL_US


def test_the_smallest_webp_is_charged_for_its_pixels() -> None:
    """One colour, lossless: 28 bytes or so, whatever the size."""
    file = picture("WebP", (2000, 2000), lossless=True)
    assert charged(file, content=Content.PICTURE) >= 2000 * 2000 * PIXEL_US
    assert charged(file[:24] + b"VP8?" + file[28:], content=Content.PICTURE) > 0


def test_an_ogg_page_within_the_last_packet_is_none() -> None:
    file = clip(60, "OGG", "VORBIS")
    false = b"OggS" + bytes(2) + (1).to_bytes(8, "little") + bytes(14)
    assert charged(file + false, content=Content.SOUND) >= charged(file, content=Content.SOUND)


def test_a_jpeg_that_hides_its_size_pays_for_a_large_one() -> None:
    file = picture("JPEG")
    odd = file[:2] + b"stray" + file[2:]
    assert charged(odd, content=Content.PICTURE) > HIDDEN_PIXELS * PIXEL_US
    assert charged(file[:2] + b"\xff\xfe\0\2" * 100 + file[2:], content=Content.PICTURE) > HIDDEN_PIXELS * PIXEL_US


@pytest.mark.parametrize(("form", "subtype"), [("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS")])
def test_silence_costs_its_seconds_however_small_its_file_is(form: str, subtype: str | None) -> None:
    short, long = (charged(clip(seconds, form, subtype), content=Content.SOUND) for seconds in (10, 60))
    assert short >= 8000 * 10 * 0.02
    assert long == pytest.approx(6 * short, rel=0.05)


def test_a_sound_that_hides_its_length_pays_for_five_minutes() -> None:
    hidden = 14_400_000 * 0.02
    flac = bytearray(clip(1, "FLAC"))
    flac[21:26] = bytes([flac[21] & 0xF0, 0, 0, 0, 0])
    ogg = clip(1, "OGG", "VORBIS") + bytes(70_000)  # the last page is too far away
    assert charged(bytes(flac), content=Content.SOUND) == charged(ogg, content=Content.SOUND) == int(ROW_US + hidden)
    rest = b"OggS" + bytes(60_000) + b"end"  # so many are looked through, and no more
    assert charged(*[rest] * 60, clip(1, "OGG", "VORBIS"), content=Content.SOUND) > 61 * hidden


@pytest.mark.parametrize(
    ("content", "ns"), [(Content.TEXT, 300), (Content.NUMBERS, 1), (Content.UNPREPARED, 0)], ids=lambda one: str(getattr(one, "name", ""))
)
def test_all_else_costs_its_bytes(content: Content, ns: int) -> None:
    text = b"BM\xff\xd8" * 25_000
    assert charged(text, content=content) == ROW_US + (len(text) + 4) * ns // 1000
    assert charged(b"", content=Content.UNPREPARED, numbers=content) == ROW_US + 16 * ns // 1000


@pytest.mark.parametrize("made", [lambda: picture("JPEG"), lambda: picture("PNG"), lambda: picture("BMP"), lambda: picture("WebP")])
def test_a_head_that_is_cut_off_is_read_to_its_end(made: Callable[[], bytes]) -> None:
    file = made()
    for nbytes in range(64):
        assert charged(file[:nbytes], content=Content.PICTURE) >= ROW_US
        assert charged(file[:nbytes], content=Content.SOUND) >= ROW_US


HEADS = [b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF\0\0\0\0WEBPVP8X", b"RIFF\0\0\0\0WEBPVP8L", b"fLaC", b"OggS"]


@given(st.lists(st.tuples(st.sampled_from(HEADS), st.binary(max_size=80)), min_size=1, max_size=5), st.sampled_from(Content))
def test_any_bytes_cost_something_that_fits(files: list[tuple[bytes, bytes]], content: Content) -> None:
    assert len(files) * ROW_US <= charged(*(head + rest for head, rest in files), content=content) < 2**32
