"""Numbers within limits on a command line, named so that an error says what was expected. Never in here: which flags have them."""

from __future__ import annotations

import math
from typing import Any

import click

__all__ = ["Fraction", "Whole"]


class Whole(click.IntRange):
    """A whole number between limits that are in it."""

    name = "whole number"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        return "N"


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
