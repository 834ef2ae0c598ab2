"""Prints what servers, models and files say, which may be anything: nothing that moves a cursor or changes a terminal gets through."""

from __future__ import annotations

import click

__all__ = ["one_line", "printable", "say"]


def say(text: str, *, err: bool = False) -> None:
    """A line, or several, on stdout or stderr."""
    click.echo(printable(text), err=err)


def printable(text: str) -> str:
    """The text with spaces for all that is not to be seen, but ends of lines."""
    return "\n".join(line if line.isprintable() else "".join(c if c.isprintable() else " " for c in line) for line in text.split("\n"))


def one_line(text: str) -> str:
    """The text of several lines on one."""
    return " ".join(filter(None, map(str.strip, text.splitlines())))
