"""What is told of files without decoding them: against Pillow's and libjpeg's own files, and files that are wrong in one place."""

from __future__ import annotations

import io
import itertools
import random
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd.errors import Cancelled
from inferd.steps import picture_file
from inferd.steps.picture_file import (
    Webp,
    file_format,
    has_all_rows,
    jpeg_segments,
    read_png,
    read_webp,
    tidied_jpeg,
    unpadded_jpeg,
)
from tests.jpegs import jpeg_scans
from tests.pngs import chunk, head, png

Image = pytest.importorskip("PIL.Image")

START, END, TABLES, SCAN = b"\xff\xd8", b"\xff\xd9", 0xDB, 0xDA


def saved(form: str, size: tuple[int, int] = (40, 30), **more) -> bytes:
    """A file of height and width."""
    file = io.BytesIO()
    Image.effect_noise((size[1], size[0]), 90).convert("RGB").save(file, form, **more)
    return file.getvalue()


def segment(marker: int, content: bytes = b"") -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def tidied(file: bytes) -> bytes | None:
    pieces = tidied_jpeg(memoryview(file))
    return None if pieces is None else b"".join(pieces)


def unpadded(file: bytes) -> bytes | None:
    pieces = unpadded_jpeg(memoryview(file))
    return None if pieces is None else b"".join(pieces)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WebP", "BMP"])
def test_names_formats(form) -> None:
    assert file_format(memoryview(saved(form))) == form


# ---- JPEG


def test_the_head_of_a_jpeg_is_its_segments() -> None:
    file = memoryview(saved("JPEG"))
    found = list(jpeg_segments(file))
    assert [each.marker for each in found] == [0xE0, TABLES, TABLES, 0xC0, 0xC4, 0xC4, 0xC4, 0xC4, SCAN]
    assert found[0].start == 2
    assert all(before.end == behind.start for before, behind in itertools.pairwise(found))
    assert bytes(file[found[0].content :][:5]) == b"JFIF\0"


def test_the_head_ends_where_the_image_does_or_another_begins() -> None:
    comment = segment(0xFE, b"hi")
    for end in (END, START, b""):
        file = memoryview(START + comment * 3 + end + comment + segment(SCAN))
        assert [each.marker for each in jpeg_segments(file)] == ([0xFE] * 3 if end else [0xFE] * 4 + [SCAN])


def test_a_tidy_jpeg_stays_as_it_is() -> None:
    file = saved("JPEG")
    assert tidied(file) == file


def test_bytes_between_segments_are_left_out() -> None:
    file = saved("JPEG")
    for each in jpeg_segments(memoryview(file)):
        for stray in (b"\0\0\0", b"\xff", b"\xff\0ab", b"a" * 60_000):
            untidy = file[: each.start] + stray + file[each.start :]
            assert tidied(untidy) == file
    assert tidied(file[:2] + bytes(100_000) + file[2:]) is None


def test_segments_that_no_pixel_needs_are_left_out() -> None:
    file = saved("JPEG")
    for marker in (*range(0xE0, 0xF0), 0xFE):
        more = file[:2] + segment(marker, bytes(60_000)) * 3 + file[2:]
        assert tidied(more) == (more if marker in (0xE0, 0xEE) else file)


def test_a_later_version_of_jfif_is_read_as_the_first() -> None:
    file = saved("JPEG")
    at = file.index(b"JFIF\0") + 5
    assert file[at] == 1
    assert tidied(file[:at] + b"\2" + file[at + 1 :]) == file


def test_what_stands_behind_the_head_is_left() -> None:
    file = saved("JPEG")
    behind = file[list(jpeg_segments(memoryview(file)))[-1].end :]
    untidy = file[: -len(behind)] + bytes(9) + behind + bytes(9)
    assert tidied(untidy) == untidy


def test_a_head_without_an_end_cannot_be_mended() -> None:
    file = saved("JPEG")
    scan = list(jpeg_segments(memoryview(file)))[-1]
    for nbytes in range(scan.end):
        assert tidied(file[:nbytes]) is None
    assert tidied(START + segment(0xFE) * 5000 + file[2:]) is None


def test_markers_are_found_in_whatever_piece_they_lie() -> None:
    file = saved("JPEG")
    behind = list(jpeg_segments(memoryview(file)))[-1].end
    for nbytes in range((1 << 20) - 3 - behind, (1 << 20) + 3 - behind):
        assert jpeg_scans(file[:behind] + bytes(nbytes) + segment(SCAN) + END) == 2


@pytest.mark.parametrize("piece_bytes", [1, 5, 16, 1 << 20])
def test_zeros_in_front_of_the_end_are_left_out(piece_bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_file, "_PIECE_BYTES", piece_bytes)
    file = saved("JPEG")[:-2] + b"\1" + END  # the last byte of real data may be a zero, too
    assert unpadded(file) is None
    for behind in (b"", b"\0\0", file):
        assert unpadded(file[:-2] + bytes(16) + END + behind) == file
    stuffed = file[:-2] + b"\xff\0"
    assert unpadded(stuffed + END) is None
    assert unpadded(stuffed + bytes(3) + END) == stuffed + END
    assert unpadded(file[:-2] + bytes(16)) is None
    assert unpadded(START + bytes(7) + END) == START + END
    assert unpadded(bytes(9) + END) == END


@given(st.binary(max_size=300))
def test_any_bytes_are_a_jpeg_or_none(noise) -> None:
    for file in (noise, START + noise, START + segment(TABLES, b"ab") + noise):
        assert jpeg_scans(file) >= 0
        assert tidied(file) != b""
        assert unpadded(file) != b""


# ---- PNG and WebP


def test_only_what_pixels_need_is_left_of_a_png() -> None:
    pixels, end = chunk(b"IDAT", zlib.compress(b"\0" * 4)), chunk(b"IEND")
    clear, animated, frame = chunk(b"tRNS", bytes(6)), chunk(b"acTL", bytes(8)), chunk(b"fcTL", bytes(26))
    plain = [head((1, 1), 8, 2), animated, clear, frame, pixels, chunk(b"IDAT"), end]
    for name in (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"gAMA", b"abCd", b"fdAT"):
        for at in range(1, len(plain)):
            found = read_png(memoryview(b"".join([*plain[:at], chunk(name, bytes(9)) * 3, *plain[at:]]) + b"behind"))
            assert [bytes(piece) for piece in found.pieces] == [b"".join(plain[:at]), b"".join(plain[at:])]
    for name in (b"tRNS", b"acTL", b"fcTL"):
        found = read_png(memoryview(b"".join([plain[0], chunk(name, bytes(769)), *plain[1:]])))
        assert b"".join(found.pieces) == b"".join(plain)


def is_whole_png(file: memoryview) -> bool:
    return read_png(file) is not None


def test_a_png_is_whole_or_not() -> None:
    file = saved("PNG")
    assert is_whole_png(memoryview(file))
    assert is_whole_png(memoryview(file + b"and more"))
    for nbytes in range(len(file)):
        assert not is_whole_png(memoryview(file[:nbytes]))
    chance = random.Random(0)
    for at in range(8, len(file)):
        broken = bytearray(file)
        broken[at] ^= chance.randrange(1, 256)
        assert not is_whole_png(memoryview(broken))


HEAD, PIXELS, END_CHUNK = head((2, 2), 8, 2), chunk(b"IDAT", zlib.compress(b"\0" * 14)), chunk(b"IEND")
COLORS = chunk(b"PLTE", bytes(6))


def test_what_a_png_says() -> None:
    block = b"II*\0"
    file = head((2, 2), 8, 3, 1) + COLORS + PIXELS + chunk(b"eXIf", block) + END_CHUNK
    said = read_png(memoryview(file))
    assert (said.colors, said.interlaced, said.depth, said.transparent, bytes(said.exif)) == (2, True, 8, None, block)
    whole = HEAD + PIXELS + END_CHUNK
    assert read_png(memoryview(whole)) == (0, False, 8, None, None, (whole,), None)


@pytest.mark.parametrize(
    ("depth", "color", "content", "transparent"),
    [
        (1, 0, b"\xff\xfe", (0,)),
        (2, 0, b"\0\1", (85,)),
        (4, 0, b"\xff\x13", (51,)),
        (8, 0, b"\1\5", (5,)),
        (16, 0, b"\1\5", (261,)),
        (8, 2, b"\0\1\0\2\1\3", (1, 2, 3)),
        (16, 2, b"\0\1\0\2\1\3", (1, 2, 259)),
        (8, 2, b"\0\1\0\2\3", None),
        (8, 6, b"\0\1\0\2\0\3", None),
        (200, 0, b"\0\1", None),
    ],
)
def test_the_transparent_color_of_a_png(depth, color, content, transparent) -> None:
    before, behind = chunk(b"tRNS", content), chunk(b"tRNS", b"\0\7" * 3)
    assert read_png(memoryview(head((2, 2), depth, color) + before + PIXELS + behind + END_CHUNK)).transparent == transparent
    if transparent:
        assert read_png(memoryview(head((2, 2), depth, color) + before + behind + PIXELS + END_CHUNK)).transparent == transparent


@pytest.mark.parametrize(
    "file",
    [
        head((2, 2), 8, 3) + PIXELS + END_CHUNK,
        head((2, 2), 8, 3) + PIXELS + COLORS + END_CHUNK,
        head((2, 2), 8, 3) + chunk(b"PLTE") + PIXELS + END_CHUNK,
        head((2, 2), 8, 3) + chunk(b"PLTE", bytes(7)) + PIXELS + END_CHUNK,
        head((2, 2), 8, 3) + COLORS + COLORS + PIXELS + END_CHUNK,
        HEAD + END_CHUNK,
        HEAD + HEAD[8:] + PIXELS + END_CHUNK,
        HEAD[:8] + PIXELS + HEAD[8:] + END_CHUNK,
        HEAD[:8] + chunk(b"abCd") + HEAD[8:] + PIXELS + END_CHUNK,
        HEAD + chunk(b"ABCD") + PIXELS + END_CHUNK,
        HEAD[:8] + chunk(b"IHDR", HEAD[16:29] + b"\0") + PIXELS + END_CHUNK,
    ],
    ids=[
        "no palette", "a late palette", "an empty palette", "half a color", "two palettes", "no pixels", "two heads", "a late head",
        "not the first chunk", "one that may not be passed over", "a long head",
    ],
)  # fmt: skip
def test_the_chunks_that_a_png_must_have(file) -> None:
    assert read_png(memoryview(file)) is None


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1), (2, 3), (9, 11)], ids=str)
def test_the_rows_of_a_png_are_counted(size, interlaced) -> None:
    """Of every depth and color."""
    rows = [[(0, column) for column in range(size[1])]] * size[0]
    if interlaced:  # as the specification has it: in which pass each pixel is
        order = ["16462646", "77777777", "56565656", "77777777", "36463646", "77777777", "56565656", "77777777"]
        rows = [
            [place for place in range(size[1]) if order[row % 8][place % 8] == str(each)] for each in range(1, 8) for row in range(size[0])
        ]
    for depth, (color, values) in itertools.product((1, 2, 4, 8, 16), {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.items()):
        nbytes = sum(1 + -(-len(row) * depth * values // 8) for row in rows if row)
        for more in (-1, 0, 1):
            file = head(size, depth, color, interlaced) + chunk(b"IDAT", zlib.compress(bytes(nbytes + more))) + END_CHUNK
            assert has_all_rows(memoryview(file)) == (more >= 0), (depth, color, more)


def test_rows_are_counted_across_chunks_and_given_up_with_their_request() -> None:
    pixels = zlib.compress(bytes(4 * 4001 * 4000), 1)
    chunks = [chunk(b"IDAT", pixels[at : at + 1000]) for at in range(0, len(pixels), 1000)]
    assert has_all_rows(memoryview(b"".join([head((4000, 4000), 8, 6), *chunks, END_CHUNK])))
    assert not has_all_rows(memoryview(b"".join([head((4000, 4000), 8, 6), *chunks[:-10], END_CHUNK])))

    def nobody_waits() -> None:
        raise Cancelled("nobody waits")

    with pytest.raises(Cancelled):
        has_all_rows(memoryview(png((4000, 4000), 8, 6, bytes(1000))), nobody_waits)


def with_chunks(file: bytes, count: int) -> bytes:
    """A PNG with so many empty chunks more in front of its pixels."""
    at = file.index(b"IDAT") - 4
    return file[:at] + struct.pack(">I4sI", 0, b"abCd", zlib.crc32(b"abCd")) * count + file[at:]


def test_the_chunks_of_a_png_have_a_limit() -> None:
    file = saved("PNG")
    assert is_whole_png(memoryview(with_chunks(file, 65_000)))
    assert not is_whole_png(memoryview(with_chunks(file, 65_536)))


def test_a_png_of_many_chunks_is_given_up_with_its_request() -> None:
    asked = []

    def nobody_waits() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise Cancelled("nobody waits")

    with pytest.raises(Cancelled):
        read_png(memoryview(with_chunks(saved("PNG"), 10_000)), nobody_waits)
    assert len(asked) == 3


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP file of these chunks."""
    body = b"".join(name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2) for name, content in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


SIZE = (299).to_bytes(3, "little") + (199).to_bytes(3, "little")  # of 300 x 200 pixels, less one
LOSSY = b"VP8 ", bytes(3) + b"\x9d\x01\x2a" + struct.pack("<HH", 1 << 14 | 300, 3 << 14 | 200)
LOSSLESS = b"VP8L", b"\x2f" + struct.pack("<I", 299 | 199 << 14)
CLEAR = b"VP8L", b"\x2f" + struct.pack("<I", 299 | 199 << 14 | 1 << 28)
ALPHA, OTHER, EXIF, XMP = (b"ALPH", b"..."), (b"abCd", b"."), (b"EXIF", b"II*\0"), (b"XMP ", b"<x/>")


def extended(flags: int = 0) -> tuple[bytes, bytes]:
    return b"VP8X", bytes([flags, 0, 0, 0]) + SIZE


def read(*chunks: tuple[bytes, bytes]) -> Webp | None:
    return read_webp(memoryview(riff(*chunks)))


@pytest.mark.parametrize("kind", [b"VP8 ", b"VP8L", b"VP8X"])
def test_what_a_webp_says(kind) -> None:
    how = {b"VP8 ": {"lossless": False}, b"VP8L": {"lossless": True}, b"VP8X": {"exif": b"II*\0"}}[kind]
    file = saved("WebP", (200, 300), **how)
    assert file[12:16] == kind
    said = read_webp(memoryview(file))
    assert said is not None
    assert (said.size, said.frames, said.transparent, said.buffered) == ((200, 300), 0, False, kind == b"VP8L")
    assert said.exif == (b"II*\0" if kind == b"VP8X" else None)


def test_what_the_chunks_of_a_webp_say() -> None:
    assert read(LOSSY) == ((200, 300), 0, riff(LOSSY)[12:], False, False, None, None)
    assert read(LOSSLESS) == ((200, 300), 0, riff(LOSSLESS)[12:], False, True, None, None)
    assert read(CLEAR) == ((200, 300), 0, riff(CLEAR)[12:], True, True, None, None)
    assert read(LOSSY, CLEAR, extended(0x3E), ALPHA) == ((200, 300), 0, riff(LOSSY)[12:], False, False, None, None)
    assert read(extended(0x10), ALPHA, LOSSY) == ((200, 300), 0, riff(ALPHA, LOSSY)[12:], True, True, None, None)
    assert read(extended(), ALPHA, LOSSY) == ((200, 300), 0, riff(LOSSY)[12:], False, False, None, None)
    assert read(extended(0x10), LOSSLESS, EXIF) == ((200, 300), 0, riff(LOSSLESS)[12:], False, True, None, None)
    assert read(extended(0x08), OTHER, LOSSY, EXIF, OTHER) == ((200, 300), 0, riff(LOSSY)[12:], False, False, EXIF[1], None)
    assert read(extended(0x04), XMP, LOSSY) == ((200, 300), 0, riff(LOSSY)[12:], False, False, None, XMP[1])
    assert read(extended(), LOSSY, XMP) == ((200, 300), 0, riff(LOSSY)[12:], False, False, None, None)
    frames = [(b"ANMF", bytes(16))] * 3
    assert read(extended(0x02), (b"ANIM", bytes(6)), *frames) == ((200, 300), 3, b"", False, False, None, None)


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [OTHER],
        [OTHER, LOSSY],
        [ALPHA, LOSSY],
        [extended()],
        [extended(), ALPHA],
        [extended(), LOSSY, ALPHA],
        [extended(), ALPHA, OTHER, LOSSY],
        [extended(), ALPHA, ALPHA, LOSSY],
        [extended(), LOSSY, LOSSY],
        [extended(), extended(), LOSSY],
        [extended(), LOSSY, (b"ANMF", bytes(16))],
        [extended(0x02), (b"ANIM", bytes(6))],
        [extended(0x02), LOSSY],
        [extended(0x01), LOSSY],
        [extended(0x40), LOSSY],
        [(b"VP8X", extended()[1][:-1]), LOSSY],
        [(b"VP8X", b""), LOSSY],
        [(b"VP8 ", LOSSY[1][:-1])],
        [(b"VP8 ", bytes(10))],
        [(b"VP8L", LOSSLESS[1][:-1])],
        [(b"VP8L", bytes(5))],
    ],
    ids=str,
)
def test_chunks_that_are_no_webp(chunks) -> None:
    assert read(*chunks) is None


def test_a_webp_consists_of_whole_chunks() -> None:
    file = riff(extended(), LOSSY, OTHER)
    assert read_webp(memoryview(file + b"behind")) is not None
    for end in range(12, len(file)):
        assert read_webp(memoryview(file[:end])) is None
        assert read_webp(memoryview(file[:4] + struct.pack("<I", end - 8) + file[8:end])) is None or end == len(file) - 10


def test_the_chunks_of_a_webp_have_a_limit() -> None:
    assert read(extended(), *[OTHER] * 65_000, LOSSY) is not None
    assert read(extended(), *[OTHER] * 65_536, LOSSY) is None


def test_a_webp_of_many_chunks_is_given_up_with_its_request() -> None:
    def nobody_waits() -> None:
        raise Cancelled("nobody waits")

    with pytest.raises(Cancelled):
        read_webp(memoryview(riff(extended(), *[OTHER] * 1000, LOSSY)), nobody_waits)
