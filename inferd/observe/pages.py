"""Metrics of several processes as those of one: what each says, added up. Never in here: how they are asked, and formats of scrapers.

Counts of a process that has ended stay in the sums. A sum that fell would look like a restart of the whole server, and a rate would
count everything once more. prometheus_client's own way for several processes, values in shared files, would cost each request a write.
Here a request costs nothing: a scrape asks the processes.
"""

from __future__ import annotations

import operator
import threading
from typing import TYPE_CHECKING

import msgspec

from inferd.part.table import Combine

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence


class Sample(msgspec.Struct, array_like=True, frozen=True):
    """One line of a page."""

    name: str
    labels: dict[str, str]
    value: float


class Family(msgspec.Struct, array_like=True, frozen=True):
    """All samples of one metric. kind: counter, gauge, histogram or info. combine: what becomes of the values of several processes."""

    name: str
    documentation: str
    kind: str
    samples: list[Sample]
    combine: Combine = "sum"


Page = list[Family]

COUNTS = ("counter", "histogram")
COMBINE: dict[Combine, Callable[[float, float], float]] = {"sum": operator.add, "max": max, "min": min}


def merge(pages: Iterable[Page]) -> Page:
    """One page: samples of one name and the same labels become one, in the order in which they come first."""
    families: dict[str, Family] = {}
    values: dict[str, dict[tuple[object, ...], Sample]] = {}
    for family in (family for page in pages for family in page):
        families.setdefault(family.name, family)
        found = values.setdefault(family.name, {})
        combine = COMBINE[family.combine]
        for sample in family.samples:
            key = (sample.name, *sorted(sample.labels.items()))
            before = found.get(key)
            found[key] = sample if before is None else Sample(sample.name, sample.labels, combine(before.value, sample.value))
    return [Family(name, of.documentation, of.kind, list(values[name].values()), of.combine) for name, of in families.items()]


def _counts(page: Page) -> Page:
    return [family for family in page if family.kind in COUNTS]


class Sums:
    """The last pages of running processes, and the counts of those that have ended. On any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pages: dict[Hashable, Page] = {}
        self._ended: Page = []

    def begin(self, process: Hashable) -> None:
        with self._lock:
            self._pages[process] = []

    def saw(self, process: Hashable, page: Page) -> None:
        """Nothing for one that has ended: it is counted as it was seen before."""
        with self._lock:
            if process in self._pages:
                self._pages[process] = page

    def end(self, process: Hashable) -> None:
        with self._lock:
            self._ended = merge([self._ended, _counts(self._pages.pop(process, []))])

    def page(self, *own: Page) -> Page:
        """All of it as one page, `own` included."""
        with self._lock:
            pages: Sequence[Page] = [*self._pages.values(), self._ended]
        return merge([*pages, *own])
