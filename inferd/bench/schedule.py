"""When an open loop asks: a seeded stream of intended start times, the same each time it is drawn.

    constant      evenly spaced
    poisson       independent users: exponential gaps
    burst:N       N at once, the bursts evenly spaced
    trace:FILE    as recorded; see bench/trace.py

Never in here: a clock. Nobody waits; the generator asks for the starts of the next milliseconds and keeps them.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from inferd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferd.bench.replay import Offsets

BLOCK = 4096  # arrivals drawn at once; a part of what the seed means, as two streams are drawn in turn
LOWEST_RATE, HIGHEST_RATE = 1e-3, 100e6  # a second
LARGEST_BURST = 1_000_000
KINDS = "constant, poisson, burst:N, trace:FILE or trace:FILE:COLUMN"


class Arrivals:
    """Intended starts in nanoseconds since the beginning of the load, ascending. Without an end, unless they are a trace's.

    rate: a second, on average. of, part: this is the share of one generator process of so many; all shares together are the whole
    stream, whatever their number. Copies and pickles begin anew.
    """

    def __init__(
        self,
        kind: str,
        rate: float,
        *,
        burst: int = 1,
        seed: int = 0,
        trace: Offsets | None = None,
        of: int = 1,
        part: int = 0,
    ) -> None:
        self.kind, self.rate, self.burst, self.seed, self.trace, self.of, self.part = kind, rate, burst, seed, trace, of, part
        self.restart()

    def __reduce__(self) -> tuple[Any, ...]:
        options: dict[str, Any] = {"burst": self.burst, "seed": self.seed, "trace": self.trace, "of": self.of, "part": self.part}
        return partial(Arrivals, self.kind, self.rate, **options), ()

    @property
    def ended(self) -> bool:
        """All of a trace was taken."""
        return self.trace is not None and not len(self._drawn)

    def restart(self) -> None:
        """From the first arrival again."""
        self._drawn: Offsets = np.empty(0, np.int64) if self.trace is None else self.trace[self.part :: self.of]
        self._blocks: Iterator[Offsets] = self._draw()

    def take(self, until_ns: int, at_most: int) -> Offsets:
        """The next starts before `until_ns`, each given once; those beyond `at_most` come with the next call."""
        taken, missing = [], at_most
        while missing > 0:
            if not len(self._drawn) and not self._fill():
                break
            count = min(missing, int(np.searchsorted(self._drawn, until_ns)))
            taken.append(self._drawn[:count])
            self._drawn = self._drawn[count:]
            missing -= count
            if len(self._drawn):
                break
        return np.concatenate(taken) if taken else np.empty(0, np.int64)

    def split(self, n: int, index: int) -> Arrivals:
        """The share of process `index` of n, from its beginning. Chance decides on each arrival of a Poisson stream, so that the share is
        one, too. Other streams give every n-th arrival."""
        if self.of != 1 or not 0 <= index < n:
            raise ValueError(f"share {index} of {n} of a stream that is share {self.part} of {self.of}")
        return Arrivals(self.kind, self.rate, burst=self.burst, seed=self.seed, trace=self.trace, of=n, part=index)

    def _fill(self) -> bool:
        """Draws until there is an arrival; False: none will come."""
        for block in self._blocks:
            if len(block):
                self._drawn = block
                return True
        return False

    def _draw(self) -> Iterator[Offsets]:
        if self.trace is not None:
            return iter(())
        return self._poisson() if self.kind == "poisson" else self._even()

    def _even(self) -> Iterator[Offsets]:
        """Arrival k is in burst k // N. Each start is computed from its number: no rounding adds up."""
        numbers = np.arange(self.part, BLOCK * self.of, self.of, dtype=np.int64)
        while True:
            yield np.rint(numbers // self.burst * self.burst * 1e9 / self.rate).astype(np.int64)
            numbers += BLOCK * self.of

    def _poisson(self) -> Iterator[Offsets]:
        gaps, lots = (np.random.Generator(np.random.PCG64(source)) for source in np.random.SeedSequence(self.seed).spawn(2))
        begin_ns = 0.0
        while True:
            starts = begin_ns + np.cumsum(gaps.exponential(1e9 / self.rate, BLOCK))
            begin_ns = float(starts[-1])
            if self.of > 1:
                starts = starts[lots.integers(self.of, size=BLOCK) == self.part]
            yield starts.astype(np.int64)


def parse(text: str, rate: float, seed: int = 0) -> Arrivals:
    """The arrivals that `--arrivals` and `--rate` describe. rate 0 leaves a trace as fast as it was recorded.

    Raises ConfigError for a word that is none of the four, for a rate out of range, and for a trace that cannot be read.
    """
    kind, colon, rest = text.partition(":")
    if rate and not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise ConfigError(f"--rate {rate:g}: expected {LOWEST_RATE:g} to {HIGHEST_RATE:g} requests a second")
    if kind == "trace" and rest:
        from inferd.bench.trace import read, scaled

        rate, trace = scaled(read(rest), rate)
        return Arrivals(kind, rate, seed=seed, trace=trace)
    if kind not in ("constant", "poisson", "burst") or bool(colon) != (kind == "burst"):
        raise ConfigError(f"--arrivals {text}: expected {KINDS}")
    if rate == 0:
        raise ConfigError(f"--arrivals {text}: needs a --rate; only a trace has its own")
    if kind != "burst":
        return Arrivals(kind, rate, seed=seed)
    if not rest.isascii() or not rest.isdigit() or len(rest) > 7 or not 1 <= int(rest) <= LARGEST_BURST:
        raise ConfigError(f"--arrivals {text}: expected burst:N with 1 to {LARGEST_BURST} requests at once, as in burst:32")
    return Arrivals(kind, rate, burst=int(rest), seed=seed)
