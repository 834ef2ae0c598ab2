"""The picture of docs/benchmarks/: requests a second of every server on every model, 64 in flight. Measures nothing.

One SVG that is readable in light and dark: its lines and letters take their colour from the reader's scheme.
"""

from __future__ import annotations

import io
import re
from typing import Any

from .results import SOME, is_ours, of_some_rounds

INK = "#010203"  # becomes currentColor
OURS, OTHERS, BESIDE = "#2f81f7", "#9aa4b2", "#d5b36a"
STYLE = "<style>:root{color:#1f2328}@media (prefers-color-scheme:dark){:root{color:#e6edf3}}</style>"
LOAD = "64 in flight"


def svg(line: dict[str, Any], load: str = LOAD) -> str:
    """One panel a model: a bar a server, the best on top; what serves no model has a colour of its own."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    rows = [row for row in line["rows"] if row["load"] == load]
    shown = [model for model in line["models"] if any(row["model"] == model for row in rows)]
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "peers", "font.size": 9, "text.color": INK, "font.family": "sans-serif"}):
        columns = 2 if len(shown) > 1 else 1
        height = -(-len(shown) // columns)
        figure = Figure(figsize=(10, 0.4 + 2.9 * max(height, 1)), layout="constrained")
        figure.suptitle(f"requests a second, {load} (more is better; amber: what serves no model)")
        for at, model in enumerate(shown):
            axes, own = figure.add_subplot(height, columns, at + 1), [row for row in rows if row["model"] == model]
            panel(axes, model, own, line["peers"], of_some_rounds(line, model, load))
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue().replace(INK, "currentColor")
    text = re.sub(r"<\?xml.*?\?>\s*|<!DOCTYPE.*?>\s*|<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    return re.sub(r"(<svg [^>]*>)", lambda found: found[1] + STYLE, text, count=1)


def panel(axes: Any, model: str, rows: list[dict[str, Any]], peers: list[dict[str, Any]], some: set[str]) -> None:
    described = {peer["name"]: peer for peer in peers}
    ordered = sorted(rows, key=lambda row: float(row["requests_s"]))
    colours = [OURS if is_ours(row["peer"]) else OTHERS if described[row["peer"]]["competes"] else BESIDE for row in ordered]
    names = [described[row["peer"]]["title"].replace("`", "") for row in ordered]
    bars = axes.barh(names, [row["requests_s"] for row in ordered], color=colours, height=0.7)
    axes.bar_label(bars, [f"{row['requests_s']:,.0f}" + SOME * (row["peer"] in some) for row in ordered], padding=3, color=INK, fontsize=8)
    axes.margins(x=0.15)
    axes.set_title(model, loc="left", color=INK, fontweight="bold")
    axes.tick_params(axis="both", colors=INK, length=0)
    axes.tick_params(axis="x", labelbottom=False)
    axes.minorticks_off()
    for spine in axes.spines.values():
        spine.set_visible(False)
