"""Streams of requests whose faults come in clusters, for benchmarks/rollout_check.py. Each goes through the policy of a canary.

A stream has one second a turn. The stable version fails as often as the limit says, and the candidate by `excess` more:

independent  requests without keys
retries      1,000 clients with keys; a request that fails is sent again four times within 1.5 s, and fails again
batches      requests without keys; each fault fails a whole batch, of 16 requests of both versions
tenants      of sizes 1, 1/2, 1/3, ...; each has an error rate of its own, drawn from an exponential distribution, and a key
one bad      20 tenants of one size, and one of them has all the errors, 20 times as often
bursts       one second of twenty has 20 times as many requests, the others a tenth
a minute     one request a minute, without a key

At twice the limit a stream goes on PATIENCE times as long, so that the number of requests can be told.

Never in here: limits on what is found, tables.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from inferd.compare.statistics import GROUPS
from inferd.rollout.policy import CanaryPlan, Counts, Guard, GuardKind, Policy, by_group

RETRY_S = (0.1, 0.3, 0.7, 1.5)  # after the first try
BATCH = 16
LOOKS = 4  # turns between two decisions
PATIENCE = 20


class Stream(NamedTuple):
    """share: of the candidate. turns: seconds, or minutes. requests: in each."""

    kind: str
    share: float
    turns: int = 300
    requests: int = 100


STREAMS = (
    Stream("independent", 0.5),
    Stream("independent", 0.1),
    Stream("retries", 0.5),
    Stream("batches", 0.5),
    Stream("batches", 0.1),
    Stream("20 tenants", 0.5),
    Stream("20 tenants", 0.1),
    Stream("1000 tenants", 0.5),
    Stream("one bad", 0.5),
    Stream("bursts", 0.5),
    Stream("a minute", 0.5, turns=2000, requests=1),
)


class Keys:
    """Clients with keys: how large each is, how often it fails in the stable version, its group, and whether it has the candidate."""

    def __init__(self, rng: np.random.Generator, kind: str, share: float, rate: float) -> None:
        count = 1000 if kind in ("retries", "1000 tenants") else 20
        size = 1.0 / np.arange(1, count + 1) if kind.endswith("tenants") else np.ones(count)
        self.size = size / size.sum()
        self.own = np.full(count, rate)
        if kind.endswith("tenants"):
            self.own = rng.exponential(1.0, count)
            self.own = np.minimum(self.own * rate / (self.own @ self.size), 0.9)
        elif kind == "one bad":
            self.own = np.where(np.arange(count) == 0, min(20 * rate, 0.9), 0.0)
        self.group = rng.integers(0, GROUPS, count)
        self.moved = rng.random(count) < share
        self.waiting: list[tuple[int, int]] = []  # when a retry comes, and of which key

    def turn(self, rng: np.random.Generator, requests: int, excess: float, retries: bool, at: int) -> tuple[Counts, Counts]:
        counts = rng.multinomial(requests, self.size)
        rates = self.own + np.where(self.moved, excess, 0.0)
        events = rng.binomial(counts, rates / (1 + len(RETRY_S)) if retries else rates)
        if retries:
            for key in np.repeat(np.arange(len(events)), events):
                began = at + rng.random()
                self.waiting += [(int(began + later), int(key)) for later in RETRY_S]
            again = np.bincount(np.array([key for when, key in self.waiting if when <= at], np.int64), minlength=len(events))
            self.waiting = [each for each in self.waiting if each[0] > at]
            counts, events = counts + again, events + again
        candidate, stable = (
            Counts(  # type: ignore[call-arg]
                *(np.append(np.bincount(self.group[arm], each[arm], GROUPS).astype(np.int64), 0) for each in (counts, events)), by_group()
            )
            for arm in (self.moved, ~self.moved)
        )
        return candidate, stable


def failed(rng: np.random.Generator, stream: Stream, count: int, share: float, rate: float) -> int:
    """How many of `count` requests of one arm fail."""
    if stream.kind != "batches":
        return int(rng.binomial(count, rate))
    size = max(round(BATCH * share), 1)
    return min(int(size * rng.binomial(-(-count // size), rate)), count)


def found_after(asked: tuple[int, Stream, float, float]) -> float:
    """Requests of both arms until the guard on errors rolls back; inf: it does not. asked: a seed, a stream, the limit, the excess as
    times the limit."""
    seed, stream, limit, times = asked
    excess, turns = times * limit, stream.turns * (PATIENCE if times > 1 else 1)
    rng = np.random.default_rng(seed)
    plan = CanaryPlan(steps=(stream.share, 1.0), guards=(Guard(GuardKind.ERRORS, limit), CanaryPlan().guards[1]))
    policy, least = Policy(plan), -np.log(plan.alpha(GuardKind.ERRORS))
    keys = Keys(rng, stream.kind, stream.share, limit) if stream.kind in ("retries", "20 tenants", "1000 tenants", "one bad") else None
    seen = 0
    for turn in range(turns):
        requests = stream.requests
        if stream.kind == "bursts":
            requests = requests * 20 if rng.random() < 0.05 else requests // 10
        if keys is not None:
            arms = keys.turn(rng, requests, excess, stream.kind == "retries", turn)
        else:
            count = int(rng.binomial(requests, stream.share))
            arms = (
                Counts.of(count, failed(rng, stream, count, stream.share, limit + excess)),
                Counts.of(requests - count, failed(rng, stream, requests - count, 1 - stream.share, limit)),
            )
        seen += requests
        policy.count(*arms, 60.0 if stream.kind == "a minute" else 1.0)
        if turn % LOOKS == LOOKS - 1 and policy.evidence(GuardKind.ERRORS) >= least:
            return seen
    return np.inf
