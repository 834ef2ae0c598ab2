"""Numbers within limits on a command line, named so that an error says what was expected. Never in here: which flags have them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 10**9  # a larger upper limit is nothing that a reader has to know


def in_words(limits: click.IntRange | click.FloatRange) -> str:
    """As help and errors show it."""
    low, high = limits.min, limits.max
    if high is not None and high <= MOST:
        return f"{low:g} to {high:,}" if low is not None else f"{high:,} or less"
    return f"above {low:g}" if limits.min_open else f"{low:g} or more"


def share_of(text: str) -> float:
    """10% or 0.1. Raises ValueError."""
    text = text.strip()
    return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)


def share_option(flag: str, default: str, least: float, most: float, what: str) -> Callable[[Any], Any]:
    """A flag that takes a share from `least` on and below `most`, `5%` or `0.05`."""

    def read(ctx: click.Context, param: click.Parameter, text: str) -> float:
        try:
            number = share_of(text)
        except ValueError:
            raise click.BadParameter(f"expected a share such as 5% or 0.05, got {text!r}") from None
        if not least <= number < most:
            raise click.BadParameter(f"expected from {least:.0%} to below {most:.0%}, got {text!r}: write 5% or 0.05")
        return number

    return click.option(flag, default=default, callback=read, metavar="SHARE", show_default=True, help=what)


class Whole(click.IntRange):
    """A whole number between limits that are in it."""

    name = "whole number"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return "N"

    def _describe_range(self) -> str:
        return in_words(self)


class Fraction(click.FloatRange):
    """A number between limits, which NaN is not."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a valid {self.name}.", param, ctx)
        return number

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return "X"

    def _describe_range(self) -> str:
        return in_words(self)
