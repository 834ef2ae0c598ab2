"""The statistics of all comparisons: intervals of shares, means and ratios, rank tests, resampling, and evidence that holds at any time.

A test that is made for a fixed number of requests is wrong when somebody looks at it all the time. A z-test at 5 %, looked at after each
request, rejects half of all candidates that are as good as the model in use. The second half of this file holds at every moment instead:

- **e-value**: a number that is at least 1/alpha at any time with a probability of at most alpha, if the hypothesis holds (Ville 1939).
  Functions return its logarithm.
- **band**: holds the true value at all times together with a probability of at least 1 - alpha, a confidence sequence (Robbins 1970).

Never in here: models, requests, clocks, what is decided.
"""

from __future__ import annotations

import math
from math import lgamma, log, log1p, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CONFIDENCE = 0.95
TINY = 1e-18  # a term of a sum that changes no digit of it

PRIOR = 0.5  # both parameters of the Beta distribution that rates are mixed by: Jeffreys' choice
BISECTIONS = 60  # halvings of [0, 1]: below the precision of a float
GRID = 64  # alternatives that a mixture has
MEAN_LOG_RATIO = 1.5  # how far from 1 a ratio is expected, as a logarithm: an exponential distribution
BLOCK_S = 1.0  # the shortest block of time: a longer fault counts more than once
BLOCK_REQUESTS = 64.0  # that a block weighs at most
GROUPS = 64  # of keys
MAX_BET = 0.5  # of an empirical Bernstein sequence
MAX_FIGURE = 1e18  # figure that is kept: its square is a number, too

Floats = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

_STAKES = 2.0 ** -np.arange(8)  # down to one for which a block of BLOCK_REQUESTS is not too much
_LOG_STAKE_WEIGHTS = -np.log(np.arange(1, 9))  # most faults come one by one

Tally = tuple[np.ndarray, np.ndarray]  # requests and events of one arm, of each group of keys, and last those without a key


class Band(NamedTuple):
    """An interval."""

    low: float
    high: float


def _check(name: str, figures: Sequence[float] | Sequence[Sequence[float]], shape: tuple[int, ...]) -> None:
    found = np.array(figures, dtype=float)
    if found.shape != shape or not (np.abs(found) <= MAX_FIGURE).all():
        raise ValueError(f"{name}: expected finite numbers, as many as {shape}")


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def _log_mean(logs: np.ndarray, log_weights: np.ndarray) -> float:
    """The logarithm of a weighted mean of numbers that are given by their logarithms."""
    if not len(logs):
        return 0.0
    high = float((logs + log_weights).max())
    weight_high = float(log_weights.max())
    return high + log(float(np.exp(logs + log_weights - high).sum())) - weight_high - log(float(np.exp(log_weights - weight_high).sum()))


# ---- a share of a fixed number of requests ----


def wilson(failed: int, requests: int, z: float) -> tuple[float, float, float]:
    """A share and its interval."""
    if not requests:
        return 0.0, 0.0, 1.0
    share, spread = failed / requests, z * z / requests
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * sqrt(share * (1 - share) / requests + spread / (4 * requests))
    return share, max(0.0, middle - half), min(1.0, middle + half)


def clopper_pearson(found: int, count: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The interval of a share: the shares that make `found` or more, and `found` or fewer, as rare as this."""
    tail = (1 - confidence) / 2
    if not count:
        return 0.0, 1.0
    low = _edge(lambda share: 1 - binomial_at_most(found - 1, count, share) < tail, 0.0, 1.0) if found else 0.0
    high = _edge(lambda share: binomial_at_most(found, count, share) > tail, 0.0, 1.0) if found < count else 1.0
    return low, high


def _edge(holds: Callable[[float], bool], inside: float, outside: float) -> float:
    """Up to where, from `inside` on, a condition holds."""
    for _ in range(BISECTIONS):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if holds(middle) else (inside, middle)
    return inside


def mcnemar(one: int, other: int) -> float:
    """How likely so uneven a split of discordant rows is by chance: two-sided, exact."""
    return min(1.0, 2 * binomial_at_most(min(one, other), one + other, 0.5))


def binomial_at_most(number: int, count: int, share: float) -> float:
    """The binomial distribution: how likely `number` or fewer of `count` are, if each is with probability `share`."""
    if share <= 0 or number >= count:
        return 1.0
    if share >= 1 or number < 0:
        return 0.0
    top, odds = min(number, int((count + 1) * share)), share / (1 - share)
    total = term = 1.0  # in units of the largest term, at `top`; from there on they only become smaller
    for k in range(top, 0, -1):
        term *= k / ((count - k + 1) * odds)
        total += term
        if term < TINY * total:
            break
    term = 1.0
    for k in range(top, number):
        term *= (count - k) * odds / (k + 1)
        total += term
        if term < TINY * total:
            break
    largest = lgamma(count + 1) - lgamma(top + 1) - lgamma(count - top + 1)
    return min(1.0, total * math.exp(largest + top * log(share) + (count - top) * log1p(-share)))


# ---- a mean, a middle, and resampling ----


def student(freedom: int, confidence: float) -> float:
    """Student's t, two-sided, of whole degrees of freedom: where the probability of less is the confidence."""
    return sqrt(freedom) * math.tan(_edge(lambda angle: _student_within(angle, freedom) < confidence, 0.0, math.pi / 2))


def _student_within(angle: float, freedom: int) -> float:
    """The probability that |t| is at most sqrt(freedom) * tan(angle): Abramowitz and Stegun 26.7.3 (odd) and 26.7.4 (even), exact."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = 0.0
    for power in range(odd, freedom - 1, 2):
        total += term
        term *= cosine * cosine * (power + 1) / (power + 2)
    return (angle + sine * total) * 2 / math.pi if odd else sine * total


def hodges_lehmann(values: Floats, level: float) -> tuple[float, float, float]:
    """The Hodges-Lehmann middle of a sample, and its interval with confidence `level`."""
    first, second = np.triu_indices(len(values))
    means = np.sort((values[first] + values[second]) / 2)
    count = len(values)
    spread = sqrt(count * (count + 1) * (2 * count + 1) / 24)
    out = max(0, math.floor(count * (count + 1) / 4 - NormalDist().inv_cdf((1 + level) / 2) * spread))
    return float(np.median(means)), float(means[out]), float(means[len(means) - 1 - out])


def drawn_blocks(draws: int, count: int, block: int, numbers: np.random.Generator) -> Integers:
    """`draws` times `count` places, drawn as runs of `block` neighbours in a circle."""
    starts = numbers.integers(count, size=(draws, -(-count // block)))
    runs: Integers = (starts[:, :, None] + np.arange(block)) % count
    return runs.reshape(draws, -1)[:, :count]


# ---- one rate, at any time ----


def rate_band(events: float, count: float, alpha: float) -> Band:
    """The rates at which `events` of `count` requests are no surprise:

        { p : B(1/2 + k, 1/2 + n - k) / B(1/2, 1/2) < p^k (1 - p)^(n - k) / alpha }

    Robbins 1970; Howard, Ramdas, McAuliffe, Sekhon 2021, "Time-uniform, nonparametric, nonasymptotic confidence sequences".
    """
    if count <= 0:
        return Band(0.0, 1.0)
    least = _log_beta(PRIOR + events, PRIOR + count - events) - _log_beta(PRIOR, PRIOR) + log(alpha)
    found = events / count

    def holds(p: float) -> bool:
        likelihood = (events * log(p) if events else 0.0) + ((count - events) * log1p(-p) if count > events else 0.0)
        return likelihood > least

    return Band(_edge(holds, found, 0.0) if events else 0.0, _edge(holds, found, 1.0) if events < count else 1.0)


def rate_evidence(events: int, count: int, limit: float) -> float:
    """Log e-value against: the rate is at most `limit`, 0 < limit < 1.

        mean over q of (q / limit)^k ((1 - q) / (1 - limit))^(n - k), q between limit and 1

    Each term is a likelihood ratio, and so a supermartingale under every rate up to the limit (Wald 1945; Robbins 1970 mixes them).
    For discordant pairs the limit is 1/2: who wins more of them is better.
    """
    odds = log(limit) - log1p(-limit) + np.linspace(0.0, 12.0, GRID + 1)[1:]
    rates = 1.0 / (1.0 + np.exp(-odds))
    logs = events * (np.log(rates) - log(limit)) + (count - events) * (np.log1p(-rates) - log1p(-limit))
    return _log_mean(logs, -(odds - odds[0]) / MEAN_LOG_RATIO)


# ---- how much more often something happens in the candidate's arm ----


class Excess(msgspec.Struct):
    """How much more often something happens in the candidate's arm than in the stable one: errors, slow responses, bad outcomes.

    Faults come in clusters: a batch fails as a whole, a tenant sends what always fails, a client retries. So a request is no unit of
    evidence. There are two kinds of units, and a fault may fill any of them:

    - blocks of time. One is closed by time and counts alone, never by events: after BLOCK_S, once both arms have a request. With the
      arms' counts n1 and n0 and their rates r1 and r0, a block says (Cochran 1954, Mantel and Haenszel 1959)

          s = h (r1 - r0 - limit), h = n1 n0 / (n1 + n0), at most BLOCK_REQUESTS

    - groups of keys (GROUPS, by the key's hash). A key stays in its arm, so its peculiarities never average out. The parts that a group
      has in all s are added up, less the part expected from its shares of both arms at one rate. q is the sum of their squares.

    The evidence against an excess of at most `limit` is a gambler's capital, as a weighted mean over the stake l on each block:

        exp(sum of growth(l s) - l^2 q / 2), growth(y) = log(1 + y) for y from -1/2 to 1/2

    Between these the capital is a supermartingale whatever happens inside a block (Waudby-Smith, Ramdas 2024). Beyond them growth keeps
    exp(growth(y)) + exp(growth(-y)) <= 2: a fault that fills a block may hit either arm as likely (as de la Pena 1999). A block
    doubles the capital at most, and q bounds what few keys can do. At least some 8 blocks and 12 keys are needed to roll back.
    """

    limit: float
    candidate_count: Count = 0
    candidate_events: Count = 0
    stable_count: Count = 0
    stable_events: Count = 0
    open_s: float = 0.0  # how long the open block is open
    open: list[list[float]] = msgspec.field(default_factory=lambda: [[0.0] * (GROUPS + 1) for _ in range(4)])  # its counts and events
    log_capital: list[float] = msgspec.field(default_factory=lambda: [0.0] * len(_STAKES))  # for each stake
    groups: list[list[float]] = msgspec.field(default_factory=lambda: [[0.0] * GROUPS for _ in range(3)])  # of each: a, h and pull
    sums: list[float] = msgspec.field(default_factory=lambda: [0.0] * 7)  # over blocks: a, h, a a, a h, h h, variance of each arm

    def __post_init__(self) -> None:
        """Raises ValueError for figures that no requests make: a file may hold them."""
        if self.candidate_events > self.candidate_count or self.stable_events > self.stable_count:
            raise ValueError("expected at most as many events as requests")
        _check("open", self.open, (4, GROUPS + 1))
        _check("log_capital", self.log_capital, _STAKES.shape)
        _check("groups", self.groups, (3, GROUPS))
        _check("sums", self.sums, (7,))
        _check("limit, open_s", [self.limit, self.open_s], (2,))

    def add(self, candidate: Tally, stable: Tally, seconds: float) -> None:
        """Takes requests that ended since the last call, `seconds` ago."""
        rows = [*candidate, *stable]
        totals = [int(row.sum()) for row in rows]
        self.candidate_count += totals[0]
        self.candidate_events += totals[1]
        self.stable_count += totals[2]
        self.stable_events += totals[3]
        block = np.asarray(self.open) + rows
        self.open_s += seconds
        if self.open_s >= BLOCK_S and block[0].any() and block[2].any():
            self._close(block)
            block, self.open_s = np.zeros_like(block), 0.0
        self.open = block.tolist()

    def _close(self, block: np.ndarray) -> None:
        n1, e1, n0, e0 = block
        count, others = float(n1.sum()), float(n0.sum())
        share = count / (count + others)
        scale = min(1.0, BLOCK_REQUESTS / (others * share))
        ours, theirs = scale * (1.0 - share), scale * share  # what one event of each arm weighs
        of_groups = np.array([ours * e1 - theirs * e0, ours * n1, ours * n1 - theirs * n0])
        a, h, _ = of_groups.sum(axis=1).tolist()
        self.log_capital = (np.asarray(self.log_capital) + _growth(_STAKES * (a - self.limit * h))).tolist()
        self.groups = (np.asarray(self.groups) + of_groups[:, :GROUPS]).tolist()
        of_block = [a, h, a * a, a * h, h * h, ours * ours * count, theirs * theirs * others]
        self.sums = [had + more for had, more in zip(self.sums, of_block, strict=True)]

    def evidence(self) -> float:
        """Log e-value against: the candidate's rate is at most the stable one's and the limit."""
        return _log_mean(np.asarray(self.log_capital) - _STAKES**2 * self._spread(self.limit) / 2.0, _LOG_STAKE_WEIGHTS)

    def _spread(self, excess: float) -> float:
        """The variance that groups of keys have brought so far, if the excess is this."""
        a, h, pull = np.asarray(self.groups)
        rate = (self.candidate_events + self.stable_events) / max(self.candidate_count + self.stable_count, 1)
        return float(((a - excess * h - rate * pull) ** 2).sum())

    @property
    def clustering(self) -> float:
        """How many requests count as one: the variance that was found over that of requests that are independent (Kish 1965)."""
        a, h, aa, ah, hh, of_candidate, of_stable = self.sums
        if not h:
            return 1.0
        found = a / h
        rates = (self.candidate_events / self.candidate_count, self.stable_events / self.stable_count)
        alone = sum(rate * (1 - rate) * each for rate, each in zip(rates, (of_candidate, of_stable), strict=True))
        return max((aa - 2 * found * ah + found * found * hh + self._spread(found)) / alone, 1.0) if alone else 1.0

    @property
    def keys(self) -> float:
        """How many groups of keys have the candidate; a large and a small one are between one and two. 0: no request has a key."""
        h = np.asarray(self.groups[1])
        return float(h.sum() ** 2 / (h @ h)) if h.any() else 0.0

    def band(self, alpha: float) -> Band:
        """The candidate's rate less the stable one's, with requests that come in clusters counted as fewer."""
        fewer = self.clustering
        candidate = rate_band(self.candidate_events / fewer, self.candidate_count / fewer, alpha / 2)
        stable = rate_band(self.stable_events / fewer, self.stable_count / fewer, alpha / 2)
        return Band(candidate.low - stable.high, candidate.high - stable.low)


def _growth(bets: np.ndarray) -> np.ndarray:
    """See Excess: the logarithm's tangent below -1/2, and above 1/2 what is left of 2."""
    left = 0.5 * np.exp(1.0 - 2.0 * np.abs(bets))  # the tangent's value
    beyond = np.where(bets > 0.0, np.log(2.0 - left), np.log(left))
    grown: np.ndarray = np.where(np.abs(bets) <= 0.5, np.log1p(np.clip(bets, -0.5, 0.5)), beyond)
    return grown


def quantile_threshold(values: Sequence[float], quantile: float) -> float:
    """The smallest of the values that at most a share of 1 - quantile of them exceeds. It is frozen, and later values are counted against
    it: a confidence sequence of a p99 itself needs far more requests than one of a rate (Howard, Ramdas 2022)."""
    if not len(values):
        raise ValueError("a threshold needs values")
    ordered = np.sort(np.asarray(values, dtype=float))
    return float(ordered[min(int(np.ceil(quantile * len(ordered))), len(ordered)) - 1])


# ---- a mean ----


class MeanShift(msgspec.Struct):
    """The mean of numbers between -1 and 1, such as the difference of two outputs in units of how widely stable ones are spread.

    An empirical Bernstein confidence sequence. With x_i scaled to [0, 1], bets

        lambda_i = min(sqrt(2 log(2 / alpha) / (v_(i-1) i log(i + 1))), 1/2)

    the band is sum(lambda x) / sum(lambda) +- (log(2 / alpha) + sum((x - m)^2 (-log(1 - lambda) - lambda))) / sum(lambda).
    m and v are mean and variance of what came before. Waudby-Smith, Ramdas 2024, "Estimating means of bounded random variables by betting",
    theorem 2.
    """

    alpha: float
    count: Count = 0
    total: float = 0.5  # of the scaled numbers, with one of 1/2 ahead of them
    squares: float = 0.25  # of their distances to the mean before, with a variance of 1/4 ahead
    bets: float = 0.0
    weighted: float = 0.0
    doubt: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError for figures that no numbers make: a file may hold them."""
        _check("of the mean", [self.alpha, self.total, self.squares, self.bets, self.weighted, self.doubt], (6,))
        if not 0 < self.alpha < 1 or min(self.total, self.squares, self.bets) < 0 or (self.count and not self.bets):
            raise ValueError("alpha, total, squares, bets: expected positive numbers")

    def add(self, value: float) -> None:
        """Takes one more number; one outside of [-1, 1] counts as the nearer end, and NaN as 1."""
        x = (min(max(value, -1.0), 1.0) + 1.0) / 2.0 if value == value else 1.0
        i = self.count + 1
        mean, variance = self.total / i, self.squares / i
        bet = min(sqrt(2.0 * log(2.0 / self.alpha) / (variance * i * log1p(i))), MAX_BET) if variance > 0 else MAX_BET
        self.bets += bet
        self.weighted += bet * x
        self.doubt += (x - mean) ** 2 * (-log1p(-bet) - bet)
        self.count = i
        self.total += x
        self.squares += (x - self.total / (i + 1)) ** 2

    @property
    def estimate(self) -> float:
        """The middle of the band; 0 before anything has come."""
        return 2.0 * self.weighted / self.bets - 1.0 if self.count else 0.0

    def band(self) -> Band:
        """The confidence interval of the mean."""
        if not self.count:
            return Band(-1.0, 1.0)
        middle, half = self.weighted / self.bets, (log(2.0 / self.alpha) + self.doubt) / self.bets
        return Band(2.0 * max(middle - half, 0.0) - 1.0, 2.0 * min(middle + half, 1.0) - 1.0)
