"""Finds outputs that belong to one decision: the ranks of a step `top_k`, or a label beside its probabilities.

    ranked_by(config, outputs)          by the configuration: an output of `top_k` has k ranks of one decision
    told_by(responses, ..., rules)      by responses: in nearly all rows, a label names the class with the highest probability

Neither relies on the names of outputs alone. One output counts the decision: text before a label, and a label before a number. Never in
here: comparing (outputs.py).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from inferd.compare.outputs import ARGMAX, AUTO, LABEL, NUMBER, RANKED, TEXT, Rule, decisions_of, kind_of
from inferd.tensors import Array, as_numbers

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from inferd.protocol.inference import ModelConfig

LEAST_ROWS = 20  # fewer rows prove nothing
ALIKE = 0.95  # the least share of rows: ties, and probabilities that are calibrated separately, may differ from the label
ORDER = {TEXT: 0, LABEL: 1, NUMBER: 2}


def ranked_by(config: ModelConfig | None, outputs: Collection[str], rules: Mapping[str, Rule] | None = None) -> dict[str, Rule]:
    """Adds rules for the outputs of a step `top_k`: scores, places and labels of k ranks. Given rules stay."""
    found = dict(rules or {})
    for entry in [] if config is None else config.inferd.postprocess:
        if not entry.steps or entry.steps[-1].WhichOneof("step") != "top_k":
            continue
        scores = entry.name or entry.output
        ranks = [name for name in (f"{scores}_label", f"{scores}_index") if name in outputs]
        for name in [*ranks, *([scores] if scores in outputs else [])]:
            rule = found.get(name, Rule())
            if ranks and rule.decide == AUTO:
                how = RANKED if name in ranks else ARGMAX
                found[name] = msgspec.structs.replace(rule, decide=how, of="" if name == ranks[0] else ranks[0])
    return found


def told_by(
    responses: Sequence[Mapping[str, Array] | None], datatypes: Mapping[str, str], rules: Mapping[str, Rule] | None = None
) -> dict[str, Rule]:
    """Adds rules that a model's responses show. Given rules stay."""
    found = dict(rules or {})
    given = [response for response in responses if response]
    names = [name for name in (given[0] if given else ()) if all(name in response for response in given)]
    for name in names:
        if scores := scores_of_ranks(name, names, given, datatypes, found):
            found[name] = msgspec.structs.replace(found.get(name, Rule()), decide=RANKED)
            found[scores] = msgspec.structs.replace(found.get(scores, Rule()), decide=ARGMAX, of=name)
    told: dict[str, list[str]] = {}  # the decisions of each output that counts its own
    for name in sorted(names, key=lambda name: ORDER[kind_of(given[0][name], datatypes.get(name, ""))]):
        rule = found.get(name, Rule())
        if rule.of or rule.decide not in (AUTO, ARGMAX, RANKED):
            continue
        decided = decisions_in(name, given, datatypes, rule)
        if len(decided) < LEAST_ROWS or len(set(decided)) < 2:
            continue
        first = next((other for other, those in told.items() if are_alike(those, decided)), "")
        if first:
            found[name] = msgspec.structs.replace(rule, of=first)
        else:
            told[name] = decided
    return found


def decisions_in(name: str, responses: Sequence[Mapping[str, Array]], datatypes: Mapping[str, str], rule: Rule) -> list[str]:
    """The decisions of an output; []: its values are neither labels, classes nor probabilities."""
    word = datatypes.get(name, "")
    arrays = [response[name] for response in responses]
    if any(kind_of(array, word) == NUMBER and (not array.ndim or array.ndim == 1 or array.shape[-1] == 1) for array in arrays):
        numbers = [as_numbers(array, word) for array in arrays if array.size]
        if not all(bool(np.all((each >= 0) & (each <= 1))) for each in numbers):
            return []
    return [each for array in arrays if array.size for each in decisions_of(array, rule, word)]


def are_alike(ones: Sequence[str], others: Sequence[str]) -> bool:
    """Whether the decisions of both correspond one to one in nearly all rows."""
    if len(ones) != len(others):
        return False
    pairs = Counter(zip(ones, others, strict=True))
    best: dict[str, tuple[int, str]] = {}
    for (one, other), count in pairs.items():
        best[one] = max(best.get(one, (0, "")), (count, other))
    partners = [other for _, other in best.values()]
    return len(set(partners)) == len(partners) and sum(count for count, _ in best.values()) >= ALIKE * len(ones)


def scores_of_ranks(
    name: str, names: Sequence[str], responses: Sequence[Mapping[str, Array]], datatypes: Mapping[str, str], rules: Mapping[str, Rule]
) -> str:
    """The output with the scores of these labels, if they are ranks: distinct labels beside falling scores; else ''."""
    if rules.get(name, Rule()).decide != AUTO or kind_of(responses[0][name], datatypes.get(name, "")) == NUMBER:
        return ""
    ranks = [response[name] for response in responses]
    if any(array.ndim < 2 or array.shape[-1] < 2 for array in ranks) or sum(map(len, ranks)) < LEAST_ROWS:
        return ""
    if not all(len(set(row)) == len(row) for array in ranks for row in array.reshape(-1, array.shape[-1]).tolist()):
        return ""
    for other in names:
        word = datatypes.get(other, "")
        if rules.get(other, Rule()).of or kind_of(responses[0][other], word) != NUMBER:
            continue
        if all(response[other].shape == response[name].shape for response in responses) and all(
            bool(np.all(np.diff(as_numbers(response[other], word), axis=-1) <= 0)) for response in responses
        ):
            return other
    return ""
