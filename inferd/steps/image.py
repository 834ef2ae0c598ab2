"""Images: encoded files, or UINT8 pixels, become what a graph takes, written straight into the rows of one array.

compile_image reads the list of steps once. Steps that change the size are folded into passes (geometry.py). Scale, normalize, the order of
channels, the layout and the datatype are part of the last pass. So a list of any length costs a decode and one look at each pixel. Every
row is prepared alone. Never in here: decoding (picture.py), the kernel (_core/media/image).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from inferd._core.media.image import Transform
from inferd.errors import ConfigError, ResourceExhausted
from inferd.protocol import options
from inferd.steps.geometry import CenterCrop, Letterbox, Pad, Pass, Resampling, Resize, Shape, Sides, Size, Unfit, View, fold
from inferd.steps.numbers import CASTS, cast
from inferd.steps.picture import MAX_PIXELS, Decoder, Picture
from inferd.steps.pipeline import Array, Content, EntryPlace, RowPipeline, TensorType, Value, wrong_row
from inferd.steps.scratch import scratch

if TYPE_CHECKING:
    from inferd.protocol.options import Preprocess

MOST_PIXELS = 1 << 30  # that a step may allow; they take from 3 GB (a plain JPEG) to 19 (a progressive one of four inks, turned)
FILTERS = ("BILINEAR", "BICUBIC")  # methods that weigh pixels, with and without antialiasing
MAX_SIDE = 65535  # pixels of one side of a picture, and of whatever is made of it: the kernel's limit, and JPEG's own


def compile_image(entry: Preprocess, place: EntryPlace) -> ImagePipeline:
    """The pipeline of a list that begins with decode_image, or with any step of pixels. Raises ConfigError naming the step."""
    name, kind = place.only_free(entry.input)
    flat = len(kind.shape) == 2
    if flat:  # gray pictures, without an axis of their one channel
        kind = TensorType(kind.datatype, (*kind.shape, 1))
    reading = _Reading(place, _channels(entry, kind))
    for number, step in enumerate(entry.steps):
        which = step.WhichOneof("step") or ""
        reading.read(number, which, getattr(step, which))
    recipe = reading.recipe(kind)
    _check_fit(place.where, name, kind, recipe)
    return ImagePipeline(entry.name or name, name, recipe, flat=flat)


@dataclass(frozen=True)
class Recipe:
    """A list of steps, in the order in which they are carried out."""

    decoder: Decoder | None  # None: pixels come as they are
    channels: int
    max_pixels: int  # of a picture, of whatever is made of it, and of all rows of a request where the steps fix no size
    passes: tuple[Pass, ...]
    known: tuple[Size | None, ...]  # of each pass, the size of its result where it is always the same
    reverse: bool  # the channels, of what the decoder gives
    factors: tuple[float, ...]  # x * factor + offset, of each channel of the result
    offsets: tuple[float, ...]
    numbers: str  # the kernel's result: UINT8, or FP32
    datatype: str  # what that is cast to at last
    channels_first: bool

    @property
    def plain(self) -> bool:
        """Whether these are steps of any numbers, and of pixels only because they are told by no datatype."""
        return self.decoder is None and not self.passes[0].steps and not self.channels_first and not self.reverse

    @property
    def result(self) -> TensorType:
        height, width = self.known[-1] or (-1, -1)
        return TensorType(self.datatype, (self.channels, height, width) if self.channels_first else (height, width, self.channels))


@dataclass
class _Reading:
    """Reads a list of steps, one after another."""

    place: EntryPlace
    channels: int
    number: int = 0  # of the step that is read, and its name
    name: str = ""
    decoder: Decoder | None = None
    scaled: bool = False
    max_pixels: int = MAX_PIXELS
    shapes: list[Shape] = field(default_factory=list)
    known: Size | None = None
    sides: Sides | None = None  # None: of any picture
    reverse: bool = False
    factors: list[float] = field(default_factory=list)
    offsets: list[float] = field(default_factory=list)
    datatype: str = "UINT8"
    arithmetic: str = ""  # the first step after which pixels are numbers: no step may change the size any longer
    channels_first: bool = False

    def __post_init__(self) -> None:
        self.factors = [1.0] * self.channels
        self.offsets = [0.0] * self.channels

    def wrong(self, why: str) -> ConfigError:
        return self.place.wrong(self.number, self.name, why)

    def read(self, number: int, name: str, step: Any) -> None:
        self.number, self.name = number, name
        if self.channels_first and name != "cast":
            raise self.wrong("transpose must come last: put this step before it (only a cast may follow)")
        read = getattr(self, f"_{name}", None)
        if read is None:
            raise self.wrong(
                "it takes no images: a list of image steps has decode_image, resize, letterbox, center_crop, pad, "
                "reverse_channels, scale, normalize, cast and transpose"
            )
        read(step)

    # ---- each step

    def _decode_image(self, step: options.DecodeImage) -> None:
        if self.number:
            raise self.wrong("it takes encoded files, and can only be the first step")
        background = tuple(step.background)
        if len(background) not in (0, 3) or any(value > 255 for value in background):
            raise self.wrong(f"background: expected red, green and blue from 0 to 255, got {list(background)}")
        if step.max_pixels > MOST_PIXELS:
            raise self.wrong(f"max_pixels: at most {MOST_PIXELS} are possible, got {step.max_pixels}")
        self.max_pixels = step.max_pixels or MAX_PIXELS
        self.scaled = step.scaled
        self.reverse = step.color == options.DecodeImage.BGR
        try:
            self.decoder = Decoder(
                gray=step.color == options.DecodeImage.GRAY,
                max_pixels=step.max_pixels or None,
                scaled=step.scaled,
                ignore_orientation=step.ignore_orientation,
                background=(background[0], background[1], background[2]) if background else None,
            )
        except ImportError:
            raise self.wrong("it needs Pillow: pip install 'inferd[image]'") from None

    def _resize(self, step: options.Resize) -> None:
        sized = bool(step.height or step.width)
        if sized + bool(step.shortest) + bool(step.longest) != 1 or bool(step.height) != bool(step.width):
            raise self.wrong("give one of: height and width, shortest, longest")
        self._check_sides(step.height, step.width, step.shortest, step.longest)
        size = (step.height, step.width) if sized else None
        self._shape(Resize(self._resampling(step), size, step.shortest, step.longest))

    def _letterbox(self, step: options.Letterbox) -> None:
        size = self._frame(step)
        self._shape(Letterbox(size, self._fill(step.fill if step.HasField("fill") else 114), self._resampling(step)))

    def _center_crop(self, step: options.CenterCrop) -> None:
        self._shape(CenterCrop(self._frame(step), step.rounding == options.CenterCrop.DOWN))

    def _pad(self, step: options.Pad) -> None:
        self._shape(Pad(self._frame(step), self._fill(step.fill)))

    def _reverse_channels(self, _: options.ReverseChannels) -> None:
        if self.channels != 3:
            raise self.wrong(f"it turns RGB into BGR and back, and these images have {self.channels} channel(s): remove it")
        self.reverse = not self.reverse
        self.factors.reverse()
        self.offsets.reverse()

    def _scale(self, step: options.Scale) -> None:
        self._arithmetic()
        factor = step.factor if step.HasField("factor") else 1 / 255
        self._check_numbers("factor and offset", [factor, step.offset])
        self.factors = [each * factor for each in self.factors]
        self.offsets = [each * factor + step.offset for each in self.offsets]
        self._check_range()

    def _normalize(self, step: options.Normalize) -> None:
        self._arithmetic()
        if not step.mean and not step.std:
            raise self.wrong("give mean, std or both: one number, or one for each channel")
        mean, std = self._of_each_channel("mean", step.mean or [0.0]), self._of_each_channel("std", step.std or [1.0])
        if min(std) <= 0:
            raise self.wrong(f"std: expected numbers above 0, got {list(step.std)}")
        self.factors = [factor / each for factor, each in zip(self.factors, std, strict=True)]
        self.offsets = [(offset - less) / each for offset, less, each in zip(self.offsets, mean, std, strict=True)]
        self._check_range()

    def _cast(self, step: options.Cast) -> None:
        if step.datatype not in CASTS:
            raise self.wrong(f"datatype: expected one of {', '.join(CASTS)}, got {step.datatype!r}")
        if self.datatype not in ("UINT8", "FP32"):
            raise self.wrong(f"there is a cast to {self.datatype} before it: leave one of the two")
        self.arithmetic = self.arithmetic or self._here()
        self.datatype = step.datatype

    def _transpose(self, _: options.Transpose) -> None:
        self.channels_first = True

    # ---- what they share

    def _here(self) -> str:
        return f"steps[{self.number}] ({self.name})"

    def _shape(self, shape: Shape) -> None:
        if self.arithmetic:
            raise self.wrong(f"it works on UINT8 pixels, and {self.arithmetic} makes other numbers of them: put it before that")
        if not self.shapes and self.scaled:
            self._check_scaled(shape)
        try:
            self.known = shape.see(View.of(self.known)).size if self.known else shape.size
            self.sides = shape.bound(self.sides or Sides((1, math.isqrt(self.max_pixels)), (1, min(MAX_SIDE, self.max_pixels))))
        except Unfit as why:
            raise self.wrong(str(why)) from None
        if self.sides.short[0] * self.sides.long[0] > self.max_pixels:
            height, width = self.known or (self.sides.short[0], self.sides.long[0])
            least = "" if self.known else "at least "
            raise self.wrong(f"it makes {least}{height} x {width} pixels, more than max_pixels of decode_image, {self.max_pixels}")
        self.shapes.append(shape)

    def _check_scaled(self, first: Shape) -> None:
        """A filter that looks at single pixels, or at whole ones, finds others where they are means of the file's already."""
        if not isinstance(first, (Resize, Letterbox)):
            raise self._not_scaled()
        how = first.resampling
        if how.method not in FILTERS or not how.antialias:
            came = how.method if how.method not in FILTERS else "antialias: false"
            raise self.wrong(
                f"decode_image is scaled, behind which method is {' or '.join(FILTERS)} with antialias, and here is {came}: pixels would "
                "be far from those of the whole picture; remove scaled, or change this"
            )

    def _not_scaled(self) -> ConfigError:
        return self.place.wrong(0, "decode_image", "scaled needs a resize or a letterbox behind it, before any step that crops or pads")

    def _resampling(self, step: options.Resize | options.Letterbox) -> Resampling:
        how = Resampling(options.Method.Name(step.method), step.antialias if step.HasField("antialias") else True, step.exact)
        if how.exact and not how.antialias and how.method in FILTERS:
            raise self.wrong("exact is what Pillow makes, which antialiases always, and antialias is false: leave one of the two out")
        return how

    def _frame(self, step: Any) -> Size:
        if not step.height or not step.width:
            raise self.wrong("give height and width")
        self._check_sides(step.height, step.width)
        return step.height, step.width

    def _check_sides(self, *sides: int) -> None:
        if max(sides) > MAX_SIDE:
            raise self.wrong(f"at most {MAX_SIDE} pixels a side are possible, got {max(sides)}")

    def _fill(self, fill: int) -> int:
        if fill > 255:
            raise self.wrong(f"fill: expected 0 to 255, got {fill}")
        return fill

    def _arithmetic(self) -> None:
        if self.datatype not in ("UINT8", "FP32"):
            raise self.wrong(f"it works on UINT8 and FP32, and there is a cast to {self.datatype} before it: put the cast behind it")
        self.arithmetic = self.arithmetic or self._here()
        self.datatype = "FP32"

    def _check_numbers(self, what: str, numbers: Sequence[float]) -> None:
        if not all(map(math.isfinite, numbers)):
            raise self.wrong(f"{what}: expected finite numbers, got {list(numbers)}")

    def _check_range(self) -> None:
        """Every pixel must have a result that FP32 can hold."""
        largest = max(
            abs(value * factor) + abs(offset) for factor, offset in zip(self.factors, self.offsets, strict=True) for value in (0, 255)
        )
        if not largest < 3.4e38:
            raise self.wrong("its result is too large for FP32: look at its numbers")

    def _of_each_channel(self, what: str, numbers: Sequence[float]) -> list[float]:
        self._check_numbers(what, numbers)
        if len(numbers) not in (1, self.channels):
            raise self.wrong(f"{what}: expected one number, or one for each of {self.channels} channels, got {len(numbers)}")
        return list(numbers) * (self.channels if len(numbers) == 1 else 1)

    def recipe(self, kind: TensorType) -> Recipe:
        if self.scaled and not self.shapes:
            raise self._not_scaled()
        passes = fold(self.shapes)
        known: list[Size | None] = []
        if self.shapes:
            size: Size | None = None
            for each in passes:
                for shape in each.steps:
                    size = shape.see(View.of(size)).size if size else shape.size
                known.append(size)
        else:  # clients send pixels of the graph's own size
            known = [_graph_size(kind, self.channels_first) if self.decoder is None else None]
        return Recipe(
            self.decoder, self.channels, self.max_pixels, passes, tuple(known), self.reverse, tuple(self.factors), tuple(self.offsets),
            "FP32" if self._is_float() else "UINT8", self.datatype, self.channels_first,
        )  # fmt: skip

    def _is_float(self) -> bool:
        """Whether the kernel's result is more than pixels that were moved and rounded."""
        plain = all(factor == 1 for factor in self.factors) and not any(self.offsets)
        return not plain or self.datatype in ("FP32", "FP16", "FP64")


class ImagePipeline(RowPipeline):
    """An InputPipeline of images."""

    def __init__(self, name: str, graph_name: str, recipe: Recipe, *, flat: bool = False) -> None:
        self._name = name
        self._recipe = recipe
        self._flat = flat  # the graph takes [height, width]
        sent = TensorType("BYTES", (1,))
        self.content = Content.PICTURE if recipe.decoder else Content.NUMBERS
        if recipe.decoder is None:
            height, width = (recipe.known[-1] or (-1, -1)) if not recipe.passes[0].steps else (-1, -1)
            sent = TensorType("UINT8", (height, width, recipe.channels))
        self.inputs = ((name, sent),)
        made = recipe.result
        self.outputs = ((graph_name, TensorType(made.datatype, made.shape[:2]) if flat else made),)
        self._cast = cast(options.Cast(datatype=recipe.datatype)) if recipe.numbers != recipe.datatype else None
        ready = [self._transform(index, size or (1, 1)) for index, size in enumerate(recipe.known)]
        self._transforms = [transform if size else None for transform, size in zip(ready, recipe.known, strict=True)]

    def prepare_one(self, values: Sequence[Value], check: Callable[[], None]) -> list[Array]:
        (sent,) = values
        rows = len(sent)
        result: Array | None = None
        for row in range(rows):
            check()
            try:
                result = self._prepare_row(sent[row], check, result, row, rows)
            except Unfit as why:
                raise wrong_row(self._name, row, str(why)) from None
            except MemoryError:
                raise ResourceExhausted("the server is out of memory; retry later, or send smaller pictures", reason="memory") from None
        if result is None:
            result = self._rows(0, self._recipe.known[-1] or (0, 0))
        if self._flat:
            result = result[..., 0]
        return [self._cast(result) if self._cast else result]

    def _prepare_row(self, sent: Any, check: Callable[[], None], result: Array | None, row: int, rows: int) -> Array:
        with self._picture(sent, rows, check) as picture:
            check()
            return self._write(picture, result, row, rows)

    @contextmanager
    def _picture(self, sent: Any, rows: int, check: Callable[[], None]) -> Iterator[Picture]:
        recipe = self._recipe
        if recipe.decoder is not None:
            with recipe.decoder.decode(sent, partial(self._needed, rows), check) as picture:
                yield picture
            return
        height, width = sent.shape[:2]
        if height < 1 or width < 1:
            raise Unfit(f"expected a picture, got one that is {height} x {width} (height x width): it has no pixels")
        self._needed(rows, (height, width))
        yield Picture(np.ascontiguousarray(sent), (height, width))

    def _needed(self, rows: int, size: Size) -> Size:
        """The size that the first pass resizes a picture of that size to. Raises Unfit, for the results of the other passes, too. rows: of
        the request."""
        views = [self._view(0, size)]
        for index in range(1, len(self._recipe.passes)):
            views.append(self._view(index, views[-1].size))
        height, width = views[-1].size
        limit = self._recipe.max_pixels
        if self._recipe.known[-1] is None and rows * height * width > limit:
            raise Unfit(
                f"{rows} pictures like this one become {rows} x {height} x {width} pixels (rows x height x width), and one request may "
                f"have at most {limit} (max_pixels of decode_image): send fewer in a request, or smaller ones"
            )
        return views[0].resized

    def _view(self, index: int, size: Size) -> View:
        """A pass's view of a picture of that size. Raises Unfit."""
        view = self._recipe.passes[index].view(size)
        height, width = view.resized
        limit = self._recipe.max_pixels
        if height * width > limit or max(*size, height, width) > MAX_SIDE:
            raise Unfit(
                f"a picture of {size[0]} x {size[1]} (height x width) would become {height} x {width} pixels: at most {limit} "
                f"are possible, and {MAX_SIDE} a side; send one that is less of a strip"
            )
        return view

    def _write(self, picture: Picture, result: Array | None, row: int, rows: int) -> Array:
        """Carries out the passes, the last of them into its row of the result, which is made with the first row."""
        pixels, size, box = picture
        last = len(self._transforms) - 1
        for index, ready in enumerate(self._transforms):
            view = self._view(index, size)
            transform = ready or self._transform(index, view.size)
            if index < last:
                out = scratch.pixels(f"between {index % 2}", (*view.size, self._recipe.channels))
            else:
                if result is None:
                    result = self._rows(rows, view.size)
                self._check_like_first(result, view.size)
                out = result[row]
            transform.apply(pixels, out, view.resized, view.corner, box)
            pixels, size, box = out, view.size, None
        assert result is not None
        return result

    def _check_like_first(self, result: Array, size: Size) -> None:
        first = result.shape[2:] if self._recipe.channels_first else result.shape[1:3]
        if first != size:
            raise Unfit(
                f"it becomes {size[0]} x {size[1]} (height x width), and row 0 {first[0]} x {first[1]}: pictures that become "
                "different sizes must be sent in requests of their own"
            )

    def _rows(self, rows: int, size: Size) -> Array:
        recipe = self._recipe
        shape = (recipe.channels, *size) if recipe.channels_first else (*size, recipe.channels)
        return np.empty((rows, *shape), np.float32 if recipe.numbers == "FP32" else np.uint8)

    def _transform(self, index: int, size: Size) -> Transform:
        recipe = self._recipe
        step = recipe.passes[index]
        resampling = step.resampling or Resampling()
        how: dict[str, Any] = {
            "channels": recipe.channels,
            "method": resampling.method,
            "antialias": resampling.antialias,
            "exact": resampling.exact,
            "fill": step.fill or 0,
        }
        if index == len(recipe.passes) - 1:
            how |= {
                "factors": recipe.factors,
                "offsets": recipe.offsets,
                "datatype": recipe.numbers,
                "channels_first": recipe.channels_first,
                "reverse_channels": recipe.reverse,
            }
        else:
            how |= {"factors": (1.0,) * recipe.channels, "offsets": (0.0,) * recipe.channels}
        return Transform(size, **how)


def _channels(entry: Preprocess, kind: TensorType) -> int:
    """How many a pixel has: what decode_image gives, else what the graph takes."""
    if entry.steps[0].HasField("decode_image"):
        return 1 if entry.steps[0].decode_image.color == options.DecodeImage.GRAY else 3
    first = any(step.HasField("transpose") for step in entry.steps)
    wanted = kind.shape[0 if first else -1] if len(kind.shape) == 3 else -1
    return wanted if wanted in (1, 3, 4) else 3


def _graph_size(kind: TensorType, channels_first: bool) -> Size | None:
    """Height and width that the graph takes; None: any."""
    if len(kind.shape) != 3:
        return None
    height, width = kind.shape[1:] if channels_first else kind.shape[:2]
    return (height, width) if height > 0 and width > 0 else None


def _check_fit(where: str, name: str, kind: TensorType, recipe: Recipe) -> None:
    """The result must be what the graph takes. Raises ConfigError."""
    result = recipe.result
    axes = ("C", "H", "W") if recipe.channels_first else ("H", "W", "C")
    given = f"{where}: the steps make {result} ({', '.join(axes)}), and the graph's input {name!r} takes {kind}"
    if len(kind.shape) != 3:
        raise ConfigError(f"{given}: images go into an input of three axes beside the batch axis")
    wrong = [
        f"{axis} is {made if made >= 0 else 'any'} and must be {wanted}"
        for axis, made, wanted in zip(axes, result.shape, kind.shape, strict=True)
        if wanted >= 0 and made != wanted
    ]
    if wrong:
        other = ", or set the entry's datatype where it takes numbers and no pixels" if recipe.plain else ""
        raise ConfigError(f"{given}: {', '.join(wrong)}; {_cure(result, kind, recipe)}{other}")
    if result.datatype != kind.datatype:
        if kind.datatype == "FP32":
            cure = 'add scale, normalize, or cast { datatype: "FP32" }'
        else:
            cure = f'add cast {{ datatype: "{kind.datatype}" }} at the end'
        raise ConfigError(f"{given}: {cure}")


def _cure(result: TensorType, kind: TensorType, recipe: Recipe) -> str:
    if recipe.channels_first and kind.shape[-1] == recipe.channels != kind.shape[0]:
        return "remove transpose"
    if not recipe.channels_first and kind.shape[0] == recipe.channels != kind.shape[-1]:
        return "add transpose"
    if -1 in result.shape:
        return "add resize, letterbox or center_crop with that height and width"
    return "change the sizes of the steps, or the color of decode_image"
