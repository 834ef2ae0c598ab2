"""Which settings of a model to try next: a search, one axis at a time, from the default on.

A policy: it asks for settings and is sent how well they did. Never in here: servers, measurements, the clock.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

GAIN = 1.02  # a step that brings less than this is none


class Settings(msgspec.Struct, frozen=True, omit_defaults=True):
    """The settings that are tuned. rows: most rows of a batch; 0 for a model that does not batch.

    buckets: sizes that unequal lengths are padded to; empty where like lengths share a batch, None for a model that pads nothing."""

    provider: str
    instances: int
    threads: int  # of one run
    rows: int
    buckets: tuple[int, ...] | None = None

    def __str__(self) -> str:
        batches = f"batches of {self.rows}" if self.rows else "no batches"
        padded = "" if self.buckets is None else f", buckets {self.sizes}"
        return f"{self.provider}, {self.instances} x {self.threads} threads, {batches}{padded}"

    @property
    def sizes(self) -> str:
        """The buckets as --buckets takes them."""
        return ",".join(map(str, self.buckets or ())) or "none"


class Space(NamedTuple):
    """The values that may be tried, ascending. cores: that may be used at once. buckets: sets of them; empty: they stay as they are."""

    providers: Sequence[str]
    instances: Sequence[int]
    threads: Sequence[int]
    rows: Sequence[int]
    cores: int
    buckets: Sequence[tuple[int, ...]] = ()

    def nearest(self, settings: Settings) -> Settings:
        """The settings themselves where the space has them."""
        return Settings(
            settings.provider if settings.provider in self.providers else self.providers[0],
            _nearest(self.instances, settings.instances),
            _nearest(self.threads, settings.threads),
            _nearest(self.rows, settings.rows) if settings.rows else 0,
            settings.buckets if not self.buckets or settings.buckets in self.buckets else self.buckets[0],
        )


def _nearest(values: Sequence[int], wanted: int) -> int:
    return min(values, key=lambda value: abs(math.log(value / wanted)))


def climb(space: Space, default: Settings, score: float) -> Generator[Settings, float, None]:
    """Asks for settings and is sent their scores, the more the better; 0 is unusable. `score` is the default's, if it is known.

    Each provider has its own climb. First come the ways to share the cores between instances and their threads, rows of a batch, and every
    set of buckets. Then instances and threads go up or down, each for itself, as long as it helps. All of this repeats until nothing helps.
    Nothing is asked twice. Settings with exactly the same score have the same effect, and are stepped over.
    """
    scores = {default: score}

    def ask(settings: Settings) -> Generator[Settings, float, float]:
        if settings not in scores:
            scores[settings] = yield settings
        return scores[settings]

    def choose(best: Settings, changes: Iterable[dict[str, Any]]) -> Generator[Settings, float, Settings]:
        """The best of all of these."""
        for change in changes:
            tried = replace(best, **change)
            if (yield from ask(tried)) > GAIN * scores[best]:
                best = tried
        return best

    def walk(best: Settings, axis: str, values: Sequence[int]) -> Generator[Settings, float, Settings]:
        """Up the axis, and down only if that did not help."""
        at = values.index(getattr(best, axis))
        for way in (values[at + 1 :], values[:at][::-1]):
            started = best
            for value in way:
                tried = replace(best, **{axis: value})
                if (yield from ask(tried)) == scores[best]:
                    continue
                if scores[tried] < GAIN * scores[best]:
                    break
                best = tried
            if best != started:
                break
        return best

    for provider in sorted(space.providers, key=lambda name: name != default.provider):
        best = space.nearest(replace(default, provider=provider))
        if not (yield from ask(best)) and provider != default.provider:
            continue
        before = None
        while best != before:
            before = best
            if provider == "cpu":
                best = yield from choose(best, ({"instances": count, "threads": threads} for count, threads in splits(space)))
            if best.rows:
                best = yield from walk(best, "rows", space.rows)
            best = yield from choose(best, ({"buckets": sizes} for sizes in space.buckets))
            best = yield from walk(best, "instances", space.instances)
            if provider == "cpu":  # on a GPU operators don't run on the host's threads
                best = yield from walk(best, "threads", space.threads)


def splits(space: Space) -> Iterator[tuple[int, int]]:
    """(instances, threads) that use all cores and share none, or nearly so."""
    for instances in space.instances:
        fitting = [threads for threads in space.threads if instances * threads <= space.cores]
        if fitting and 2 * instances * fitting[-1] > space.cores:
            yield instances, fitting[-1]
