"""`inferd bench report`: shows a saved report again, on the terminal or as a page. Measures nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from inferd.cli.exit_codes import ExitCode, sentence
from inferd.cli.say import echo
from inferd.errors import ConfigError, InferdError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


@click.command(epilog=sentence("bench report"))
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
    try:
        texts = {html: pages.page(made) if html else "", csv: export.measurements_csv(made) if csv else ""}
        shown = "" if html or csv else terminal.render(made, rich=terminal.is_rich(sys.stdout))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:  # of a mode's findings, which are any JSON
        raise ConfigError(f"{file}: summary: expected what `inferd bench --json` wrote of a {made.kind}: {error!r}") from None
    for path, text in texts.items():
        if path:
            reports.write_text(path, text)
    if shown:
        echo(shown)
    return ExitCode.OK


def written(files: Iterable[tuple[str, Callable[[str], None]]]) -> list[str]:
    """Writes each file, given by its path and its writer, whether others fail or not. Why those that failed did."""
    failures = []
    for path, write in files:
        try:
            write(path)
        except InferdError as error:
            failures.append(str(error))
    return failures
