"""The server's settings as command line flags, made from the table in inferd.config. Adds no setting of its own."""

from __future__ import annotations

import os
from functools import partial, wraps
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from inferd.cli.verbs import UNBROKEN
from inferd.config import CONFIG_FILE, CONFIG_VARIABLE, Field, fields, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

REREAD = "inferd.reread"  # in the context's meta: the settings as the same flags, variables and file have them now
ALL = "inferd.help_all"  # in the context's meta: help shows every flag

GROUPS = {
    "models": "Models",
    "queues": "Queues and runs",
    "addresses": "Addresses",
    "access": "TLS and tokens",
    "processes": "Processes and transport",
    "connections": "Connections",
    "memory": "Memory",
    "abuse": "Slow and hostile clients",
    "record": "Record",
    "operation": "Shutdown and log",
}
OWN = "Options"  # the group of what is no setting
COLUMN = 30  # the most characters of a flag that its text stands beside
LONGEST_WORDS = 12  # of choices that help spells out beside the flag
METAVARS = {"bytes": "SIZE", "duration": "TIME", "mode": "MODE", "number": "N", "list": "ITEM", "file": "FILE", "text": "TEXT"}


class SettingsCommand(click.Command):
    """A command that takes the settings. Its help has layers: --help shows the command's own flags, and with `common` the settings that
    most people use, by topic; --help-all shows every setting."""

    def __init__(self, *arguments: Any, common: bool = False, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.common = common
        count = len(fields()) - 1
        what = f"Show all {count} settings, by topic." if common else f"Show the {count} settings as flags, too."
        self.params.append(click.Option(["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=_show_all, help=what))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        table, shows_all = fields(), ALL in ctx.meta
        options = [parameter for parameter in self.get_params(ctx) if isinstance(parameter, click.Option)]
        rows = [(parameter.name, row) for parameter in options if (row := parameter.get_help_record(ctx))]
        own = [row for name, row in rows if name not in table]
        settings = [(table[name].group, row) for name, row in rows if name in table and (shows_all or table[name].common)]
        shown = [*(settings if shows_all or self.common else []), *((OWN, row) for row in own)]
        width = min(max(len(first) for _, (first, _) in shown), COLUMN)  # a longer one has a line of its own
        for group, members in groupby(shown, key=lambda pair: pair[0]):
            with formatter.section(group_title(group)):
                formatter.write_dl([(first.ljust(width), text) for _, (first, text) in members], col_max=COLUMN)
        if not (shows_all or self.common):
            with formatter.indentation():
                formatter.write_paragraph()
                formatter.write_text("Every flag of `inferd serve` works here, too.")


def group_title(group: str) -> str:
    """The title of a group of settings; that of a part's own group is its name."""
    return GROUPS.get(group, group.capitalize())


class Switch(click.Option):
    """A setting that is on or off: one name in help, as git writes it, so that its text stands beside it."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        return record and (f"--[no-]{self.opts[0].removeprefix('--')}", record[1])


def _show_all(ctx: click.Context, parameter: click.Parameter, given: bool) -> None:
    if given:
        ctx.meta[ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


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
    decorated = click.option("--config", metavar="FILE", shell_complete=_files, help="TOML file of settings; inferd.toml if it exists.")(
        decorated
    )
    return click.argument("paths", nargs=-1, metavar="[PATH]...", shell_complete=_files)(decorated)


def _joined(values: tuple[str, ...]) -> str | None:
    """The values of a flag that may be repeated, as one text; None: it is not given."""
    return ",".join(values) if values else None


def _flag(field: Field) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The flag of one setting. Its text is parsed by the table, so that a flag, a variable and the file mean the same."""
    words = "|".join(field.choices)
    spelled = len(words) <= LONGEST_WORDS
    about = ([] if spelled else [words]) + ([] if field.left_out == "none" else [f"default: {field.left_out}"])
    text = field.summary + (f"  [{', '.join(about)}]".replace(" ", UNBROKEN).replace(UNBROKEN, " ", 2) if about else "")
    if field.kind == "bool":
        return click.option(f"{field.flag}/--no-{field.flag[2:]}", field.name, cls=Switch, default=None, help=text)
    metavar = words if words and spelled else "WORD" if words else METAVARS[field.kind]
    complete = partial(_words, field) if field.choices or field.words else _files if field.kind == "file" else None
    return click.option(
        field.flag, field.name, metavar=metavar, multiple=field.kind == "list", default=None, help=text, shell_complete=complete
    )


def _words(field: Field, ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(word) for word in (*field.choices, *field.words) if word.startswith(incomplete)]


def _files(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="file")]
