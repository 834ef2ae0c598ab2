"""The server's settings as command line flags, made from the table in inferd.config. Adds no setting of its own."""

from __future__ import annotations

import os
from functools import partial, wraps
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inferd.config import CONFIG_FILE, CONFIG_VARIABLE, Field, fields, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["GROUPS", "REREAD", "SettingsCommand", "takes_settings"]

REREAD = "inferd.reread"  # in the context's meta: the settings as the same flags, variables and file have them now

GROUPS = {
    "models": "Models and scheduling",
    "addresses": "Addresses",
    "access": "Who may ask",
    "transport": "Transport and its limits",
    "operation": "Life cycle and log",
}


class SettingsCommand(click.Command):
    """A command whose help shows the settings by group."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        table = fields()
        options = [parameter for parameter in self.get_params(ctx) if isinstance(parameter, click.Option)]
        rows = [(parameter.name, row) for parameter in options if (row := parameter.get_help_record(ctx))]
        if own := [row for name, row in rows if name not in table]:
            with formatter.section("Options"):
                formatter.write_dl(own)
        settings = [(table[name].group, row) for name, row in rows if name in table]
        for group, members in groupby(settings, key=lambda pair: pair[0]):
            with formatter.section(GROUPS[group]):
                formatter.write_dl([row for _, row in members])


def takes_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command all settings as flags, PATH... and --config; it is called with `settings` and `origins`."""

    @wraps(command)
    def call(paths: tuple[str, ...] = (), config: str | None = None, **given: Any) -> Any:
        table = fields()
        flags = {name: given.pop(name) for name in table if name in given}
        flags = {name: _joined(value) if isinstance(value, tuple) else value for name, value in flags.items()}
        read = partial(load_settings, flags | {"models": paths or None}, os.environ, Path.cwd(), config_file=config)
        settings, origins = read()
        found = config is None and CONFIG_VARIABLE not in os.environ and Path(CONFIG_FILE).exists()
        again = partial(read, config_file=CONFIG_FILE) if found else read  # once it was there it must be: without it all are defaults
        click.get_current_context().meta[REREAD] = lambda: again()[0]
        return command(settings=settings, origins=origins, **given)

    decorated: Callable[..., Any] = call
    for field in reversed(fields().values()):
        if field.name != "models":
            decorated = _flag(field)(decorated)
    decorated = click.option("--config", metavar="FILE", help="TOML file with settings.  [default: inferd.toml, where it exists]")(
        decorated
    )
    return click.argument("paths", nargs=-1, metavar="[PATH]...")(decorated)


def _joined(values: tuple[str, ...]) -> str | None:
    """Of a flag that may be repeated; None: it is not given."""
    return ",".join(values) if values else None


def _flag(field: Field) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The flag of one setting. Its text is parsed by the table, so that a flag, a variable and the file mean the same."""
    text = f"{field.description}  [default: {field.left_out}]"
    if field.kind == "bool":
        return click.option(f"{field.flag}/--no-{field.flag[2:]}", field.name, default=None, help=text)
    metavars = {"bytes": "SIZE", "duration": "TIME", "mode": "MODE", "number": "N", "list": "ITEM", "file": "FILE"}
    metavar = "|".join(field.choices) or metavars.get(field.kind, "TEXT")
    return click.option(field.flag, field.name, metavar=metavar, multiple=field.kind == "list", default=None, help=text)
