"""A report's plots as SVG that takes its colours and its font from the page around it, so that it reads in light and dark.

matplotlib draws with colours that stand for the page's CSS variables. Never in here: the page itself, files, measuring.
"""

from __future__ import annotations

import io
import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from inferd.bench.findings import duration
from inferd.bench.hdr import decode
from inferd.bench.measurement import Histogram, highest_ns
from inferd.bench.tables import one_line, outline, rate
from inferd.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from inferd.bench.measurement import Measurement, ServerSide
    from inferd.bench.report import Report

__all__ = ["SERIES", "Plot", "plots", "require_matplotlib"]

SERIES = 6  # lines that can be told apart
INK, FAINT = "#000001", "#000002"  # text and axes; grid and help lines
COLOURS = [f"#00001{number}" for number in range(1, SERIES + 1)]
DASHES: list[Any] = ["-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1)), (0, (8, 3))]
MARKERS = "osD^vP"
SIZE_INCHES = (7.4, 3.5)
STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10.0,
    "grid.color": FAINT,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.0,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,  # names are names, whatever they hold
    "xtick.color": INK,
    "ytick.color": INK,
}
LEGEND_LETTERS = 84  # that fit beside each other
FEW_BARS = 10  # take no more room than so many would
WIDE = 10.0  # more than so many times as long: the axis is logarithmic


class Plot(NamedTuple):
    """svg: an element to put into a page. caption: what it shows and how to read it."""

    title: str
    caption: str
    svg: str


def require_matplotlib() -> None:
    """StartError if plots cannot be drawn: asked before a long run."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise StartError("matplotlib is not installed: pip install 'inferd[bench]'") from None


def plots(report: Report) -> Iterator[Plot]:
    """Those for which the report has figures."""
    require_matplotlib()
    measured = report.measurements
    if lines := distributions(report):
        few = f" {len(lines)} of {len(groups(measured))} loads are shown." if len(lines) < len(groups(measured)) else ""
        yield Plot(
            "Latency by percentile",
            f"How long all but the slowest took; each step to the right is ten times rarer.{few}",
            drawn("percentiles", lambda axes: draw_percentiles(axes, lines)),
        )
    if any(len(one.intervals) > 1 for one in measured):
        yield Plot(
            "Latency over time",
            "Each interval's own figures, from the intended start.",
            drawn("time", lambda axes: draw_time(axes, measured)),
        )
    if len({str(one.load) for one in measured}) > 1 and any(one.requests_per_second for one in measured):
        yield Plot(
            "Throughput against latency",
            "A point for each load: further right is more answers a second, lower is sooner.",
            drawn("throughput", lambda axes: draw_throughput(axes, measured)),
        )
    opened = [one for one in measured if one.load.rate]
    if len({one.load.rate for one in opened}) > 1:
        yield Plot(
            "Answered against asked",
            "The dashed line is a server that answers everything with OK; below it are errors, or answers that came too late.",
            drawn("goodput", lambda axes: draw_goodput(axes, opened)),
        )
    if report.main is not None and (server := report.main.server) is not None and server.batch_sizes:
        yield Plot("Batch sizes", "Runs of the model by their rows, as the server counts them.", drawn("batches", batch_drawing(server)))


def groups(measured: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    """The measurements of each version and load: rounds of one thing. Named by the version only if there are several."""
    several = len({one.version for one in measured}) > 1
    found: dict[str, list[Measurement]] = {}
    for one in measured:
        found.setdefault(outline(one) if several else one_line(one.load), []).append(one)
    return found


def distributions(report: Report) -> list[tuple[str, Histogram]]:
    """At most as many as can be told apart: the headline's, and some spread over the others."""
    together = groups([one for one in report.measurements if one.histogram])
    names = list(together)
    if len(names) > SERIES:
        main = next((name for name, rounds in together.items() if report.main in rounds), names[0])
        others = [name for name in names if name != main]
        kept = {main, *(others[round(at)] for at in np.linspace(0, len(others) - 1, SERIES - 1))}
        names = [name for name in names if name in kept]
    lines = []
    for name in names:
        whole = Histogram()
        for one in together[name]:
            whole.add(decode(one.histogram))
        if whole.count:
            lines.append((name, whole))
    return lines


def draw_percentiles(axes: Any, lines: Sequence[tuple[str, Histogram]]) -> None:
    """Along -log10(1 - q): 90 % is 1, 99 % is 2; as far as there are entries."""
    furthest, longest, shortest = 1.0, 0.0, math.inf
    for number, (name, histogram) in enumerate(lines):
        cumulative = np.cumsum(histogram.counts.astype(np.float64))
        total = float(cumulative[-1])
        at = np.linspace(0, max(1.0, math.log10(total)), 240)
        ranks = np.maximum(1, np.ceil((1 - 10**-at) * total - 1e-6))
        ranks[-1] = total
        us = [min(highest_ns(int(bucket)), histogram.max_ns) / 1e3 for bucket in np.searchsorted(cumulative, ranks)]
        axes.plot(at, us, color=COLOURS[number], linestyle=DASHES[number], label=name)
        furthest, longest, shortest = max(furthest, float(at[-1])), max(longest, max(us)), min(shortest, min(us))
    nines = range(1, math.floor(furthest) + 1)
    axes.set_xticks([0, -math.log10(0.5), *nines], ["0 %", "50 %", *(f"{100 - 100 / 10**nine:.10g} %" for nine in nines)])
    axes.set_xlim(0, furthest)
    time_axis(axes, shortest, longest)
    legend(axes)


def draw_time(axes: Any, measured: Sequence[Measurement]) -> None:
    """All of the run: of one version p50, p99 and max, of several each one's p50 and p99."""
    start_s = min(one.started_unix_s for one in measured)
    versions = list(dict.fromkeys(one.version for one in measured))[:SERIES]
    several = len(versions) > 1
    seen = []
    for number, version in enumerate(versions):
        own = [one for one in measured if one.version == version]
        for place, field in enumerate(("p50_us", "p99_us", "max_us")[: 2 if several else 3]):
            at, us = timeline(own, field, start_s)
            name = field.removesuffix("_us")
            axes.plot(
                at,
                us,
                color=COLOURS[number if several else place],
                linestyle=DASHES[(1 - place) if several else place],
                label=f"version {version or '(newest)'}, {name}" if several else name,
            )
            seen += [value for value in us if value > 0]
    axes.set_xlabel("seconds since the first measurement began")
    axes.set_xlim(0, max(one.started_unix_s - start_s + one.duration_s for one in measured))  # what failed has no line, and took its time
    time_axis(axes, min(seen, default=0.0), max(seen, default=0.0))
    legend(axes)


def timeline(measured: Sequence[Measurement], field: str, start_s: float) -> tuple[list[float], list[float]]:
    """Over all measurements, with a gap between two. Intervals without responses are a gap, too."""
    at: list[float] = []
    us: list[float] = []
    for one in measured:
        for interval in one.intervals:
            at.append(one.started_unix_s - start_s + interval.at_s + interval.duration_s / 2)
            us.append(getattr(interval, field) or math.nan)
        at.append(math.nan)
        us.append(math.nan)
    return at, us


def draw_throughput(axes: Any, measured: Sequence[Measurement]) -> None:
    number, seen = 0, []
    versions = list(dict.fromkeys(one.version for one in measured))
    for version in versions:
        for kind, is_open in (("closed loop", False), ("open loop", True)):
            own = sorted((o for o in measured if o.version == version and bool(o.load.rate) == is_open), key=asked)
            for figure in ("p50", "p99") if own else ():
                us = [getattr(one.latency_us, figure) for one in own]
                words = [figure, kind, *([f"version {version}"] if len(versions) > 1 else [])]
                colour, marker, dash = (kinds[number % SERIES] for kinds in (COLOURS, MARKERS, DASHES))
                axes.plot([one.requests_per_second for one in own], us, color=colour, marker=marker, linestyle=dash, label=", ".join(words))
                number += 1
                seen += [value for value in us if value > 0]
    axes.set_xlabel("answers a second")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(lambda value, place: rate(value))
    time_axis(axes, min(seen, default=0.0), max(seen, default=0.0))
    legend(axes)


def asked(measured: Measurement) -> float:
    load = measured.load
    return load.rate or load.connections * load.streams


def draw_goodput(axes: Any, measured: Sequence[Measurement]) -> None:
    most = max(one.load.rate for one in measured)
    axes.plot([0, most], [0, most], color=INK, linewidth=1.0, linestyle=DASHES[1])
    versions = list(dict.fromkeys(one.version for one in measured))[:SERIES]
    for number, version in enumerate(versions):
        own = sorted((one for one in measured if one.version == version), key=asked)
        points = [one.load.rate for one in own], [one.requests_per_second for one in own]
        axes.plot(*points, color=COLOURS[number], marker=MARKERS[number], label=f"version {version}" if len(versions) > 1 else None)
    axes.set_xlabel("requests a second asked")
    axes.set_ylabel("answered with OK")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, place: rate(value))
    legend(axes)


def batch_drawing(server: ServerSide) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        sizes = sorted(server.batch_sizes)
        axes.bar(range(len(sizes)), [server.batch_sizes[size] for size in sizes], color=COLOURS[0], width=0.7)
        axes.set_xlim(-0.7, max(len(sizes), FEW_BARS) - 0.3)
        every = -(-len(sizes) // 24)
        axes.set_xticks(range(0, len(sizes), every), [str(size) for size in sizes[::every]])
        axes.set_xlabel("rows of a run")
        axes.set_ylabel("runs")
        axes.yaxis.set_major_formatter(lambda value, place: f"{value:,.0f}" if value == int(value) else "")
        axes.grid(visible=False, axis="x")

    return draw


def legend(axes: Any) -> None:
    """Above the plot, in as many columns as fit; a single line needs none."""
    names = axes.get_legend_handles_labels()[1]
    if len(names) > 1:
        columns = max(1, LEGEND_LETTERS // (max(map(len, names)) + 8))
        axes.figure.legend(loc="outside upper left", ncols=min(columns, len(names)))


def time_axis(axes: Any, shortest_us: float, longest_us: float) -> None:
    """Durations upwards: from zero, or logarithmic where a linear axis would hide the short ones."""
    from matplotlib.ticker import LogLocator, NullFormatter

    if 0 < shortest_us < longest_us / WIDE:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if longest_us / shortest_us < 1e3 else (1.0,)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(0, longest_us * 1.08 or 1.0)
    axes.yaxis.set_major_formatter(lambda value, place: duration(value) if value else "0")


def drawn(name: str, draw: Callable[[Any], None]) -> str:
    """The SVG element of one plot."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        draw(figure.add_subplot())
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return for_the_page(text.getvalue(), name)


def for_the_page(svg: str, name: str) -> str:
    """Without a document's prologue, addresses and fixed size; ids are the plot's own; colours and font are the page's."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>|<!--.*?-->", "", svg, flags=re.DOTALL)
    box = re.search(r'viewBox="[^"]+"', svg)
    head = f'<svg class="plot" {box[0] if box else ""} role="img" aria-labelledby="{name}-title">'
    svg = head + svg[svg.index(">") + 1 :]
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font: \1px var(--font)", svg)
    variables = {INK: "var(--ink)", FAINT: "var(--grid)"} | {colour: f"var(--line-{n})" for n, colour in enumerate(COLOURS, 1)}
    for colour, variable in variables.items():
        svg = svg.replace(colour, variable)
    return re.sub(r"\n\s*", "\n", svg).strip()
