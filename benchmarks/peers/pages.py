"""docs/benchmarks/peers.md, its picture, and the table of the README where its marks are. Measures nothing."""

from __future__ import annotations

from . import plot, results

__all__ = ["write_pages"]


def write_pages() -> None:
    """All three, from the newest whole run."""
    line = results.newest()
    results.PLOT.write_text(plot.svg(line), "utf-8")
    tables = results.picture(results.PLOT.name) + "\n" + results.tables(line)
    results.PAGE.write_text(results.with_tables(results.PAGE.read_text("utf-8"), tables), "utf-8")
    results.README.write_text(results.with_tables(results.README.read_text("utf-8"), results.glance(line)), "utf-8")
