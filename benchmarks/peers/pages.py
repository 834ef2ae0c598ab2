"""A family's page and picture, and the table of the README where its marks are. Measures nothing."""

from __future__ import annotations

from . import plot, results
from .families import PEERS, Family

__all__ = ["write_pages"]


def write_pages(family: Family) -> None:
    """All of them, from the newest whole run."""
    line = results.newest(family)
    family.plot.write_text(plot.svg(line), "utf-8")
    tables = results.picture(family.plot.name) + "\n" + results.tables(line)
    family.page.write_text(results.with_tables(family.page.read_text("utf-8"), tables), "utf-8")
    if family is PEERS:
        results.README.write_text(results.with_tables(results.README.read_text("utf-8"), results.glance(line)), "utf-8")
