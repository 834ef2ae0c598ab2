"""JPEG files -> pixels, against Pillow, which has libjpeg-turbo, too; and every way in which a file can be wrong."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd._core.media import jpeg
from tests.jpegs import jpeg_scans, one_component_a_scan, with_one_scan

Image = pytest.importorskip("PIL.Image")

SIZES = [(1, 1), (1, 9), (7, 8), (8, 8), (16, 17), (33, 31), (64, 3), (120, 200)]


def colors(height: int, width: int, channels: int = 3) -> np.ndarray:
    """A smooth picture with some noise: what JPEG is made for, and not empty."""
    random = np.random.default_rng(height * 1000 + width)
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
    wave = 127 + 100 * np.sin(y / 9 + c) * np.cos(x / 7 - c)
    return np.clip(wave + random.normal(0, 8, wave.shape), 0, 255).astype(np.uint8)


def saved(image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def photo(height: int = 120, width: int = 200, **options) -> bytes:
    return saved(Image.fromarray(colors(height, width)), **{"quality": 90} | options)


def decoded(file: bytes, channels: int = 3, eighths: int = 8) -> np.ndarray | None:
    head = jpeg.header(file)
    assert head is not None
    pixels = np.full((*jpeg.scaled_size(head[0], head[1], eighths), channels), 77, np.uint8)
    return pixels if jpeg.decode(file, pixels) else None


def by_pillow(file: bytes, mode: str = "RGB") -> np.ndarray:
    with Image.open(io.BytesIO(file)) as image:
        if mode == "L" and image.mode == "RGB":
            image.draft("L", image.size)
        pixels = np.asarray(image.convert(mode))
    return pixels.reshape(*pixels.shape[:2], -1)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_equals_pillow(size, subsampling, progressive) -> None:
    file = photo(*size, subsampling=subsampling, progressive=progressive)
    assert jpeg.header(file)[:2] == size
    assert np.array_equal(decoded(file), by_pillow(file))
    assert np.array_equal(decoded(file, channels=1), by_pillow(file, "L"))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_gray_files(size) -> None:
    file = saved(Image.fromarray(colors(*size, 1)[:, :, 0]), quality=80)  # type: ignore[call-arg]
    assert np.array_equal(decoded(file), by_pillow(file))
    assert np.array_equal(decoded(file, channels=1), by_pillow(file, "L"))


@pytest.mark.parametrize("transform", [0, 2], ids=["CMYK", "YCCK"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_printers_colors(size, transform) -> None:
    file = bytearray(saved(Image.fromarray(colors(*size, 4), "CMYK"), quality=90))  # type: ignore[call-arg]
    adobe = file.index(b"Adobe")
    assert file[adobe + 11] == 0
    file[adobe + 11] = transform  # says what the channels are; there are four in any case
    file = bytes(file)
    assert np.array_equal(decoded(file), by_pillow(file))
    assert np.array_equal(decoded(file, channels=1), by_pillow(file, "L"))


def test_colors_that_were_not_converted() -> None:
    file = saved(Image.fromarray(colors(30, 40)), quality=90, keep_rgb=True)
    assert np.array_equal(decoded(file), by_pillow(file))


@pytest.mark.parametrize(("size", "eighths"), [(size, eighths) for eighths in (1, 2, 4) for size in SIZES if min(size) * eighths >= 8])
def test_scaled_as_pillow_scales(size, eighths) -> None:
    file = photo(*size)
    with Image.open(io.BytesIO(file)) as image:
        image.draft("RGB", (size[1] * eighths // 8, size[0] * eighths // 8))
        assert np.array_equal(decoded(file, eighths=eighths), np.asarray(image))


@pytest.mark.parametrize("eighths", range(1, 9))
def test_scaled_pixels_lie_where_they_did(eighths) -> None:
    whole, scaled = np.mgrid[0:120, 0:112], (np.mgrid[0 : 15 * eighths, 0 : 14 * eighths] + 0.5) * 8 / eighths - 0.5
    for axis in (0, 1):
        file = saved(Image.fromarray((10 + 2 * whole[axis]).astype(np.uint8)), quality=100)
        assert np.abs(decoded(file, channels=1, eighths=eighths)[:, :, 0] - (10 + 2 * scaled[axis])).max() < 1.5


@pytest.mark.parametrize("eighths", range(1, 9))
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_scaled_sizes(size, eighths) -> None:
    pixels = decoded(photo(*size), eighths=eighths)
    assert pixels.shape == (-(-size[0] * eighths // 8), -(-size[1] * eighths // 8), 3)


# ---- our reader of Huffman's codes, beside libjpeg's


def read_by(readers: int, file: bytes, channels: int, eighths: int) -> tuple[bool, np.ndarray]:
    height, width = jpeg.header(file)[:2]
    pixels = np.zeros((*jpeg.scaled_size(height, width, eighths), channels), np.uint8)
    return jpeg.decode(file, pixels, readers), pixels


def assert_reads_as_libjpeg(file: bytes, channels: int = 3, eighths: int = 8) -> None:
    """What libjpeg rejects is rejected, and what it reads is the same."""
    there, expected = read_by(jpeg.LIBJPEG, file, channels, eighths)
    ours, pixels = read_by(jpeg.OURS, file, channels, eighths)
    assert there or not ours
    assert not ours or np.array_equal(pixels, expected)
    either, pixels = read_by(jpeg.OURS | jpeg.LIBJPEG, file, channels, eighths)
    assert either == there
    assert not there or np.array_equal(pixels, expected)


@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    mode=st.sampled_from(["L", "RGB", "CMYK"]),
    quality=st.integers(1, 100),
    subsampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]),
    optimize=st.booleans(),
    interval=st.integers(0, 9),
    channels=st.sampled_from([1, 3]),
    eighths=st.integers(1, 8),
)
def test_we_read_every_sequential_file(size, mode, quality, subsampling, optimize, interval, channels, eighths) -> None:
    options = {} if mode == "L" else {"subsampling": subsampling}
    image = Image.fromarray(colors(*size, 4), "CMYK").convert(mode)  # type: ignore[call-arg]
    file = saved(image, quality=quality, optimize=optimize, restart_marker_blocks=interval, **options)
    ours, pixels = read_by(jpeg.OURS, file, channels, eighths)
    assert ours
    assert np.array_equal(pixels, read_by(jpeg.LIBJPEG, file, channels, eighths)[1])


def test_we_read_more_than_a_chunk_and_long_codes() -> None:
    """16384 bytes are unstuffed at once; noise at the best quality has codes of all lengths, and a 0xFF every 256 bytes."""
    noise = np.random.default_rng(3).integers(0, 256, (300, 500, 3), np.uint8)
    for options in ({}, {"optimize": True}, {"restart_marker_rows": 1}, {"subsampling": "4:2:0", "restart_marker_blocks": 7}):
        file = saved(Image.fromarray(noise), quality=100, **options)
        assert len(file) > 5 * 16384
        assert file.count(b"\xff\x00") > 100
        ours, pixels = read_by(jpeg.OURS, file, 3, 8)
        assert ours
        assert np.array_equal(pixels, by_pillow(file))


def test_other_files_are_left_to_libjpeg() -> None:
    for file in (photo(progressive=True), one_component_a_scan(24, 40, scans=3), one_component_a_scan(24, 40, scans=1)):
        assert not read_by(jpeg.OURS, file, 3, 8)[0]
        assert_reads_as_libjpeg(file)


@pytest.mark.parametrize("options", [{}, {"restart_marker_blocks": 3}, {"optimize": True, "quality": 100}], ids=str)
def test_we_read_no_file_that_is_cut_short(options) -> None:
    file = photo(40, 60, **options)
    for nbytes in range(file.index(b"\xff\xda") + 14, len(file)):
        assert nbytes >= len(file) - 2 or not read_by(jpeg.OURS, file[:nbytes] + b"\xff\xd9", 3, 8)[0]
        assert_reads_as_libjpeg(file[:nbytes] + b"\xff\xd9")


def test_what_stands_around_markers() -> None:
    file = photo(40, 60, restart_marker_blocks=3)
    first, second = file.index(b"\xff\xd0"), file.index(b"\xff\xd1")
    inserted = [b"\xff", b"\x00", b"\xff\x00", b"\xff\xff\x00", b"\xff\xd0", b"\xff\xd5", b"\xff\xd9", b"\x00" * 9, b"\xff\x01"]
    for at in (first, first + 2, second, len(file) - 2, first - 1):
        for more in inserted:
            assert_reads_as_libjpeg(file[:at] + more + file[at:])
    assert_reads_as_libjpeg(file[:first] + file[second:])
    assert_reads_as_libjpeg(file[:first] + file[first + 2 :])
    assert_reads_as_libjpeg(file[:first] + b"\xff\xd1" + file[first + 2 : second] + b"\xff\xd0" + file[second + 2 :])


@pytest.mark.parametrize("kind", ["colors", "restarts", "gray", "CMYK", "optimized"])
def test_we_read_corrupted_files_as_libjpeg_does(kind) -> None:
    image = Image.fromarray(colors(24, 40, 4), "CMYK") if kind == "CMYK" else Image.fromarray(colors(24, 40))
    options = {"restart_marker_blocks": 2 if kind == "restarts" else 0, "optimize": kind == "optimized"}
    file = saved(image.convert("L") if kind == "gray" else image, quality=85, **options)
    random = np.random.default_rng(1)
    tables = file.index(b"\xff\xc4") if kind != "colors" else 2
    for _ in range(800):
        broken = bytearray(file)
        for at in random.integers(tables, len(file), random.integers(1, 4)):
            broken[at] = random.choice([random.integers(256), 0xFF, 0, broken[at] ^ 1 << random.integers(8)])
        head = jpeg.header(broken)
        if head is not None and head[0] * head[1] <= 100_000:
            assert_reads_as_libjpeg(bytes(broken), eighths=int(random.choice([2, 4, 8])))


# ---- heads


def scans(file: bytes) -> int:
    return jpeg.header(file)[2]


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def test_counts_scans() -> None:
    assert scans(photo()) == 1
    assert scans(photo(progressive=True)) == 10
    assert scans(photo(restart_marker_blocks=2)) == 1


def test_scans_inside_of_segments_and_behind_the_end_do_not_count() -> None:
    file, more = photo(), segment(0xDA, b"") * 150
    assert scans(file + more) == 1
    assert scans(file[:2] + segment(0xE1, more) + file[2:]) == 1
    assert scans(file[:-2] + more + file[-2:]) == 151


def test_a_file_without_the_end_of_its_image_has_no_scans() -> None:
    file = photo(progressive=True)
    behind = file.index(b"\xff\xda") + 40
    for broken in (file[:-2], file[:-2] + b"\xff\xd8\xff\xd9", file[:behind] + segment(0xFE, b"") * 1000 + file[behind:]):
        assert scans(broken) == jpeg_scans(broken) == 0


@pytest.mark.parametrize("progressive", [False, True])
@given(st.data())
def test_counts_the_scans_of_any_file(progressive, data) -> None:
    """As plain Python does."""
    file = bytearray(photo(24, 40, progressive=progressive))
    behind = file.index(b"\xff\xda") + 2
    for _ in range(data.draw(st.integers(0, 5))):
        at = data.draw(st.integers(behind, len(file) - 1))
        file[at : at + 2] = data.draw(
            st.sampled_from([b"\xff\xda", b"\xff\xd9", b"\xff\xd8", b"\xff\x01", b"\xff\xff", b"\xff\xd0", b"\xff\x00", b"\xff"])
        )
    file = file[: data.draw(st.integers(behind + 12, len(file)))]
    head = jpeg.header(file)
    if head is not None:  # what was overwritten may be the head of the scan
        assert head[2] == jpeg_scans(bytes(file))


def test_counts_components() -> None:
    image = Image.fromarray(colors(24, 40))
    assert [jpeg.header(saved(image.convert(mode)))[3] for mode in ("L", "RGB", "CMYK")] == [1, 3, 4]
    assert jpeg.header(photo(keep_rgb=True))[3] == 3


def test_tells_whether_the_library_keeps_the_whole_picture() -> None:
    def whole(file: bytes) -> bool:
        return jpeg.header(file)[4]

    assert not whole(photo())
    assert not whole(photo(restart_marker_blocks=2))
    assert not whole(saved(Image.fromarray(colors(24, 40, 1)[:, :, 0])))
    assert whole(photo(progressive=True))
    assert whole(with_one_scan(photo(progressive=True)))
    assert whole(one_component_a_scan(24, 40, scans=3))
    assert whole(one_component_a_scan(24, 40, scans=1))


def test_tells_what_is_coded_arithmetically() -> None:
    for file, frame in ((photo(), 0xC0), (photo(progressive=True), 0xC2)):
        assert not jpeg.header(file)[5]
        coded = file.replace(bytes([0xFF, frame]), bytes([0xFF, frame + (9 if frame == 0xC0 else 8)]), 1)
        assert jpeg.header(coded)[5]


@pytest.mark.parametrize("progressive", [False, True])
def test_a_file_that_is_cut_short_is_damaged(progressive) -> None:
    file = photo(40, 60, progressive=progressive)
    for nbytes in range(len(file)):
        head = jpeg.header(file[:nbytes])
        if head is not None:
            assert head[:2] == (40, 60)
            assert not jpeg.decode(file[:nbytes], np.empty((40, 60, 3), np.uint8))


@pytest.mark.parametrize("kind", ["colors", "progressive", "gray", "CMYK"])
def test_a_corrupted_file_is_a_picture_or_damaged(kind) -> None:
    image = Image.fromarray(colors(24, 40, 4), "CMYK") if kind == "CMYK" else Image.fromarray(colors(24, 40))
    file = saved(image.convert("L") if kind == "gray" else image, quality=70, progressive=kind == "progressive")
    random = np.random.default_rng(0)
    for _ in range(1500):
        broken = bytearray(file)
        for at in random.integers(2, len(file), random.integers(1, 4)):
            broken[at] = random.integers(256)
        head = jpeg.header(broken)
        if head is None or head[0] * head[1] > 100_000:
            continue
        memory = np.full(head[0] * head[1] * 3 + 64, 77, np.uint8)
        jpeg.decode(broken, memory[32:-32].reshape(head[0], head[1], 3))
        assert (memory[:32] == 77).all()
        assert (memory[-32:] == 77).all()


@given(st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"]), st.binary(max_size=200))
def test_anything_else_is_no_jpeg(beginning, noise) -> None:
    assert jpeg.header(beginning + noise) is None
    assert not jpeg.decode(beginning + noise, np.empty((1, 1, 3), np.uint8))


@given(st.integers(2, 700), st.binary(max_size=40))
def test_heads_that_are_overwritten(at, noise) -> None:
    file = bytearray(photo(16, 16))
    file[at : at + len(noise)] = noise
    head = jpeg.header(file)
    if head is not None and head[0] * head[1] <= 100_000:
        jpeg.decode(file, np.empty((*head[:2], 3), np.uint8))


def test_tables_of_one_file_are_not_lent_to_the_next() -> None:
    whole = photo(16, 16)
    tables = whole.index(b"\xff\xdb")
    without = whole[:tables] + whole[tables + 2 + int.from_bytes(whole[tables + 2 : tables + 4], "big") :]
    second = without.index(b"\xff\xdb")
    without = without[:second] + without[second + 2 + int.from_bytes(without[second + 2 : second + 4], "big") :]
    assert decoded(whole) is not None
    pixels = np.empty((16, 16, 3), np.uint8)
    assert not jpeg.decode(without, pixels)


def test_what_lies_behind_the_picture_is_not_read() -> None:
    assert np.array_equal(decoded(photo() + b"\0" * 1000), decoded(photo()))


@pytest.mark.parametrize("shape", [(16, 15, 3), (15, 16, 3), (32, 32, 3), (8, 16, 3), (0, 16, 3)], ids=str)
def test_another_size_is_rejected(shape) -> None:
    with pytest.raises(ValueError, match="is no scale of this picture"):
        jpeg.decode(photo(16, 16), np.empty(shape, np.uint8))


@pytest.mark.parametrize(
    ("pixels", "why"),
    [
        (np.empty((16, 16), np.uint8), "expected 3, got 2"),
        (np.empty((16, 16, 4), np.uint8), "expected UINT8"),
        (np.empty((16, 16, 3), np.float32), "expected 'unsigned char' but got 'float'"),
    ],
)
def test_other_pixels_are_rejected(pixels, why) -> None:
    with pytest.raises(ValueError, match=why):
        jpeg.decode(photo(16, 16), pixels)


def test_pixels_must_be_writable_and_contiguous() -> None:
    frozen = np.empty((16, 16, 3), np.uint8)
    frozen.flags.writeable = False
    for pixels in (frozen, np.empty((16, 32, 3), np.uint8)[:, ::2]):
        with pytest.raises((ValueError, BufferError)):
            jpeg.decode(photo(16, 16), pixels)
