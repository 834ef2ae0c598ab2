"""A chart as markup that fits any width: lines in an SVG that stretches, texts and points in HTML beside it, which do not.

Values show on hover and by keyboard without a script: each place along a chart is a radio button, and arrow keys move along. Colours are
the page's CSS variables. Never in here: which charts a report has (plots), the page around them (html).
"""

from __future__ import annotations

import math
from html import escape as markup_escaped
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SERIES = 6  # colours that can be told apart
DASHES = ("", "6 3", "2 2", "8 3 2 3", "4 2", "10 4")
TICKS = 5  # of a linear axis, about
FEW_LETTERS = 6  # of the labels of a y axis that fit its usual room
LAST = 98.0  # percent of an axis from which on a label stands before its tick, not around it


class Axis(NamedTuple):
    """Where values stand. ticks: value, label, and whether a narrow screen has room for it."""

    title: str
    low: float
    high: float
    log: bool
    ticks: list[tuple[float, str, bool]]

    def place(self, value: float) -> float:
        """In percent of its length."""
        low, high, at = (math.log(max(each, 1e-12)) if self.log else each for each in (self.low, self.high, value))
        return max(0.0, min(100.0, 100 * (at - low) / ((high - low) or 1.0)))


class Line(NamedTuple):
    """name: in the legend; empty: not there. Points of nan are gaps. band: the area down to these values is filled."""

    name: str
    colour: int  # from 1 on
    points: Sequence[tuple[float, float]]
    dashed: bool = True
    thin: bool = False
    band: Sequence[tuple[float, float]] = ()


class Mark(NamedTuple):
    """A point of its own. shape: dot, ring, cross, or bar, which stands on the x axis."""

    x: float
    y: float
    colour: int
    shape: str = "dot"


class Limit(NamedTuple):
    """A line across the chart: a target, or the ideal where it has two ends."""

    text: str
    value: float
    vertical: bool = False
    ends: tuple[tuple[float, float], tuple[float, float]] | None = None


class Stop(NamedTuple):
    """A place whose values are shown. y: where the point itself is; None: all of the chart's height, over `width` of the x axis."""

    x: float
    head: str
    values: Sequence[tuple[str, str]]
    y: float | None = None


class Chart(NamedTuple):
    """legend: colour, shape and text of marks that no line names."""

    name: str
    title: str
    caption: str
    x: Axis
    y: Axis
    lines: Sequence[Line] = ()
    marks: Sequence[Mark] = ()
    limits: Sequence[Limit] = ()
    stops: Sequence[Stop] = ()
    legend: Sequence[tuple[int, str, str]] = ()


class Bar(NamedTuple):
    """A row of bars. parts: colour, length and text of each. note: behind it. strong: the one that the report is about."""

    label: str
    parts: Sequence[tuple[int, float, str]]
    note: str
    strong: bool = False


class Bars(NamedTuple):
    """Horizontal bars. whole: each fills the width, else they are as long as they are beside the longest."""

    name: str
    title: str
    caption: str
    rows: Sequence[Bar]
    legend: Sequence[tuple[int, str, str]] = ()
    whole: bool = False


def escape(text: str) -> str:
    """A text on the page: markup is text, and what is not to be seen is a space."""
    return markup_escaped("".join(character if character.isprintable() or character == "\n" else " " for character in text))


def linear(title: str, low: float, high: float, label: Callable[[float], str], *, whole: bool = False, exact: bool = False) -> Axis:
    """From `low`, or the tick below it, to the tick above `high`. whole: ticks at whole numbers only. exact: it ends at `high`."""
    span = (high - low) or abs(high) or 1.0
    step = 10 ** math.floor(math.log10(span / TICKS))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if span / (step * factor) <= TICKS)
    if whole:
        step = max(1.0, math.ceil(step))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [(step * at, label(step * at), at % 2 == 0) for at in range(first, last + 1)]
    if exact:
        return Axis(title, step * first, high, False, [tick for tick in ticks if tick[0] <= high])
    return Axis(title, step * first, step * last, False, ticks)


def logarithmic(title: str, low: float, high: float, label: Callable[[float], str]) -> Axis:
    """Ticks at 1, 2 and 5 of each power of ten where these are few, else at powers of ten."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if last - first <= 3 else (1,)
    values = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
    below = max((value for value in values if value <= low * 1.001), default=low)
    above = min((value for value in values if value >= high * 0.999), default=high)
    return Axis(title, below, above, True, [(value, label(value), True) for value in values if below <= value <= above])


def markup(drawing: Chart | Bars) -> str:
    """A section of a page."""
    body = _bars(drawing) if isinstance(drawing, Bars) else _chart(drawing)
    return (
        f'<section><h2 id="{drawing.name}">{escape(drawing.title)}</h2><figure aria-labelledby="{drawing.name}">'
        f"{''.join(body)}<figcaption>{escape(drawing.caption)}</figcaption></figure></section>"
    )


# ---------------------------------------------------------------------------------------------------------------------
# Charts


def _chart(chart: Chart) -> Iterator[str]:
    yield _legend([(line.colour, _dash(line), line.name) for line in chart.lines if line.name], chart.legend)
    letters = max((len(label) for _, label, _ in chart.y.ticks), default=0)
    wide = f' style="--labels: {0.5 * letters + 0.9:.1f}rem"' if letters > FEW_LETTERS else ""
    yield f'<div class="chart"{wide}><p class="axis">{escape(chart.y.title)}</p><div class="ys">'
    for value, label, _ in chart.y.ticks:
        yield f'<span style="bottom:{chart.y.place(value):.2f}%">{escape(label)}</span>'
    yield '</div><div class="area"><svg viewBox="0 0 1000 1000" preserveAspectRatio="none" aria-hidden="true">'
    yield from _drawing(chart)
    yield "</svg>"
    for mark in chart.marks:
        yield _mark(chart, mark)
    for limit in chart.limits:
        if limit.text and limit.vertical:
            at = chart.x.place(limit.value)
            side = f"right:{100 - at:.2f}%" if at > 50 else f"left:{at:.2f}%"
            yield f'<span class="limit upright" style="{side};top:0">{escape(limit.text)}</span>'
        elif limit.text and limit.ends is None:
            at = chart.y.place(limit.value)
            side = f"top:{100 - at:.2f}%" if at > 85 else f"bottom:{at:.2f}%"
            yield f'<span class="limit" style="left:0;{side}">{escape(limit.text)}</span>'
    yield from _stops(chart)
    yield '</div><div class="xs">'
    for value, label, roomy in chart.x.ticks:
        at = chart.x.place(value)
        kinds = " ".join(filter(None, ("" if roomy else "more", "end" if at > LAST else "")))
        yield f'<span class="{kinds}" style="left:{at:.2f}%">{escape(label)}</span>'
    yield f'</div><p class="axis">{escape(chart.x.title)}</p></div>'


def _legend(lines: Sequence[tuple[int, str, str]], marks: Sequence[tuple[int, str, str]]) -> str:
    """One line alone needs none."""
    if len(lines) + len(marks) < 2:
        return ""
    drawn = [
        f'<li><svg class="key" aria-hidden="true" viewBox="0 0 24 8"><path d="M0 4H24" class="l{colour}" stroke-dasharray="{dash}"/></svg>'
        f"{escape(text)}</li>"
        for colour, dash, text in lines
    ]
    drawn += [f'<li><i class="mark {shape} c{colour}" aria-hidden="true"></i>{escape(text)}</li>' for colour, shape, text in marks]
    return f'<ul class="legend">{"".join(drawn)}</ul>'


def _dash(line: Line) -> str:
    return DASHES[(line.colour - 1) % SERIES] if line.dashed else ""


def _drawing(chart: Chart) -> Iterator[str]:
    x, y = chart.x, chart.y
    for value, _, _ in y.ticks:
        yield f'<path class="grid" d="M0 {1000 - 10 * y.place(value):.1f}H1000"/>'
    for line in chart.lines:
        if line.band:
            corners = [*line.points, *reversed(line.band)]
            yield f'<path class="band f{line.colour}" d="M{" L".join(_at(chart, each) for each in corners)}Z"/>'
    for line in chart.lines:
        kind = f"l{line.colour}{' thin' if line.thin else ''}"
        yield f'<path class="{kind}" stroke-dasharray="{_dash(line)}" d="{_path(chart, line.points)}"/>'
    for limit in chart.limits:
        if limit.ends is not None:
            yield f'<path class="ideal" d="{_path(chart, limit.ends)}"/>'
        elif limit.vertical:
            yield f'<path class="slo" d="M{10 * x.place(limit.value):.1f} 0V1000"/>'
        else:
            yield f'<path class="slo" d="M0 {1000 - 10 * y.place(limit.value):.1f}H1000"/>'


def _at(chart: Chart, point: tuple[float, float]) -> str:
    return f"{10 * chart.x.place(point[0]):.1f} {1000 - 10 * chart.y.place(point[1]):.1f}"


def _path(chart: Chart, points: Sequence[tuple[float, float]]) -> str:
    drawn, pen = [], "M"
    for point in points:
        if math.isnan(point[1]):
            pen = "M"
            continue
        drawn.append(f"{pen}{_at(chart, point)}")
        pen = "L"
    return "".join(drawn)


def _mark(chart: Chart, mark: Mark) -> str:
    left, bottom = chart.x.place(mark.x), chart.y.place(mark.y)
    if mark.shape == "bar":
        return f'<i class="column c{mark.colour}" style="left:{left:.2f}%;height:{bottom:.2f}%"></i>'
    return f'<i class="mark {mark.shape} c{mark.colour}" style="left:{left:.2f}%;bottom:{bottom:.2f}%"></i>'


def _stops(chart: Chart) -> Iterator[str]:
    if not chart.stops:
        return
    yield f'<fieldset><legend class="unseen">{escape(chart.title)}: values, by arrow keys</legend>'
    places = [chart.x.place(stop.x) for stop in chart.stops]
    for number, (stop, at) in enumerate(zip(chart.stops, places, strict=True)):
        if stop.y is None:  # as far as half of the way to its neighbours
            left = (places[number - 1] + at) / 2 if number else max(0.0, at - 4)
            right = (places[number + 1] + at) / 2 if number + 1 < len(places) else min(100.0, at + 4)
            where, kind = f"left:{left:.2f}%;width:{max(right - left, 0.1):.2f}%", "stop"
            hair = f'<i class="hair" style="left:{100 * (at - left) / max(right - left, 0.1):.1f}%"></i>'
        else:
            where, kind, hair = f"left:{at:.2f}%;bottom:{chart.y.place(stop.y):.2f}%", "stop point", ""
        side = "end" if at > 50 else "start"
        values = "".join(f"<span><b>{escape(value)}</b> {escape(name)}</span>" for name, value in stop.values)
        yield (
            f'<label class="{kind}" style="{where}"><input type="radio" name="{chart.name}-at">{hair}'
            f'<span class="tip {side}"><span>{escape(stop.head)}</span>{values}</span></label>'
        )
    yield "</fieldset>"


# ---------------------------------------------------------------------------------------------------------------------
# Bars


def _bars(bars: Bars) -> Iterator[str]:
    yield _legend([], bars.legend)
    longest = max((sum(length for _, length, _ in row.parts) for row in bars.rows), default=0.0) or 1.0
    yield f'<fieldset class="bars"><legend class="unseen">{escape(bars.title)}: values, by arrow keys</legend>'
    for row in bars.rows:
        whole = sum(length for _, length, _ in row.parts) or 1.0
        scale = 100 / (whole if bars.whole else longest)
        drawn = "".join(f'<i class="c{colour}" style="width:{scale * length:.2f}%"></i>' for colour, length, _ in row.parts)
        values = "".join(f"<span>{escape(text)}</span>" for _, _, text in row.parts)
        strong = ' class="strong"' if row.strong else ""
        yield (
            f'<label{strong}><input type="radio" name="{bars.name}-at"><span class="name">{escape(row.label)}</span>'
            f'<span class="bar">{drawn}</span><span class="note">{escape(row.note)}</span><span class="tip">{values}</span></label>'
        )
    yield "</fieldset>"
