"""A report as text for a terminal and as JUnit for CI. Decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from inferd.bench.verdicts import cells, interval_words, one_line
from inferd.config.units import percent
from inferd.diff.report import Word

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inferd.compare.outputs import OutputDifference
    from inferd.diff.report import Report, Worst

MARKS = {Word.SAME: "✓", Word.WORSE: "✗", Word.INCONCLUSIVE: "?"}
HEAD = ("", "rows changed", "flips", "rank changes", "largest difference", "mean", "of its size", "noise of OLD")
FEW_VALUES = 6


def plain(report: Report, style: Callable[[str, str], str] = lambda word, text: text) -> str:
    """style(word, text) may colour a line."""
    found = report.verdict
    assert found is not None
    verdict = style(found.word.value, one_line(f"{MARKS[found.word]} {found.word.value}: {found.sentence}"))
    lines = [verdict, "", f"old  {one_line(report.old)}", f"new  {one_line(report.new)}", f"on   {one_line(report.on)}", ""]
    lines += [style(word.value, f"{MARKS[word]} {name}: {one_line(said)}") for name, word, said in found.checks]
    if report.difference.outputs:
        lines += ["", *table(HEAD, [output_cells(report, name, each) for name, each in report.difference.outputs.items()])]
    for name, distribution in report.distributions.items():
        if distribution.transitions:
            became = ", ".join(f"{a} -> {b} ({count:,})" for a, b, count in distribution.transitions[:FEW_VALUES])
            lines += ["", f"flips of {one_line(name)}: {one_line(became)}"]
    if report.worst:
        lines += ["", "the requests that differ most"]
        lines += [f"  {one_line(each.name)}: {one_line(each.why)}{inputs_words(each)}" for each in report.worst]
    if report.performance is not None:
        head = ("", "", "old", "new", "change", interval_words(report.performance), "")
        lines += ["", *table(head, [(change.load, *cells(change)) for change in report.performance.changes])]
    lines += ["", *(f"note: {one_line(notice)}" for notice in report.notices)]
    return "\n".join([*lines, *([""] if report.notices else []), verdict])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    plain_rows = [[one_line(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in plain_rows) for column in range(len(head))]
    return ["  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in plain_rows]


def output_cells(report: Report, name: str, output: OutputDifference) -> tuple[str, ...]:
    """As under HEAD."""
    if output.mismatches:
        return (name, next(iter(output.mismatches)), *[""] * (len(HEAD) - 2))
    numbers = bool(output.values)
    noise = report.noise.outputs.get(name)
    floor = "" if noise is None else f"{noise.max_absolute:.2g}" if numbers else f"{noise.flips:,} flips"
    return (
        name,
        f"{output.changed_rows:,} of {output.rows:,}",
        f"{output.flips:,}" if output.has_decisions else "",
        f"{output.rank_changes:,}" if output.rankings else "",
        f"{output.max_absolute:.3g}" if numbers else "",
        f"{output.mean_absolute:.2g}" if numbers else "",
        percent(output.relative_rms) if numbers else "",
        floor,
    )


def inputs_words(worst: Worst) -> str:
    said = [f"{name} {values_words(each)}" for name, each in worst.inputs.items()]
    return f"\n    inputs: {one_line('; '.join(said))}" if said else ""


def values_words(tensor: dict[str, object], most: int = FEW_VALUES) -> str:
    """The first values of a tensor."""
    values = tensor["values"]
    assert isinstance(values, list)
    shown = ", ".join(f"{each:.4g}" if isinstance(each, float) else str(each) for each in values[:most])
    more = ", ..." if len(values) > most or tensor["more"] else ""
    return f"{tensor['shape']} = {shown}{more}"


def junit(report: Report) -> str:
    """A test case for each check; what is inconclusive is an error, as nothing was tested."""
    found = report.verdict
    assert found is not None
    words = [word for _, word, _ in found.checks]
    counts = f'tests="{len(words)}" failures="{words.count(Word.WORSE)}" errors="{words.count(Word.INCONCLUSIVE)}"'
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<testsuite name="inferd diff" {counts}>']
    for name, word, said in found.checks:
        text = one_line(said)
        case = f"<testcase classname={quoteattr(one_line(f'{report.new} against {report.old}'))} name={quoteattr(name)}>"
        kind = {Word.WORSE: "failure", Word.INCONCLUSIVE: "error", Word.SAME: "system-out"}[word]
        message = "" if word is Word.SAME else f" message={quoteattr(text)}"
        lines.append(f"{case}<{kind}{message}>{escape(text)}</{kind}></testcase>")
    return "\n".join([*lines, "</testsuite>\n"])
