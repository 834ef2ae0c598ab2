"""Files -> pixels, against Pillow's convert, by libjpeg-turbo and libwebp or by Pillow; and all that are too large, damaged or none."""

from __future__ import annotations

import functools
import io
import struct
import subprocess
import sys
import threading
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("PIL")

from PIL import Image, ImageFile, ImageOps, PngImagePlugin

from inferd.errors import Cancelled
from inferd.steps import picture
from inferd.steps.geometry import Unfit
from inferd.steps.picture import Decoder
from inferd.steps.picture_file import jpeg_segments, read_webp
from inferd.steps.scratch import KEPT_BYTES, scratch
from tests.jpegs import one_component_a_scan, with_one_scan
from tests.pngs import chunk, head, png

SIZES = [(1, 1), (3, 50), (37, 29)]
MODES = {
    "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "WebP": ["RGB", "RGBA"],
    "BMP": ["1", "L", "P", "RGB", "RGBA"],
    "JPEG": ["L", "RGB", "CMYK"],
}
KINDS = [(form, mode) for form, modes in MODES.items() for mode in modes]


def image_of(mode: str, size: tuple[int, int] = (37, 29)) -> Image.Image:
    height, width = size
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(4), indexing="ij")
    noise = np.random.default_rng(7).normal(0, 9, y.shape)
    pixels = np.clip(128 + 120 * np.sin(y / 11 + c) * np.cos(x / 5 - c) + noise, 0, 255).astype(np.uint8)
    colors = Image.fromarray(pixels, "RGBA") if mode != "CMYK" else Image.fromarray(pixels, "CMYK")
    if mode == "I;16":
        return Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 256 + pixels[:, :, 1])
    return colors if mode in ("RGBA", "CMYK") else colors.convert("RGB").quantize(16) if mode == "P" else colors.convert(mode)


def saved(image: Image.Image, form: str, **more) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **({"lossless": True} if form == "WebP" else {}) | more)
    return file.getvalue()


def decoded(file: bytes, **how) -> np.ndarray:
    with Decoder(**how).decode(memoryview(file), lambda size: size) as made:
        return made.pixels.copy()


def rejected(file: bytes, **how) -> str:
    with pytest.raises(Unfit) as told:
        decoded(file, **how)
    return str(told.value)


def by_pillow(file: bytes, mode: str = "RGB") -> np.ndarray:
    with Image.open(io.BytesIO(file)) as image:
        if mode == "L" and image.format == "JPEG":
            image.draft("L", image.size)
        if image.mode == "I;16":
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        pixels = np.asarray((image.convert("RGBA") if image.mode == "P" else image).convert(mode))
    return pixels.reshape(*pixels.shape[:2], -1)


# ---- what comes out


@pytest.mark.parametrize(("form", "mode"), KINDS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_equals_pillow(form, mode, size) -> None:
    file = saved(image_of(mode, size), form)
    assert np.array_equal(decoded(file), by_pillow(file))
    assert np.array_equal(decoded(file, gray=True), by_pillow(file, "L"))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_is_the_same_with_and_without_libjpeg_turbo(mode, progressive) -> None:
    file = saved(image_of(mode), "JPEG", progressive=progressive)
    assert np.array_equal(decoded(file), by_pillow(file))
    assert np.array_equal(decoded(file, gray=True), by_pillow(file, "L"))


WEBPS = [{"lossless": True}, {"lossless": False, "quality": 80}, {"lossless": False, "quality": 20, "alpha_quality": 50}]


@pytest.mark.parametrize("how", WEBPS, ids=["lossless", "lossy", "lossy alpha"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("more", [{}, {"icc_profile": bytes(101), "xmp": bytes(33), "exif": b"Exif\0\0II*\0"}], ids=["plain", "extended"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_webp_is_the_same_with_and_without_libwebp(how, mode, more, size) -> None:
    file = saved(image_of(mode, size), "WebP", **how, **more)
    with Image.open(io.BytesIO(file)) as image:
        behind = Image.new("RGBA", image.size, (10, 200, 30, 255))
        behind.alpha_composite(image.convert("RGBA"))
    for gray, wanted in ((False, "RGB"), (True, "L")):
        assert np.array_equal(decoded(file, gray=gray), by_pillow(file, wanted))
        flat = np.asarray(behind.convert(wanted)).reshape(*size, -1)
        assert np.array_equal(decoded(file, gray=gray, background=(10, 200, 30)), flat)


def test_transparency_that_a_webp_does_not_announce_is_not_seen() -> None:
    file = bytearray(saved(image_of("RGBA"), "WebP", lossless=False))
    assert file[20] == 0x10
    file[20] = 0
    wanted = by_pillow(bytes(file))
    assert np.array_equal(decoded(bytes(file), background=(10, 200, 30)), wanted)


def test_a_webp_ends_with_its_chunk() -> None:
    """And not in what follows, which libwebp would read on in."""
    file = saved(image_of("RGB"), "WebP", lossless=False)
    picture = file[20:-200]
    body = b"VP8 " + struct.pack("<I", len(picture)) + picture + b"abCd" + struct.pack("<I", 192) + file[-192:]
    assert "damaged" in rejected(b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body)


def test_of_16_bits_the_upper_8_are_taken() -> None:
    samples = np.random.default_rng(1).integers(0, 65536, (4, 5, 4), np.uint16)
    for color, channels in ((0, 1), (2, 3), (4, 2), (6, 4)):
        rows = b"".join(b"\0" + row[:, :channels].astype(">u2").tobytes() for row in samples)
        upper = (samples[:, :, : 3 if channels > 2 else 1] >> 8).astype(np.uint8)
        assert np.array_equal(decoded(png((4, 5), 16, color, rows)), np.broadcast_to(upper, (4, 5, 3)))


@pytest.mark.parametrize(("form", "mode"), [("PNG", "RGBA"), ("PNG", "LA")])
@pytest.mark.parametrize("gray", [False, True])
def test_transparent_pixels_are_blended_with_the_background(form, mode, gray) -> None:
    file = saved(image_of(mode), form)
    with Image.open(io.BytesIO(file)) as image:
        behind = Image.new("RGBA", image.size, (10, 200, 30, 255))
        behind.alpha_composite(image.convert("RGBA"))
    wanted = np.asarray(behind.convert("L" if gray else "RGB")).reshape(behind.height, behind.width, -1)
    assert np.array_equal(decoded(file, background=(10, 200, 30), gray=gray), wanted)


@pytest.mark.parametrize("transparency", [3, bytes(range(0, 256, 16))], ids=["index", "table"])
def test_transparent_colors_of_a_palette(transparency) -> None:
    file = saved(image_of("P"), "PNG", transparency=transparency)
    with Image.open(io.BytesIO(file)) as image:
        flat = image.convert("RGBA")
    assert np.array_equal(decoded(file), np.asarray(flat)[:, :, :3])
    behind = Image.new("RGBA", flat.size, (1, 2, 3, 255))
    behind.alpha_composite(flat)
    assert np.array_equal(decoded(file, background=(1, 2, 3)), np.asarray(behind)[:, :, :3])


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize(("depth", "channels"), [(1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (8, 3), (16, 3)])
def test_a_transparent_color_of_gray_and_of_rgb(depth, channels, gray) -> None:
    """The samples are compared as they lie in the file, of which Pillow gives fewer bits, or as many as 8."""
    most = (1 << depth) - 1
    color = np.array([0x0505, 0x0105, 0x0501][:channels]) & most
    near = [color ^ (bit << shift) for bit in (np.eye(channels, dtype=int) & most) for shift in range(depth)]
    samples = np.array([color, color * 0, color * 0 + most, color >> 8, *near, color])
    bits = np.unpackbits(samples.astype(">u2").view(np.uint8).reshape(-1, 2), axis=1)[:, 16 - depth :]
    above = (most ^ 0xFFFF) & 0xAAAA  # bits that a sample does not have say nothing
    file = png(
        (1, len(samples)),
        depth,
        0 if channels == 1 else 2,
        b"\0" + np.packbits(bits).tobytes(),
        tRNS=(color | above).astype(">u2").tobytes(),
    )
    seen = np.broadcast_to(samples >> 8 if depth == 16 else samples * 255 // most, (len(samples), 3)).astype(np.uint8)
    behind = np.where((samples == color).all(1, keepdims=True), np.array([10, 200, 30], np.uint8), seen)
    for how, colors in (({}, seen), ({"background": (10, 200, 30)}, behind)):
        wanted = np.asarray(Image.fromarray(colors[None]).convert("L" if gray else "RGB")).reshape(1, len(samples), -1)
        assert np.array_equal(decoded(file, gray=gray, **how), wanted)


@pytest.mark.parametrize(("depth", "color", "content"), [(8, 0, b"\5"), (8, 2, bytes(5)), (16, 2, b"")])
def test_half_a_transparent_color_is_damage(depth, color, content) -> None:
    assert "damaged" in rejected(png((1, 1), depth, color, bytes(7), tRNS=content), background=(1, 2, 3))


def test_without_transparency_the_background_is_not_seen() -> None:
    for form, mode in KINDS:
        if "A" not in mode:
            file = saved(image_of(mode), form)
            assert np.array_equal(decoded(file, background=(10, 200, 30)), by_pillow(file))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WebP"])
def test_pictures_are_put_upright(form, orientation) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = saved(image_of("RGB"), form, exif=exif.tobytes())
    with Image.open(io.BytesIO(file)) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    with Decoder().decode(memoryview(file), lambda size: size) as made:
        assert made.size == wanted.shape[:2]
        assert np.array_equal(made.pixels, wanted)
    assert np.array_equal(decoded(file, ignore_orientation=True), by_pillow(file))
    assert np.array_equal(decoded(file, gray=True)[:, :, 0].shape, wanted.shape[:2])


def test_pixels_are_taken_over_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [saved(image_of(mode), form) for form, mode in KINDS]
    files.append(saved(image_of("P"), "PNG", transparency=bytes(range(0, 256, 16))))
    files.append(png((2, 2), 16, 0, b"\0\x05\x01\x05\x02" * 2, tRNS=b"\x05\x01"))
    files.append(png((200, 2), 16, 2, (b"\0" + bytes(range(1, 13))) * 200, tRNS=bytes(range(1, 7))))
    hows = [{"gray": gray, "background": background} for gray in (False, True) for background in (None, (10, 200, 30))]
    whole = [decoded(file, **how) for file in files for how in hows]
    monkeypatch.setattr(picture, "BAND_PIXELS", 200)
    seen = []
    flatten = Decoder._flatten
    monkeypatch.setattr(Decoder, "_flatten", lambda self, image, *more: (seen.append(image.size), flatten(self, image, *more))[1])
    banded = [decoded(file, **how) for file in files for how in hows]
    assert all(np.array_equal(one, other) for one, other in zip(whole, banded, strict=True))
    assert max(width * height for width, height in seen) <= 200


def xmp_of(orientation: int, element: bool = False) -> bytes:
    said = f"<tiff:Orientation>{orientation}</tiff:Orientation>" if element else f'<rdf:Description tiff:Orientation="{orientation}"/>'
    return f"<x:xmpmeta><rdf:RDF>{said}</rdf:RDF></x:xmpmeta>".encode()


def exif_of(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def with_texts(*chunks: bytes, behind: bool = False, **more) -> bytes:
    """A PNG with such chunks in front of its pixels, or behind them."""
    file = saved(image_of("RGB"), "PNG", **more)
    at = file.index(b"IEND" if behind else b"IDAT") - 4
    return file[:at] + b"".join(chunks) + file[at:]


def itxt(text: bytes, packed: bool = False) -> bytes:
    return chunk(b"iTXt", b"XML:com.adobe.xmp\0" + bytes([packed, 0]) + b"en\0XMP\0" + (zlib.compress(text) if packed else text))


def raw_profile(orientation: int, name: bytes = b"tEXt") -> bytes:
    block = exif_of(orientation)
    lines = b"\n".join(block.hex().encode()[at : at + 72] for at in range(0, 2 * len(block), 72))
    text = b"\nexif\n%8d\n" % len(block) + lines + b"\n"
    return chunk(name, b"Raw profile type exif\0" + (text if name == b"tEXt" else b"\0" + zlib.compress(text)))


ELSEWHERE = {
    "PNG, XMP": lambda lies: with_texts(itxt(xmp_of(lies))),
    "PNG, packed XMP behind the pixels": lambda lies: with_texts(itxt(xmp_of(lies, element=True), packed=True), behind=True),
    "PNG, the last XMP": lambda lies: with_texts(itxt(xmp_of(5)), itxt(xmp_of(lies))),
    "PNG, raw profile": lambda lies: with_texts(raw_profile(lies)),
    "PNG, packed raw profile": lambda lies: with_texts(raw_profile(lies, b"zTXt")),
    "PNG, EXIF before a raw profile and XMP": lambda lies: with_texts(raw_profile(5), itxt(xmp_of(6)), exif=exif_of(lies)),
    "PNG, a raw profile before XMP": lambda lies: with_texts(raw_profile(lies), itxt(xmp_of(6))),
    "JPEG, XMP": lambda lies: saved(image_of("RGB"), "JPEG", xmp=xmp_of(lies)),
    "JPEG, EXIF before XMP": lambda lies: saved(image_of("RGB"), "JPEG", xmp=xmp_of(6), exif=exif_of(lies)),
    "WebP, XMP": lambda lies: saved(image_of("RGB"), "WebP", xmp=xmp_of(lies, element=True)),
}


@pytest.mark.parametrize("where", ELSEWHERE)
def test_an_orientation_elsewhere_is_pillows(where) -> None:
    for orientation in range(1, 10):  # 9 means nothing
        file = ELSEWHERE[where](orientation)
        with Image.open(io.BytesIO(file)) as image:
            wanted = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        assert np.array_equal(decoded(file), wanted), orientation
        assert np.array_equal(decoded(file, ignore_orientation=True), by_pillow(file))


# ---- scaled


@pytest.mark.parametrize(
    ("wanted", "eighths"),
    [
        ((224, 224), 2),
        ((228, 228), 2),
        ((229, 229), 4),
        ((66, 66), 1),
        ((67, 67), 2),
        ((90, 448), 4),
        ((400, 600), 4),
        ((457, 731), 4),
        ((458, 731), 8),
        ((1600, 2560), 8),
        ((3000, 3000), 8),
    ],
)
def test_scaled_leaves_more_than_is_needed(wanted, eighths) -> None:
    file = saved(Image.new("RGB", (2560, 1600)), "JPEG")
    with Decoder(scaled=True).decode(memoryview(file), lambda size: wanted) as made:
        assert made.size == (1600, 2560)
        assert made.pixels.shape == (1600 * eighths // 8, 2560 * eighths // 8, 3)


def test_scaled_looks_at_the_upright_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = saved(Image.new("RGB", (1600, 400)), "JPEG", exif=exif.tobytes())
    with Decoder(scaled=True).decode(memoryview(file), lambda size: (size[0] // 8, size[1] // 2)) as made:
        assert made.size == (1600, 400)
        assert made.pixels.shape == (1600, 400, 3)
    with Decoder(scaled=True).decode(memoryview(file), lambda size: (size[0] // 8, size[1] // 4)) as made:
        assert made.pixels.shape == (800, 200, 3)


# ---- what is rejected


@pytest.mark.parametrize(
    ("beginning", "name"),
    [
        (b"GIF89a", "a JPEG, PNG, WebP or BMP file, got GIF: convert it first"),
        (b"II*\0", "got TIFF: convert it first"),
        (b"MM\0*", "got TIFF"),
        (b"\0\0\0\x20ftypavif", "got AVIF"),
        (b"\0\0\0\x20ftypheic", "got HEIC"),
        (b"\0\0\0\x20ftypisom", "got video"),
        (b"\0\0\0\x0cjP  \r\n", "got JPEG 2000"),
        (b"\xff\x0a", "got JPEG XL"),
        (b"%PDF-1.7", "got PDF"),
        (b"<svg xmlns", "got SVG"),
        (b"/9j/4AAQSkZJRg", "got base64 text: send the file's bytes as they are"),
        (b"data:image/png;base64,", "got data URL: send the file's bytes as they are"),
        (b"hello", "got 5 bytes that begin like none of them"),
        (b"", "got nothing: the element is empty"),
    ],
)
def test_other_files_are_rejected_by_name(beginning, name) -> None:
    assert name in rejected(beginning)


def test_animated_files_are_rejected() -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue", "lime")]
    for form in ("PNG", "WebP"):
        file = saved(frames[0], form, save_all=True, append_images=frames[1:])
        assert f"an animated {form} file of 3 frames" in rejected(file)
    assert "an animated WebP file of one frame:" in rejected(animated_webp(1))
    assert "got GIF" in rejected(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))


def animated_webp(count: int) -> bytes:
    """An animation of so many frames of 4 x 4 pixels, all the same."""
    frame = saved(Image.new("RGB", (4, 4)), "WebP")[12:]
    side = (3).to_bytes(3, "little")
    frames = (b"ANMF" + struct.pack("<I", 16 + len(frame)) + bytes(6) + side * 2 + bytes(4) + frame) * count
    body = b"VP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + side * 2 + b"ANIM" + struct.pack("<I", 6) + bytes(6) + frames
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


@pytest.mark.parametrize("name", ["iCCP", "iTXt", "zTXt"])
def test_pillow_reads_no_compressed_texts(name, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PngImagePlugin, "_safe_zlib_decompress", None)
    content = {"iCCP": b"x\0\0", "iTXt": b"\xff\0\1\0\0\0", "zTXt": b"\0\0"}[name] + zlib.compress(b"\xff" * 1000)
    assert decoded(png((1, 1), 8, 2, b"\0\1\2\3", **{name: content})).tolist() == [[[1, 2, 3]]]


def bmp(header_bytes: int, bits: int, compression: int, body: bytes, size: tuple[int, int] = (2, 4)) -> bytes:
    """A BMP file with a header of so many bytes, in gray."""
    colors = b"".join(bytes([level] * 3) + bytes(header_bytes > 12) for level in range(1 << bits))
    if header_bytes == 12:
        fields = struct.pack("<IHHHH", 12, size[1], size[0], 1, bits)
    else:
        fields = struct.pack("<IiiHHIIiiII", header_bytes, size[1], size[0], 1, bits, compression, len(body), 0, 0, 0, 0)
    start = 14 + header_bytes + len(colors)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + fields.ljust(header_bytes, b"\0") + colors + body


@pytest.mark.parametrize("header_bytes", [12, 40, 52, 56, 64, 108, 124])
def test_bmp_of_run_lengths_is_rejected_whatever_its_header(header_bytes) -> None:
    plain = bmp(header_bytes, 8, 0, bytes(range(8)))
    assert decoded(plain)[:, :, 0].tolist() == [[4, 5, 6, 7], [0, 1, 2, 3]]
    for bits, compression in ((8, 1), (4, 2)) if header_bytes > 12 else ():
        told = rejected(bmp(header_bytes, bits, compression, b"\4\0\0\0\4\1\0\1"))
        assert told == "it is a BMP file compressed by run lengths (RLE), which is not decoded: save it uncompressed, or as PNG"


@pytest.mark.parametrize(("mode", "padding"), [("1", 3), ("L", 3), ("P", 3), ("RGB", 1), ("RGBA", 0)])
def test_bmp_may_lack_the_filling_of_its_last_row_and_no_byte_of_a_pixel(mode, padding) -> None:
    """Rows are filled up to a multiple of 4 bytes, in which no pixel is."""
    file = saved(image_of(mode, (3, 5)), "BMP")
    for nbytes in range(padding + 1):
        assert np.array_equal(decoded(file[: len(file) - nbytes]), by_pillow(file))
    assert "damaged, cut short" in rejected(file[: len(file) - padding - 1])


def bombs() -> dict[str, bytes]:
    """Small files that announce 30000 x 30000 pixels."""
    side = 30000
    jpeg = bytearray(saved(Image.new("RGB", (16, 16)), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    bmp = bytearray(saved(Image.new("RGB", (16, 16)), "BMP"))
    bmp[18:26] = struct.pack("<ii", side, -side)
    canvas = (side - 1).to_bytes(3, "little")
    webp = b"VP8X" + struct.pack("<I", 10) + bytes(4) + canvas * 2 + b"VP8L" + struct.pack("<I", 8) + bytes(8)
    webp = b"RIFF" + struct.pack("<I", len(webp) + 4) + b"WEBP" + webp
    return {"JPEG": bytes(jpeg), "PNG": png((side, side), 8, 2, b"\0" * 1000), "BMP": bytes(bmp), "WebP": webp}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WebP", "BMP"])
def test_too_many_pixels_are_rejected_before_they_are_decoded(form) -> None:
    assert "30000 x 30000 pixels (height x width), and decode_image takes at most 50000000 (max_pixels)" in rejected(bombs()[form])


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WebP", "BMP"])
def test_the_limit_is_the_last_that_is_taken(form) -> None:
    file = saved(Image.new("RGB", (10, 20)), form)
    assert decoded(file, max_pixels=200).shape == (20, 10, 3)
    assert "at most 199" in rejected(file, max_pixels=199)


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("wanted", [(224, 224), (340, 300)])
def test_by_default_no_more_pixels_are_decoded_than_the_steps_need(form, wanted) -> None:
    """26 million, of which 256 for each are needed at most, and 25 million are always taken."""
    file = saved(Image.new("L", (6500, 4000)), form)

    def made(**how):
        with Decoder(gray=True, **how).decode(memoryview(file), lambda size: wanted) as one:
            return one.size

    if wanted == (340, 300):
        assert made() == (4000, 6500)
        return
    with pytest.raises(Unfit, match=r"26000000 pixels to decode, of which the steps make 224 x 224 .*at most 25000000 .*max_pixels"):
        made()
    assert made(max_pixels=26_000_000) == (4000, 6500)
    if form == "JPEG":
        assert made(scaled=True) == (4000, 6500), "of which an eighth of each side is decoded"


@pytest.mark.parametrize("form", ["VP8 ", "VP8L"])
def test_the_announced_size_of_every_webp(form) -> None:
    file = saved(Image.new("RGB", (300, 200)), "WebP", lossless=form == "VP8L")
    assert file[12:16].decode() == form
    assert "200 x 300 pixels" in rejected(file, max_pixels=100)


def test_a_webp_of_more_pixels_than_its_library_takes_is_told_so() -> None:
    told = rejected(bombs()["WebP"], max_pixels=1 << 30)
    assert "damaged" in told


def test_jpeg_of_too_many_scans_is_rejected() -> None:
    file = saved(image_of("RGB"), "JPEG", progressive=True)
    end = file.rindex(b"\xff\xda")
    assert "scans, and at most 100 are decoded" in rejected(file[:end] + file[end:-2] * 120 + file[-2:])


def test_jpeg_of_more_scans_than_its_size_allows_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved(image_of("RGB"), "JPEG", progressive=True)
    pixels = decoded(file).size // 3
    end = file.rindex(b"\xff\xda")
    many = file[:end] + file[end:-2] * 11 + file[-2:]  # 20 scans
    for scanned in (20 * pixels, 20 * pixels - 1):
        monkeypatch.setattr(picture, "MAX_SCANNED_PIXELS", scanned)
        if scanned < 20 * pixels:
            assert f"a JPEG file of 20 scans, and at most 19 of {pixels:,} pixels are decoded: save it again" in rejected(many)
        else:
            assert "of 20 scans" not in outcome(many)
    monkeypatch.setattr(picture, "MAX_SCANNED_PIXELS", 0)
    assert np.array_equal(decoded(file), by_pillow(file))  # as many as encoders write


@pytest.mark.parametrize("frame", [0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF])
def test_jpeg_with_arithmetic_coding_is_rejected_by_name(frame) -> None:
    for file in (saved(image_of("RGB"), "JPEG"), saved(image_of("RGB"), "JPEG", progressive=True)):
        at = next(segment.start for segment in jpeg_segments(memoryview(file)) if segment.marker in (0xC0, 0xC2))
        coded = file[: at + 1] + bytes([frame]) + file[at + 2 :]
        for sent in (coded, untidy(coded)):
            assert "JPEG file with arithmetic coding, which is not decoded: save it again" in rejected(sent)


def outcome(file: bytes) -> str:
    """Why a file is rejected; empty: it is not."""
    try:
        decoded(file)
    except Unfit as error:
        return str(error)
    return ""


def test_scans_behind_the_image_do_not_count() -> None:
    file = saved(image_of("RGB"), "JPEG")
    motion = b"\xff\xda" * 200
    assert np.array_equal(decoded(file + motion), by_pillow(file))
    thumbnail = b"\xff\xe2" + struct.pack(">H", len(motion) + 2) + motion
    assert np.array_equal(decoded(file[:2] + thumbnail + file[2:]), by_pillow(file))


def untidy(file: bytes) -> bytes:
    """With three bytes between two segments."""
    tables = file.index(b"\xff\xdb")
    return file[:tables] + bytes(3) + file[tables:]


def test_bytes_between_the_segments_of_a_jpeg_are_passed_over() -> None:
    for mode in MODES["JPEG"]:
        file = saved(image_of(mode), "JPEG")
        assert np.array_equal(decoded(untidy(file)), by_pillow(file))


def test_a_jpeg_with_bytes_between_its_segments_is_a_jpeg_like_others() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = untidy(saved(Image.new("RGB", (1600, 400)), "JPEG", exif=exif.tobytes()))
    with Decoder(scaled=True).decode(memoryview(file), lambda size: (100, 25)) as made:
        assert made.size == (1600, 400)
        assert made.pixels.shape == (400, 100, 3)


def test_damage_is_found_behind_bytes_between_segments_too() -> None:
    file = saved(image_of("RGB"), "JPEG")
    scan = file.index(b"\xff\xda")
    found = 0
    for at in range(scan, len(file)):
        broken = bytearray(file)
        broken[at] ^= 0x5A
        try:
            pixels = decoded(bytes(broken))
        except Unfit:
            found += 1
            rejected(untidy(bytes(broken)))
        else:
            assert np.array_equal(decoded(untidy(bytes(broken))), pixels)
    assert found > 50


def test_damage_in_the_head_of_a_jpeg_is_rejected() -> None:
    file = saved(image_of("CMYK"), "JPEG")
    transform = file.index(b"Adobe") + 11
    for broken in (file[:transform] + b"\7" + file[transform + 1 :], file[: file.index(b"\xff\xda")], file[:2] + file):
        assert "damaged, cut short or of a kind that cannot be decoded" in rejected(broken)


def test_a_jpeg_without_its_end_is_cut_short() -> None:
    file = saved(image_of("RGB"), "JPEG")
    for broken in (file[:-2], file[:-1], file[:-2] + bytes(100), file[:-2] + b"\xff\xd0"):
        assert "cut short" in rejected(broken)


def test_zeros_in_front_of_the_end_of_a_jpeg_are_passed_over() -> None:
    for more in ({}, {"progressive": True}):
        file = saved(image_of("RGB"), "JPEG", **more)
        for count in (1, 16, 5000):
            assert np.array_equal(decoded(file[:-2] + bytes(count) + file[-2:]), by_pillow(file))


def test_other_bytes_in_front_of_the_end_of_a_jpeg_are_damage() -> None:
    file = saved(image_of("RGB"), "JPEG")
    for stray in (b"\1" * 16, bytes(16) + b"\1" * 16, b"\1" * 16 + bytes(16)):
        assert "damaged" in rejected(file[:-2] + stray + file[-2:])


def with_chunks(count: int) -> memoryview:
    """A PNG with so many empty chunks in front of its pixels."""
    file = png((4, 4), 8, 0, b"\0\0\0\0\0" * 4)
    at = file.index(b"IDAT") - 4
    return memoryview(file[:at] + struct.pack(">I4sI", 0, b"abCd", zlib.crc32(b"abCd")) * count + file[at:])


def test_a_png_of_too_many_chunks_is_rejected_before_pillow_looks_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, looked = Decoder(), []
    monkeypatch.setitem(decoder._open, "PNG", lambda file: looked.append(1))
    with pytest.raises(Unfit, match="cannot be decoded"), decoder.decode(with_chunks(70_000), lambda size: size):
        pass
    assert not looked


def test_a_png_that_is_looked_through_is_given_up_with_its_request() -> None:
    def nobody_waits() -> None:
        raise Cancelled("nobody waits")

    with pytest.raises(Cancelled), Decoder().decode(with_chunks(2000), lambda size: size, nobody_waits):
        pass


@pytest.mark.parametrize("mode", MODES["PNG"])
def test_a_png_is_held_against_its_checksums(mode) -> None:
    file = saved(image_of(mode), "PNG")
    for at in range(8, len(file)):
        broken = bytearray(file)
        broken[at] ^= 0x5A
        rejected(bytes(broken))


LAST_ROWS = [bytes(40), bytes([77, 177, 7, 201]) * 10, bytes([77]) * 40, bytes(range(40))]


@pytest.mark.parametrize("last", LAST_ROWS, ids=["black", "the mark", "the mark of gray", "another"])
@pytest.mark.parametrize(("depth", "color", "nbytes"), [(8, 0, 10), (8, 2, 30), (8, 3, 10), (8, 4, 20), (8, 6, 40), (16, 0, 20), (1, 0, 2)])
def test_a_png_without_all_of_its_rows_is_cut_short(depth, color, nbytes, last) -> None:
    colors = {"PLTE": bytes(range(256)) * 3} if color == 3 else {}
    rows = (b"\0" + bytes(range(100, 100 + nbytes))) * 9 + b"\0" + last[:nbytes]
    file = png((10, 10), depth, color, rows, **colors)
    assert np.array_equal(decoded(file), by_pillow(file, "RGB"))
    for count in (0, 1, nbytes + 1, 5 * (nbytes + 1), len(rows) - 1):
        rejected(png((10, 10), depth, color, rows[:count], **colors))


def test_an_interlaced_png_without_all_of_its_rows_is_cut_short() -> None:
    passes = [(1, 1), (1, 1), (1, 2), (2, 2), (2, 4)]  # of 4 x 4 pixels: rows and columns; two have none
    rows = b"".join((b"\0" + bytes(range(1, 1 + 3 * columns))) * count for count, columns in passes)

    def file(content):
        return head((4, 4), 8, 2, 1) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND")

    assert np.array_equal(decoded(file(rows)), by_pillow(file(rows)))
    for count in range(len(rows)):
        rejected(file(rows[:count]))


def test_a_png_whose_rows_are_counted_is_given_up_with_its_request() -> None:
    def nobody_waits() -> None:
        raise Cancelled("nobody waits")

    file = png((10, 10), 8, 0, (b"\0" + bytes([picture.MARK[0]]) * 10) * 10)
    with pytest.raises(Cancelled), Decoder().decode(memoryview(file), lambda size: size, nobody_waits):
        pass


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_color_that_the_palette_lacks_is_damage(depth) -> None:
    pixels = b"\0" + bytes([1 << (8 - depth)])  # of one row: its first pixel is color 1
    for colors in (2, 3, 1 << depth):
        assert decoded(png((1, 1), depth, 3, pixels, PLTE=bytes(range(6)).ljust(3 * colors))).tolist() == [[[3, 4, 5]]]
    assert "damaged" in rejected(png((1, 1), depth, 3, pixels, PLTE=bytes(3)))


def test_other_damage_that_pillow_passes_over() -> None:
    good = png((2, 2), 8, 2, b"\0" * 14)
    assert decoded(good).shape == (2, 2, 3)
    for broken in (png((2, 2), 8, 3, b"\0" * 6), png((2, 2), 8, 2, b"\0" * 14, ABCD=b"x"), good[:8] + good[8:33] * 2 + good[33:]):
        assert "damaged" in rejected(broken)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WebP", "BMP"])
def test_a_shape_that_does_not_fit_is_rejected_before_it_is_decoded(form, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = saved(image_of("RGB"), form, **({"exif": exif.tobytes()} if form != "BMP" else {}))
    if form == "PNG":  # it may stand behind the pixels
        at = file.index(b"eXIf") - 4
        end = at + 12 + int.from_bytes(file[at : at + 4], "big")
        file = file[:at] + file[end:-12] + file[at:end] + file[-12:]
    decoded(file)
    seen = []

    def needed(size) -> None:
        seen.append(size)
        raise Unfit("a strip")

    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    monkeypatch.setattr(scratch, "pixels", None)
    with pytest.raises(Unfit, match="a strip"), Decoder().decode(memoryview(file), needed):
        pass
    assert seen == [(37, 29) if form == "BMP" else (29, 37)]


def test_a_large_picture_is_rejected_where_its_size_does_not_fit() -> None:
    def needed(size) -> None:
        raise Unfit(f"{size} is a strip")

    for form in ("JPEG", "PNG"):
        file = memoryview(saved(image_of("RGB", (29, 37)), form))
        with pytest.raises(Unfit, match=r"\(29, 37\) is a strip"), Decoder().decode(file, needed):
            pass


@pytest.mark.parametrize(
    ("form", "mode"), [("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "P"), ("WebP", "RGBA"), ("BMP", "RGB"), ("BMP", "P")]
)
def test_a_file_that_is_cut_short_is_rejected(form, mode) -> None:
    file = saved(image_of(mode), form)
    whole = decoded(file)
    for nbytes in range(0, len(file), max(1, len(file) // 150)):
        try:
            pixels = decoded(file[:nbytes])
        except Unfit:
            continue
        assert form not in ("JPEG", "PNG")
        assert np.array_equal(pixels, whole), "what is missing is no part of the picture"


@pytest.mark.parametrize(("form", "mode"), KINDS)
def test_a_corrupted_file_is_a_picture_or_rejected(form, mode) -> None:
    file = saved(image_of(mode), form)
    random = np.random.default_rng(3)
    for _ in range(150):
        broken = bytearray(file)
        for at in random.integers(0, len(file), random.integers(1, 4)):
            broken[at] = random.integers(256)
        try:
            pixels = decoded(bytes(broken), max_pixels=100_000)
        except Unfit:
            continue
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3
    assert np.array_equal(decoded(file), by_pillow(file)), "nothing is left of the broken ones"


@pytest.mark.parametrize("how", WEBPS, ids=["lossless", "lossy", "lossy alpha"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_corrupted_webp_is_what_it_is_to_pillow(how, mode) -> None:
    decoder = Decoder(max_pixels=10_000, background=(1, 2, 3))
    file = saved(image_of(mode), "WebP", exif=b"Exif\0\0II*\0", **how)
    random = np.random.default_rng(5)
    found = []
    for _ in range(300):
        broken = bytearray(file)
        for at in random.integers(4, len(file) if random.random() < 0.5 else 60, random.integers(1, 4)):
            broken[at] = random.integers(256)
        found.append(what_comes_of(decoder, bytes(broken)))
        expected = webp_by_pillow(bytes(broken), 10_000, (1, 2, 3))
        assert (found[-1] is None) == (expected is None)
        assert expected is None or np.array_equal(found[-1], expected)
    assert 10 < sum(pixels is None for pixels in found) < 290


def webp_by_pillow(file: bytes, max_pixels: int, background: tuple[int, int, int]) -> np.ndarray | None:
    head = read_webp(memoryview(file))
    if head is None or head.frames or head.size[0] * head.size[1] > max_pixels:
        return None
    try:
        with Image.open(io.BytesIO(file)) as image:
            behind = Image.new("RGBA", image.size, (*background, 255))
            behind.alpha_composite(image.convert("RGBA"))
    except Exception:
        return None
    return np.asarray(behind.convert("RGB"))


def what_comes_of(decoder: Decoder, file: bytes) -> np.ndarray | None:
    try:
        with decoder.decode(memoryview(file), lambda size: size) as made:
            return made.pixels.copy()
    except Unfit:
        return None


BEGINNINGS = [b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe1", b"\x89PNG\r\n\x1a\n", b"RIFF\x20\0\0\0WEBPVP8X", b"RIFF\x20\0\0\0WEBPVP8 ", b"BM"]


@settings(max_examples=150)
@given(st.sampled_from(BEGINNINGS), st.binary(max_size=120))
def test_any_bytes_are_rejected(beginning, noise) -> None:
    with pytest.raises(Unfit):
        decoded(beginning + noise, max_pixels=100_000)


def test_rejections_hold_no_words_of_the_library() -> None:
    for file in (b"BM" + bytes(60), b"\x89PNG\r\n\x1a\n" + bytes(60), png((4, 4), 8, 2, b""), bombs()["WebP"]):
        told = rejected(file)
        assert "Pillow" not in told
        assert "object" not in told


# ---- memory


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WebP", "BMP"])
def test_large_pictures_hold_room_while_they_are_looked_at(form) -> None:
    file = memoryview(saved(Image.new("RGB", (3000, 2000)), form))
    with Decoder().decode(file, lambda size: size) as made:
        assert made.pixels.nbytes <= picture.memory.taken_bytes < 24 * 3000 * 2000
    assert picture.memory.taken_bytes == 0
    for broken in (file[:-2], file[: len(file) // 2]):
        with pytest.raises(Unfit), Decoder().decode(broken, lambda size: size):
            pass
        assert picture.memory.taken_bytes == 0


@pytest.mark.parametrize("form", ["PNG", "WebP", "BMP"])
def test_a_large_file_is_read_where_it_lies(form) -> None:
    """A copy of it would hold the GIL as long as it takes."""
    file = memoryview(saved(Image.effect_noise((1000, 800), 90).convert("RGB"), form))
    taken = []

    def needed(size):
        taken.append(tracemalloc.get_traced_memory()[1])
        return size

    tracemalloc.start()
    try:
        with Decoder().decode(file, needed):
            pass
    finally:
        tracemalloc.stop()
    assert taken[0] < len(file) / 10


LONG = bytes(8 << 20)


@functools.cache
def long_files() -> dict[str, bytes]:
    """Small pictures in files of which nearly all is no pixel."""
    jpeg = saved(image_of("RGB"), "JPEG")
    texts = b"".join(b"\xff\xe1" + struct.pack(">H", 65_535) + LONG[:65_533] for _ in range(128))
    return {name: png((1, 1), 8, 2, b"\0\1\2\3", **{name: LONG}) for name in ("tEXt", "iTXt", "eXIf", "abCd", "tRNS")} | {
        "zeros": jpeg[:-2] + LONG + jpeg[-2:],
        "behind": untidy(jpeg) + LONG,
        "segments": jpeg[:2] + texts + jpeg[2:],
        "untidy segments": untidy(jpeg[:2] + texts + jpeg[2:]),
    }


@pytest.mark.parametrize("name", ["tEXt", "iTXt", "eXIf", "abCd", "tRNS", "zeros", "behind", "segments", "untidy segments"])
def test_what_no_pixel_needs_is_never_copied_with_the_gil(name) -> None:
    file = memoryview(long_files()[name])
    tracemalloc.start()
    try:
        with Decoder().decode(file, lambda size: size):
            pass
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < len(LONG) / 3


MEMORY_AT_ITS_PEAK = """
import os, sys
from inferd.steps import picture

def peak_bytes():
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmHWM"))

def noted(nbytes, check):
    asked.append(nbytes)
    return room(nbytes, check)

asked, room, picture.memory.room = [], picture.memory.room, noted
decoder = picture.Decoder(scaled=True)
for line in sys.stdin:
    if os.fork():
        os.wait()
        continue
    for file in line.rstrip("\\n").split("\\0"):
        content = memoryview(open(file, "rb").read())
        before = peak_bytes()
        with decoder.decode(content, lambda size: (224, 224)):
            pass
    print(asked[-1], peak_bytes() - before, flush=True)
    os._exit(0)
"""


PECULIAR = {
    "progressive": {"progressive": True},
    "of full colors": {"progressive": True, "subsampling": 0},
    "of one progressive scan": {"progressive": True, "subsampling": 0},
}
WEBP_KINDS = {
    "lossy": {"lossless": False, "method": 0},
    "lossy with transparency": {"lossless": False, "method": 0},
    "of noise": {"quality": 0, "method": 0},
}
KINDS_OF_FILES = ["JPEG", "JPEG CMYK", *(f"JPEG {how}" for how in PECULIAR), "three scans", "one scan of three", "PNG", "WebP", "BMP"]
KINDS_OF_FILES += [f"WebP {how}" for how in WEBP_KINDS]


def file_of_kind(kind: str, height: int, width: int) -> bytes:
    if kind in ("three scans", "one scan of three"):
        return one_component_a_scan(height, width, 3 if kind == "three scans" else 1)
    form, _, how = kind.partition(" ")
    if how in WEBP_KINDS:
        grain = 1 if how == "of noise" else 8  # finer noise takes seconds to encode
        noise = Image.effect_noise((width // grain, height // grain), 90).resize((width, height), Image.Resampling.NEAREST)
        layers = [noise, noise.transpose(Image.Transpose.FLIP_LEFT_RIGHT), noise, noise][: 4 if "transparency" in how else 3]
        return saved(Image.merge("RGBA"[: len(layers)], layers), form, **WEBP_KINDS[how])
    file = saved(Image.new("CMYK" if how == "CMYK" else "RGB", (width, height), 90), form, **PECULIAR.get(how, {}))
    return with_one_scan(file) if how == "of one progressive scan" else file


@pytest.fixture(scope="module")
def peaks():
    """The process that forks for each line of files, so that each has a peak of its own and the libraries are loaded once."""
    command = [sys.executable, "-c", MEMORY_AT_ITS_PEAK]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.stdin.close()
    assert process.returncode == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
@pytest.mark.parametrize("kind", KINDS_OF_FILES)
def test_no_picture_takes_more_than_it_asks_for(kind, tmp_path: Path, peaks) -> None:
    files = {tmp_path / "small": (80, 80), tmp_path / "large": (4000, 3500)}
    for file, size in files.items():
        file.write_bytes(file_of_kind(kind, *size))
    peaks.stdin.write("\0".join(map(str, files)) + "\n")
    peaks.stdin.flush()
    asked, taken = map(int, peaks.stdout.readline().split())
    assert taken < asked + KEPT_BYTES


@pytest.mark.parametrize(("more", "bytes_a_pixel"), [({}, 3), ({"progressive": True}, 9), ({"exif": 6}, 6), ({"mode": "CMYK"}, 7)])
def test_the_room_that_a_jpeg_takes(more, bytes_a_pixel) -> None:
    exif = Image.Exif()
    exif[0x0112] = more.get("exif", 1)
    image = Image.new(more.get("mode", "RGB"), (3000, 2000))
    file = memoryview(saved(image, "JPEG", exif=exif.tobytes(), progressive=more.get("progressive", False)))
    with Decoder().decode(file, lambda size: size):
        assert picture.memory.taken_bytes == bytes_a_pixel * 3000 * 2000


@pytest.mark.parametrize(
    ("mode", "lossless", "how", "bytes_a_pixel"),
    [
        ("RGB", False, {}, 3),
        ("RGB", False, {"gray": True}, 3 + 1),
        ("RGB", True, {}, 3 + 6),
        ("RGBA", False, {}, 3 + 6),
        ("RGBA", True, {"background": (1, 2, 3)}, 4 + 3 + 6),
    ],
)
def test_the_room_that_a_webp_takes(mode, lossless, how, bytes_a_pixel) -> None:
    file = memoryview(saved(Image.new(mode, (3000, 2000)), "WebP", lossless=lossless))
    with Decoder(**how).decode(file, lambda size: size):
        assert picture.memory.taken_bytes == bytes_a_pixel * 3000 * 2000


def test_a_picture_that_waits_for_room_is_given_up_with_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture.memory, "limit_bytes", 1)
    file = memoryview(saved(Image.new("RGB", (3000, 2000)), "JPEG"))

    def nobody_waits() -> None:
        raise Cancelled("nobody waits")

    first, second = (Decoder().decode(file, lambda size: size, nobody_waits) for _ in range(2))
    with first, pytest.raises(Cancelled), second:
        pass
    assert picture.memory.taken_bytes == 0


MEMORY_AFTERWARDS = """
import io, threading
from PIL import Image
from inferd.steps.picture import Decoder

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20

def decode():
    for _ in range(2):
        with decoder.decode(file, lambda size: size):
            pass

made = io.BytesIO()
Image.new("RGBA", (6000, 5000)).save(made, "PNG", compress_level=1)
file, decoder = memoryview(made.getvalue()), Decoder()
decode()
before = resident_mb()
threads = [threading.Thread(target=decode) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(resident_mb() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_memory_of_large_pictures_goes_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY_AFTERWARDS], capture_output=True, text=True, check=True, timeout=120)
    assert int(done.stdout) < 64, "120 MB a picture"


def test_threads_do_not_disturb_each_other() -> None:
    files = [saved(image_of("RGB", size), form) for size in ((40, 60), (60, 40), (29, 37)) for form in ("JPEG", "PNG")]
    wanted = [by_pillow(file) for file in files]
    decoder = Decoder()
    wrong = []

    def work(first: int) -> None:
        for number in range(60):
            at = (first + number) % len(files)
            with decoder.decode(memoryview(files[at]), lambda size: size) as made:
                if not np.array_equal(made.pixels, wanted[at]):
                    wrong.append(at)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
