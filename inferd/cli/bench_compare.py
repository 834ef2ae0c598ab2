"""`inferd bench compare`: holds two saved reports against each other. Measures nothing."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from inferd.cli.exit_codes import VERDICTS, ExitCode, sentence
from inferd.cli.number import share_option
from inferd.cli.say import echo, painted
from inferd.cli.typed import typed

COLOURS = {"worse": "red", "better": "green", "unclear": "yellow"}


@click.command(epilog=sentence("bench compare"))
@click.argument("before", type=click.Path())
@click.argument("after", type=click.Path())
@share_option("--threshold", "5%", 0, 1, "Ignore smaller changes.")
@share_option("--confidence", "95%", 0.5, 1, "Confidence of all intervals together.")
@share_option("--margin", "50%", 0, 10, "Without rounds: how much two runs of one server may differ.")
@click.option("--fail-on-unclear", is_flag=True, help="Fail (exit code 1) also if any figure is unclear.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print a Markdown table.")
@click.option("--html", metavar="FILE", help="Write a page to look at: one file, with a chart.")
@click.option("--force", is_flag=True, help="Compare different models or loads, too.")
def compare(before: str, after: str, fail_on_unclear: bool, as_markdown: bool, html: str | None, **given: Any) -> int:
    """Compare two reports that `inferd bench --json` wrote, and say whether anything became worse.

    With four rounds or more on each side (--rounds, --versions), a figure is worse if it changed by more than the threshold. Its confidence
    interval must also leave out zero. Single runs do not show how much two runs differ, so there the whole interval must lie beyond
    the margin. Failures, silences and multiples always count: docs/measuring.md has the limits.
    """
    from inferd.bench import compare as comparing
    from inferd.bench import conclusion, report, verdicts
    from inferd.bench import html as pages

    if html:
        report.check_writable(html)
    made = comparing.compare(report.load(before), report.load(after), **given)
    if html:
        report.write_text(html, pages.comparison_page(made, typed("bench", ["compare", *(click.get_current_context().obj or [])])))
    echo(verdicts.markdown(made) if as_markdown else verdicts.plain(made, partial(painted, COLOURS)))
    if made.worse or (fail_on_unclear and made.unclear):
        return ExitCode.FAILED
    return VERDICTS[conclusion.of_comparison(made).word.value]
