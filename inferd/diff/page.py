"""A report as one HTML file, with the charts and the style of `inferd bench`. Never in here: what a figure means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferd.bench.charts import Bar, Bars, Chart, Limit, Line, Mark, Stop, escape, linear, logarithmic, markup
from inferd.bench.html import GLYPHS, command, document, moment, pairs, part, unbroken
from inferd.bench.plots_sides import forest
from inferd.bench.tables import Row, Table, compared
from inferd.diff.report import Word
from inferd.diff.words import HEAD, output_cells, values_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferd.diff.report import Distribution, Report

MARKS = {Word.SAME: "good", Word.WORSE: "bad", Word.INCONCLUSIVE: "doubt"}
MANY_VALUES = 32
LEAST = 1e-9  # on a logarithmic axis: less is shown as this


def page(report: Report) -> str:
    """The whole file."""
    parts = [
        *verdict(report),
        part(Table("Outputs", HEAD, [Row(output_cells(report, *each)) for each in report.difference.outputs.items()])),
        *(drawn for name, each in report.distributions.items() for drawn in charts(report, name, each)),
        *worst(report),
        *performance(report),
        *(f'<p class="quiet small">{escape(notice)}</p>' for notice in report.notices),
        *command(report.command),
        *pairs("Limits and tolerances", limits(report)),
        *pairs("Versions", report.versions),
    ]
    return document(f"{report.new} against {report.old}", f"inferd diff on {report.on}, {moment(report.made_unix_s)}", parts)


def verdict(report: Report) -> Iterator[str]:
    found = report.verdict
    assert found is not None
    mark = MARKS[found.word]
    yield (
        f'<section class="verdict {mark}" aria-label="verdict"><p class="sentence">'
        f'<span class="word">{GLYPHS[mark]} {found.word.value}</span>{unbroken(escape(found.sentence))}</p></section>'
    )
    for name, word, said in found.checks:
        yield f'<p class="{MARKS[word]}">{GLYPHS[MARKS[word]]} {escape(name)}: {unbroken(escape(said))}</p>'


def charts(report: Report, name: str, distribution: Distribution) -> Iterator[str]:
    place = list(report.distributions).index(name)
    if any(value for _, value in distribution.quantiles):
        yield markup(differences(report, name, distribution, f"differences-{place}"))
    if distribution.transitions:
        rows = [Bar(f"{a} → {b}", [(1, float(count), f"{count:,} decisions")], f"{count:,}") for a, b, count in distribution.transitions]
        caption = f"Which decisions of {name} became which, the most frequent first: OLD's before the arrow, NEW's behind it."
        yield markup(Bars(f"flips-{place}", f"Flips of {name}", caption, rows))
        if distribution.shares:
            yield markup(decisions(name, distribution, f"shares-{place}"))


def decisions(name: str, distribution: Distribution, key: str) -> Bars:
    rows = []
    for label, (old, new) in distribution.shares.items():
        rows += [Bar(label, [(1, float(old), f"OLD {old:,}")], f"{old:,}"), Bar("", [(2, float(new), f"NEW {new:,}")], f"{new:,}")]
    return Bars(key, f"Decisions of {name}", "How often OLD and NEW make each decision.", rows, [(1, "dot", "OLD"), (2, "dot", "NEW")])


def differences(report: Report, name: str, distribution: Distribution, key: str) -> Chart:
    """The share of requests that differ by no more, beside the tolerance and the noise."""
    points = [(max(value, LEAST), 100 * q) for q, value in distribution.quantiles]
    absolute, _ = report.tolerances.get(name, (LEAST, 0.0))
    noise = report.noise.outputs.get(name)
    marks = [each for each in (absolute, noise.max_absolute if noise else 0.0) if each > LEAST]
    low, high = min(points[0][0], *marks, points[-1][0]), max(points[-1][0], *marks)
    bounds = [Limit("tolerance", absolute, vertical=True)] if absolute > LEAST else []
    if noise and noise.max_absolute > LEAST:
        bounds.append(Limit("OLD's own noise", noise.max_absolute, vertical=True))
    return Chart(
        key,
        f"Differences in {name}",
        "The share of requests (upwards) whose largest difference is no more than that (to the right).",
        logarithmic("largest difference of a request", low / 2, high * 2, lambda value: f"{value:g}"),
        linear("% of requests", 0, 100, lambda value: f"{value:g}", exact=True),
        [Line("", 1, points, dashed=False)],
        [Mark(x, y, 1) for x, y in points],
        bounds,
        [Stop(x, f"{y:g} % of requests", [("at most", f"{x:.3g}")], y) for x, y in points],
    )


def worst(report: Report) -> Iterator[str]:
    if not report.worst:
        return
    yield "<section><h2>The requests that differ most</h2>"
    for each in report.worst:
        tensors = [(side, name, value) for side in ("inputs", "old", "new") for name, value in getattr(each, side).items()]
        rows = "".join(
            f'<tr><th scope="row">{escape(f"{side}: {name}" if side == "inputs" else f"{side.upper()}: {name}")}</th>'
            f"<td>{escape(values_words(value, MANY_VALUES))}</td></tr>"
            for side, name, value in tensors
        )
        summary = f"{escape(each.name)}: {escape(each.why)}"
        yield f"<details><summary>{summary}</summary><table><tbody>{rows}</tbody></table></details>"
    yield "</section>"


def performance(report: Report) -> Iterator[str]:
    made = report.performance
    if made is None:
        return
    if (chart := forest(made)) is not None:
        yield markup(chart._replace(title="The cost of a request"))
    for load in dict.fromkeys(change.load for change in made.changes):
        yield part(compared(made, load, ("old", "new"))._replace(title=load))


def limits(report: Report) -> dict[str, object]:
    found: dict[str, object] = {
        "changed requests": f"{100 * report.limits.max_changed:g} %",
        "flipped requests": f"{100 * report.limits.max_flips:g} %",
        "slower": f"{100 * report.limits.max_slower:g} %",
        "right less often": f"{100 * report.limits.max_worse:g} %",
    }
    return found | {
        f"tolerance of {name}": f"{absolute:.3g} + {relative:.3g} of the value" for name, (absolute, relative) in report.tolerances.items()
    }
