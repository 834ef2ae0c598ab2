"""The command line, without secrets, for a report that says how it was made."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

SECRET = "--metadata"  # whose values may be tokens


class Typed(click.Command):
    """A command that keeps what was typed as its context's object."""

    def make_context(self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any) -> click.Context:
        extra.setdefault("obj", typed(str(self.name), args))
        return super().make_context(info_name, args, parent, **extra)


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
