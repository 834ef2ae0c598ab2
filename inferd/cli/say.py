"""Prints what servers, models and files say, which may be anything: nothing that moves a cursor or changes a terminal gets through."""

from __future__ import annotations

import os
import sys

import click

__all__ = ["colours", "complain", "echo", "one_line", "printable", "say"]


def say(text: str, *, err: bool = False) -> None:
    """A line, or several, on stdout or stderr."""
    click.echo(printable(text), err=err)


def echo(text: str) -> None:
    """Lines of our own on stdout, whatever letters its encoding lacks."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    click.echo(text.encode(encoding, "replace").decode(encoding))


def complain(text: str) -> None:
    """An error, on stderr."""
    click.echo(click.style("inferd:", fg="red", bold=True) + f" {printable(text)}", err=True, color=colours())


def colours() -> bool | None:
    """For click: False where nobody wants colours, None where a terminal gets them."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def printable(text: str) -> str:
    """The text with spaces for all that is not to be seen, but ends of lines."""
    return "\n".join(line if line.isprintable() else "".join(c if c.isprintable() else " " for c in line) for line in text.split("\n"))


def one_line(text: str) -> str:
    """The text of several lines on one."""
    return " ".join(filter(None, map(str.strip, text.splitlines())))
