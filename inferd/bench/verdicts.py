"""A comparison as words: aligned for a terminal, as a table for a pull request, as cells for whoever draws it. Decides nothing."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferd.bench.compare import Change, Comparison

__all__ = ["cells", "interval_words", "markdown", "one_line", "plain"]

MOST = 1e3  # times as much: past it digits say nothing


def plain(comparison: Comparison, style: Callable[[str, str], str] = lambda verdict, text: text) -> str:
    """Aligned lines for a terminal; `style(verdict, text)` may colour a line."""
    lines = [f"before  {one_line(comparison.before)}", f"after   {one_line(comparison.after)}"]
    for load, group in groupby(comparison.changes, key=lambda change: change.load):
        rows = [cells(change) for change in group]
        head = ("", "before", "after", "change", interval_words(comparison), "")
        widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
        lines += ["", one_line(load)]
        for row in [head, *rows]:
            text = "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:5], widths[1:5], strict=True))])
            lines.append(style(row[5], f"  {text}  {row[5]}".rstrip()))
    lines += ["", *(f"note: {one_line(notice)}" for notice in comparison.notices)]
    return "\n".join(lines).rstrip()


def markdown(comparison: Comparison) -> str:
    """A table for a pull request."""
    lines = [f"**{escaped(comparison.after)}** against {escaped(comparison.before)}", ""]
    lines += [f"| load | figure | before | after | change | {interval_words(comparison)} | verdict |", "|---|---|--:|--:|--:|--:|---|"]
    for change in comparison.changes:
        name, *numbers, verdict = cells(change)
        shown = f"**{verdict}**" if verdict in ("worse", "better") else verdict
        lines.append("| " + " | ".join([escaped(change.load), name, *numbers, shown]) + " |")
    lines += ["", *(f"- {escaped(notice)}" for notice in comparison.notices)]
    return "\n".join(lines).rstrip()


def escaped(text: str) -> str:
    return one_line(text.replace("|", "\\|"))


def one_line(text: object) -> str:
    """Servers and files may say anything: nothing that moves a cursor or breaks a line gets through."""
    return "".join(character if character.isprintable() else " " for character in " ".join(str(text).split()))


def interval_words(comparison: Comparison) -> str:
    return f"{100 * comparison.confidence:g} % interval"


def cells(change: Change) -> tuple[str, str, str, str, str, str]:
    """Figure, before, after, change, interval, verdict."""
    places = 3 if change.unit == "%" else 0 if change.unit in ("", "1/s") else 1
    unit = f" {change.unit}" if change.unit in ("us", "%") else ""
    points = change.unit == "%"
    interval = f"{share(change.low, points)} to {share(change.high, points)}" if change.low is not None else ""
    before, after = (f"{value:,.{places}f}{unit}" for value in (change.before, change.after))
    return change.figure, before, after, share(change.change, points), interval, change.verdict


def share(value: float | None, points: bool) -> str:
    if value is None:
        return ""
    if value > MOST:
        return f"> +{100 * MOST:,.0f} %"
    return f"{100 * value:+.3f}" if points else f"{100 * value:+.1f} %"
