"""How a model pads requests of unequal length: where its configuration says so, how long requests are, and which buckets are worth a trial.

engine/graph/padding.py explains buckets. Never in here: servers, which set is better (climb.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from inferd.tensors import Array

MOST = 32  # sizes that an axis can have
SHORTEST_TEXT = 16  # tokens: shorter texts cost nearly as much
FED = ("input_ids", "attention_mask", "token_type_ids")  # by tokenize: its fields, and the graph's inputs where they are empty


class Lengths(NamedTuple):
    """Lengths of requests along the axis that is padded. longest: the longest that may come."""

    shortest: int
    longest: int


# ---------------------------------------------------------------------------------------------------------------------
# The configuration


def buckets_of(config: Any) -> tuple[int, ...] | None:
    """A ModelConfig's; empty: like lengths share a batch. None: it pads nothing, or several inputs to sizes of their own, which stay."""
    found = {tuple(each.buckets) for each in _padders(config)}
    return found.pop() if len(found) == 1 and config.max_batch_size else None


def write_buckets(config: Any, buckets: Sequence[int]) -> None:
    """Into all that pads: a request has one length, whichever of its inputs shows it."""
    for each in _padders(config):
        each.buckets[:] = buckets


def _padders(config: Any) -> list[Any]:
    """Its messages that have `buckets`: steps, and entries for inputs that none of these feeds."""
    steps = [entry.steps[0].tokenize for entry in _texts(config)]
    fed = {getattr(step, part) or part for step in steps for part in FED}
    return [*steps, *(entry for entry in config.inferd.padding if entry.input not in fed)]


def _texts(config: Any) -> list[Any]:
    """The entries of preprocess that make tokens of texts."""
    return [entry for entry in config.inferd.preprocess if entry.steps and entry.steps[0].HasField("tokenize")]


# ---------------------------------------------------------------------------------------------------------------------
# Lengths


def lengths_of(config: Any, requests: Sequence[Mapping[str, Array]]) -> Lengths | None:
    """The lengths of these requests; `config`: the server's. None where they do not differ in a padded axis, as far as a client can see."""
    found = list(_differing(config, requests))
    return Lengths(min(each.shortest for each in found), max(each.longest for each in found)) if found else None


def _differing(config: Any, requests: Sequence[Mapping[str, Array]]) -> Iterator[Lengths]:
    for entry in _texts(config):
        texts = [request[entry.name or "text"] for request in requests if (entry.name or "text") in request]
        if len({max(map(len, array.reshape(-1)), default=0) for array in texts}) > 1:  # of bytes; only the server counts tokens
            yield Lengths(SHORTEST_TEXT, entry.steps[0].tokenize.max_tokens)
    for entry in config.inferd.padding:
        arrays = [request[entry.input] for request in requests if entry.input in request]
        sizes = {size for array in arrays for size in array.shape[entry.axis + 1 : entry.axis + 2]}
        if len(sizes) > 1:
            yield Lengths(min(sizes), max(sizes))


def sets(lengths: Lengths) -> list[tuple[int, ...]]:
    """Powers of two up to the longest, the same in steps of half an octave, and one size for all."""
    halves = sorted({size for power in range(31) for size in (1 << power, 3 << power >> 1) if lengths.shortest <= size < lengths.longest})
    powers = [size for size in halves if not size & (size - 1)]
    found = ((*sizes[1 - MOST :], lengths.longest) for sizes in (powers, halves, []))
    return list(dict.fromkeys(found))
