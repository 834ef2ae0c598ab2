"""`inferd performance`: how well the versions of a model predicted. Never in here: how figures are computed."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from inferd.cli.asking import Asked
from inferd.cli.duration import Duration, timeout_option
from inferd.cli.health import address
from inferd.cli.number import Whole
from inferd.cli.reaching import TOKEN_FILE, reaches_by_tls
from inferd.cli.say import aligned, echo, one_line, say
from inferd.config.units import percent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferd.client_inputs.reach import Reach
    from inferd.config import Address

METHOD = "/inferd.v1.Feedback/Performance"


@click.command()
@click.argument("target", metavar="TARGET", callback=address)
@click.argument("model")
@click.option("--version", type=Whole(0, (1 << 63) - 1), default=0, help="Only this version.  [default: each]")
@click.option("--since", type=Duration(), metavar="TIME", help="Only predictions of the last TIME, such as 24h.  [default: all]")
@click.option("--slice", "slice_", default="", metavar="INPUT", help="Each value of this input by itself; one of --feedback-slices.")
@click.option("--buckets", type=Whole(0, 100), default=0, help="So many spans of time, each by itself.  [default: one]")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@timeout_option("1m", "Longest wait for the response.")
@TOKEN_FILE
@reaches_by_tls
def performance(
    target: Address | str,
    model: str,
    version: int,
    since: float | None,
    slice_: str,
    buckets: int,
    as_json: bool,
    timeout: float,
    reach: Reach,
) -> None:
    """Show how well each version of a model predicted, by the labels that `inferd feedback` has sent.

    TARGET is host:port for gRPC, or a URL such as http://host:port. Each figure has its interval at 95 %, and the rows that it rests on.

    \b
    inferd performance localhost:8001 digits
    inferd performance localhost:8001 digits --since 24h --buckets 24
    """
    from inferd.protocol import options

    request = options.PerformanceRequest(model_name=model, model_version=version, slice=slice_, buckets=buckets)
    if since is not None:
        request.since_unix_ns = time.time_ns() - int(since * 1e9)
    found = Asked("performance", target, reach, timeout).call(METHOD, request, options.PerformanceResponse)
    if as_json:
        from inferd.part.json_form import json_form

        echo(json.dumps(json_form(found), indent=2))
        return
    for line in plain(found, slice_):
        say(line)


def plain(found: Any, slice_: str = "") -> Iterator[str]:
    counts = ", ".join(f"{count:,} {fate}" for fate, count in sorted(found.labels.items(), key=lambda each: -each[1]))
    yield f"labels: {counts or 'none'}"
    for group in found.groups:
        yield ""
        yield one_line(_title(group, slice_))
        rows = [(each.name, each.of, f"{each.value:.4g}", f"{each.low:.4g} to {each.high:.4g}", f"{each.rows:,}") for each in group.figures]
        if rows:
            yield from (f"  {one_line(line)}" if "\n" in line else f"  {line}" for line in aligned([HEAD, *rows]))
        else:
            yield "  no figure: none of these rows has a label" if not group.labelled_rows else "  no figure: too few rows have a label"
        if group.figures_left_out:
            yield f"  {group.figures_left_out} figures of rarer classes are left out"
    if not found.groups:
        yield "no prediction of that time"
    if found.rows_left_out:
        yield f"\n{found.rows_left_out:,} older rows are left out: name a shorter time"
    if found.groups_left_out:
        yield f"\n{found.groups_left_out} groups with fewer rows are left out"


HEAD = ("figure", "class", "value", "95 %", "rows")


def _title(group: Any, slice_: str) -> str:
    span = f"{when(group.from_unix_ns)} to {when(group.until_unix_ns)}"
    value = f", {slice_} {group.slice_value}" if slice_ else ""
    coverage = percent(group.labelled_rows / group.predicted_rows)
    return (
        f"version {group.model_version}{value}: {group.labelled_rows:,} of {group.predicted_rows:,} rows have a label ({coverage}), {span}"
    )


def when(at_ns: int) -> str:
    """A bucket without an end, or a wrong clock, may be beyond what a date can say."""
    try:
        return f"{datetime.fromtimestamp(at_ns / 1e9, UTC):%Y-%m-%d %H:%M:%S}Z"
    except (ValueError, OverflowError, OSError):
        return f"{at_ns} ns"
