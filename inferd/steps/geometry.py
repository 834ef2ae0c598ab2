"""Where pixels come from: steps that change a picture's size, folded into as few passes over it as possible.

A pass resizes a picture, or leaves it, and takes a window of the result. Parts of the window that lie outside are filled with one value.
So a crop after a resize costs less than the resize alone, and a letterbox no more. A step that does not fit into a pass (a second resize,
a second fill value) begins the next one. Never in here: pixels (_core/media/image), the configuration (image.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

Size = tuple[int, int]  # height, width


class Unfit(Exception):
    """A picture of this size cannot go through a step; the text says what was expected, what came and the cure."""


class View(NamedTuple):
    """The result of a pass: out[y, x] is the resized picture's pixel [y + corner[0], x + corner[1]], or the fill value."""

    resized: Size
    corner: Size
    size: Size

    @classmethod
    def of(cls, size: Size) -> View:
        """The whole picture, as it is."""
        return cls(size, (0, 0), size)


class Sides(NamedTuple):
    """Bounds of a picture's sides before there is one: the least and the most of the shorter and of the longer side."""

    short: tuple[int, int]
    long: tuple[int, int]

    @classmethod
    def of(cls, size: Size) -> Sides:
        """Those of one size."""
        short, long = sorted(size)
        return cls((short, short), (long, long))


@dataclass(frozen=True)
class Resampling:
    """How pixels between pixels are found: see steps.proto, Method and Resize."""

    method: str = "BILINEAR"
    antialias: bool = True
    exact: bool = False


class Shape(Protocol):
    """One step."""

    @property
    def size(self) -> Size | None:
        """The size of its result, where that is the same for every picture."""

    def see(self, view: View) -> View:
        """The view that it makes of another. Raises Unfit."""

    def bound(self, sides: Sides) -> Sides:
        """The bounds of its result's sides. Raises Unfit where no picture of such sides can go through it."""


@dataclass(frozen=True)
class Resize:
    """To a height and width, or so that the shortest or longest side has a length: one of the three is given.

    The other side of `shortest` is cut off to whole pixels, as torchvision does; that of `longest` is rounded.
    """

    resampling: Resampling = field(default_factory=Resampling)
    size: Size | None = None
    shortest: int = 0
    longest: int = 0

    def see(self, view: View) -> View:
        height, width = view.size
        if self.size:
            return View.of(self.size)
        short, long = self._scaled(min(height, width), max(height, width))
        return View.of((short, long) if height <= width else (long, short))

    def bound(self, sides: Sides) -> Sides:
        if self.size:
            return Sides.of(self.size)
        (least_short, most_short), (least_long, most_long) = sides
        strip = self._scaled(least_short, most_long)
        square = self._scaled(most_short, max(least_long, most_short))
        short, long = sorted((strip[0], square[0])), sorted((strip[1], square[1]))
        return Sides((short[0], short[1]), (long[0], long[1]))

    def _scaled(self, short: int, long: int) -> tuple[int, int]:
        """The shorter and the longer side."""
        if self.shortest:
            return self.shortest, self.shortest * long // short
        return max(1, (2 * self.longest * short + long) // (2 * long)), self.longest


@dataclass(frozen=True)
class Letterbox:
    """Resized to fit, aspect kept, in the middle of a filled frame."""

    size: Size
    fill: int
    resampling: Resampling = field(default_factory=Resampling)

    def see(self, view: View) -> View:
        (height, width), (frame_height, frame_width) = view.size, self.size
        scale = min(frame_height / height, frame_width / width)
        inner = (min(max(round(height * scale), 1), frame_height), min(max(round(width * scale), 1), frame_width))
        return View(inner, (-((frame_height - inner[0]) // 2), -((frame_width - inner[1]) // 2)), self.size)

    def bound(self, sides: Sides) -> Sides:
        return Sides.of(self.size)


@dataclass(frozen=True)
class CenterCrop:
    """The middle; half of an odd rest is rounded to even, as torchvision does, or down, as Hugging Face's processors in Python do."""

    size: Size
    rounded_down: bool = False

    def see(self, view: View) -> View:
        (height, width), (wanted_height, wanted_width) = view.size, self.size
        if height < wanted_height or width < wanted_width:
            raise Unfit(
                f"center_crop takes the middle {wanted_height} x {wanted_width} (height x width) of a picture that is {height} x {width}: "
                "resize it first"
            )
        corner = (view.corner[0] + self._half(height - wanted_height), view.corner[1] + self._half(width - wanted_width))
        return View(view.resized, corner, self.size)

    def _half(self, rest: int) -> int:
        return rest // 2 if self.rounded_down else round(rest / 2)

    def bound(self, sides: Sides) -> Sides:
        if min(self.size) > sides.short[1] or max(self.size) > sides.long[1]:
            raise Unfit(
                f"center_crop takes the middle {self.size[0]} x {self.size[1]} (height x width) of pictures whose sides are at most "
                f"{sides.short[1]} and {sides.long[1]}: none is that large; resize them to more first"
            )
        return Sides.of(self.size)


@dataclass(frozen=True)
class Pad:
    """Filled on the right and below."""

    size: Size
    fill: int

    def see(self, view: View) -> View:
        (height, width), (wanted_height, wanted_width) = view.size, self.size
        if height > wanted_height or width > wanted_width:
            raise Unfit(
                f"pad fills up to {wanted_height} x {wanted_width} (height x width) a picture that is {height} x {width} already: "
                "resize or crop it first"
            )
        return View(view.resized, view.corner, self.size)

    def bound(self, sides: Sides) -> Sides:
        if min(self.size) < sides.short[0] or max(self.size) < sides.long[0]:
            raise Unfit(
                f"pad fills up to {self.size[0]} x {self.size[1]} (height x width) pictures whose sides are at least {sides.short[0]} and "
                f"{sides.long[0]}: none is that small; resize or crop them to less first"
            )
        return Sides.of(self.size)


@dataclass(frozen=True)
class Pass:
    """Steps that are carried out by looking at each pixel once."""

    steps: tuple[Shape, ...] = ()

    @property
    def resampling(self) -> Resampling | None:
        """None: nothing is resized."""
        return next((step.resampling for step in self.steps if isinstance(step, (Resize, Letterbox))), None)

    @property
    def fill(self) -> int | None:
        """None: nothing is filled."""
        return next((step.fill for step in self.steps if isinstance(step, (Letterbox, Pad))), None)

    def takes(self, step: Shape) -> bool:
        """Whether this pass can carry out `step`, too, after all of its own."""
        if isinstance(step, (Resize, Letterbox)):
            return not self.steps
        if isinstance(step, Pad):  # what was cropped away would be seen again
            return self.fill in (None, step.fill) and not any(isinstance(before, CenterCrop) for before in self.steps)
        return True

    def view(self, size: Size) -> View:
        """The view of a picture of that size. Raises Unfit."""
        view = View.of(size)
        for step in self.steps:
            view = step.see(view)
        return view


def fold(steps: Iterable[Shape]) -> tuple[Pass, ...]:
    """As few passes as possible that do the same; at least one."""
    passes = [Pass()]
    for step in steps:
        if passes[-1].takes(step):
            passes[-1] = Pass((*passes[-1].steps, step))
        else:
            passes.append(Pass((step,)))
    return tuple(passes)
