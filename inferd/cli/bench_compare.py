"""`inferd bench compare`: holds two saved reports against each other. Exit code 1 if anything became worse; with --fail-on-unclear, also
if that cannot be said of a figure. Measures nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["between", "compare"]

COLOURS = {"worse": "red", "better": "green", "unclear": "yellow"}


def between(least: float, most: float) -> Callable[[click.Context, click.Parameter, str], float]:
    """Reads a share from `least` on and below `most`, `5%` or `0.05`."""

    def read(ctx: click.Context, param: click.Parameter, text: str) -> float:
        try:
            number = float(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
        except ValueError:
            raise click.BadParameter(f"expected a share such as 5% or 0.05, got {text!r}") from None
        if not least <= number < most:
            raise click.BadParameter(f"expected from {least:.0%} to below {most:.0%}, got {text!r}: write 5% or 0.05")
        return number

    return read


@click.command
@click.argument("before", type=click.Path())
@click.argument("after", type=click.Path())
@click.option("--threshold", default="5%", callback=between(0, 1), metavar="SHARE", show_default=True, help="A smaller change is none.")
@click.option(
    "--confidence", default="95%", callback=between(0.5, 1), metavar="SHARE", show_default=True, help="Of all intervals together."
)
@click.option(
    "--margin",
    default="50%",
    callback=between(0, 10),
    metavar="SHARE",
    show_default=True,
    help="What two runs of one server may differ by, so much more or as many times less; three times that in p99, four times where the "
    "client was the limit. For reports without rounds.",
)
@click.option("--fail-on-unclear", is_flag=True, help="Exit code 1 also where any figure is unclear: of few rounds some always are.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print a Markdown table.")
@click.option("--force", is_flag=True, help="Compare different models or loads, too.")
def compare(
    before: str | Path,
    after: str | Path,
    threshold: float,
    confidence: float,
    margin: float,
    fail_on_unclear: bool,
    as_markdown: bool,
    force: bool,
) -> int:
    """Compare two reports that `inferd bench --json` wrote.

    A figure is worse or better if it changed by more than the threshold and its confidence interval leaves out zero, where each report
    has four rounds of its load or more (--rounds, --versions). Of single runs, whose intervals don't know what differs from run to run,
    all of the interval must lie beyond the margin; p999 has none, a p99 below 10 ms neither, nor has CPU. But whatever the interval says,
    requests/s that are 5 times less, a p50 of 10, mean of 20, p99 of 30, p999 of 100 or server CPU of 1.5 times as much are worse, too. So
    is a server that answered nothing, left requests unanswered, was silent for half a second, or ended the run before its time.

    Exit code 1 if any became worse, 2 if the reports cannot be compared.
    """
    from inferd.bench import compare as comparing
    from inferd.bench import report, verdicts

    made = comparing.compare(
        report.load(before), report.load(after), threshold=threshold, confidence=confidence, margin=margin, force=force
    )
    click.echo(verdicts.markdown(made) if as_markdown else verdicts.plain(made, coloured))
    return made.exit_code or int(fail_on_unclear and made.unclear > 0)


def coloured(verdict: str, text: str) -> str:
    return click.style(text, fg=COLOURS[verdict]) if verdict in COLOURS else text
