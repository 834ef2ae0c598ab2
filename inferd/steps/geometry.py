"""Where pixels come from: steps that change a picture's size, folded into as few passes over it as possible.

A pass resizes a picture, or leaves it, and looks at a window of the result; what of the window lies outside is filled with one value.
So a crop after a resize costs less than the resize alone, and a letterbox no more. What cannot be said in one pass (a second resize,
a filling beside another) begins the next. Arithmetic only: never in here: pixels (_core/image), the configuration (image.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

__all__ = ["CenterCrop", "Letterbox", "Pad", "Pass", "Resampling", "Resize", "Shape", "Size", "Unfit", "View", "fold"]

Size = tuple[int, int]  # height, width


class Unfit(Exception):
    """A picture of this size cannot go through a step; the text says what was expected, what came and the cure."""


class View(NamedTuple):
    """What a pass makes of a picture: out[y, x] is the resized picture's pixel [y + corner[0], x + corner[1]], or filling."""

    resized: Size
    corner: Size
    size: Size

    @classmethod
    def of(cls, size: Size) -> View:
        """The whole picture, as it is."""
        return cls(size, (0, 0), size)


@dataclass(frozen=True)
class Resampling:
    """How pixels between pixels are found: see steps.proto, Method and Resize."""

    method: str = "BILINEAR"
    antialias: bool = True
    exact: bool = False


class Shape(Protocol):
    """One step."""

    @property
    def fixed(self) -> Size | None:
        """The size of its result, where that is the same for every picture."""

    def see(self, view: View) -> View:
        """The view that it makes of another. Raises Unfit."""


@dataclass(frozen=True)
class Resize:
    """To a height and width, or so that the shortest or longest side has a length: one of the three is given.

    The other side of `shortest` is cut off to whole pixels, as torchvision does; that of `longest` is rounded.
    """

    resampling: Resampling = field(default_factory=Resampling)
    size: Size | None = None
    shortest: int = 0
    longest: int = 0

    @property
    def fixed(self) -> Size | None:
        return self.size

    def see(self, view: View) -> View:
        return View.of(self.size or self._scaled(*view.size))

    def _scaled(self, height: int, width: int) -> Size:
        short, long = min(height, width), max(height, width)
        if self.shortest:
            short, long = self.shortest, self.shortest * long // short
        else:
            short, long = max(1, (2 * self.longest * short + long) // (2 * long)), self.longest
        return (short, long) if height <= width else (long, short)


@dataclass(frozen=True)
class Letterbox:
    """Resized to fit, aspect kept, in the middle of a filled frame."""

    size: Size
    fill: int
    resampling: Resampling = field(default_factory=Resampling)

    @property
    def fixed(self) -> Size:
        return self.size

    def see(self, view: View) -> View:
        (height, width), (frame_height, frame_width) = view.size, self.size
        scale = min(frame_height / height, frame_width / width)
        inner = (min(max(round(height * scale), 1), frame_height), min(max(round(width * scale), 1), frame_width))
        return View(inner, (-((frame_height - inner[0]) // 2), -((frame_width - inner[1]) // 2)), self.size)


@dataclass(frozen=True)
class CenterCrop:
    """The middle; of an odd rest the half is rounded to even, as torchvision does."""

    size: Size

    @property
    def fixed(self) -> Size:
        return self.size

    def see(self, view: View) -> View:
        (height, width), (wanted_height, wanted_width) = view.size, self.size
        if height < wanted_height or width < wanted_width:
            raise Unfit(
                f"center_crop takes the middle {wanted_height} x {wanted_width} (height x width) of a picture that is {height} x {width}: "
                "resize it first"
            )
        corner = (view.corner[0] + round((height - wanted_height) / 2), view.corner[1] + round((width - wanted_width) / 2))
        return View(view.resized, corner, self.size)


@dataclass(frozen=True)
class Pad:
    """Filled on the right and below."""

    size: Size
    fill: int

    @property
    def fixed(self) -> Size:
        return self.size

    def see(self, view: View) -> View:
        (height, width), (wanted_height, wanted_width) = view.size, self.size
        if height > wanted_height or width > wanted_width:
            raise Unfit(
                f"pad fills up to {wanted_height} x {wanted_width} (height x width) a picture that is {height} x {width} already: "
                "resize or crop it first"
            )
        return View(view.resized, view.corner, self.size)


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
        """What it makes of a picture of that size. Raises Unfit."""
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
