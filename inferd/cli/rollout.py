"""`inferd rollout`: one version of a model takes the place of another by evidence. Never in here: what the server decides."""

from __future__ import annotations

import json
import math
import sys
import time
from functools import wraps
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from inferd.cli.asking import Asked
from inferd.cli.duration import Duration, timeout_option
from inferd.cli.health import address
from inferd.cli.number import share_of
from inferd.cli.reaching import TOKEN_FILE, reaches_by_tls, with_options
from inferd.cli.say import aligned, echo, one_line, printable, say
from inferd.config.units import percent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from inferd.client_inputs.reach import Reach
    from inferd.config import Address

SERVICE = "/inferd.v1.Rollouts"
LOOK_S = 0.5  # between two looks at a rollout that is shown live
ENDED = ("PROMOTED", "ROLLED_BACK", "STOPPED")
ALWAYS = ("mirrored", "compared", "dropped", "waiting", "failed")  # counts that are shown though they are 0
MARKS = {"ok": "green", "open": "yellow", "bad": "red"}


def _asking(command: Callable[..., Any]) -> Any:
    """A command with TARGET, and the options that reach it; it gets an Asked first."""

    @wraps(command)
    def called(target: Address | str, timeout: float, reach: Reach, **given: Any) -> Any:
        return command(Asked("rollout", target, reach, timeout), **given)

    target = click.argument("target", metavar="TARGET", callback=address)
    return with_options(target, timeout_option("10m", "Longest wait for the response."), TOKEN_FILE)(reaches_by_tls(called))


def statuses(asked: Asked, model: str) -> Sequence[Any]:
    from inferd.protocol import options

    request = options.RolloutStatusRequest(model_name=model)
    found: Sequence[Any] = asked.call(f"{SERVICE}/Status", request, options.RolloutStatusResponse).rollouts
    return found


def _share(text: str) -> float:
    """10% or 0.1."""
    try:
        share = share_of(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise click.BadParameter(f"expected a share such as 10% or 0.1, above 0 and up to 100%, got {text!r}")
    return share


def _shares(ctx: click.Context, param: click.Parameter, text: str | None) -> list[float]:
    return [] if text is None else [_share(part.strip()) for part in text.split(",")]


def _sample(ctx: click.Context, param: click.Parameter, text: str) -> float:
    return _share(text)


def _guards(ctx: click.Context, param: click.Parameter, texts: Sequence[str]) -> dict[str, float]:
    guards = {}
    for text in texts:
        name, _, limit = text.partition("=")
        try:
            guards[name] = share_of(limit)
        except ValueError:
            raise click.BadParameter(f"expected NAME=LIMIT, such as errors=2%, got {text!r}") from None
        if not math.isfinite(guards[name]):
            raise click.BadParameter(f"{name}: expected a limit such as 2% or 0.02, got {limit!r}")
    return guards


GUARD = click.option(
    "--guard", "guards", multiple=True, metavar="NAME=LIMIT", callback=_guards, help="The limit of a guard, such as errors=2%; repeatable."
)


@click.group(subcommand_metavar="ACTION ...")
def rollout() -> None:
    """Change the version of a model by evidence, while the server serves.

    TARGET is host:port for gRPC, or a URL such as http://host:port. The server keeps two versions, and compares them on its requests.

    \b
    inferd rollout shadow localhost:8001 digits 2 --sample 10%
    inferd rollout status localhost:8001 digits
    inferd rollout canary localhost:8001 digits 2 --steps 1%,10%,50%,100%
    inferd rollout canary localhost:8001 digits 2 --guard flips=1%
    inferd rollout rollback localhost:8001 digits --reason "slower"
    """


@rollout.command()
@_asking
@click.argument("model")
@click.argument("version", type=click.IntRange(1), required=False)
@click.option("--sample", default="100%", metavar="SHARE", callback=_sample, help="Share of requests that the candidate runs, too. [100%]")
@GUARD
def shadow(asked: Asked, **given: Any) -> None:
    """Have VERSION run requests beside the stable version. Its responses are compared, and never sent.

    VERSION: by default the newest one that is not the stable one.
    """
    _start(asked, "SHADOW", **given)


@rollout.command()
@_asking
@click.argument("model")
@click.argument("version", type=click.IntRange(1), required=False)
@click.option("--steps", metavar="SHARES", callback=_shares, help="Shares of requests, such as 1%,10%,50%,100%.")
@click.option(
    "--sample", default="100%", metavar="SHARE", callback=_sample, help="Requests of the stable version that are compared. [100%]"
)
@click.option("--dwell", "dwell_s", type=Duration(zero=True), help="The least time at a step. [1m]")
@click.option("--patience", "patience_s", type=Duration(zero=True), help="The time without a decision until it holds its share. [1h]")
@click.option("--promote-unjudged", is_flag=True, help="Go past the first step without a guard on predictions (flips, mean, outcome).")
@GUARD
def canary(asked: Asked, **given: Any) -> None:
    """Send a growing share of requests to VERSION, and roll back when the evidence says so.

    VERSION: by default the newest one that is not the stable one. The usual guards judge errors and p99 alone. Responses are compared
    and shown; the canary goes past its first step with a guard of flips, mean or outcome, or with --promote-unjudged.
    """
    _start(asked, "CANARY", **given)


def _start(asked: Asked, kind: str, model: str, version: int | None, **given: Any) -> None:
    """given: the other fields of the request, as the options name them."""
    from inferd.protocol import options

    request = options.StartRolloutRequest(model_name=model, kind=options.RolloutKind.Value(kind), candidate_version=version or 0, **given)
    _order(asked, "Start", request)


@rollout.command()
@_asking
@click.argument("model", required=False)
@click.option("--once", is_flag=True, help="Do not go on until the rollout ends.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def status(asked: Asked, model: str | None, once: bool, as_json: bool) -> None:
    """Show rollouts: the split, the evidence of each guard, and what would promote or roll back.

    On a terminal it goes on until the rollout ends.
    """
    found = statuses(asked, model or "")
    if as_json:
        from inferd.part.json_form import json_form

        echo(json.dumps([json_form(each) for each in found], indent=2))
    elif once or not (sys.stdout.isatty() and find_spec("rich") is not None):
        for each in found:
            for line in plain(each):
                say(line)
        if not found:
            say("no rollout")
    else:
        _live(asked, model or "")


def _ending(name: str, method: str, words: str) -> None:
    """Adds an action that ends a rollout."""

    @rollout.command(name, help=words)
    @_asking
    @click.argument("model")
    @click.option("--reason", default="", metavar="TEXT", help="Why, for the audit log.")
    def end(asked: Asked, model: str, reason: str) -> None:
        from inferd.protocol import options

        _order(asked, method, options.RolloutRequest(model_name=model, reason=reason))


_ending("promote", "Promote", "End a rollout: the label stable names the candidate, and all requests go there.")
_ending("rollback", "RollBack", "End a rollout: all requests go to the stable version.")
_ending("stop", "Stop", "End a rollout without a verdict.")


def _order(asked: Asked, method: str, request: Any) -> None:
    """Begins or ends a rollout, and shows it as it is then."""
    from inferd.protocol import options

    for line in plain(asked.call(f"{SERVICE}/{method}", request, options.RolloutStatus)):
        say(line)


# ---- what is shown ----


def title(each: Any) -> str:
    from inferd.protocol import options

    kind, state = options.RolloutKind.Name(each.kind), options.RolloutState.Name(each.state)
    step = f", step {each.step + 1} of {len(each.steps)}" if each.steps and state not in ENDED else ""
    ended = state in ENDED
    split = "" if ended else f"  {percent(each.sample if each.kind == options.SHADOW else each.share)} of requests{step}"
    age_s = ((each.changed_unix_ns if ended else time.time_ns()) - each.started_unix_ns) / 1e9
    versions = f"version {each.stable_version} -> {each.candidate_version}"
    return one_line(f"{each.model_name}  {kind.lower()} {state}  {versions}{split}  {max(age_s, 0):.0f} s")


def counts(each: Any) -> str:
    """The rollout's counts, without those that are 0 and not in ALWAYS."""
    return "  ".join(f"{name} {count}" for name, count in sorted(each.counts.items()) if count or name in ALWAYS)


WORDS = {"p99": "slow requests (p99)", "mean": "mean, in spreads", "outcome": "bad outcomes"}  # of guards, for people


def figure(guard: str, value: float) -> str:
    """A number of a guard: a share of requests, or spreads."""
    return f"{value:.3g}" if guard == "mean" else percent(value)


def rows(each: Any) -> list[tuple[str, ...]]:
    """A row of evidence: guard, observations, estimate, band, limit, verdict, words."""
    return [
        (
            WORDS.get(found.guard, found.guard),
            str(found.count),
            figure(found.guard, found.estimate),
            f"{figure(found.guard, found.lower)} to {figure(found.guard, found.upper)}",
            figure(found.guard, found.limit),
            found.verdict,
            one_line(found.explanation),
        )
        for found in each.evidence
    ]


def conclusion(each: Any) -> str:
    """The result of a running shadow so far; '' for any other rollout."""
    from inferd.protocol import options

    if each.kind != options.SHADOW or each.state != options.RUNNING:
        return ""
    candidate = f"version {each.candidate_version}"
    if bad := [found.guard for found in each.evidence if found.verdict == "bad"]:
        return f"{candidate} is beyond the limit of {', '.join(bad)}: stop it, or roll it back"
    if each.evidence and all(found.verdict == "ok" for found in each.evidence):
        return f"{candidate} is within all limits: begin a canary, or promote it"
    return f"{candidate} is not decided yet"


HEAD = ("guard", "n", "estimate", "band", "limit", "verdict", "")


def plain(each: Any) -> Iterator[str]:
    yield title(each)
    if counted := counts(each):
        yield f"  {counted}"
    table = rows(each)
    for line in aligned([HEAD, *table]) if table else ():
        yield f"  {line}"
    if said := conclusion(each) or one_line(each.reason):
        yield f"  {said}"


def _live(asked: Asked, model: str) -> None:
    """Drawn anew until what runs has ended."""
    from rich.console import Console, Group
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    def text(words: str, style: str = "") -> Text:
        """rich writes what moves a cursor or changes a terminal as it comes."""
        return Text(printable(one_line(words)), style)

    def drawn(found: Sequence[Any]) -> Any:
        parts: list[Any] = []
        for each in found:
            table = Table(box=None, padding=(0, 2, 0, 0))
            for name in HEAD:
                table.add_column(text(name), no_wrap=bool(name))
            for row in rows(each):
                *cells, verdict, words = row
                table.add_row(*map(text, cells), text(verdict, MARKS.get(verdict, "")), text(words))
            parts += [
                text(title(each), "bold"),
                *([text(counted, "dim")] if (counted := counts(each)) else []),
                *([table] if each.evidence else []),
                text(each.reason),
            ]
        return Group(*parts) if parts else text("no rollout")

    from inferd.protocol import options

    ended = {options.RolloutState.Value(name) for name in ENDED}
    found = statuses(asked, model)
    with Live(drawn(found), console=Console(highlight=False), auto_refresh=False) as live:
        while any(each.state not in ended for each in found):
            time.sleep(LOOK_S)
            found = statuses(asked, model)
            live.update(drawn(found), refresh=True)
