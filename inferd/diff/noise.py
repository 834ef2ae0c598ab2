"""How much a model differs from itself: the same rows in other batches, and once more as they were.

A row's values depend on what it is batched with: other kernels, another order of sums. Such differences of OLD from itself say nothing
about NEW. Never in here: the use of this noise floor (run.py raises the tolerances to it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from inferd.compare.outputs import ABSOLUTE, Difference, Rule, compare
from inferd.errors import InferdError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inferd.diff.requests import Request
    from inferd.diff.sources import Source
    from inferd.tensors import Array

MOST = 512  # requests that are asked again
GROUPS = (2, 3, 5, 8, 16, 7)  # requests in one batch, in turn
TIMES = 3.0  # the floor is of a sample: so much more is noise, too


def floor(
    source: Source, requests: Sequence[Request], responses: Sequence[dict[str, Array] | None], rules: Mapping[str, Rule], seed: int
) -> Difference:
    """responses: what `source` gave to each request; None where it failed."""
    total = Difference()
    succeeded = [number for number, response in enumerate(responses) if response is not None]
    drawn = np.random.default_rng(seed).permutation(succeeded)[:MOST].tolist()
    for group in groups(drawn, requests, source):
        inputs = {name: np.concatenate([requests[number].inputs[name] for number in group]) for name in requests[group[0]].inputs}
        rows = [len(next(iter(requests[number].inputs.values()))) if source.is_batched else 1 for number in group]
        try:
            outputs = source.infer(inputs if len(group) > 1 else requests[group[0]].inputs)
        except InferdError:  # so many rows, say
            continue
        if len(group) > 1 and any(array.ndim == 0 or len(array) != sum(rows) for array in outputs.values()):
            return Difference()  # an output without rows cannot be divided among the requests
        ends = np.cumsum(rows).tolist()
        for number, last, count in zip(group, ends, rows, strict=True):
            part = {name: array[last - count : last] for name, array in outputs.items()} if len(group) > 1 else outputs
            total.merge(compare(responses[number] or {}, part, rules, source.datatypes, batched=source.is_batched))
    return total


def groups(drawn: Sequence[int], requests: Sequence[Request], source: Source) -> list[list[int]]:
    """Requests that can be one batch; alone where there is no batch axis, or they differ in shape."""
    most = source.description.most_rows or max(GROUPS)
    made: dict[tuple[object, ...], list[int]] = {}
    for number in drawn:
        key = tuple((name, array.shape, array.dtype.str) for name, array in sorted(requests[number].inputs.items()))
        made.setdefault(key, []).append(number)
    found = []
    for alike in made.values():
        rows = len(next(iter(requests[alike[0]].inputs.values()))) if source.is_batched else most
        largest = max(most // max(rows, 1), 1)
        at = turn = 0
        while at < len(alike):
            size = min(GROUPS[turn % len(GROUPS)], largest)
            found.append(alike[at : at + size])
            at, turn = at + size, turn + 1
    return found


def raised(rules: Mapping[str, Rule], noise: Difference) -> dict[str, Rule]:
    """The rules, with tolerances above the floor; a tolerance that was given stays."""
    found = dict(rules)
    for name, output in noise.outputs.items():
        rule = rules.get(name, Rule())
        if rule.absolute is None and rule.relative is None:
            absolute = max(ABSOLUTE, TIMES * output.max_absolute)
            found[name] = Rule(absolute, None, rule.decide, rule.of)
    return found
