"""The command line, without secrets, for a report that says how it was made."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["typed", "typed_here"]

SECRET = "--metadata"  # whose values may be tokens


def typed(verb: str, args: Sequence[str]) -> str:
    """The command as a shell takes it."""
    words = list(args)
    for place, word in enumerate(words):
        if word.startswith(f"{SECRET}="):
            words[place] = f"{SECRET}={hidden(word.removeprefix(f'{SECRET}='))}"
        elif place and args[place - 1] == SECRET:
            words[place] = hidden(word)
    return shlex.join(["inferd", verb, *words])


def hidden(pair: str) -> str:
    return f"{pair.partition('=')[0]}=***"


def typed_here() -> str:
    """The command line of the command that runs, which keeps it as its context's object."""
    return str(click.get_current_context().obj or "")
