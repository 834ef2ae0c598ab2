"""A report as one HTML file: the verdict first, then charts, tables, settings. It needs no script, loads nothing, fits a phone, and reads
in light, dark and on paper.

Never in here: what a figure means (conclusion, tables), which charts there are (plots), measuring.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from inferd.bench.charts import escape, markup
from inferd.bench.conclusion import beside, conclude, conditions_of, of_comparison, slo_of
from inferd.bench.conditions import broken
from inferd.bench.findings import duration, number_of
from inferd.bench.plots import plots
from inferd.bench.plots_sides import forest
from inferd.bench.style import style
from inferd.bench.tables import BATCHES, EXPECTING_ERRORS, ROUNDS, compared, found_no_rate, heading, name_of, tables, time_of, warnings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from inferd.bench.compare import Comparison
    from inferd.bench.conclusion import Conclusion
    from inferd.bench.measurement import Measurement
    from inferd.bench.report import Report
    from inferd.bench.tables import Table

SAFE = "default-src 'none'; style-src 'unsafe-inline'"  # a browser holds us to it: nothing is loaded, nothing runs
NARROW = 5  # columns that fit a phone; of more each row becomes a card there
GLYPHS = {"good": "✓", "bad": "✕", "doubt": "?"}


def page(report: Report) -> str:
    """The whole file."""
    tool = "inferd tune" if report.kind == "tune" else f"inferd bench, {report.kind}"
    parts = [
        *verdict(conclude(report)),
        *key_figures(report),
        *sentences(report),
        *map(markup, plots(report)),
        *(part(table) for table in tables(report) if not table.title.startswith(BATCHES)),  # which are a chart here
        *text_of_summary(report),
        *command(report.command),
        *pairs("All settings", report.settings),
        *pairs("Versions", report.versions),
    ]
    return document(heading(report), f"{tool}, {moment(report.made_unix_s)}", parts)


def comparison_page(comparison: Comparison, typed: str = "") -> str:
    """The file of two reports that were compared."""
    chart = forest(comparison)
    notices = (f'<p class="quiet small">{escape(notice)}</p>' for notice in comparison.notices)
    before, after = comparison.before, comparison.after
    title = f"{after}, before and after" if before == after else f"{after} against {before}"
    loads = dict.fromkeys(change.load for change in comparison.changes)
    each = [compared(comparison, load)._replace(title=load) for load in loads]
    shown = [*([markup(chart._replace(title="Changes"))] if chart else []), *map(part, each), *notices]
    return document(title, "inferd bench compare", [*verdict(of_comparison(comparison)), *shown, *command(typed)])


def unbroken(text: str) -> str:
    """A number and its unit stay on one line, and so does a flag."""
    return re.sub(r"(?<![\w-])--[a-z-]+", r'<span class="flag">\g<0></span>', re.sub(r"(?<=\d) (?=(?:%|[mµ]?s\b))", "&nbsp;", text))


def moment(unix_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(unix_s))


def document(title: str, subtitle: str, parts: Sequence[str]) -> str:
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{SAFE}">',
            f"<title>{escape(title)}</title><style>{style()}</style></head><body>",
            f'<header><h1>{escape(title)}</h1><p class="quiet">{escape(subtitle)}</p></header><main>',
            *parts,
            "</main></body></html>\n",
        ]
    )


def verdict(found: Conclusion) -> Iterator[str]:
    """One sentence, and how far it can be trusted."""
    mark = found.word.mark
    yield (
        f'<section class="verdict {mark}" aria-label="verdict"><p class="sentence">'
        f'<span class="word">{GLYPHS[mark]} {found.word.value}</span>{unbroken(escape(found.sentence))}</p>'
        f'<p class="quiet small">Confidence {found.confidence.value}: {unbroken(escape(found.because))}</p></section>'
    )


def key_figures(report: Report) -> Iterator[str]:
    """The headline's, to be read at a glance: they are of one measurement, which is named."""
    if (main := report.main) is None or found_no_rate(report):
        return
    latency = main.latency_us
    figures = {
        "responses/s": number_of(main.requests_per_second),
        "p50": time_of(latency, "p50"),
        "p99": time_of(latency, "p99"),
        "p99.9": time_of(latency, "p999"),
        "max": time_of(latency, "max"),
        "errors": f"{main.failed:,}",
    }
    missed = over_limit(report, main)
    cells = []
    for name, text in figures.items():
        limit = limit_words(report, name)
        bad = ' class="bad"' if name in missed or (name == "errors" and main.failed and report.kind not in EXPECTING_ERRORS) else ""
        cells.append(f"<div><dt>{name}</dt><dd{bad}>{escape(text)}</dd>{limit}</div>")
    if len(report.measurements) > 1:
        kind = "round" if report.kind in ROUNDS else "step"
        place = f"{kind} {report.headline + 1} of {len(report.measurements)}"
        yield f'<p class="quiet small">These figures are of one measurement, {place}: {escape(name_of(report, report.headline))}</p>'
    yield f'<dl class="figures">{"".join(cells)}</dl>'


def over_limit(report: Report, main: Measurement) -> set[str]:
    """The figures that miss a target of --slo or --fail-if."""
    target = slo_of(report)
    over = {name for name, us in (target.limits_us if target else {}).items() if getattr(main.latency_us, name) > us}
    over |= {each.figure for each in conditions_of(report) if broken(each, main)}
    return {{"p999": "p99.9", "rate": "responses/s"}.get(name, name) for name in over}


def limit_words(report: Report, name: str) -> str:
    """The limits that were asked for the figure, in words."""
    field = {"p99.9": "p999", "responses/s": "rate"}.get(name, name)
    target = slo_of(report)
    said = [f"SLO {duration(us)}" for figure, us in (target.limits_us if target else {}).items() if figure == field]
    said += [each.kept.partition(" ")[2] for each in conditions_of(report) if each.figure == field]
    return f'<dd class="small quiet">{escape("; ".join(said))}</dd>' if said else ""


def sentences(report: Report) -> Iterator[str]:
    """The mode's findings beside the verdict, then warnings."""
    yield from (f"<p>{escape(text)}</p>" for text in beside(report))
    for line in warnings(report):
        yield f'<p class="{line.mark or "quiet small"}">{GLYPHS[line.mark] + " " if line.mark in GLYPHS else ""}{escape(line.text)}</p>'


def part(table: Table) -> str:
    headed = any(table.head)
    title = table.title or ("Measurements" if headed else "Details")
    kinds = ["" if not name or not place else ' class="number"' for place, name in enumerate(table.head)]
    names = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for name, kind in zip(table.head, kinds, strict=True))
    rows = []
    for row in table.rows:
        first, *others = (escape(cell) for cell in row.cells)
        cells = [
            f'<td{kind} data-name="{escape(name)}">{cell}</td>' for cell, name, kind in zip(others, table.head[1:], kinds[1:], strict=True)
        ]
        rows.append(f'<tr{f" class={row.mark}" if row.mark else ""}><th scope="row">{first}</th>{"".join(cells)}</tr>')
    wide = " wide" if len(table.head) > NARROW else ""
    kind, head = (f' class="numbers{wide}"', f"<thead><tr>{names}</tr></thead>") if headed else ("", "")
    return f"<section><h2>{escape(title[0].upper() + title[1:])}</h2><table{kind}>{head}<tbody>{''.join(rows)}</tbody></table></section>"


def text_of_summary(report: Report) -> Iterator[str]:
    """The summary of MLPerf's LoadGen."""
    if isinstance(text := report.summary.get("summary"), str) and text:
        yield f"<details><summary>LoadGen's summary</summary><pre>{escape(text)}</pre></details>"


def command(typed: str) -> Iterator[str]:
    """Without secrets."""
    if typed:
        yield f"<section><h2>The command</h2><pre><code>{escape(typed)}</code></pre></section>"


def pairs(title: str, values: Mapping[str, object]) -> Iterator[str]:
    if not values:
        return
    rows = "".join(f'<tr><th scope="row">{escape(str(name))}</th><td>{escape(shown(value))}</td></tr>' for name, value in values.items())
    yield f"<details><summary>{title}</summary><table><tbody>{rows}</tbody></table></details>"


def shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
