"""A feature: one number of each row, how the reference divides it into bins, and how often each bin was there.

Never in here: how a reference is learned, files, windows.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from inferd._core.monitor.feature_counts import HEAD, UNIT, Reading, Side, words_of

if TYPE_CHECKING:
    from inferd.tensors import Array

WAVES = 32  # random Fourier features of a row
WAVE_ELEMENTS = 128  # of a row that they are made of, evenly spaced
WIDTH = 1.0  # of their kernel, in units of the square root of the elements


class Kind(StrEnum):
    """How a feature's bins divide its values."""

    RANGES = "ranges"  # between edges; the first and the last bin are outside of the reference
    VALUES = "values"  # one bin for each value, and the last one for all others
    TEXTS = "texts"  # the same, of texts
    WAVES = "waves"  # no bins, but sums
    ROWS = "rows"  # rows that were there before


class Counts(msgspec.Struct, frozen=True):
    """The counts of one feature. Differences of words are exact, even where a word has run over."""

    words: Array

    @classmethod
    def none(cls, feature: Feature) -> Counts:
        return cls(np.zeros(feature.words, np.uint64))

    def _head(self, name: str) -> int:
        return int(self.words[HEAD.index(name)])

    def _signed(self, name: str) -> float:
        return int(self.words[HEAD.index(name)].astype(np.int64)) / UNIT

    @property
    def rows(self) -> int:
        return self._head("rows")

    @property
    def missing(self) -> int:
        return self._head("missing")

    @property
    def repeats(self) -> int:
        return self._head("repeats")

    @property
    def present(self) -> int:
        """Rows with a value."""
        return self.rows - self.missing

    @property
    def mean(self) -> float:
        """In units of the feature's scale, from its centre."""
        return self._signed("sum") / self.present if self.present else 0.0

    @property
    def spread(self) -> float:
        """The standard deviation, in units of the feature's scale."""
        if not self.present:
            return 0.0
        return float(max(self._signed("squares") / self.present - self.mean**2, 0.0) ** 0.5)

    @property
    def bins(self) -> Array:
        """Counts of the bins as floats."""
        found: Array = self.words[len(HEAD) :].astype(np.float64)
        return found

    @property
    def waves(self) -> Array:
        """The mean of each wave."""
        found: Array = self.words[len(HEAD) :].astype(np.int64) / UNIT / max(self.present, 1)
        return found

    def since(self, earlier: Counts) -> Counts:
        return Counts(self.words - earlier.words)

    def plus(self, other: Counts) -> Counts:
        return Counts(self.words + other.words)


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """One number of each row, and the reference of it.

    tensor: its name; "" of all of a request. index: its place in the signature. place: of the element in a row. at: edges or values.
    shares: of each bin among the reference's rows with a value. missing, repeats: shares of all rows of the reference. low, high: the
    range of the reference. centre, scale: the unit of sums, its mean and standard deviation. covariance: of the waves' sums.
    """

    side: Side
    reading: Reading
    kind: Kind
    tensor: str = ""
    index: int = 0
    place: int = 0
    label: str = ""
    at: tuple[float, ...] = ()
    texts: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    rows: int = 0
    missing: float = 0.0
    repeats: float = 0.0
    low: float = 0.0
    high: float = 0.0
    centre: float = 0.0
    scale: float = 1.0
    elements: int = 0
    means: tuple[float, ...] = ()
    covariance: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """As people read it: `age`, `x[3]`, `mean of image`, `class of probabilities`."""
        element = self.label or (f"{self.tensor}[{self.place}]" if self.elements > 1 else self.tensor)
        match self.reading:
            case Reading.ELEMENT | Reading.TEXT:
                return element
            case Reading.LENGTH:
                return f"length of {element}"
            case Reading.WAVES:
                return f"pattern of {self.tensor}"
            case Reading.ROW:
                return "repeated rows"
            case Reading.SCORE:
                return "outliers"
        return f"{self.reading.name.lower()} of {self.tensor}"

    @property
    def is_output(self) -> bool:
        return self.side == Side.GIVEN

    @property
    def words(self) -> int:
        return words_of(self.native())

    def native(self) -> dict[str, Any]:
        """As FeatureCounts takes it."""
        return {
            "side": self.side,
            "reading": self.reading,
            "tensor": self.index,
            "place": self.place,
            "at": self.at,
            "exact": self.kind in (Kind.VALUES, Kind.TEXTS),
            "centre": self.centre,
            "scale": self.scale,
            "scores": self.scores or (0.0,) * (len(self.at) + 2),
            "texts": [text.encode("utf-8", "surrogateescape") for text in self.texts],
            "waves": waves_of(self.elements) if self.reading == Reading.WAVES else (),
        }


def waves_of(elements: int) -> Array:
    """Weights and phases of the waves of rows with so many elements: the same everywhere. Shape: WAVES x (elements + 1), float32.

    cos(w x + b) with w normal and b even between 0 and 2 pi: random Fourier features of a Gaussian kernel (Rahimi, Recht 2007). Numbers
    come from MT19937, whose output numpy never changes, by the method of Box and Muller.
    """
    taken = min(elements, WAVE_ELEMENTS)
    count = WAVES * (taken + 1)
    even = (np.random.MT19937(taken).random_raw(2 * count).reshape(2, WAVES, taken + 1) + 1.0) / 2.0**32
    weights = np.sqrt(-2.0 * np.log(even[0])) * np.cos(2.0 * np.pi * even[1]) / (WIDTH * taken**0.5)
    weights[:, taken] = 2.0 * np.pi * even[0, :, taken]
    made: Array = weights.astype(np.float32)
    return made
