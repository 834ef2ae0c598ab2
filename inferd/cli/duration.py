"""The one way in which commands read a time that is given on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from inferd.config import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_S = 366 * 86_400.0


class Duration(click.ParamType[float]):
    """10s, 250ms, 2m: in seconds, above 0 and a year at most. zero: 0 is one, too."""

    name = "time"

    def __init__(self, *, zero: bool = False) -> None:
        self._zero = zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            ns = parse_duration(value)
        except ValueError:
            ns = -1
        if ns < 0 or (ns == 0 and not self._zero):
            self.fail(f"expected a time{'' if self._zero else ' above 0'} such as 10s, 250ms or 2m, got {value!r}", param, ctx)
        if ns > LONGEST_S * 1e9:
            self.fail(f"expected a year at most, got {value!r}", param, ctx)
        return ns / 1e9


def timeout_option(default: str, what: str) -> Callable[[Any], Any]:
    """--timeout TIME."""
    return click.option("--timeout", type=Duration(), default=default, show_default=True, help=what)
