"""Compares a candidate's responses with the stable version's, request after request, and learns which outputs speak of one decision.

The configuration names ranks of `top_k` from the start. Only responses show that a label belongs to an output of probabilities. After the
first LEARNED_REQUESTS the judge compares them again with this knowledge. Never in here: processes, evidence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from inferd.compare.decisions import told_by
from inferd.compare.outputs import Difference, compare
from inferd.rollout.messages import Worst
from inferd.rollout.worst import worst_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inferd.compare.outputs import Rule
    from inferd.rollout.messages import Found
    from inferd.tensors import Array

LEARNED_REQUESTS = 100  # these tell which outputs speak of one decision
LEARNED_NBYTES = 4 << 20  # of the stable version's responses: fewer requests tell where these are larger
WORST = 5  # requests that are kept
MAX_WORDS = 500


class Pair(NamedTuple):
    """Two responses to one request."""

    request_id: str
    expected: dict[str, Array]
    got: dict[str, Array]


class Judge:
    """Adds what differs to `found`. first: the pairs that are held until they have told what they can."""

    def __init__(self, found: Found, words: Mapping[str, str], rules: dict[str, Rule]) -> None:
        self.found, self.first = found, list[Pair]()
        self._words, self._rules, self._learns, self._held_nbytes = words, rules, True, 0
        self._total, self._worst = msgspec.convert(msgspec.to_builtins(found.total), Difference), list(found.worst)

    def add(self, request_id: str, expected: dict[str, Array], got: dict[str, Array]) -> None:
        self._judge(Pair(request_id, expected, got))
        if self._learns:
            # A copy: the arrays are views of a whole message, inputs and all.
            self.first.append(Pair(request_id, {name: array.copy() for name, array in expected.items()}, got))
            self._held_nbytes += sum(array.nbytes for array in expected.values())
            if len(self.first) >= LEARNED_REQUESTS or self._held_nbytes >= LEARNED_NBYTES:
                self._learn()

    def _learn(self) -> None:
        """Judges the first pairs again where they have told something."""
        first, self.first, self._learns = self.first, [], False
        rules = told_by([each.expected for each in first], self._words, self._rules)
        if rules != self._rules:
            self._rules, self.found.total, self.found.worst = rules, self._total, self._worst
            for pair in first:
                self._judge(pair)

    def _judge(self, pair: Pair) -> None:
        difference = compare(pair.expected, pair.got, self._rules, self._words)
        self.found.total.merge(difference)
        if difference.changed or difference.flipped:
            told = worst_value(difference, pair.expected, pair.got, self._words), described(difference)
            self._keep(Worst(difference.badness, pair.request_id, "; ".join(filter(None, told))[:MAX_WORDS]))

    def _keep(self, worst: Worst) -> None:
        if len(self.found.worst) < WORST or worst.badness > self.found.worst[-1].badness:
            self.found.worst = sorted([*self.found.worst, worst], key=lambda each: each.badness, reverse=True)[:WORST]


def described(difference: Difference) -> str:
    """One request's differences, for people."""
    said = []
    for name, output in difference.outputs.items():
        said += [f"{name}: {words}" for words in output.mismatches]
        if output.flips:
            by = f"; the old decision led by {output.max_flip_margin:.3g}" if output.max_flip_margin else ""  # a label has no margin
            said.append(f"{name}: {output.flips} of {output.decisions} decisions flipped{by}")
        elif output.changed_rows:
            said.append(f"{name}: differs by {output.max_absolute:.3g}" if output.values else f"{name}: differs")
    return "; ".join(said)[:MAX_WORDS]
