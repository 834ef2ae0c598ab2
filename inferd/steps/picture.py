"""Encoded images -> pixels: JPEG by libjpeg-turbo (_core/media/jpeg), WebP by libwebp (_core/media/webp), PNG and BMP by Pillow. The one
importer of PIL.

The first bytes of a file say its format: Pillow never guesses among its formats. Before anything is decoded, the announced size is checked
against the limit and waits for room in memory. Checksums are verified, and each warning about a JPEG means damage. Pillow's pixels are
taken over in bands: an operation on a whole picture would take as much memory again, and partly hold the GIL. From 16 bits a channel
the upper 8 are taken. Pillow's own limit of large pictures is not used: it is process-wide, and max_pixels belongs to a step.

Never in here: the use of the pixels (image.py), requests.
"""

from __future__ import annotations

import bisect
import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from inferd._core.media import jpeg, webp
from inferd._core.media.image import flatten
from inferd._core.media.orientation import orient
from inferd.errors import RequestError
from inferd.steps.exif import UPRIGHT, block_orientation, jpeg_orientation
from inferd.steps.geometry import Size, Unfit
from inferd.steps.picture_file import (
    FORMATS,
    Png,
    Webp,
    file_format,
    has_all_rows,
    is_arithmetic,
    read_png,
    read_webp,
    tidied_jpeg,
    unpadded_jpeg,
)
from inferd.steps.picture_memory import memory
from inferd.steps.pipeline import Array
from inferd.steps.scratch import pages, scratch

if TYPE_CHECKING:
    from PIL import Image, ImageFile

MAX_PIXELS = 50_000_000  # default of max_pixels
MAX_RATIO = 256  # without max_pixels: most decoded pixels for each pixel that the first resize makes (16 times its height and width)
ALWAYS_PIXELS = 25_000_000  # without max_pixels: so many may be decoded in any case, for photographs of most phones
# Scans of a JPEG file. Each goes over the whole picture, in one call that cannot be interrupted.
# Progressive files have about ten, files of four inks 18. Smaller pictures may have more.
MAX_SCANS = 100
USUAL_SCANS, MAX_SCANNED_PIXELS = 18, 500_000_000
BAND_PIXELS = 1 << 18  # that are taken over from Pillow at once
# Pillow allocates blocks of this size. Its default is 16 MiB, and the C library keeps freed blocks of up to 32 MiB: two large pictures left
# 700 MB behind.
BLOCK_BYTES = 64 << 20

MARK, MARK_PIXELS = (77, 177, 7, 201), 64  # a color that few last rows begin with, and how much of the row is given it

_PILLOW_BYTES = 4  # that Pillow takes for a pixel
# Most bytes that libwebp takes for a pixel if it decodes a whole picture first: 4, or 5 with transparency, and notes on each block.
_LIBWEBP_BYTES = 6

# Eighths of its size that a JPEG may be decoded at, and how many times larger than needed the result must be. With less margin the resize
# has too few pixels to average. Only an antialiased BILINEAR or BICUBIC gets similar results. 3/8 takes longer than 1/2 and is further from
# the whole decode, and 5/8 to 7/8 take longer still. 1/8 is a mean of blocks, which aliases.
_SCALES = ((1, 3.0), (2, 1.75), (4, 1.75))


Needed = Callable[[Size], Size]  # height and width of an upright picture -> those that its first resize makes of it
Check = Callable[[], None]  # called while something lasts; may raise
Box = tuple[float, float, float, float]  # top, left, height, width, fractions of a pixel included


class Picture(NamedTuple):
    """A decoded picture."""

    pixels: Array  # UINT8 [height, width, channels], C-contiguous; valid inside of the `with` that gave it
    size: Size  # height and width of the whole picture, upright; `pixels` has less where it was decoded scaled
    box: Box | None = None  # what of `pixels` the picture is, where it was decoded scaled: sides that 8 does not divide end within a pixel


class _Opened(NamedTuple):
    """A file whose head is read."""

    nbytes: int  # of memory that decode() takes
    decode: Callable[[], Picture]


class _Whole(NamedTuple):
    """A file for Pillow."""

    form: str
    file: memoryview
    pieces: Sequence[memoryview]  # of it: without what Pillow would read byte by byte, or at length, and no pixel needs
    png: Png | None = None  # None: it is of another format


class _Reader:
    """A file of several pieces that Pillow reads where they lie: io.BytesIO copies all of it, with the GIL, 40 ms for 100 MB."""

    def __init__(self, pieces: Sequence[memoryview]) -> None:
        self._pieces = pieces
        self._ends = list(itertools.accumulate(map(len, pieces)))
        self._at = 0

    def read(self, nbytes: int = -1) -> bytes:
        end = self._ends[-1] if nbytes < 0 else min(self._at + nbytes, self._ends[-1])
        found = []
        index = bisect.bisect_right(self._ends, self._at)
        while self._at < end:
            start = self._ends[index] - len(self._pieces[index])
            found.append(self._pieces[index][self._at - start : end - start])
            self._at += len(found[-1])
            index += 1
        return b"".join(found)

    def seek(self, at: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._ends[-1]}[whence]
        self._at = max(0, start + at)
        return self._at

    def tell(self) -> int:
        return self._at


def _joined(pieces: Sequence[memoryview]) -> memoryview:
    """In one piece, as libjpeg-turbo takes it; bytes.join would copy them with the GIL."""
    joined = pages(sum(map(len, pieces)))
    at = 0
    for piece in pieces:
        joined[at : at + len(piece)] = np.asarray(piece)
        at += len(piece)
    return joined.data


class Decoder:
    """Decodes the files of one step. Raises ImportError where Pillow is missing.

    gray: one channel, the luma. max_pixels: that a file may announce; None: the default of steps.proto.
    background: red, green, blue to blend transparent pixels with; none: transparency is dropped.
    scaled: see steps.proto, DecodeImage.
    """

    def __init__(
        self,
        *,
        gray: bool = False,
        max_pixels: int | None = None,
        scaled: bool = False,
        ignore_orientation: bool = False,
        background: tuple[int, int, int] | None = None,
    ) -> None:
        from PIL import BmpImagePlugin, PngImagePlugin, _imaging

        _imaging.set_block_size(max(BLOCK_BYTES, _imaging.get_block_size()))
        self._open: dict[str, Callable[[Any], ImageFile.ImageFile]] = {
            "PNG": PngImagePlugin.PngImageFile,
            "BMP": BmpImagePlugin.BmpImageFile,
        }
        self._channels = 1 if gray else 3
        self._mode = "L" if gray else "RGB"
        self._max_pixels = MAX_PIXELS if max_pixels is None else max_pixels
        self._by_need = max_pixels is None
        self._scaled = scaled
        self._ignore_orientation = ignore_orientation
        self._background = background
        by_pillow = {form: partial(self._by_pillow, form) for form in self._open}
        self._readers: dict[str, Callable[[memoryview, Needed, Check], _Opened]] = {
            "JPEG": self._by_libjpeg,
            "WebP": self._by_libwebp,
            **by_pillow,
        }

    @contextmanager
    def decode(self, file: memoryview, needed: Needed, check: Check = lambda: None) -> Iterator[Picture]:
        """The pixels of a file, for which memory is held inside of the `with`. Raises Unfit, and what check() raises.

        needed: height and width of the upright picture -> those that its first resize makes of it; it may raise Unfit, too.
        check: called while other pictures take all of the memory, and while a file is looked through.
        """
        form = file_format(file)
        if form not in FORMATS:
            raise Unfit(f"expected a JPEG, PNG, WebP or BMP file, got {_shown(form, file)}")
        opened = self._readers[form](file, needed, check)
        with memory.room(opened.nbytes, check):
            yield opened.decode()

    # ---- libjpeg-turbo and libwebp

    def _by_libjpeg(self, file: memoryview, needed: Needed, _: Check) -> _Opened:
        data = file
        head = jpeg.header(file)
        if head is None and (pieces := tidied_jpeg(file)):
            data = _joined(pieces)
            head = jpeg.header(data)
        if head is None:
            raise _arithmetic_jpeg() if is_arithmetic(file) else _unreadable("JPEG")
        height, width, scans, components, whole, arithmetic = head
        self._check_size(height, width)
        if arithmetic:
            raise _arithmetic_jpeg()
        if not scans:
            raise _damaged_jpeg()
        _check_scans(scans, height * width)
        lies = UPRIGHT if self._ignore_orientation else jpeg_orientation(file)
        size = _upright((height, width), lies)
        wanted = needed(size)
        eighths = _eighths(size, wanted) if self._scaled else 8
        rows, columns = jpeg.scaled_size(height, width, eighths)
        self._check_need(rows * columns, wanted)
        a_pixel = self._channels * (1 if lies == UPRIGHT else 2) + (4 if components == 4 else 0)
        coefficients = 2 * components * height * width if whole else 0

        def decode() -> Picture:
            pixels = scratch.pixels("decoded", (rows, columns, self._channels))
            if not (jpeg.decode(data, pixels) or ((unpadded := unpadded_jpeg(data)) and jpeg.decode(_joined(unpadded), pixels))):
                raise _damaged_jpeg()
            return Picture(_turned(pixels, lies), size, _box(size, eighths, lies) if eighths < 8 else None)

        return _Opened(rows * columns * a_pixel + coefficients, decode)

    def _by_libwebp(self, file: memoryview, needed: Needed, check: Check) -> _Opened:
        head = _still_webp(file, check)
        self._check_size(*head.size)
        lies = UPRIGHT if self._ignore_orientation else block_orientation(head.exif, head.xmp)
        size = _upright(head.size, lies)
        self._check_need(size[0] * size[1], needed(size))
        background = self._background if head.transparent else None
        channels = 3 if background is None else 4  # that libwebp gives
        flat = channels == self._channels
        a_pixel = (0 if flat else channels) + self._channels * (1 if lies == UPRIGHT else 2) + (_LIBWEBP_BYTES if head.buffered else 0)

        def decode() -> Picture:
            pixels = scratch.pixels("decoded" if flat else "layers", (*head.size, channels))
            if not webp.decode(head.picture, pixels):
                raise _unreadable("WebP")
            if not flat:
                layers, pixels = pixels, scratch.pixels("decoded", (*head.size, self._channels))
                flatten(layers, background, pixels)
            return Picture(_turned(pixels, lies), size)

        return _Opened(head.size[0] * head.size[1] * a_pixel, decode)

    # ---- Pillow

    def _by_pillow(self, form: str, file: memoryview, needed: Needed, check: Check) -> _Opened:
        whole = _whole(form, file, check)
        with _reading(form):
            image = self._open[form](_Reader(whole.pieces))
            lies = self._announced(whole, image, needed)

        def decode() -> Picture:
            with _reading(form):
                return self._load(whole, image, lies, check)

        a_pixel = _PILLOW_BYTES * (1 + self._needs_lower(whole.png)) + 2 * self._channels
        return _Opened(image.height * image.width * a_pixel, decode)

    def _announced(self, whole: _Whole, image: ImageFile.ImageFile, needed: Needed) -> int:
        """How a picture lies. Raises Unfit where something else that its file says is not taken."""
        self._check_size(image.height, image.width)
        if _is_python(image):
            raise Unfit("it is a BMP file compressed by run lengths (RLE), which is not decoded: save it uncompressed, or as PNG")
        if (frames := getattr(image, "n_frames", 1)) > 1:
            raise _animated(whole.form, frames)
        lies = UPRIGHT if self._ignore_orientation or whole.png is None else block_orientation(whole.png.exif, whole.png.xmp)
        self._check_need(image.height * image.width, needed(_upright((image.height, image.width), lies)))
        return lies

    def _load(self, whole: _Whole, image: ImageFile.ImageFile, lies: int, check: Check) -> Picture:
        if whole.png is None:
            image.load()
        else:
            sure = _reaches_its_end(image) and not whole.png.interlaced  # whose last row is written to early
            if not sure and not has_all_rows(whole.file, check):
                raise _unreadable("PNG")
        lower = self._lower(whole) if self._needs_lower(whole.png) else None
        return Picture(_turned(self._pixels(image, whole.png, lower), lies), _upright((image.height, image.width), lies))

    def _needs_lower(self, png: Png | None) -> bool:
        """Whether pixels are compared with a transparent color of 16 bits a channel, of which Pillow gives the upper 8."""
        return self._background is not None and png is not None and png.depth == 16 and len(png.transparent or ()) == 3

    def _lower(self, whole: _Whole) -> Image.Image:
        """The lower 8 bits of 16: what Pillow takes for the upper of samples whose bytes stand the other way round."""
        image = self._open["PNG"](_Reader(whole.pieces))
        image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
        image.load()
        return image

    def _pixels(self, image: Image.Image, png: Png | None, lower: Image.Image | None) -> Array:
        """A picture's pixels as the step gives them, band by band. lower: of 16 bits a channel the lower 8, where they are needed."""
        colors = png.colors if png is not None and image.mode == "P" else 0  # all that its pixels may be; 0: any
        transparent = png.transparent if png is not None and self._background is not None else None
        pixels = scratch.pixels("decoded", (image.height, image.width, self._channels))
        rows = max(1, BAND_PIXELS // image.width)
        for top in range(0, image.height, rows):
            band = pixels[top : top + rows]
            here = 0, top, image.width, top + len(band)
            part = image.crop(here)
            if 0 < colors < 256 and np.asarray(part).max() >= colors:
                raise _unreadable("PNG")
            clear = None if transparent is None else _is_color(part, lower.crop(here) if lower else None, transparent)
            self._flatten(part, band, clear)
        return pixels

    def _flatten(self, image: Image.Image, pixels: Array, clear: Array | None) -> None:
        """8 bits a channel, without transparency. clear: which pixels are transparent, where one color is; of a palette's Pillow tells."""
        from PIL import Image

        if image.mode.startswith("I"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.mode != "P" or self._background is None:
            image.info.pop("transparency", None)  # Pillow compares it with what it has made of the samples
        if clear is not None:
            image.putalpha(Image.fromarray(np.where(clear, 0, 255).astype(np.uint8)))
        if self._background is not None and (image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info):
            flatten(np.asarray(image.convert("RGBA")), self._background, pixels)
        else:
            flat = image if image.mode == self._mode else image.convert(self._mode)
            pixels[:] = np.asarray(flat).reshape(pixels.shape)

    def _check_size(self, height: int, width: int) -> None:
        if height < 1 or width < 1:
            raise Unfit(f"expected a picture, got one that is {height} x {width} (height x width): it has no pixels")
        if height * width > self._max_pixels:
            raise Unfit(
                f"the file announces {height} x {width} pixels (height x width), and decode_image takes at most {self._max_pixels} "
                "(max_pixels): send a smaller picture"
            )

    def _check_need(self, pixels: int, wanted: Size) -> None:
        most = max(ALWAYS_PIXELS, MAX_RATIO * wanted[0] * wanted[1])
        if self._by_need and pixels > most:
            raise Unfit(
                f"the file has {pixels} pixels to decode, of which the steps make {wanted[0]} x {wanted[1]} (height x width), and "
                f"decode_image takes at most {most} for that: send a smaller picture, or have max_pixels of decode_image "
                "set, which then is the limit"
            )


@contextmanager
def _reading(form: str) -> Iterator[None]:
    """Turns Pillow's errors about a broken file into Unfit, for its words are not for clients. Errors of check() pass unchanged."""
    try:
        yield
    except (Unfit, RequestError, MemoryError):
        raise
    except Exception:
        raise _unreadable(form) from None


def _unreadable(form: str) -> Unfit:
    return Unfit(
        f"it is a {form} file that is damaged, cut short or of a kind that cannot be decoded: send the whole file, or save it again"
    )


def _animated(form: str, frames: int) -> Unfit:
    count = f"{frames} frames" if frames > 1 else "one frame"
    return Unfit(f"it is an animated {form} file of {count}: send a frame as a picture of its own")


def _arithmetic_jpeg() -> Unfit:
    return Unfit("it is a JPEG file with arithmetic coding, which is not decoded: save it again with Huffman coding, as nearly all are")


def _damaged_jpeg() -> Unfit:
    return Unfit("it is a JPEG file that is damaged or cut short: send the whole file, or save it again")


def _still_webp(file: memoryview, check: Check) -> Webp:
    webp = read_webp(file, check)
    if webp is None:
        raise _unreadable("WebP")
    if webp.frames:
        raise _animated("WebP", webp.frames)
    return webp


def _whole(form: str, file: memoryview, check: Check) -> _Whole:
    """Raises Unfit for what Pillow does not look at, and for how many pieces it looks at, before it does; and what check() raises."""
    if form == "PNG":
        png = read_png(file, check)
        if png is None:
            raise _unreadable(form)
        return _Whole(form, file, png.pieces, png)
    return _Whole(form, file, [file])


def _is_python(image: ImageFile.ImageFile) -> bool:
    """Whether Pillow decodes it by Python code, as BMP's run lengths: that holds the GIL for seconds, even for a file of 4 KB."""
    from PIL import Image

    return any(tile[0] in Image.DECODERS for tile in image.tile)


def _is_color(image: Image.Image, lower: Image.Image | None, color: tuple[int, ...]) -> Array:
    """Which pixels are of that color, BOOL [height, width]. lower: the lower 8 bits, where `image` has the upper 8 of 16."""
    samples = np.asarray(image.convert("L") if image.mode == "1" else image)
    if lower is not None:
        samples = samples.astype(np.uint16) << 8 | np.asarray(lower)
    same: Array = (samples.reshape(image.height, image.width, -1) == color).all(axis=-1)
    return same


def _reaches_its_end(image: ImageFile.ImageFile) -> bool:
    """Decodes a picture, and says whether anything was written to its last row, which Pillow does not tell; False: perhaps."""
    from PIL import Image, ImageFile

    width = min(image.width, MARK_PIXELS)
    ink = MARK[: len(image.getbands())]
    mark = Image.new(image.mode, (width, 1), ink if len(ink) > 1 else ink[0])
    end = (0, image.height - 1, width, image.height)
    ImageFile.ImageFile.load_prepare(image)  # which load() does not do again
    image.im.paste(mark.im, end)
    image.load()
    return image.crop(end).tobytes() != mark.tobytes()


def _shown(form: str, file: memoryview) -> str:
    if form in ("base64 text", "data URL"):
        return f"{form}: send the file's bytes as they are"
    if form:
        return f"{form}: convert it first"
    return f"{len(file)} bytes that begin like none of them" if len(file) else "nothing: the element is empty"


def _check_scans(scans: int, pixels: int) -> None:
    most = MAX_SCANS if scans <= USUAL_SCANS else min(MAX_SCANS, max(USUAL_SCANS, MAX_SCANNED_PIXELS // pixels))
    if scans > most:
        size = f" of {pixels:,} pixels" if most < MAX_SCANS else ""
        raise Unfit(f"it is a JPEG file of {scans} scans, and at most {most}{size} are decoded: save it again, with fewer")


def _eighths(size: Size, wanted: Size) -> int:
    """At how many eighths of its size a picture is decoded that is then resized to `wanted`."""
    ratio = min(size[0] / wanted[0], size[1] / wanted[1])
    return next((eighths for eighths, margin in _SCALES if ratio * eighths >= margin * 8), 8)


def _box(size: Size, eighths: int, lies: int) -> Box:
    """The box of an upright picture's pixels at so many eighths. libjpeg pads the last row and column as they lie in the file."""
    (height, width), fractions = size, (size[0] * eighths / 8, size[1] * eighths / 8)
    top = -(-height * eighths // 8) - fractions[0] if lies in (3, 4, 7, 8) else 0.0
    left = -(-width * eighths // 8) - fractions[1] if lies in (2, 3, 6, 7) else 0.0
    return top, left, *fractions


def _upright(size: Size, lies: int) -> Size:
    return size if lies < 5 else (size[1], size[0])


def _turned(pixels: Array, lies: int) -> Array:
    if lies == UPRIGHT:
        return pixels
    height, width = _upright((pixels.shape[0], pixels.shape[1]), lies)
    upright = scratch.pixels("upright", (height, width, pixels.shape[2]))
    orient(pixels, upright, lies)
    return upright
