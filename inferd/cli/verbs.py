"""The verbs of `inferd`, and what `inferd --help` says of them. Never in here: what a verb does, which its own module knows."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, cast

import click

from inferd import __version__
from inferd.cli.exit_codes import sentence

if TYPE_CHECKING:
    from collections.abc import Iterable

    from click.shell_completion import CompletionItem

# verb -> what `inferd --help` says. Its own module is inferd/cli/<verb>.py, its command has its name, and exit_codes.py has its row.
VERBS = {
    "serve": "Serve ONNX files or a model repository over gRPC and REST.",
    "infer": "Send one request to a server, or run a model once without one.",
    "check": "List everything in a model repository that needs a change.",
    "diff": "Compare two models before one takes the other's place.",
    "bench": "Measure a server: its peak, its latency at a rate, an SLO.",
    "tune": "Find the settings that serve a model best on this machine.",
    "health": "Ask a server whether it takes requests, for probes.",
    "models": "List, load and unload a server's models, and move labels.",
    "rollout": "Change a model's version by evidence: shadow, canary, rollback.",
    "feedback": "Send labels that have come, which join the server's predictions.",
    "performance": "Show how well a model predicted, by its labels.",
    "profile": "Learn what a model's data is like, so that drift is seen.",
    "drift": "Show whether a model's data has moved away from its profile.",
    "record": "Show, export and merge what a server recorded.",
    "drain": "Tell a server of this machine to stop, and wait for its end.",
    "features": "Turn a trained scikit-learn pipeline into a model.",
    "doctor": "Show what this machine can do, and what is missing.",
    "config": "Show every setting, its value and where it came from.",
    "completion": "Print a script that completes commands in your shell.",
    "protos": "Write the .proto files for clients in other languages.",
    "demo": "Serve example models and send them real requests.",
}


UNBROKEN = "\N{NO-BREAK SPACE}"  # in a text of help: no line ends there, and it is shown as a space


class Formatter(click.HelpFormatter):
    """Help in colours, which click leaves out where stdout is no terminal."""

    def write_heading(self, heading: str) -> None:
        super().write_heading(click.style(heading, bold=True, fg="green"))

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, args, click.style("Usage: ", bold=True, fg="green") if prefix is None else prefix)

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        begun = len(self.buffer)
        super().write_dl([(click.style(first, fg="cyan"), second) for first, second in rows], col_max, col_spacing)
        self.buffer[begun:] = [text.replace(UNBROKEN, " ") for text in self.buffer[begun:]]


click.Context.formatter_class = Formatter


class Program(click.Group):
    """A group that knows its verbs' names without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = cast(click.Command, getattr(import_module(f"inferd.cli.{cmd_name}"), cmd_name))
        command.epilog = sentence(cmd_name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in VERBS:
            near = get_close_matches(args[0], VERBS, n=1)
            cure = f"did you mean `inferd {near[0]}`?" if near else "`inferd --help` lists them"
            raise click.UsageError(f"there is no command '{args[0]}'; {cure}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        verbs = [CompletionItem(verb, help=text) for verb, text in VERBS.items() if verb.startswith(incomplete)]
        return verbs or click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="inferd")
def program() -> None:
    """The fastest gRPC endpoint your machine can run for the ONNX file you have.

    \b
    inferd serve model.onnx
    inferd infer localhost:8001 model --random
    """
