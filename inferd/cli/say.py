"""Prints what servers, models and files say, which may be anything: nothing that moves a cursor or changes a terminal gets through."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


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


def aligned(rows: Sequence[Sequence[str]], gap: str = "  ") -> list[str]:
    """The lines of a table, whose columns are as wide as their widest cells."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [gap.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def painted(colours: Mapping[str, str], word: str, text: str) -> str:
    """The text in the colour of a verdict, if it has one."""
    return click.style(text, fg=colours[word]) if word in colours else text


def near_path(path: Path) -> Path:
    """The path as one writes it in the working folder: relative, if it lies below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
