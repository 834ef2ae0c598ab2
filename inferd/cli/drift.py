"""`inferd drift`: whether the data of a model has moved away from its reference profile. Never in here: how that is judged."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from inferd.cli.asking import Asked
from inferd.cli.duration import timeout_option
from inferd.cli.exit_codes import ExitCode
from inferd.cli.health import address
from inferd.cli.number import Whole
from inferd.cli.performance import when
from inferd.cli.reaching import TOKEN_FILE, reaches_by_tls
from inferd.cli.say import aligned, colours, echo, one_line, painted, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from inferd.client_inputs.reach import Reach
    from inferd.config import Address

METHOD = "/inferd.v1.Monitor/Drift"
SHOWN = 12  # features
STEPS = " ▁▂▃▄▅▆▇█"
SPARKS = 20
COLOURS = {"QUIET": "green", "FOUND": "red", "COUNTING": "yellow"}
CODES = {"QUIET": ExitCode.OK, "FOUND": ExitCode.FAILED, "COUNTING": ExitCode.INCONCLUSIVE}


@click.command()
@click.argument("target", metavar="TARGET", callback=address)
@click.argument("model")
@click.option("--version", type=Whole(0, (1 << 63) - 1), default=0, help="Only this version.  [default: each with a profile]")
@click.option("--all", "all_features", is_flag=True, help="All features, not only the first 12.")
@click.option("--html", metavar="FILE", help="Write a page with a chart of each feature.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@timeout_option("10s", "Longest wait for the response.")
@TOKEN_FILE
@reaches_by_tls
def drift(
    target: Address | str, model: str, version: int, all_features: bool, html: str | None, as_json: bool, timeout: float, reach: Reach
) -> int:
    """Show whether what a model gets and predicts has moved away from its reference profile, and what is wrong with its data.

    TARGET is host:port for gRPC, or a URL such as http://host:port. The model needs a profile: see `inferd profile`.

    \b
    inferd drift localhost:8001 loans
    inferd drift localhost:8001 loans --html drift.html
    """
    from inferd.bench.report import check_writable, write_text
    from inferd.cli.drift_page import page, state_of
    from inferd.protocol import options

    if html:
        check_writable(html)
    request = options.DriftRequest(model_name=model, model_version=version)
    found = Asked("drift", target, reach, timeout).call(METHOD, request, options.DriftResponse)
    if html:
        write_text(html, page(found.reports, f"{model} at {target}", time.time()))
    if as_json:
        from inferd.part.json_form import json_form

        echo(json.dumps(json_form(found), indent=2))
    else:
        for report in found.reports:
            state = state_of(report)
            click.echo(painted(COLOURS, state, f"version {report.model_version}: {state}"), color=colours())
            for line in plain(report, all_features):
                say(line)
    return max((CODES[state_of(report)] for report in found.reports), key=_gravity)


def _gravity(code: ExitCode) -> int:
    return [ExitCode.OK, ExitCode.INCONCLUSIVE, ExitCode.FAILED].index(code)


def plain(report: Any, all_features: bool) -> Iterator[str]:
    from inferd.cli.drift_page import said

    yield one_line(f"  {report.verdict}")
    if report.windows:
        began = when(report.windows[0].from_unix_ns)
        yield f"  {len(report.windows)} windows since {began}; the reference has {report.reference_rows:,} rows"
    yield ""
    features = list(report.features)
    bad = [each for each in features if each.findings]
    shown = features if all_features else bad[:SHOWN] or [each for each in features if each.bins][:SHOWN]
    rows: list[Sequence[str]] = [("feature", "effect", "windows", "findings")]
    for each in shown:
        last = f"{each.effects[-1]:.2f}" if each.effects and each.bins else ""
        findings = "; ".join(finding.explanation for finding in each.findings)
        rows.append((one_line(f"{each.name} (output)" if each.is_output else each.name), last, sparks(each.effects), one_line(findings)))
    yield from (f"  {line}".rstrip() for line in aligned(rows))
    if left := len(features) - len(shown):
        yield f"  and {left} more features, {max(len(bad) - len(shown), 0)} of them with findings (--all shows them)"
    if bad:
        first = bad[0].findings[0]
        yield f"\n  {one_line(bad[0].name)}: {one_line(said(first))}"


def sparks(effects: Sequence[float]) -> str:
    """A character for each of the newest windows, from 0 to 1."""
    steps = STEPS if (sys.stdout.encoding or "").lower().startswith("utf") else " .:-=+*#@"
    return "".join(steps[min(int(effect * len(steps)), len(steps) - 1)] for effect in effects[-SPARKS:])
