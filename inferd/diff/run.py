"""One comparison from its two sources to its report: ask both, measure the noise, compare, time, judge.

Never in here: options of a command line, what a report looks like.
"""

from __future__ import annotations

import heapq
import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from inferd.bench.compare import Comparison
from inferd.bench.report import package_version
from inferd.compare.decisions import ranked_by, told_by
from inferd.compare.outputs import Difference, Rule, compare, decisions_of, tolerance_of
from inferd.diff import noise, performance
from inferd.diff.report import Distribution, Failures, Limits, Report, Truth, Worst
from inferd.diff.sources import check_inputs
from inferd.diff.verdict import judge
from inferd.errors import ConfigError, InferdError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from inferd.diff.requests import Request
    from inferd.diff.sources import Source
    from inferd.tensors import Array

SHOWN_VALUES = 64  # of a tensor of one of the worst requests
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
MOST_TRANSITIONS = 12
MOST_CLASSES = 24
Outputs = dict[str, "Array"]


def run(
    old: Source,
    new: Source,
    requests: Sequence[Request],
    on: str,
    *,
    rules: Mapping[str, Rule] | None = None,
    default: Rule | None = None,
    limits: Limits | None = None,
    worst: int = 5,
    seconds: float = 30.0,
    seed: int = 0,
    watch: Callable[[str], None] = lambda _: None,
    keep: Callable[[int, Request, Outputs, Outputs], None] | None = None,
    truth: tuple[str, Sequence[str]] | None = None,
) -> Report:
    """default: the rule of outputs that `rules` does not name. seconds: for performance; 0: it is not measured. keep: is given the worst
    requests, the worst first, with what both made of them. truth: an output, and the right decision of each request's rows, in order.
    Raises ConfigError where no request fits both, and InferdError."""
    check_inputs(old, new)
    limits = limits or Limits()
    given = {name: default or Rule() for name in old.datatypes} | dict(rules or {})
    watch(f"OLD runs {len(requests):,} requests")
    before, why_old = ask(old, requests)
    given = told_by(before, old.datatypes, ranked_by(old.description.config, list(old.datatypes), given))
    watch("OLD again, in other batches")
    floor = noise.floor(old, requests, before, given, seed) if any(before) else Difference()
    raised = noise.raised(given, floor)
    watch(f"NEW runs {len(requests):,} requests")
    after, why_new = ask(new, requests)
    found = Found(raised, old, worst)
    for number, (one, other) in enumerate(zip(before, after, strict=True)):
        found.take(number, one, other)
    found.failures.first = why_new or why_old
    report = Report(
        old=old.name,
        new=new.name,
        on=on,
        requests=len(requests),
        difference=found.total,
        noise=floor,
        tolerances={name: tolerance_of(rule, old.datatypes.get(name, "")) for name, rule in raised.items()},
        failures=found.failures,
        distributions=found.distributions(old),
        limits=limits,
        made_unix_s=time.time(),
        versions={"inferd": package_version("inferd"), "onnxruntime": package_version("onnxruntime"), "numpy": np.__version__},
    )
    if truth is not None:
        report.truth = held_against(truth[0], truth[1], before, after, raised, old)
    for place, number in enumerate(found.worst()):
        one, other = before[number] or {}, after[number] or {}
        report.worst.append(described(requests[number], found.kept[number], one, other, old, why_new, raised))
        if keep is not None:
            keep(place, requests[number], one, other)
    timed = [request for request, one, other in zip(requests, before, after, strict=True) if one and other]
    if seconds and timed and old.is_local == new.is_local:
        try:
            report.performance = performance.measure(old, new, timed, threshold=limits.max_slower, seconds=seconds, watch=watch)
        except InferdError as error:  # a server that goes, or rejects under load
            report.performance = Comparison(old.name, new.name, limits.max_slower, performance.CONFIDENCE)
            report.notices.append(f"performance: {error}")
    elif seconds and timed:
        report.notices.append("one is a file and the other a server, so what they cost is not compared")
    report.verdict = judge(report)
    return report


def ask(source: Source, requests: Sequence[Request]) -> tuple[list[Outputs | None], str]:
    """One request after the other, so that each is a batch of its own. The responses, and the first rejection's words."""
    responses: list[Outputs | None] = []
    why = ""
    for request in requests:
        try:
            responses.append(source.infer(request.inputs))
        except InferdError as error:
            responses.append(None)
            why = why or f"{request.name}: {error}"
    return responses, why


class Found:
    """Collects differences, request by request."""

    def __init__(self, rules: Mapping[str, Rule], old: Source, worst: int) -> None:
        self.rules, self.datatypes, self.batched, self.most = rules, old.datatypes, old.is_batched, worst
        self.total, self.failures = Difference(), Failures()
        self.kept: dict[int, Difference] = {}
        self.differences: dict[str, list[float]] = {}
        self.transitions: dict[str, Counter[tuple[str, str]]] = {}
        self._heap: list[tuple[tuple[bool, int, float, float], int]] = []

    def take(self, number: int, one: Outputs | None, other: Outputs | None) -> None:
        if one is None or other is None:
            self.failures.both += one is None and other is None
            self.failures.only_old += one is None and other is not None
            self.failures.only_new += one is not None and other is None
            if one is not None:
                self._keep(number, Difference(1, mismatched=1))
            return
        difference = compare(one, other, self.rules, self.datatypes, batched=self.batched)
        self.total.merge(difference)
        for name, output in difference.outputs.items():
            if output.values:
                self.differences.setdefault(name, []).append(output.max_absolute)
            if output.decisions and not output.mismatches:  # an output that speaks of another's decision has none
                rule, word = self.rules.get(name, Rule()), self.datatypes.get(name, "")
                self.transitions.setdefault(name, Counter()).update(
                    zip(decisions_of(one[name], rule, word), decisions_of(other[name], rule, word), strict=True)
                )
        if difference.changed or difference.flipped:
            self._keep(number, difference)

    def _keep(self, number: int, difference: Difference) -> None:
        self.kept[number] = difference
        heapq.heappush(self._heap, (difference.badness, -number))
        if len(self._heap) > self.most:
            _, dropped = heapq.heappop(self._heap)
            del self.kept[-dropped]

    def worst(self) -> list[int]:
        """Numbers of requests, the worst first."""
        return [-number for _, number in sorted(self._heap, reverse=True)]

    def distributions(self, old: Source) -> dict[str, Distribution]:
        classes = old.description.classes()
        made = {}
        for name, output in self.total.outputs.items():
            values = self.differences.get(name, [])
            quantiles = [(q, float(np.quantile(values, q))) for q in QUANTILES] if values else []
            pairs = self.transitions.get(name, Counter()) if output.has_decisions else Counter[tuple[str, str]]()
            names = dict(zip(map(str, range(len(classes.get(name, ())))), classes.get(name, ()), strict=True))
            became = [(names.get(a, a), names.get(b, b), count) for (a, b), count in pairs.most_common() if a != b]
            shares: dict[str, list[int]] = {}
            for (a, b), count in pairs.items():
                shares.setdefault(names.get(a, a), [0, 0])[0] += count
                shares.setdefault(names.get(b, b), [0, 0])[1] += count
            counted = {each: (both[0], both[1]) for each, both in sorted(shares.items())} if len(shares) <= MOST_CLASSES else {}
            made[name] = Distribution(quantiles, became[:MOST_TRANSITIONS], counted)
        return made


def held_against(
    output: str,
    right: Sequence[str],
    before: Sequence[Outputs | None],
    after: Sequence[Outputs | None],
    rules: Mapping[str, Rule],
    old: Source,
) -> Truth:
    """Counts the rows in which OLD, NEW, both or neither decide as the truth says. Raises ConfigError unless there is one label for each
    decision."""
    found, at = Truth(output), 0
    rule, word = rules.get(output, Rule()), old.datatypes.get(output, "")
    names = dict(enumerate(old.description.classes().get(output, ())))
    for one, other in zip(before, after, strict=True):
        both = [decisions_of(each[output], rule, word) if each and output in each else [] for each in (one, other)]
        count = max(map(len, both)) or 1  # a request that fails on both sides is one row
        for own, a, b in zip(right[at : at + count], *both, strict=False):
            is_right = tuple(own in (each, names.get(int(each), each) if each.isdecimal() else each) for each in (a, b))
            found.both += is_right == (True, True)
            found.only_old += is_right == (True, False)
            found.only_new += is_right == (False, True)
            found.neither += is_right == (False, False)
        at += count
    if at != len(right):
        raise ConfigError(f"--truth {output}: expected a label for each of the {at:,} decisions, got {len(right):,} labels")
    return found


def described(
    request: Request, difference: Difference, one: Outputs, other: Outputs, old: Source, why: str, rules: Mapping[str, Rule]
) -> Worst:
    words = []
    for name, output in difference.outputs.items():
        if output.mismatches:
            words.append(f"{name}: {next(iter(output.mismatches))}")
        elif output.flips:
            shown = [decided(arrays[name], old, name, rules.get(name, Rule())) for arrays in (one, other)]
            words.append(f"{name}: {shown[0]} became {shown[1]}")
        elif output.changed_rows:
            words.append(f"{name}: differs by {output.max_absolute:.3g}")
    shown_inputs, shown_old, shown_new = ({name: values(array) for name, array in each.items()} for each in (request.inputs, one, other))
    return Worst(request.name, "; ".join(words) or f"NEW rejects it ({why})", shown_inputs, shown_old, shown_new)


def decided(array: Array, old: Source, name: str, rule: Rule) -> str:
    classes = old.description.classes().get(name, ())
    found = list(decisions_of(array, rule, old.datatypes.get(name, "")))[:4]
    return ", ".join(classes[int(each)] if each.isdecimal() and int(each) < len(classes) else each for each in found)


def values(array: Array) -> dict[str, Any]:
    """Shape, datatype and the first values, as JSON has them."""
    flat = array.reshape(-1)[:SHOWN_VALUES].tolist()
    plain = [each.decode("utf-8", "replace")[:200] if isinstance(each, bytes) else each for each in flat]
    shown = [str(each) if isinstance(each, float) and not math.isfinite(each) else each for each in plain]
    return {"shape": list(array.shape), "dtype": str(array.dtype), "values": shown, "more": max(array.size - SHOWN_VALUES, 0)}
