"""Conditions of --fail-if: the figures with which a run fails a CI job. Never in here: exit codes, how a report looks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from inferd.bench.findings import FIGURES, UNITS_US, duration, per_second
from inferd.errors import ConfigError

if TYPE_CHECKING:
    from inferd.bench.measurement import Measurement

EXPECTED = "expected FIGURE>LIMIT as in 'p99>50ms', 'errors>0.1%' or 'rate<1000'"
ERRORS, RATE = "errors", "rate"


class Condition(msgspec.Struct, frozen=True):
    """The run fails where `figure` is above (or below) `limit`: microseconds of a latency, a share of `errors`, responses a second."""

    figure: str
    above: bool
    limit: float

    def __str__(self) -> str:
        return f"{self.name} {'>' if self.above else '<'} {spelled(self.figure, self.limit)}"

    @property
    def name(self) -> str:
        return self.figure.replace("p999", "p99.9")

    @property
    def kept(self) -> str:
        """The other way round."""
        return f"{self.name} at {'most' if self.above else 'least'} {spelled(self.figure, self.limit)}"


def parse_conditions(text: str) -> list[Condition]:
    """ "p99>50ms,errors>0.1%,rate<1000". Raises ConfigError."""
    return [_parsed(part.strip()) for part in text.split(",")]


def _parsed(part: str) -> Condition:
    match = re.fullmatch(r"([a-z0-9.]+)\s*([<>])\s*([0-9]*\.?[0-9]+)\s*(%|[µμu]s|ms|s|)", part, re.ASCII)
    if match is None:
        raise ConfigError(f"--fail-if {part}: {EXPECTED}")
    figure, sign, number, unit = match[1].replace("p99.9", "p999"), match[2], float(match[3]), match[4]
    if figure in FIGURES and unit and unit != "%":
        return Condition(figure, sign == ">", number * UNITS_US[unit])
    if figure == ERRORS and unit in ("%", "") and (share := number / 100 if unit else number) < 1:
        return Condition(figure, sign == ">", share)
    if figure == RATE and not unit:
        return Condition(figure, sign == ">", number)
    if figure in (*FIGURES, ERRORS, RATE):
        wanted = {ERRORS: "a share such as 0.1%", RATE: "responses a second such as 1000"}.get(figure, "a time such as 50ms")
        raise ConfigError(f"--fail-if {part}: {figure}: expected {wanted}, got {match[3]}{unit}")
    raise ConfigError(f"--fail-if {part}: expected one of {', '.join((*FIGURES, ERRORS, RATE))}, got {figure!r}; {EXPECTED}")


def broken(condition: Condition, measured: Measurement) -> str:
    """The figure that breaks the run by this condition, in words; empty: the run passes. Without a response no latency passes."""
    value = value_of(condition.figure, measured)
    if value is None:
        return f"{condition.name} is not known, for no request was answered"
    holds = value > condition.limit if condition.above else value < condition.limit
    beyond = "above" if condition.above else "below"
    limit = spelled(condition.figure, condition.limit)
    return f"{condition.name} is {spelled(condition.figure, value)}, {beyond} {limit}" if holds else ""


def value_of(figure: str, measured: Measurement) -> float | None:
    if figure == ERRORS:
        return measured.failed / measured.requests if measured.requests else None
    if figure == RATE:
        return measured.requests_per_second
    return getattr(measured.latency_us, figure) if measured.latency_us.max else None


def spelled(figure: str, value: float) -> str:
    if figure == ERRORS:
        return f"{100 * value:.3g} %"
    return per_second(value) if figure == RATE else duration(value)
