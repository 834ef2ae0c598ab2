"""Evidence that may be looked at after every request, and acted on at once.

A test that is made for a fixed number of requests is wrong when somebody looks at it all the time. A z-test at 5 %, looked at after each
request, rejects half of all candidates that are as good as the model in use. All that is here holds at every moment instead:

- **e-value**: a number that is at least 1/alpha at any time with a probability of at most alpha, if the hypothesis holds (Ville 1939).
  Functions return its logarithm.
- **band**: holds the true value at all times together with a probability of at least 1 - alpha, a confidence sequence (Robbins 1970).

Never in here: models, requests, clocks, what is decided.
"""

from __future__ import annotations

from math import exp, inf, lgamma, log, log1p, sqrt
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Band", "MeanShift", "TwoArms", "either", "quantile_threshold", "rate_band", "rate_evidence"]

PRIOR = 0.5  # both parameters of the Beta distribution that rates are mixed by: Jeffreys' choice
BISECTIONS = 60  # halvings of [0, 1]: below the precision of a float
GRID = 64  # alternatives on each side that a mixture has
MAX_LOG_RATIO = 8 * log(2)  # ratios of two rates are looked for up to 256
MEAN_LOG_RATIO = 1.5  # how far from 1 a ratio is expected, as a logarithm: an exponential distribution on each side
WINDOW = 32  # requests whose split between two arms is taken together; a window of n requests loses 1/n of its evidence
MAX_BET = 0.5  # of an empirical Bernstein sequence

_LOG_RATIOS = np.linspace(-MAX_LOG_RATIO, MAX_LOG_RATIO, 2 * GRID + 1)
_LOG_WEIGHTS = -np.abs(_LOG_RATIOS) / MEAN_LOG_RATIO
_RATIOS_LESS_1 = np.expm1(_LOG_RATIOS)


class Band(NamedTuple):
    """Between which values something lies."""

    low: float
    high: float


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def _log_mean(logs: np.ndarray, log_weights: np.ndarray) -> float:
    """The logarithm of a weighted mean of numbers that are given by their logarithms."""
    if not len(logs):
        return 0.0
    high = float((logs + log_weights).max())
    weight_high = float(log_weights.max())
    return high + log(float(np.exp(logs + log_weights - high).sum())) - weight_high - log(float(np.exp(log_weights - weight_high).sum()))


def either(evidence: float, other: float, weight: float) -> float:
    """Log e-value against: both hypotheses hold. `other` has that weight, 0 < weight < 1: a mean of e-values is one (Vovk, Wang 2021)."""
    return float(np.logaddexp(evidence + log1p(-weight), other + log(weight)))


# ---- one rate ----


def rate_band(events: int, count: int, alpha: float) -> Band:
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

    def edge(outside: float, inside: float) -> float:
        for _ in range(BISECTIONS):
            middle = (outside + inside) / 2
            outside, inside = (outside, middle) if holds(middle) else (middle, inside)
        return outside

    return Band(edge(0.0, found) if events else 0.0, edge(1.0, found) if events < count else 1.0)


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


# ---- the rates of two arms ----


class TwoArms(msgspec.Struct):
    """How often something happens in the candidate's arm and in the stable one: errors, slow responses, bad outcomes.

    The arms have the shares theta and 1 - theta of a window's requests, and m requests have the event. Then k of these m are the
    candidate's, with a probability that depends on the ratio r of the two rates alone. The likelihood of r is

        L(r) = product over windows of r^k / (1 + (r - 1) theta)^m

    L(r) / L(1) is an e-value against r <= 1: r^k is convex in k, so that drawing without replacement makes it no larger (Hoeffding 1963).
    theta is what the window really had, not what was asked for. So a split that changes, a few tenants of unequal size, and a fault that
    hits both arms are no evidence against the candidate. Evidence goes on from one step to the next.

    All of this needs requests of both arms. Where WINDOW requests of the candidate come without a stable one between them, they count
    as `alone`, too: their rate can be held against a fixed limit.
    """

    candidate_count: int = 0
    candidate_events: int = 0
    stable_count: int = 0
    stable_events: int = 0
    log_likelihood: list[float] = msgspec.field(default_factory=lambda: [0.0] * len(_LOG_RATIOS))  # of each ratio of the grid
    window: tuple[int, int, int, int] = (0, 0, 0, 0)  # requests that no closed window has: count and events of both arms
    alone: tuple[int, int] = (0, 0)  # count and events of the candidate in windows without a stable request
    unmatched: tuple[int, int] = (0, 0)  # the same since the last such window, or the last stable request

    def add(self, candidate_count: int, candidate_events: int, stable_count: int, stable_events: int) -> None:
        """Takes requests that were answered since the last call."""
        self.candidate_count += candidate_count
        self.candidate_events += candidate_events
        self.stable_count += stable_count
        self.stable_events += stable_events
        self._add_alone(candidate_count, candidate_events, stable_count)
        n1, k1, n0, k0 = self.window
        n1, k1, n0, k0 = n1 + candidate_count, k1 + candidate_events, n0 + stable_count, k0 + stable_events
        if n1 == 0 or n0 == 0 or n1 + n0 < WINDOW:
            self.window = n1, k1, n0, k0
            return
        self.window = 0, 0, 0, 0
        if k1 + k0:
            gained = k1 * _LOG_RATIOS - (k1 + k0) * np.log1p(_RATIOS_LESS_1 * (n1 / (n1 + n0)))
            self.log_likelihood = (np.asarray(self.log_likelihood) + gained).tolist()

    def _add_alone(self, candidate_count: int, candidate_events: int, stable_count: int) -> None:
        """Counts alone decide where a window ends: events would bend the evidence."""
        count, events = self.unmatched
        count, events = (count + candidate_count, events + candidate_events) if stable_count == 0 else (0, 0)
        if count >= WINDOW:
            self.alone = self.alone[0] + count, self.alone[1] + events
            count, events = 0, 0
        self.unmatched = count, events

    def evidence(self, tolerated: float = 1.0) -> float:
        """Log e-value against: the candidate's rate is at most `tolerated` times the stable one's."""
        at = int(np.searchsorted(_LOG_RATIOS, log(tolerated) - 1e-9))
        logs = np.asarray(self.log_likelihood)
        return _log_mean(logs[at + 1 :] - logs[at], _LOG_WEIGHTS[at + 1 :])

    def ratio_band(self, alpha: float) -> Band:
        """How many times the stable rate the candidate's is. (0, inf) where nothing tells."""
        logs = np.asarray(self.log_likelihood)
        held = np.flatnonzero(_log_mean(logs, _LOG_WEIGHTS) - logs < -log(alpha))
        low, high = int(held[0]), int(held[-1])
        return Band(exp(_LOG_RATIOS[low]) if low else 0.0, exp(_LOG_RATIOS[high]) if high < 2 * GRID else inf)

    def excess_band(self, alpha: float) -> Band:
        """The candidate's rate less the stable one's."""
        candidate = rate_band(self.candidate_events, self.candidate_count, alpha / 2)
        stable = rate_band(self.stable_events, self.stable_count, alpha / 2)
        return Band(candidate.low - stable.high, candidate.high - stable.low)


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
    count: int = 0
    total: float = 0.5  # of the scaled numbers, with one of 1/2 ahead of them
    squares: float = 0.25  # of their distances to the mean before, with a variance of 1/4 ahead
    bets: float = 0.0
    weighted: float = 0.0
    doubt: float = 0.0

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
        """Where the mean lies."""
        if not self.count:
            return Band(-1.0, 1.0)
        middle, half = self.weighted / self.bets, (log(2.0 / self.alpha) + self.doubt) / self.bets
        return Band(2.0 * max(middle - half, 0.0) - 1.0, 2.0 * min(middle + half, 1.0) - 1.0)
