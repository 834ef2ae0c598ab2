"""Drift as one HTML file: the verdict, then a small chart of each feature beside its reference, the worst first. Never in here: judging."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inferd.bench.charts import escape
from inferd.bench.html import GLYPHS, document, moment
from inferd.cli.performance import when

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MARKS = {"QUIET": "good", "FOUND": "bad", "COUNTING": "doubt"}
MOST_CHARTS = 64
WIDTH, HEIGHT, LINE = 240.0, 90.0, 26.0
ADVICE = {
    "units": "Ask who sends this feature whether its unit has changed. The model takes such values as they are.",
    "stuck": "A sensor, a cache or a default may have taken the place of the value.",
    "constant": "A sensor, a cache or a default may have taken the place of the value.",
    "missing": "Look at what fills this feature; the example's request says who sent it.",
    "new values": "The model has never seen them. Map them to known ones, or learn the model anew with them.",
    "out of range": "The model predicts outside of what it has seen. Check the values, then learn it anew with them.",
    "drift": "Send labels (`inferd feedback`) to see whether predictions are still right. If not, learn the model anew with recent data.",
    "repeated rows": "A client may send the same request again and again.",
    "outliers": "Look at the example: rows are unusual as a whole.",
}
STYLE = """<style>
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(15.5rem, 1fr)); gap: .8rem; margin: 1rem 0 }
.card { border: 1px solid var(--grid); border-radius: .5rem; padding: .6rem .8rem; break-inside: avoid }
.card.found { border-color: var(--bad) }
.card h3 { font-size: 1rem; margin: 0; overflow-wrap: anywhere }
.card svg { display: block; width: 100%; height: auto }
.card ul { margin: .3rem 0 0; padding-left: 1.1rem; font-size: .85rem }
.then { fill: var(--line-7); opacity: .55 } .now { fill: var(--line-1) } .spark { stroke: var(--line-1); stroke-width: 1.5 }
</style>"""


def state_of(report: Any) -> str:
    """Its name. A later server may have others, which count as a finding."""
    names = report.DESCRIPTOR.fields_by_name["state"].enum_type.values_by_number
    return str(names[report.state].name) if report.state in names else "FOUND"


def page(reports: Sequence[Any], title: str, made_unix_s: float) -> str:
    parts = [STYLE]
    for report in reports:
        parts += _version(report)
    return document(title, f"inferd drift, {moment(made_unix_s)}", parts)


def _version(report: Any) -> Iterator[str]:
    name = state_of(report)
    mark = MARKS[name]
    yield (
        f'<section class="verdict {mark}" aria-label="verdict"><p class="sentence"><span class="word">{GLYPHS[mark]} '
        f"version {report.model_version}: {name}</span>{escape(report.verdict)}</p></section>"
    )
    kinds = list(dict.fromkeys(finding.kind for feature in report.features for finding in feature.findings))
    if kinds:
        yield "<section><h2>What to do</h2><ul>"
        yield from (f"<li><strong>{escape(kind)}</strong>: {escape(ADVICE.get(kind, 'Look at the example.'))}</li>" for kind in kinds)
        yield "</ul></section>"
    yield (
        '<ul class="legend"><li><svg class="key" viewBox="0 0 12 8"><rect class="then" width="12" height="8"/></svg>'
        f"reference, {report.reference_rows:,} rows</li>"
        '<li><svg class="key" viewBox="0 0 12 8"><rect class="now" width="12" height="8"/></svg>newest window'
        f"{f', {report.windows[-1].rows:,} rows' if report.windows else ''}</li>"
        "<li>line: the effect of each window, from 0 to 1</li></ul>"
    )
    yield '<section class="cards">'
    yield from (_card(feature) for feature in list(report.features)[:MOST_CHARTS])
    yield "</section>"
    if (left := len(report.features) - MOST_CHARTS) > 0:
        yield f'<p class="quiet small">{left} features with smaller effects are left out.</p>'


def _card(feature: Any) -> str:
    effect = f", effect {feature.effects[-1]:.2f}" if feature.effects and feature.bins else ""
    kind = "output" if feature.is_output else "input"
    findings = "".join(f"<li>{escape(said(finding))}</li>" for finding in feature.findings)
    return (
        f'<article class="card{" found" if feature.findings else ""}"><h3>{escape(feature.name)}</h3>'
        f'<p class="quiet small">{kind}{effect}</p>{_chart(feature)}{f"<ul>{findings}</ul>" if findings else ""}</article>'
    )


def said(finding: Any) -> str:
    """A finding in words: what, since when, and an example."""
    example = f", such as request {finding.request_id}" if finding.request_id else ""
    return f"{finding.explanation}; since {when(finding.since_unix_ns)}{example}"


def _chart(feature: Any) -> str:
    """Bars of the shares, and below them the line of effects."""
    if not feature.bins:
        return ""
    most = max([*feature.reference_shares, *feature.shares, 1e-9])
    step = WIDTH / len(feature.bins)
    drawn = []
    for place, (name, then, now) in enumerate(zip(feature.bins, feature.reference_shares, feature.shares, strict=False)):
        drawn.append(f"<g><title>{escape(name)}: {then:.1%} in the reference, {now:.1%} now</title>")
        for shape, share, left, width in (("then", then, 0.0, 0.95), ("now", now, 0.25, 0.45)):
            height = HEIGHT * min(share / most, 1.0)
            drawn.append(
                f'<rect class="{shape}" x="{(place + left) * step:.2f}" y="{HEIGHT - height:.2f}" width="{width * step:.2f}" '
                f'height="{height:.2f}"/>'
            )
        drawn.append("</g>")
    effects = list(feature.effects)
    line = ""
    if len(effects) > 1:
        across, base = WIDTH / (len(effects) - 1), HEIGHT + 4 + LINE
        points = [f"{place * across:.1f},{base - LINE * min(effect, 1):.1f}" for place, effect in enumerate(effects)]
        line = f'<path class="spark" d="M{" L".join(points)}"/>'
    said = f"Shares of {feature.name} in the reference and now"
    return f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT + LINE + 6:g}" role="img" aria-label="{escape(said)}">{"".join(drawn)}{line}</svg>'
