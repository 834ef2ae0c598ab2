"""`inferd bench report`: shows a saved report again, on the terminal or as a page. Exit codes: 0 shown, 2 the file is no report.
Measures nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from inferd.cli.say import echo

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["report"]


@click.command
@click.argument("file", type=click.Path())
@click.option("--html", metavar="FILE", help="Write the page to look at: one file, with charts.")
@click.option("--csv", metavar="FILE", help="Write one line a measurement.")
def report(file: str | Path, html: str | None, csv: str | None) -> int:
    """Show a report that `inferd bench --json` or `inferd tune --json` wrote, of this or an earlier version of inferd.

    \b
    inferd bench report before.json
    inferd bench report before.json --html before.html
    """
    from inferd.bench import export, terminal
    from inferd.bench import html as pages
    from inferd.bench import report as reports

    made = reports.load(file)
    if html:
        reports.write_text(html, pages.page(made))
    if csv:
        reports.write_text(csv, export.measurements_csv(made))
    if not html and not csv:
        echo(terminal.render(made, rich=terminal.is_rich(sys.stdout)))
    return 0
