"""`inferd config`: every setting with its value and origin, and the memory that they allow. Also the table of docs/configuration.md."""

from __future__ import annotations

import json
import textwrap
from itertools import groupby
from typing import TYPE_CHECKING

import click
import msgspec

from inferd.cli.exit_codes import ExitCode
from inferd.cli.named_files import missing_files
from inferd.cli.options import SettingsCommand, group_title, takes_settings
from inferd.cli.say import complain
from inferd.config import fields, spell
from inferd.config.share import spelled
from inferd.serving.memory.budget import most_bytes, settled, worst_case
from inferd.system.memory_limit import memory_limit_bytes

if TYPE_CHECKING:
    from inferd.config import Settings


@click.command(cls=SettingsCommand)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: name -> value and origin.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the table of all settings with defaults and limits.")
@takes_settings
def config(settings: Settings, origins: dict[str, str], as_json: bool, as_markdown: bool) -> int:
    """Show every setting, its value and where it came from.

    Below the settings stands the most memory that they allow.
    """
    if as_markdown:
        click.echo(markdown())
    elif as_json:
        rows = {name: {"value": value, "origin": origins[name]} for name, value in msgspec.structs.asdict(settings).items()}
        click.echo(json.dumps(rows, indent=2))
    else:
        shown = {name: spell(field, getattr(settings, name)) or field.unset or "-" for name, field in fields().items()}
        name_width, value_width = max(map(len, shown)), max(map(len, shown.values()))
        for name, value in shown.items():
            given = origins[name] != "default"
            said = click.style(f"{value:<{value_width}}", bold=given or None), click.style(origins[name], dim=not given or None)
            click.echo(f"{name:<{name_width}}  {said[0]}  {said[1]}")
        click.echo("\n" + memory(settings, memory_limit_bytes()))
        missing = list(missing_files(settings, origins))
        for setting, why in missing:
            complain(f"{setting}: {why}")
        return ExitCode.FAILED if missing else ExitCode.OK
    return ExitCode.OK


def memory(settings: Settings, limit_bytes: int) -> str:
    """A table for people: the most memory that a server with these settings holds beside its models, against what it may use."""
    whole = settled(settings, limit_bytes)
    total = most_bytes(settings, limit_bytes)
    rows = [(share.what, spelled(share.nbytes), share.how) for share in worst_case(settings, limit_bytes)]
    rows.append(("together", spelled(total), f"of {spelled(limit_bytes)}, the limit of the cgroup or the memory of the machine"))
    if total < limit_bytes:
        rows.append(("left for models", spelled(limit_bytes - total), "weights, and the memory of runs"))
    chosen = [
        f"{name}={spell(fields()[name], getattr(whole, name))}" for name in fields() if getattr(whole, name) != getattr(settings, name)
    ]
    lines = ["The most memory that clients can make the server hold", *(f"  {what:<20}  {size:>8}  {how}" for what, size, how in rows)]
    if chosen:
        lines.append(f"  auto stands for: {', '.join(chosen)}")
    if total >= limit_bytes:
        lines.append(
            f"warning: this is more than the {spelled(limit_bytes)} that the server may use, and nothing is left for models: raise the "
            "memory limit, or lower the settings named above"
        )
    return "\n".join(lines)


def markdown() -> str:
    """All settings as Markdown tables by group, as docs/configuration.md has them."""
    lines: list[str] = []
    for group, grouped in groupby(fields().values(), key=lambda field: field.group):
        members = list(grouped)
        lines += [f"### {group_title(group)}", "", "| setting | default | accepts | what it does |", "|---|---|---|---|"]
        for field in members:
            default = f"`{field.left_out}`" if spell(field, field.default) else field.left_out
            lines.append(f"| `{field.name}` | {default} | {field.expected} | {field.summary} |")
        lines.append("")
        for field in members:
            if field.details:
                lines += textwrap.wrap(f"- `{field.name}`: {field.details}", 100, subsequent_indent="  ", break_on_hyphens=False)
        lines.append("")
    return "\n".join(lines).rstrip()
