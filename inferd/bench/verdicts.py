"""A comparison as words: aligned for a terminal, as a table for a pull request, as cells for whoever draws it. Decides nothing."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from inferd.bench.conclusion import of_comparison

if TYPE_CHECKING:
    from collections.abc import Callable

    from inferd.bench.compare import Change, Comparison

MOST = 1e3  # times as much: past it digits say nothing


def plain(comparison: Comparison, style: Callable[[str, str], str] = lambda verdict, text: text) -> str:
    """Aligned lines for a terminal; `style(verdict, text)` may colour a line."""
    verdict = conclusion_lines(comparison)
    lines = [
        *(style(word, text) for word, text in verdict),
        "",
        f"before  {one_line(comparison.before)}",
        f"after   {one_line(comparison.after)}",
    ]
    for load, group in groupby(comparison.changes, key=lambda change: change.load):
        rows = [cells(change) for change in group]
        head = ("", "before", "after", "change", interval_words(comparison), "")
        widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
        lines += ["", one_line(load)]
        for row in [head, *rows]:
            text = "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:5], widths[1:5], strict=True))])
            lines.append(style(row[5], f"  {text}  {row[5]}".rstrip()))
    lines += ["", *(f"note: {one_line(notice)}" for notice in comparison.notices)]
    return "\n".join([*lines, "", style(*verdict[0])])


def conclusion_lines(comparison: Comparison) -> list[tuple[str, str]]:
    """The verdict, which stands first and last, and how far it can be trusted: each with the verdict whose colour it has."""
    found = of_comparison(comparison)
    mark = {"bad": "✗", "good": "✓", "doubt": "?"}[found.word.mark]
    colour = {"bad": "worse", "good": "better", "doubt": "unclear"}[found.word.mark]
    return [(colour, one_line(f"{mark} {found}")), ("", "  " + one_line(f"confidence {found.confidence.value}: {found.because}"))]


def markdown(comparison: Comparison) -> str:
    """A table for a pull request."""
    found = of_comparison(comparison)
    lines = [f"**{found.word.value}**: {escaped(found.sentence)} (confidence {found.confidence.value}: {escaped(found.because)})", ""]
    lines += [f"**{escaped(comparison.after)}** against {escaped(comparison.before)}", ""]
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
    unit = {"us": " µs", "%": " %"}.get(change.unit, "")
    points = change.unit == "%"
    interval = f"{share(change.low, points)} to {share(change.high, points)}" if change.low is not None else ""
    before, after = (f"{value:,.{places}f}{unit}" for value in (change.before, change.after))
    return change.figure.replace("p999", "p99.9"), before, after, share(change.change, points), interval, change.verdict


def share(value: float | None, points: bool) -> str:
    if value is None:
        return ""
    if value > MOST:
        return f"> +{100 * MOST:,.0f} %"
    return f"{100 * value:+.3f}" if points else f"{100 * value:+.1f} %"
