"""The orientation of a file, against Pillow's reading; and of whatever else stands where it could be."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd.steps.exif import block_orientation, jpeg_orientation

Image = pytest.importorskip("PIL.Image")


def block(value: int, order: str = "<", *, tag: int = 0x0112, kind: int = 3, before: int = 0) -> bytes:
    """An EXIF block with that orientation behind `before` other tags."""
    head = b"II*\0" if order == "<" else b"MM\0*"
    others = b"".join(struct.pack(order + "HHIHH", number + 1, 3, 1, 7, 0) for number in range(before))
    count = struct.pack(order + "H", before + 1)
    own = struct.pack(order + "HHIHH", tag, kind, 1, value, 0)
    return b"Exif\0\0" + head + struct.pack(order + "I", 8) + count + others + own + bytes(4)


def jpeg(exif: bytes) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("before", [0, 3])
def test_reads_what_pillow_reads(orientation, order, before) -> None:
    exif = block(orientation, order, before=before)
    file = jpeg(exif)
    with Image.open(io.BytesIO(file)) as image:
        assert image.getexif()[0x0112] == orientation
    assert jpeg_orientation(memoryview(file)) == orientation
    assert block_orientation(exif) == orientation
    assert block_orientation(exif[6:]) == orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_reads_what_pillow_writes(orientation) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "a maker"
    assert jpeg_orientation(memoryview(jpeg(exif.tobytes()))) == orientation


@pytest.mark.parametrize("value", [0, 9, 255, 65535])
def test_a_number_that_means_nothing_is_upright(value) -> None:
    assert jpeg_orientation(memoryview(jpeg(block(value)))) == 1


def test_other_tags_and_types_are_upright() -> None:
    assert block_orientation(block(6, tag=0x0113)) == 1
    assert block_orientation(block(6, kind=2)) == 1


def test_behind_other_segments_and_filling() -> None:
    file = jpeg(block(6))
    comment = b"\xff\xfe\0\x04hi"
    assert jpeg_orientation(memoryview(file[:2] + comment * 5 + b"\xff\xff\xff" + file[3:])) == 6
    assert jpeg_orientation(memoryview(file[:2] + b"\xff\x01\xff\xd0" + file[2:])) == 6


def test_looks_at_so_many_segments_only() -> None:
    file = jpeg(block(6))
    assert jpeg_orientation(memoryview(file[:2] + b"\xff\xfe\0\x02" * 1000 + file[2:])) == 1
    assert jpeg_orientation(memoryview(file[:2] + b"\xff" * 100_000)) == 1


def test_not_in_the_picture_itself() -> None:
    file = jpeg(b"")
    scan = file.index(b"\xff\xda")
    exif = block(6)
    late = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    assert jpeg_orientation(memoryview(file[:scan] + late + file[scan:])) == 6
    assert jpeg_orientation(memoryview(file + late)) == 1


def test_cut_short_anywhere_is_upright_or_right() -> None:
    file = jpeg(block(6, before=2))
    for nbytes in range(len(file)):
        assert jpeg_orientation(memoryview(file[:nbytes])) in (1, 6)


@given(st.binary(max_size=300))
def test_any_bytes(noise) -> None:
    assert 1 <= block_orientation(noise) <= 8
    assert 1 <= block_orientation(b"Exif\0\0II*\0" + noise) <= 8
    assert 1 <= block_orientation(b"MM\0*" + noise) <= 8
    assert 1 <= jpeg_orientation(memoryview(noise)) <= 8
    assert 1 <= jpeg_orientation(memoryview(b"\xff\xd8\xff\xe1" + noise)) <= 8
