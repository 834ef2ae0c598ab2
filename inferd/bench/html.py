"""A report as one HTML file: plots, tables, settings. It needs no script, loads nothing, and reads in light, dark and on paper.

Never in here: what a figure means (tables), how a plot is drawn (plots), measuring.
"""

from __future__ import annotations

import time
from html import escape as markup_escaped
from typing import TYPE_CHECKING

from inferd.bench.plots import SERIES, plots, require_matplotlib
from inferd.bench.tables import heading, outline, rate, tables, time_of, warnings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from inferd.bench.plots import Plot
    from inferd.bench.report import Report
    from inferd.bench.tables import Table

__all__ = ["page", "require_matplotlib"]

# Lines of 3:1 and text of 4.5:1 contrast at least on their background; neighbours differ in lightness, too, and lines in dashes.
LIGHT = ("#1f6fd1", "#c2410c", "#0f766e", "#7c3aed", "#8a6100", "#be185d")
DARK = ("#6cb0ff", "#ff9a62", "#4fd1c0", "#b79bff", "#e6c04d", "#ff8fbf")
SAFE = "default-src 'none'; style-src 'unsafe-inline'"  # a browser holds us to it: nothing is loaded, nothing runs


def escape(text: str) -> str:
    """A text on the page: markup is text, and what is not to be seen is a space."""
    return markup_escaped("".join(character if character.isprintable() or character == "\n" else " " for character in text))


def style() -> str:
    def lines(colours: tuple[str, ...]) -> str:
        return "".join(f" --line-{number}: {colour};" for number, colour in enumerate(colours[:SERIES], 1))

    light = f"--paper: #ffffff; --ink: #1b1f24; --quiet: #59636e; --grid: #d8dee4; --bad: #b42318; --doubt: #8a5300;{lines(LIGHT)}"
    dark = f"--paper: #14181d; --ink: #e6eaef; --quiet: #9aa5b1; --grid: #333b45; --bad: #ff8a80; --doubt: #f2b34b;{lines(DARK)}"
    return f"""
:root {{ color-scheme: light dark; --font: system-ui, sans-serif; {light} }}
@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}
@media print {{ :root {{ {light} }} }}
* {{ box-sizing: border-box }}
body {{ margin: 0 auto; padding: 1.5rem; max-width: 62rem; background: var(--paper); color: var(--ink); font: 15px/1.5 var(--font) }}
h1 {{ font-size: 1.5rem; margin: 0; overflow-wrap: anywhere }}
h2 {{ font-size: 1.1rem; margin: 2rem 0 .5rem }}
.quiet, figcaption, dt {{ color: var(--quiet) }}
.bad {{ color: var(--bad); font-weight: 600 }}
.doubt {{ color: var(--doubt); font-weight: 600 }}
.main td {{ font-weight: 600 }}
.figures {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(7.5rem, 1fr)); gap: .75rem; margin: 1.25rem 0 }}
.figures div {{ border: 1px solid var(--grid); border-radius: .5rem; padding: .5rem .75rem }}
.figures dt {{ font-size: .85rem }}
.figures dd {{ margin: 0; font-size: 1.3rem; font-variant-numeric: tabular-nums; white-space: nowrap }}
figure {{ margin: 0 }}
svg.plot {{ display: block; width: 100%; min-width: 30rem; height: auto }}
.scroll {{ overflow-x: auto }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
th, td {{ padding: .25rem .75rem .25rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--grid) }}
.numbers :is(th, td):not(:first-child) {{ text-align: right; white-space: nowrap; padding: .25rem 0 .25rem .75rem }}
th {{ font-weight: 500; color: var(--quiet) }}
td {{ overflow-wrap: anywhere }}
pre {{ overflow-x: auto; font-size: 13px }}
"""


def page(report: Report) -> str:
    """The whole file. StartError if matplotlib is not there."""
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(report.made_unix_s))
    title = escape(heading(report))
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{SAFE}">',
            f"<title>{title}</title><style>{style()}</style></head><body>",
            f'<header><h1>{title}</h1><p class="quiet">inferd bench, {escape(report.kind)}, {when}</p></header>',
            *sentences(report),
            *key_figures(report),
            *(figure(place, plot) for place, plot in enumerate(plots(report))),
            *(part(number, table) for number, table in enumerate(tables(report))),
            *text_of_summary(report),
            *pairs("Settings", report.settings),
            *pairs("Versions", report.versions),
            "</body></html>\n",
        ]
    )


def sentences(report: Report) -> Iterator[str]:
    """What stands out first, then what the mode found."""
    for line in warnings(report):
        yield f'<p class="{line.mark or "quiet"}">{escape(line.text)}</p>'
    for text in report.summary.get("words", []):
        yield f"<p><strong>{escape(str(text))}</strong></p>"


def key_figures(report: Report) -> Iterator[str]:
    """The headline's, to be read at a glance."""
    if (main := report.main) is None:
        return
    latency = main.latency_us
    figures = {
        "answers/s": rate(main.requests_per_second),
        "p50": time_of(latency, "p50"),
        "p99": time_of(latency, "p99"),
        "p99.9": time_of(latency, "p999"),
        "max": time_of(latency, "max"),
        "errors": f"{main.failed:,}",
    }
    if len(report.measurements) > 1:
        yield f'<p class="quiet">At {escape(outline(main))}:</p>'
    cells = (f"<div><dt>{name}</dt><dd{mark(name, main.failed)}>{escape(text)}</dd></div>" for name, text in figures.items())
    yield f'<dl class="figures">{"".join(cells)}</dl>'


def mark(name: str, failed: int) -> str:
    return ' class="bad"' if name == "errors" and failed else ""


def figure(place: int, plot: Plot) -> str:
    name = plot.svg.partition('aria-labelledby="')[2].partition('"')[0]
    return (
        f'<section><h2 id="{name}">{escape(plot.title)}</h2><figure><div class="scroll">{plot.svg}</div>'
        f"<figcaption>{escape(plot.caption)}</figcaption></figure></section>"
    )


def part(number: int, table: Table) -> str:
    title = table.title or ("Measurements" if any(table.head) else "Details")
    head = (
        "<thead><tr>" + "".join(f'<th scope="col">{escape(name)}</th>' for name in table.head) + "</tr></thead>" if any(table.head) else ""
    )
    rows = []
    for row in table.rows:
        first, *others = (escape(cell) for cell in row.cells)
        cells = f'<th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in others)
        rows.append(f'<tr class="{row.mark}">{cells}</tr>' if row.mark else f"<tr>{cells}</tr>")
    kind = ' class="numbers"' if head else ""
    heading_text = escape(title[0].upper() + title[1:])
    return f'<section><h2>{heading_text}</h2><div class="scroll"><table{kind}>{head}<tbody>{"".join(rows)}</tbody></table></div></section>'


def text_of_summary(report: Report) -> Iterator[str]:
    """What MLPerf's LoadGen wrote."""
    if isinstance(text := report.summary.get("summary"), str) and text:
        yield f"<section><h2>LoadGen's summary</h2><pre>{escape(text)}</pre></section>"


def pairs(title: str, values: Mapping[str, object]) -> Iterator[str]:
    if not values:
        return
    rows = "".join(f'<tr><th scope="row">{escape(str(name))}</th><td>{escape(shown(value))}</td></tr>' for name, value in values.items())
    yield f'<section><h2>{title}</h2><div class="scroll"><table><tbody>{rows}</tbody></table></div></section>'


def shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
