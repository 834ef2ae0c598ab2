"""Encoded images -> pixels: JPEG by libturbojpeg (_core/jpeg) where that is built, everything else by Pillow. The one door to PIL.

What a file is, is read off its first bytes: Pillow is never left to guess among its formats. What it announces is held against the
limit before anything is decoded. Of 16 bits a channel the upper 8 are taken, of gray as of colors. Pillow's own warning of large
pictures is not used: it is a process-wide setting, max_pixels is a step's.

Never in here: what is made of the pixels (image.py), requests.
"""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from inferd._core.orientation import orient
from inferd.steps.exif import UPRIGHT, block_orientation, jpeg_orientation
from inferd.steps.geometry import Size, Unfit
from inferd.steps.pipeline import Array

if TYPE_CHECKING:
    from types import ModuleType

    from PIL import Image, ImageFile

__all__ = ["MAX_PIXELS", "Decoder", "Picture", "file_format", "jpeg_is_native", "scratch"]

log = logging.getLogger("inferd.steps")

MAX_PIXELS = 50_000_000  # by default
MAX_SCANS = 100  # of a JPEG file, each some 20 ms for 50 million pixels; progressive ones have about ten
KEPT_BYTES = 16 << 20  # of memory for one use on one thread: pictures of five million pixels. Larger ones get theirs, and give it back

# Eighths of its size that a JPEG may be decoded at, and how many times as large as needed it is left then: with less the resize has too
# little to take the mean of. 3/8 takes longer than 1/2 and is further from the whole decode, 5/8 to 7/8 take longer than that; 1/8 is a
# mean of blocks, which aliases.
_SCALES = ((1, 3.0), (2, 1.75), (4, 1.75))

_FORMATS = ("JPEG", "PNG", "WebP", "BMP")
_BEGINNINGS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"BM", "BMP"),
    (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\1\0", "ICO"),
    (b"8BPS", "PSD"),
    (b"%PDF", "PDF"),
    (b"<svg", "SVG"),
    (b"<?xml", "XML"),
    (b"/9j/", "base64 text"),
    (b"iVBORw0KGgo", "base64 text"),
    (b"data:image/", "data URL"),
)
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF"}


class Picture(NamedTuple):
    """A decoded picture."""

    pixels: Array  # UINT8 [height, width, channels], C-contiguous; valid until this thread decodes the next
    size: Size  # height and width of the whole picture, upright; `pixels` has less where it was decoded scaled


class Scratch(threading.local):
    """Memory for pixels that each thread keeps and writes again: the pages of a fresh array cost as much as a resize."""

    def __init__(self) -> None:
        self._kept: dict[str, Array] = {}

    def pixels(self, use: str, shape: tuple[int, int, int]) -> Array:
        """UINT8 of that shape, holding anything. It is the caller's until its thread asks again for the same use."""
        nbytes = shape[0] * shape[1] * shape[2]
        if nbytes > KEPT_BYTES:
            return np.empty(shape, np.uint8)
        kept = self._kept.get(use)
        if kept is None or len(kept) < nbytes:
            kept = self._kept[use] = np.empty(nbytes, np.uint8)
        return kept[:nbytes].reshape(shape)


scratch = Scratch()


class Decoder:
    """Decodes the files of one step. Raises ImportError where Pillow is missing.

    gray: one channel, the luma. background: red, green, blue to blend transparent pixels with; none: transparency is dropped.
    scaled: see steps.proto, DecodeImage.
    """

    def __init__(
        self,
        *,
        gray: bool = False,
        max_pixels: int = MAX_PIXELS,
        scaled: bool = False,
        ignore_orientation: bool = False,
        background: tuple[int, int, int] | None = None,
    ) -> None:
        from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

        self._open: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
            "JPEG": JpegImagePlugin.JpegImageFile,
            "PNG": PngImagePlugin.PngImageFile,
            "WebP": WebPImagePlugin.WebPImageFile,
            "BMP": BmpImagePlugin.BmpImageFile,
        }
        self._jpeg = _native()
        self._channels = 1 if gray else 3
        self._mode = "L" if gray else "RGB"
        self._max_pixels = max_pixels
        self._scaled = scaled
        self._ignore_orientation = ignore_orientation
        self._background = background
        if self._jpeg is None:
            log.warning("JPEG files are decoded by Pillow, more slowly: libturbojpeg was not found when inferd was built")

    def decode(self, file: memoryview, needed: Callable[[Size], Size]) -> Picture:
        """The pixels of a file. Raises Unfit.

        needed: height and width of the upright picture -> those that its first resize makes of it; it may raise Unfit, too.
        """
        form = file_format(file)
        if form not in _FORMATS:
            raise Unfit(f"expected a JPEG, PNG, WebP or BMP file, got {_shown(form, file)}")
        if form == "JPEG" and self._jpeg is not None:
            head = self._jpeg.header(file)
            if head is not None:
                return self._by_turbojpeg(self._jpeg, file, head, needed)
        return self._by_pillow(form, file, needed)

    def _by_turbojpeg(self, jpeg: ModuleType, file: memoryview, head: tuple[int, int, int], needed: Callable[[Size], Size]) -> Picture:
        height, width, scans = head
        self._check_size(height, width)
        _check_scans(scans)
        lies = UPRIGHT if self._ignore_orientation else jpeg_orientation(file)
        size = _upright((height, width), lies)
        wanted = needed(size)
        rows, columns = jpeg.scaled_size(height, width, _eighths(size, wanted) if self._scaled else 8)
        pixels = scratch.pixels("decoded", (rows, columns, self._channels))
        if not jpeg.decode(file, pixels):
            raise Unfit("it is a JPEG file that is damaged or cut short: send the whole file, or save it again")
        return Picture(_turned(pixels, lies), size)

    def _by_pillow(self, form: str, file: memoryview, needed: Callable[[Size], Size]) -> Picture:
        try:
            if form == "WebP":
                self._check_size(*_webp_size(file))  # its library asks for memory as soon as it sees the file
            elif form == "JPEG":
                _check_scans(bytes(file).count(b"\xff\xda"))
            with self._open[form](io.BytesIO(file)) as image:
                self._check_size(image.height, image.width)
                frames = getattr(image, "n_frames", 1)
                if frames > 1:
                    raise Unfit(f"it is an animated {form} file of {frames} frames: send one of them as a picture of its own")
                if form == "JPEG" and self._channels == 1:
                    image.draft("L", image.size)  # its luma, as libturbojpeg gives it
                image.load()
                lies = UPRIGHT if self._ignore_orientation else _orientation(form, file, image)
                size = _upright((image.height, image.width), lies)
                needed(size)
                pixels = np.asarray(self._flattened(image))
        except (Unfit, MemoryError):
            raise
        except Exception:  # whatever a broken file makes Pillow stumble over; its words are not for clients
            raise Unfit(
                f"it is a {form} file that is damaged, cut short or of a kind that cannot be decoded: send the whole file, or save it again"
            ) from None
        return Picture(_turned(pixels.reshape((*pixels.shape[:2], self._channels)), lies), size)

    def _flattened(self, image: Image.Image) -> Image.Image:
        """8 bits a channel, without transparency."""
        from PIL import Image

        if image.mode.startswith("I"):
            transparency = image.info.get("transparency")
            samples = np.asarray(image)
            image = Image.fromarray((samples >> 8).astype(np.uint8))
            if self._background is not None and isinstance(transparency, int):
                image.putalpha(Image.fromarray(np.where(samples == transparency, 0, 255).astype(np.uint8)))
        if self._background is not None and (image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info):
            behind = Image.new("RGBA", image.size, (*self._background, 255))
            behind.alpha_composite(image.convert("RGBA"))
            image = behind
        image.info.pop("transparency", None)  # Pillow would look for it in the new mode
        return image if image.mode == self._mode else image.convert(self._mode)

    def _check_size(self, height: int, width: int) -> None:
        if height < 1 or width < 1:
            raise Unfit(f"expected a picture, got one that is {height} x {width} (height x width): it has no pixels")
        if height * width > self._max_pixels:
            raise Unfit(
                f"the file announces {height} x {width} pixels (height x width), and decode_image takes at most {self._max_pixels} "
                "(max_pixels): send a smaller picture"
            )


def _native() -> ModuleType | None:
    try:
        from inferd._core import jpeg
    except ImportError:
        return None
    return jpeg


def jpeg_is_native() -> bool:
    """Whether JPEG files are decoded by libturbojpeg."""
    return _native() is not None


def file_format(file: memoryview) -> str:
    """The name of what a file seems to be by its first bytes; empty: unknown."""
    head = bytes(file[:16])
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video")
    return next((name for beginning, name in _BEGINNINGS if head.startswith(beginning)), "")


def _shown(form: str, file: memoryview) -> str:
    if form in ("base64 text", "data URL"):
        return f"{form}: send the file's bytes as they are"
    if form:
        return f"{form}: convert it first"
    return f"{len(file)} bytes that begin like none of them" if len(file) else "nothing: the element is empty"


def _check_scans(scans: int) -> None:
    if scans > MAX_SCANS:
        raise Unfit(f"it is a JPEG file of {scans} scans, and at most {MAX_SCANS} are decoded: save it again")


def _eighths(size: Size, wanted: Size) -> int:
    """At how many eighths of its size a picture is decoded that is then resized to `wanted`."""
    ratio = min(size[0] / wanted[0], size[1] / wanted[1])
    return next((eighths for eighths, margin in _SCALES if ratio * eighths >= margin * 8), 8)


def _upright(size: Size, lies: int) -> Size:
    return size if lies < 5 else (size[1], size[0])


def _turned(pixels: Array, lies: int) -> Array:
    if lies == UPRIGHT:
        return pixels
    height, width = _upright((pixels.shape[0], pixels.shape[1]), lies)
    upright = scratch.pixels("upright", (height, width, pixels.shape[2]))
    orient(pixels, upright, lies)
    return upright


def _orientation(form: str, file: memoryview, image: ImageFile.ImageFile) -> int:
    if form == "JPEG":
        return jpeg_orientation(file)
    block: Any = image.info.get("exif")
    return block_orientation(block) if isinstance(block, bytes) else UPRIGHT


def _webp_size(file: memoryview) -> Size:
    """Height and width that a WebP file announces. Raises Unfit where it has no such place."""
    head = bytes(file[12:30])
    kind = head[:4]
    if kind == b"VP8X" and len(head) == 18:
        return 1 + int.from_bytes(head[15:18], "little"), 1 + int.from_bytes(head[12:15], "little")
    if kind == b"VP8L" and len(head) >= 13:
        bits = int.from_bytes(head[9:13], "little")
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
    if kind == b"VP8 " and len(head) == 18:
        return int.from_bytes(head[16:18], "little") & 0x3FFF, int.from_bytes(head[14:16], "little") & 0x3FFF
    raise Unfit("it is a WebP file that is damaged or cut short: send the whole file, or save it again")
